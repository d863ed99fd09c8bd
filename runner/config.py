"""The schema of a run: what can be asked, in which unit, and why one would change it.

Hydra merges the files of ``conf/`` into :class:`RunConfig`; each field of it that has a class of its own is a config
group. Checks that need more than one field, or a look at the disk, are in :func:`check`. This module imports neither
hydra nor a runtime.
"""

from __future__ import annotations

import difflib
import math
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from omegaconf import MISSING

from runner import catalog
from runner.worker import datasets

PROJECT = Path(__file__).resolve().parent.parent
"""The checkout: ``conf/`` and ``experiments/`` are found from here."""


class ModelSource(StrEnum):
    """The library that defines the architecture."""

    torchvision = "torchvision"
    timm = "timm"


class Precision(StrEnum):
    """The arithmetic of convolutions and matrix products."""

    fp32 = "fp32"
    bf16 = "bf16"
    int8 = "int8"


class MemoryFormat(StrEnum):
    """Layout of image tensors in PyTorch: NCHW or NHWC."""

    contiguous = "contiguous"
    channels_last = "channels_last"


class WeightsKind(StrEnum):
    """Where the weights come from."""

    probe = "probe"
    pretrained = "pretrained"
    random = "random"
    file = "file"


class DataKind(StrEnum):
    """Where images and labels come from."""

    digits = "digits"
    synthetic = "synthetic"
    image_folder = "image_folder"


@dataclass
class ModelConfig:
    """Which network."""

    source: ModelSource = MISSING
    name: str = MISSING
    """The name under which `source` registers the architecture, for example resnet50."""
    image_size: int = 224
    """Height and width of the input in pixels. Smaller is faster; some architectures allow only their own size."""


@dataclass
class BackendConfig:
    """Which runtime."""

    name: str = MISSING
    """A module of runner/worker/backends."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keywords of the backend's constructor; the names are checked against it before anything is launched."""
    openmp: bool = False
    """Whether its threads are OpenMP's: only then do OMP_* settings reach its worker."""
    env: dict[str, str] = field(default_factory=dict)
    """Environment variables that the runtime needs, whatever the run."""


@dataclass
class PrecisionConfig:
    """Which arithmetic."""

    name: Precision = MISSING


@dataclass
class AllocatorConfig:
    """Which memory allocator is preloaded."""

    name: str = MISSING
    libraries: list[str] = field(default_factory=list)
    """File names to look for, best first; the first that is found is preloaded. Empty: the C library's own."""
    packages: list[str] = field(default_factory=list)
    """Debian packages that hold the library, best first; `make system` installs the first that exists."""
    env: dict[str, str] = field(default_factory=dict)
    """The allocator's own settings, as environment variables of the worker."""


@dataclass
class HugepagesConfig:
    """Whether large buffers ask the kernel for transparent huge pages."""

    name: str = MISSING
    env: dict[str, str] = field(default_factory=dict)


@dataclass
class ThreadingConfig:
    """How many compute threads, and how they wait."""

    name: str = MISSING
    threads: int | None = None
    """Threads per process; 0 means one per core that the process may use; null leaves each runtime's default."""
    env: dict[str, str] = field(default_factory=dict)
    """OMP_* settings; they reach only backends that use OpenMP."""


@dataclass
class WeightsConfig:
    """Which weights."""

    name: WeightsKind = MISSING
    path: str | None = None
    """With name=file: a state_dict (.pt, .pth, loaded with weights_only=True) or .safetensors."""


@dataclass
class DataConfig:
    """Which images: to calibrate int8 on, and to compare accuracy on. The two sets are disjoint."""

    name: DataKind = MISSING
    path: str | None = None
    """With name=image_folder: a folder with one folder of images per class."""
    evaluation_samples: int = 400
    """Images the accuracy is computed on. More narrow the interval of the delta, and cost time in every run."""
    calibration_samples: int = 128
    """Images int8 ranges are calibrated on."""


@dataclass
class MeasureConfig:
    """How long to measure, and how sure to be."""

    name: str = MISSING
    processes_min: int = MISSING
    """Fresh process pairs at least. One pair cannot see what address layout does to a process (about 1.5 %)."""
    processes_max: int = MISSING
    """Fresh process pairs at most, where the goal is not reached."""
    rounds_min: int = MISSING
    """Rounds per process pair at least; a round is one slice of the candidate and one of the baseline."""
    rounds_max: int = MISSING
    """Rounds per process pair at most."""
    goal: float = MISSING
    """Half-width of the 95 % interval of the speedup, relative, at which measuring stops."""
    noise_floor: float = MISSING
    """δ: a speedup within ±δ is no measurable effect."""
    slice_s: float = MISSING
    """Seconds of one slice at least."""
    slice_iterations: int = MISSING
    """Batches in one slice at least."""
    fixed_layout: bool = MISSING
    """Start both processes of a pair with one address layout and one hash seed, so that chance does not part them;
    false draws both afresh for each process, so that the interval holds that chance."""
    settle_s: float = 0.15
    """Untimed seconds after a thaw at least, which bring the caches back."""
    settle_iterations: int = 3
    """Untimed batches after a thaw at least: the first ones fault in memory that the kernel, or a hypervisor, took back
    while the process was frozen, and were seen to take up to twice as long."""
    warmup_s: float = 20.0
    """Seconds after which warm-up gives up waiting for a steady speed."""
    warmup_tolerance: float = 0.03
    """Largest relative spread of the last windows' medians that counts as steady."""
    prepare_timeout_s: float = 1200.0
    """Seconds that loading, exporting, quantising and compiling may take together."""
    request_timeout_s: float = 300.0
    """Seconds that any other step of a worker may take: a slice, a warm-up, an evaluation."""


@dataclass
class TrackingConfig:
    """Where runs are recorded beside the run folder."""

    enabled: bool = True
    uri: str | None = None
    """An MLflow tracking URI; null means MLFLOW_TRACKING_URI, else sqlite in the output folder."""
    experiment: str = "runner"
    """Name of the MLflow experiment."""


@dataclass
class RunConfig:
    """One configuration: the question that one run answers."""

    model: ModelConfig = field(default_factory=ModelConfig)
    backend: BackendConfig = field(default_factory=BackendConfig)
    precision: PrecisionConfig = field(default_factory=PrecisionConfig)
    allocator: AllocatorConfig = field(default_factory=AllocatorConfig)
    hugepages: HugepagesConfig = field(default_factory=HugepagesConfig)
    threading: ThreadingConfig = field(default_factory=ThreadingConfig)
    weights: WeightsConfig = field(default_factory=WeightsConfig)
    data: DataConfig = field(default_factory=DataConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    batch_size: int = 8
    """Images per inference."""
    memory_format: MemoryFormat = MemoryFormat.contiguous
    """PyTorch's image layout; the other runtimes choose their own."""
    seed: int = 0
    """Seeds random weights, the probe, the order of slices and the bootstrap."""
    baseline: list[str] = field(default_factory=list)
    """Overrides that turn a run's own configuration into that of its baseline."""
    reference: list[str] = field(default_factory=list)
    """Overrides that turn it into the fp32 configuration whose logits are the truth for accuracy."""
    output_dir: str = "outputs"
    """Run folders, the MLflow database and the cache."""


@dataclass(frozen=True)
class Mistake:
    """One mistake in a configuration, told in one line."""

    field: str
    received: object
    allowed: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return field, value received, values allowed and remedy in one line."""
        line = f"{self.field}: received {self.received!r}; allowed: {self.allowed}"
        return f"{line}. {self.remedy}" if self.remedy else line


class ConfigurationError(Exception):
    """One or more mistakes in what the user asked for; nothing has been launched."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        """Keep the mistakes, without repetitions, in the order given."""
        self.mistakes = list({str(mistake): mistake for mistake in mistakes}.values())
        super().__init__("\n".join(map(str, self.mistakes)))


def nearest(name: str, known: Iterable[str], count: int = 5) -> list[str]:
    """Return the known names that are most like `name`, best first."""
    return difflib.get_close_matches(name, list(known), n=count, cutoff=0.4)


def check(config: RunConfig) -> list[Mistake]:
    """Return every mistake that a composed configuration still holds, an empty list where there is none."""
    return [
        *_check_numbers(config),
        *_check_model(config.model),
        *_check_backend(config.backend),
        *_check_weights(config.weights),
        *_check_data(config),
        *_check_tracking(config.tracking),
        *_check_outputs(Path(config.output_dir)),
    ]


def _check_numbers(config: RunConfig) -> list[Mistake]:
    measure = config.measure
    at_least: list[tuple[str, float, float]] = [
        ("batch_size", config.batch_size, 1),
        ("seed", config.seed, 0),
        ("model.image_size", config.model.image_size, 8),
        ("data.evaluation_samples", config.data.evaluation_samples, 1),
        ("data.calibration_samples", config.data.calibration_samples, 1),
        ("measure.processes_min", measure.processes_min, 1),
        ("measure.processes_max", measure.processes_max, measure.processes_min),
        ("measure.rounds_min", measure.rounds_min, 2),
        ("measure.rounds_max", measure.rounds_max, measure.rounds_min),
        ("measure.slice_iterations", measure.slice_iterations, 1),
        ("measure.slice_s", measure.slice_s, 0),
        ("measure.settle_s", measure.settle_s, 0),
        ("measure.settle_iterations", measure.settle_iterations, 0),
        ("measure.warmup_s", measure.warmup_s, 0),
        ("measure.noise_floor", measure.noise_floor, 0),
    ]
    if config.threading.threads is not None:
        at_least.append(("threading.threads", config.threading.threads, 0))
    positive = {
        "measure.goal": measure.goal,
        "measure.warmup_tolerance": measure.warmup_tolerance,
        "measure.prepare_timeout_s": measure.prepare_timeout_s,
        "measure.request_timeout_s": measure.request_timeout_s,
    }
    mistakes = [
        Mistake(name, value, f"{least} or more") for name, value, least in at_least if not least <= value < math.inf
    ]
    mistakes += [
        Mistake(name, value, "a finite number, more than 0")
        for name, value in positive.items()
        if not 0 < value < math.inf
    ]
    return mistakes


def _check_model(model: ModelConfig) -> list[Mistake]:
    if model.name == "???":
        return [Mistake("model.name", None, f"a name of {model.source}", "Add model.name=…, for example resnet50")]
    names = catalog.model_names(str(model.source))
    if not names:  # the library is not installed: the run says so, as `unavailable`
        return []
    if model.name.split(".")[0] in names:  # timm writes a set of pretrained weights behind a dot
        return []
    near = ", ".join(nearest(model.name, names)) or "none"
    return [
        Mistake(
            "model.name",
            model.name,
            f"one of the {len(names)} classification models of {model.source}",
            f"The nearest names: {near}",
        )
    ]


def _check_backend(backend: BackendConfig) -> list[Mistake]:
    known = catalog.backend_options()
    if backend.name not in known:
        return [Mistake("backend.name", backend.name, ", ".join(sorted(known)))]
    options = known[backend.name]
    return [
        Mistake(f"backend.options.{name}", value, ", ".join(options) or f"none; {backend.name} has no options")
        for name, value in backend.options.items()
        if name not in options
    ]


def _check_weights(weights: WeightsConfig) -> list[Mistake]:
    if weights.name is not WeightsKind.file:
        if weights.path is None:
            return []
        return [Mistake("weights.path", weights.path, "only with weights=file", "Add weights=file")]
    if weights.path is None:
        return [Mistake("weights.path", None, "a file", "Add weights.path=model.safetensors")]
    if not Path(weights.path).is_file():
        return [Mistake("weights.path", weights.path, "a file that exists", "Check the path")]
    if Path(weights.path).suffix not in catalog.WEIGHT_SUFFIXES:
        return [Mistake("weights.path", weights.path, f"a file ending in {', '.join(catalog.WEIGHT_SUFFIXES)}")]
    return []


def _check_data(config: RunConfig) -> list[Mistake]:
    data = config.data
    if data.name is DataKind.digits:
        room = datasets.DIGITS_EVALUATION
        if data.evaluation_samples > room:
            return [Mistake("data.evaluation_samples", data.evaluation_samples, f"at most {room} with data=digits")]
        room = datasets.DIGITS_TRAINING
        if data.calibration_samples > room:
            return [Mistake("data.calibration_samples", data.calibration_samples, f"at most {room} with data=digits")]
    if data.name is not DataKind.image_folder:
        if data.path is None:
            return []
        return [Mistake("data.path", data.path, "only with data=image_folder", "Add data=image_folder")]
    if data.path is None:
        return [Mistake("data.path", None, "a folder with one folder per class", "Add data.path=…")]
    if not Path(data.path).is_dir():
        return [Mistake("data.path", data.path, "a folder that exists", "Check the path")]
    found = catalog.count_images(Path(data.path))
    wanted = data.evaluation_samples + data.calibration_samples
    if found == 0:
        return [
            Mistake(
                "data.path",
                data.path,
                f"a folder with one folder of images ({', '.join(datasets.IMAGE_SUFFIXES)}) per class",
                "It holds no such image",
            )
        ]
    if found < wanted:
        return [
            Mistake(
                "data.path",
                data.path,
                f"at least {wanted} images (evaluation and calibration together)",
                f"It holds {found}: lower data.evaluation_samples or data.calibration_samples",
            )
        ]
    return []


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
        return [Mistake(name, uri, allowed, f"It does not parse: {error}")]
    scheme = parts.scheme.split("+")[0]
    if scheme == "sqlite" and uri.split("://")[-1].strip("/"):
        return []
    if scheme in {"http", "https", "postgresql", "mysql", "mssql"} and parts.hostname:
        return []
    return [Mistake(name, uri, allowed)]


def _check_outputs(folder: Path) -> list[Mistake]:
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    allowed = "a folder that can be written"
    if not existing.is_dir():
        return [Mistake("output_dir", str(folder), allowed, f"{existing} is not a folder: choose another")]
    try:  # permissions do not tell of a read-only or special file system; a file that vanishes again does
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        remedy = f"{existing} cannot be written ({error.strerror}): choose another"
        return [Mistake("output_dir", str(folder), allowed, remedy)]
    return []
