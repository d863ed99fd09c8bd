# Everything works from a fresh checkout: each target first sets up what is missing.
.DEFAULT_GOAL := help
SHELL := /bin/bash
# An exact minor version: constraints.txt pins packages that were tried with it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable
# Further overrides for any run: make sweep ARGS="model=resnet18 measure=quick"
ARGS ?=
MODEL ?= resnet50
MEASURE ?= standard
PORT ?= 5000

.PHONY: help setup system sweep rand2025 beyond2025 optimum ipex machine ui report test check bench aa soak screenshot resume sync cache clean-cache

help: ## List the targets
	@grep -hE '^[a-z][a-z0-9-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) '.[dev,transformers]' || \
	  (echo "models of Transformers will be unavailable: their packages do not install beside the others" && $(INSTALL) '.[dev]')
	$(BIN)/python -m runner.provision
	@touch $@

setup: $(READY) ## Make .venv with all packages, and fetch allocators and numactl

system: $(READY) ## Fetch allocators and numactl again (with root by apt, else into .venv)
	$(BIN)/python -m runner.provision

sweep: $(READY) ## The main job: two runtimes, three precisions, one table (ARGS="model=resnet18")
	$(BIN)/python -m runner -m backend=ort,openvino precision=fp32,bf16,int8 $(ARGS)

rand2025: $(READY) ## The published table of Rand 2025, every row (MODEL=vit_base MEASURE=quick)
	$(BIN)/python -m runner -m '+experiments/rand2025=glob(*)' model=$(MODEL) measure=$(MEASURE) $(ARGS)

beyond2025: $(READY) ## Rows of our own, past the article (MODEL=vit_base MEASURE=quick)
	$(BIN)/python -m runner -m '+experiments/beyond2025=glob(*)' model=$(MODEL) measure=$(MEASURE) $(ARGS)

optimum: $(READY) ## Hugging Face's guide to inference on CPUs, every claim a row (MEASURE=quick)
	$(BIN)/python -m runner -m '+experiments/optimum_cpu_guide=glob(*)' measure=$(MEASURE) $(ARGS)

ipex: $(READY) ## Make .venvs/ipex for backend=ipex: torch 2.8 and IPEX 2.8, about 7 GB
	$(PYTHON) -m venv .venvs/ipex
	.venvs/ipex/bin/python -m pip install --quiet --requirement constraints-ipex.txt

machine: $(READY) ## What this machine is, which settings can work on it, its peaks and its noise
	@$(BIN)/python -m runner.machine $(ARGS)

ui: $(READY) ## The MLflow UI over outputs/mlflow.db, on http://127.0.0.1:5000 (PORT=…)
	MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow ui --backend-store-uri sqlite:///$(CURDIR)/outputs/mlflow.db --host 127.0.0.1 --port $(PORT)

resume: $(READY) ## Go on with the newest unfinished sweep (ARGS="budget=2h")
	$(BIN)/python -m runner resume=true $(ARGS)

sync: $(READY) ## Record in MLflow what it does not hold yet (ARGS="--uri http://…")
	$(BIN)/python -m runner.tracking sync $(ARGS)

report: $(READY) ## Print the latest sweep's table again (ARGS="--format markdown")
	@$(BIN)/python -m runner.report $(ARGS)

test: $(READY) ## All checks: formatting, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(ARGS)

check: test

bench: $(READY) ## What the program promises about itself: fidelity, A/A, quiet host, overhead, benchmark_app (20 minutes)
	$(BIN)/python -m benchmarks

aa: $(READY) ## A/A ten times over, in pairs and one after the other, and its figure docs/aa.png (half an hour)
	$(BIN)/python -m benchmarks.aa

screenshot: $(READY) ## Take the README's picture of the MLflow UI (needs chromium and chromium-driver)
	$(INSTALL) '.[docs]'
	$(BIN)/python -m docs.screenshot

soak: $(READY) ## 300 runs with faults, the host killed in the middle: what is lost, what it costs (half an hour)
	$(BIN)/python -m benchmarks.soak $(ARGS)

cache: $(READY) ## What the cache of artifacts holds, by kind
	@$(BIN)/python -m runner.cache $(ARGS)

clean-cache: $(READY) ## Remove cached artifacts (exports, quantised models, probe weights), and show their sizes
	@$(BIN)/python -m runner.cache clean $(ARGS)
