# Everything works from a fresh checkout: each target first sets up what is missing.
.DEFAULT_GOAL := help
SHELL := /bin/bash
# The version that most was measured with first; 3.12 and 3.13 work too.
PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
BIN := .venv/bin
READY := .venv/.ready
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable
# Further overrides for any run: make sweep ARGS="model=resnet18 measure=quick"
ARGS ?=
MODEL ?= resnet50
MEASURE ?= standard
PORT ?= 5000

.PHONY: help setup system sweep rand2025 beyond2025 optimum ipex machine ui report check test test-services hooks bench coverage docs repeat unchanged aa zoo wheels soak screenshot resume sync cache clean-cache

help: ## List the targets
	@grep -hE '^[a-z][a-z0-9-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

$(READY): pyproject.toml constraints.txt tools/set-up
	@tools/set-up $(PYTHON)
	@touch $@

setup: $(READY) ## Make .venv with all packages, and fetch allocators and numactl

system: $(READY) ## Fetch allocators and numactl again (with root by apt, else into .venv)
	$(BIN)/runner provision

sweep: $(READY) ## The main job: two runtimes, three precisions, one table (ARGS="model=resnet18")
	$(BIN)/runner -m backend=ort,openvino precision=fp32,bf16,int8 $(ARGS)

rand2025: $(READY) ## The published table of Rand 2025, every row (MODEL=vit_base MEASURE=quick)
	$(BIN)/runner -m '+experiments/rand2025=glob(*)' model=$(MODEL) measure=$(MEASURE) $(ARGS)

beyond2025: $(READY) ## Rows of our own, past the article (MODEL=vit_base MEASURE=quick)
	$(BIN)/runner -m '+experiments/beyond2025=glob(*)' model=$(MODEL) measure=$(MEASURE) $(ARGS)

optimum: $(READY) ## Hugging Face's guide to inference on CPUs, every claim a row (MEASURE=quick)
	$(BIN)/runner -m '+experiments/optimum_cpu_guide=glob(*)' measure=$(MEASURE) $(ARGS)

ipex: $(READY) ## Make .venvs/ipex for backend=ipex: torch 2.8 and IPEX 2.8, about 7 GB
	$(PYTHON) -m venv .venvs/ipex
	.venvs/ipex/bin/python -m pip install --quiet --requirement constraints-ipex.txt

machine: $(READY) ## What this machine is, which settings can work on it, its peaks and its noise
	@$(BIN)/runner machine $(ARGS)

ui: $(READY) ## The MLflow UI over outputs/mlflow.db, on http://127.0.0.1:5000 (PORT=…)
	$(BIN)/runner ui --port $(PORT)

resume: $(READY) ## Continue the newest unfinished sweep (ARGS="budget=2h")
	$(BIN)/runner resume $(ARGS)

sync: $(READY) ## Record in MLflow what it does not hold yet (ARGS="--uri http://…")
	$(BIN)/runner sync $(ARGS)

report: $(READY) ## Print the latest sweep's table again (ARGS="--format markdown")
	@$(BIN)/runner report $(ARGS)

check: $(READY) ## Format, lint, types and fast tests (under 3 minutes on 2 cores)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 -m "not slow and not services" $(ARGS)

test: check ## Everything that needs no server: check, then the tests that run the program (20 to 30 minutes)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "slow and not services and not alone" $(ARGS)
	$(BIN)/python -m pytest -m "alone and not services" $(ARGS)

test-services: $(READY) ## Tests against servers that they start: MLflow, and in Chromium (under 15 minutes)
	$(INSTALL) '.[dev,docs]'
	$(BIN)/runner provision --browser
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "services and not alone" $(ARGS)
	$(BIN)/python -m pytest -m "services and alone" $(ARGS)

hooks: $(READY) ## Run the fast checks before each commit (pre-commit)
	$(BIN)/pre-commit install

bench: $(READY) ## What the program promises about itself: fidelity, A/A, quiet host, overhead, benchmark_app, shipped folders (half an hour)
	$(BIN)/python -m benchmarks

zoo: $(READY) ## docs/reference/architectures.md: 40 of them in every backend and precision; it resumes (an hour)
	$(BIN)/python -m benchmarks.zoo $(ARGS)

docs: $(READY) ## Make the reference pages and the site (folder site), without a warning
	$(INSTALL) '.[docs]'
	$(BIN)/python -m docs.generate
	$(BIN)/python -m docs.site

wheels: $(READY) ## docs/reference/files-of-others.md: ONNX files inside packages of other people, measured (ten minutes)
	$(BIN)/python -m benchmarks.wheels

coverage: $(READY) ## docs/explanation/coverage.md: do the intervals keep their promise on simulated machines? (10 minutes)
	$(BIN)/python -m benchmarks.coverage > docs/explanation/coverage.md

repeat: $(READY) ## Two rows by ten separate commands each: do their intervals hold? (half an hour)
	$(BIN)/python -m benchmarks.repeat

unchanged: $(READY) ## Ten unchanged sweeps: does a comparison find a change? (a quarter of an hour)
	$(BIN)/python -m benchmarks.unchanged

aa: $(READY) ## A/A ten times over, in pairs and one after the other, and its figure docs/aa.png (half an hour)
	$(BIN)/python -m benchmarks.aa

screenshot: $(READY) ## Take the README's pictures of the MLflow UI and of a report, in Chromium
	$(INSTALL) '.[docs]'
	$(BIN)/runner provision --browser
	$(BIN)/python -m docs.screenshot

soak: $(READY) ## 300 runs with faults, the host killed in the middle: what is lost, what it costs (half an hour)
	$(BIN)/python -m benchmarks.soak $(ARGS)

cache: $(READY) ## What the cache of artifacts holds, by kind
	@$(BIN)/runner cache $(ARGS)

clean-cache: $(READY) ## Remove cached artifacts (exports, quantised models, probe weights), and show their sizes
	@$(BIN)/runner cache clean $(ARGS)
