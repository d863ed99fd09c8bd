"""Checks of a composed configuration that types cannot express: ranges, combinations of fields, files."""

from __future__ import annotations

import math
import os
import re
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from runner.config import backend_registry, model_catalog
from runner.config.data_checks import check_preprocessing, check_steering, check_transformers_model
from runner.config.data_file_checks import check_data_files
from runner.config.durations import seconds_of
from runner.config.execution_checks import check_execution
from runner.config.redaction import hide_in_text
from runner.config.schema import (
    FOLDER_NAME,
    DataConfig,
    ModelConfig,
    Precision,
    RowConfig,
    RunConfig,
    Scenario,
    TrackingConfig,
    WeightsConfig,
    WeightsKind,
)
from runner.errors import Mistake
from runner.machine.facts import ISA_FLAGS, this_machine
from runner.protocol import BUNDLED_SAMPLES

HUB_PREFIX = re.compile(r"hf[-_]hub:")
"""How timm marks names of the Hugging Face Hub."""


def check(config: RunConfig) -> list[Mistake]:
    """Return every mistake in a composed configuration."""
    return [
        *_check_numbers(config),
        *_check_model(config.model, config.precision.name),
        *check_transformers_model(config),
        *check_preprocessing(config.model),
        *check_steering(config.precision),
        *_check_backend(config),
        *_check_instances(config),
        *_check_weights(config.weights, config.model),
        *_check_data(config),
        *_check_tracking(config.tracking),
        *_check_session(config),
        *_check_row(config.row),
        *_check_outputs(Path(config.output_dir)),
        *check_execution(config),
    ]


def _check_numbers(config: RunConfig) -> list[Mistake]:
    measure = config.measure
    at_least: list[tuple[str, float, float]] = [
        ("batch_size", config.batch_size, 0 if config.model.is_file else 1),
        ("seed", config.seed, 0),
        ("aa", config.aa, 0),
        ("model.image_size", 8 if config.model.image_size is None else config.model.image_size, 8),
        ("model.classes", 1 if config.model.classes is None else config.model.classes, 1),
        ("data.evaluation_samples", config.data.evaluation_samples, 1),
        ("data.calibration_samples", config.data.calibration_samples, 1),
        ("measure.replicates", measure.replicates, 2),
        ("measure.rounds", measure.rounds, 1),
        ("measure.slice_iterations", measure.slice_iterations, 1),
        ("measure.slice_s", measure.slice_s, 0),
        ("measure.settle_s", measure.settle_s, 0),
        ("measure.settle_iterations", measure.settle_iterations, 0),
        ("measure.warmup_s", measure.warmup_s, 0),
        ("measure.noise_floor", measure.noise_floor, 0),
    ]
    positive = {
        "measure.warmup_tolerance": measure.warmup_tolerance,
        "measure.watch_s": measure.watch_s,
        "measure.prepare_timeout_s": measure.prepare_timeout_s,
        "measure.request_timeout_s": measure.request_timeout_s,
    }
    mistakes = [
        Mistake(name, value, f"{least} or more") for name, value, least in at_least if not least <= value < math.inf
    ]
    longest = max(measure.warmup_s, measure.slice_s + measure.settle_s)
    if measure.request_timeout_s <= longest:
        allowed = f"more than {longest:g}, the longer of warm-up and slice"
        mistakes.append(Mistake("measure.request_timeout_s", measure.request_timeout_s, allowed))
    threads, (cores, limit) = config.threading.threads, _usable_cores()
    if threads is not None and not 0 <= threads <= cores:
        allowed = f"1 to {cores}, {limit}; 0 for all cores of a process; null for the runtime's default"
        mistakes.append(Mistake("threading.threads", threads, allowed))
    if measure.check and (config.aa or config.ablate):
        name = "aa" if config.aa else "ablate"
        mistakes.append(Mistake("measure", measure.name, f"a measurement, with {name}", "Take measure=standard"))
    if config.aa == 1:
        mistakes.append(Mistake("aa", 1, "0, or 2 or more", "One run does not show the variation between runs"))
    if config.aa and config.ablate:
        mistakes.append(Mistake("ablate", True, "false with aa", "Use one of the two"))
    mistakes += [
        Mistake(name, value, "a finite number, more than 0")
        for name, value in positive.items()
        if not 0 < value < math.inf
    ]
    return mistakes


def _check_model(model: ModelConfig, precision: Precision) -> list[Mistake]:
    if model.source not in model_catalog.sources():
        return [Mistake("model.source", model.source, ", ".join(model_catalog.sources()))]
    if model.path is not None and not model.is_file:
        return [Mistake("model.path", model.path, "only with model=file", "Add model=file")]
    if precision is Precision.as_is and not model.is_file:
        return [Mistake("precision", str(precision), "with model=file only", "Take precision=fp32")]
    if model.name == "???":
        return [
            Mistake("model.name", None, f"a model name of {model.source}", "Add model.name=…, for example resnet50")
        ]
    if model.is_transformers or model.is_file:
        return []
    if model.is_python:
        return _check_plugin(model)
    return _check_library_name(model)


def _check_library_name(model: ModelConfig) -> list[Mistake]:
    """Return the mistake of a name that torchvision or timm does not have."""
    source, classifiers = str(model.source), model.has_labels
    names = model_catalog.model_names(source, classifiers=classifiers)
    if not names:  # the library is not installed: the run ends as `unavailable`
        return []
    name, _, tag = model.name.partition(".")
    if name in names and (not tag or source == "timm"):
        return _check_tag(model, name, tag)
    every = model_catalog.model_names(source, classifiers=False)
    allowed = f"one of the {len(names)} {'classification ' if classifiers else ''}models of {source}"
    if name in every:
        return [Mistake("model.name", model.name, allowed, "It does not classify: add model.task=tensors")]
    on_hub = HUB_PREFIX.match(model.name)
    wanted = model.name[on_hub.end() :].rpartition("/")[2].partition(".")[0] if on_hub else name
    near = ", ".join([wanted] if wanted in names else model_catalog.nearest(wanted, names)) or "none"
    remedy = f"The nearest: {near}"
    if on_hub:
        remedy += ". Names of the Hub are for model=transformers model.id=OWNER/NAME"
    return [Mistake("model.name", model.name, allowed, remedy)]


def _check_tag(model: ModelConfig, name: str, tag: str) -> list[Mistake]:
    """Return the mistake of a tag of published weights that timm does not have: timm appends it after a dot."""
    known = model_catalog.pretrained_tags().get(name, ())
    if not tag or tag in known:
        return []
    near = model_catalog.nearest(tag, known) or known
    allowed = ", ".join(f"{name}.{one}" for one in known) or f"{name}, which has no published weights"
    return [
        Mistake("model.name", model.name, allowed, f"The nearest: {name}.{near[0]}" if near else "Leave out the tag")
    ]


def _check_plugin(model: ModelConfig) -> list[Mistake]:
    """Return the mistake of naming a Python module that is not offered as a model."""
    known = model_catalog.python_models()
    if model.name in known:
        return []
    remedy = f"The nearest: {near}" if (near := ", ".join(model_catalog.nearest(model.name, known))) else ""
    allowed = f"one of {', '.join(sorted(known))}" if known else "NAME of a file NAME.py in a folder of RUNNER_MODELS"
    return [Mistake("model.name", model.name, allowed, remedy or "Set RUNNER_MODELS to the folder with the file")]


def _check_backend(config: RunConfig) -> list[Mistake]:
    backend = config.backend
    known = backend_registry.backends()
    if backend.name not in known:
        return [Mistake("backend.name", backend.name, ", ".join(sorted(known)))]
    options = known[backend.name].options
    mistakes = []
    for name, value in backend.options.items():
        if name not in options:
            allowed = ", ".join(options) or f"none; {backend.name} has no options"
            mistakes.append(Mistake(f"backend.options.{name}", value, allowed))
        elif (choices := options[name].choices) and value not in choices:
            mistakes.append(
                Mistake(
                    f"backend.options.{name}",
                    value,
                    ", ".join("null" if choice is None else str(choice) for choice in choices),
                    options[name].help,
                )
            )
        elif not options[name].accepts_type_of(value):
            mistakes.append(
                Mistake(f"backend.options.{name}", value, " or ".join(options[name].types), options[name].help)
            )
    return mistakes


def _check_instances(config: RunConfig) -> list[Mistake]:
    cores, limit = _usable_cores()
    mistakes = []
    if not 1 <= config.instances <= cores:
        remedy = "Each instance needs its own core"
        mistakes.append(Mistake("instances", config.instances, f"1 to {cores}, {limit}", remedy))
    if config.instances > 1 and config.scenario is Scenario["async"]:
        remedy = "Use either several processes or several batches in flight in one process"
        mistakes.append(Mistake("scenario", "async", "sync with instances > 1", remedy))
    return mistakes


def _usable_cores() -> tuple[int, str]:
    """Return the number of cores that can compute at the same time, and what limits it."""
    machine = this_machine()
    limited = machine.usable_cores < len(machine.cores)
    return machine.usable_cores, "the quota of the control group" if limited else "the cores of this machine"


def _check_row(row: RowConfig) -> list[Mistake]:
    mistakes = _check_published(row)
    for name in row.needs:
        if name not in ISA_FLAGS.values():
            mistakes.append(Mistake("row.needs", name, ", ".join(ISA_FLAGS.values())))
    if row.published and not row.table:
        mistakes.append(Mistake("row.table", row.table, "the name of the table", "Add row.table=…"))
    if row.table and not FOLDER_NAME.fullmatch(row.table):
        mistakes.append(Mistake("row.table", row.table, "the name of a folder, not a path"))
    if not row.name.isprintable():
        mistakes.append(Mistake("row.name", row.name, "printable characters"))
    return mistakes


def _check_published(row: RowConfig) -> list[Mistake]:
    mistakes = []
    for model, published in row.published.items():
        for name, value in (("throughput", published.throughput), ("speedup", published.speedup)):
            if value is not None and not 0 < value < math.inf:
                mistakes.append(Mistake(f"row.published.{model}.{name}", value, "a number, more than 0"))
        if (
            published.speedup_high is not None
            and not (published.speedup or math.inf) < published.speedup_high < math.inf
        ):
            allowed = "more than the speedup, the lower end of the range"
            mistakes.append(Mistake(f"row.published.{model}.speedup_high", published.speedup_high, allowed))
        if published.throughput is None and published.speedup is None:
            mistakes.append(Mistake(f"row.published.{model}", "nothing", "a throughput, a speedup, or both"))
    return mistakes


def _check_weights(weights: WeightsConfig, model: ModelConfig) -> list[Mistake]:
    if weights.name is WeightsKind.own and not model.brings_weights:
        remedy = "Take weights=probe, pretrained, random or file"
        return [Mistake("weights", "own", "with model=file or model=python only", remedy)]
    if weights.name is WeightsKind.probe and not model.has_labels:
        allowed = f"random, pretrained or file with model.task={model.task}"
        return [Mistake("weights", "probe", allowed, "A probe classifies")]
    if weights.name is not WeightsKind.file:
        for name, value in (("path", weights.path), ("key", weights.key)):
            if value is not None:
                return [Mistake(f"weights.{name}", value, "only with weights=file", "Add weights=file")]
        return []
    if weights.path is None:
        return [Mistake("weights.path", None, "a file", "Add weights.path=model.safetensors")]
    if not Path(weights.path).is_file():
        return [Mistake("weights.path", weights.path, "a file that exists", "Check the path")]
    if Path(weights.path).suffix.lower() not in model_catalog.WEIGHT_SUFFIXES:
        return [Mistake("weights.path", weights.path, f"a file ending in {', '.join(model_catalog.WEIGHT_SUFFIXES)}")]
    return []


def _check_sample_counts(data: DataConfig) -> list[Mistake]:
    """Return the mistake of requesting more samples than a bundled data set has."""
    if str(data.name) in BUNDLED_SAMPLES:
        training, evaluation = BUNDLED_SAMPLES[str(data.name)]
        counts = (
            ("evaluation_samples", data.evaluation_samples, evaluation),
            ("calibration_samples", data.calibration_samples, training),
        )
        for name, requested, available in counts:
            if requested > available:
                return [Mistake(f"data.{name}", requested, f"at most {available} with data={data.name}")]
    return []


def _check_data(config: RunConfig) -> list[Mistake]:
    return _check_sample_counts(config.data) or check_data_files(config)


def _check_tracking(tracking: TrackingConfig) -> list[Mistake]:
    if not tracking.enabled:
        return []
    name, uri = "tracking.uri", tracking.uri
    if uri is None:
        name, uri = "MLFLOW_TRACKING_URI", os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        return []
    allowed = "sqlite:///file.db, postgresql://…, mysql://…, mssql://… or http(s)://host:port"
    try:
        parts = urlsplit(uri)
        parts.port  # noqa: B018 -- reading the property is what parses the port
    except ValueError as error:
        return [Mistake(name, hide_in_text(uri), allowed, f"It cannot be parsed: {error}")]
    scheme = parts.scheme.split("+")[0]
    if scheme == "sqlite" and uri.split("://")[-1].strip("/"):
        return []
    if scheme in {"http", "https", "postgresql", "mysql", "mssql"} and parts.hostname:
        return []
    return [Mistake(name, hide_in_text(uri), allowed)]


def _check_session(config: RunConfig) -> list[Mistake]:
    """Return the mistakes in fields that configure the command rather than the measurement."""
    found = []
    if config.resume is not None and not FOLDER_NAME.fullmatch(config.resume):
        found.append(Mistake("resume", config.resume, "true, or the name of a sweep"))
    if config.budget is not None and seconds_of(config.budget) is None:
        found.append(Mistake("budget", config.budget, "a duration such as 2h, 90m, 1h30m or 45s"))
    if not 0 <= config.cache_limit_gib < math.inf:
        found.append(Mistake("cache_limit_gib", config.cache_limit_gib, "GiB, 0 or more"))
    return found


def _check_outputs(folder: Path) -> list[Mistake]:
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    allowed = "a writable folder"
    if not existing.is_dir():
        return [Mistake("output_dir", str(folder), allowed, f"{existing} is not a folder: choose another")]
    try:  # only creating a file reveals a read-only or special file system; permissions do not
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        remedy = f"{existing} cannot be written ({error.strerror}): choose another"
        return [Mistake("output_dir", str(folder), allowed, remedy)]
    return []
