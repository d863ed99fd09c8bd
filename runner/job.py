"""A job: what a worker runs. The host writes it, the worker reads it; only the standard library is needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

HOST_ENVIRONMENT = "host"
"""Name of the environment whose interpreter runs the host: by default, it also makes artifacts and measures."""


@dataclass(frozen=True)
class Subject:
    """The model under test."""

    source: str = "torchvision"
    """A module of :mod:`runner.worker.subjects` with a function ``open_subject``."""
    name: str = "resnet50"
    """The architecture's name in the source's registry; for Transformers models, a name for messages only."""
    image_size: int | None = 224
    """Height and width of the square input, in pixels; None for the network's own."""
    preprocessing: dict[str, Any] = field(default_factory=dict)
    """What differs from the network's own preprocessing; see :class:`runner.config.schema.PreprocessingConfig`."""
    classes: int | None = None
    """Number of classes; None: that of the weights, or of the data."""
    weights: str = "random"
    """probe, pretrained, random or file; see :class:`runner.config.schema.WeightsKind`."""
    weights_path: str | None = None
    """Absolute path of the state_dict, with weights=file."""
    weights_key: str | None = None
    """Where in that file the state_dict is, with dots between levels; None: it is found."""
    task: str = "image-classification"
    """A value of :class:`runner.config.schema.Task`."""
    model_id: str | None = None
    """With weights=pretrained of Transformers: a name on the Hugging Face Hub, or the absolute path of a folder."""
    revision: str | None = None
    """Branch, tag or commit of a model on the Hub; None for its main branch."""
    architecture: str | None = None
    """With other weights of Transformers: the ``model_type`` of the configuration, for example distilbert."""
    model_config: dict[str, Any] = field(default_factory=dict)
    """Fields of the Transformers configuration that differ from the architecture's defaults."""
    sequence_length: int | None = None
    """Tokens per text, reached by padding and truncation; None pads to the longest text of a batch."""
    new_tokens: int = 0
    """Tokens to generate per text."""
    path: str | None = None
    """With source=file: absolute path of the model."""
    shapes: list[str] = field(default_factory=list)
    """With source=file: shapes of inputs that the file leaves open."""


@dataclass(frozen=True)
class Data:
    """The samples that calibrate the model and on which its accuracy is computed."""

    name: str = "digits"
    """A value of :class:`runner.config.schema.DataKind`."""
    path: str | None = None
    """Absolute path of the folder of images or the file of texts or arrays, for data sets read from disk."""
    labels: str | None = None
    """Absolute path of a table with the labels of images."""
    left_out: list[str] = field(default_factory=list)
    """Paths, below the folder, of images that cannot be read."""
    columns: dict[str, str] = field(default_factory=dict)
    """The file's columns by the names that a task knows: text, label, question, context, answers."""
    logits: str | None = None
    """The output whose values are scores of classes, with labels among arrays."""
    text: str | None = None
    """The text of every sample, with name=one_text."""
    evaluation_samples: int = 400
    calibration_samples: int = 128


@dataclass(frozen=True)
class Engine:
    """The runtime and its settings."""

    backend: str = "torch"
    """A module of :mod:`runner.worker.backends` or of a folder in BACKENDS_VARIABLE."""
    precision: str = "fp32"
    """A value of :class:`runner.config.schema.Precision`."""
    steering: dict[str, Any] = field(default_factory=dict)
    """What was changed of the quantiser: the fields of :class:`runner.config.schema.PrecisionConfig` that are set."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the backend's constructor."""
    memory_format: str = "contiguous"
    """contiguous (NCHW) or channels_last (NHWC)."""
    threads: int | None = None
    """Compute threads of the process; None keeps the runtime's default."""
    scenario: str = "sync"
    """sync or async; see :class:`runner.config.schema.Scenario`."""
    environment: str = HOST_ENVIRONMENT
    """The environment of the measured process, a key of :attr:`RunSettings.environments`."""
    scope: str = "model"
    """model or pipeline; see :class:`runner.config.schema.Scope`."""
    pipeline_batch_size: int = 1
    """Texts that a pipeline passes to the model at once, with scope=pipeline."""


@dataclass(frozen=True)
class Environment:
    """An interpreter with its installed packages."""

    python: str
    """Absolute path of the interpreter."""
    digest: str
    """Changes with any installed version; see :func:`runner.machine.environments.digest_of`."""


@dataclass(frozen=True)
class RunSettings:
    """Settings that do not belong to the model, the data or the runtime."""

    batch_size: int = 8
    """Samples per inference."""
    seed: int = 0
    """Seeds random weights, the probe, generated data and the split of the data."""
    cache_dir: str = ""
    """Absolute path of the artifact cache."""
    environments: dict[str, Environment] = field(default_factory=dict)
    """By name, the environments that make artifacts or measure: the host's, and the backend's own if it has one."""


@dataclass(frozen=True)
class Expectations:
    """Settings of the environment that the worker verifies in its own process."""

    allocator: str = "system"
    """A file name of conf/allocator."""
    allocator_library: str = ""
    """The preloaded allocator with links resolved, as /proc/self/maps shows it; empty if none is preloaded."""
    openmp: str = ""
    """The preloaded OpenMP runtime, likewise."""
    hugepages: str = "off"
    """A file name of conf/hugepages."""
    layout: str = "random"
    """Address space layout: fixed, random, or forbidden (requested fixed, but this machine does not permit it)."""
    cores: list[int] = field(default_factory=list)
    """Cores that the process is bound to; empty if it is not bound."""
    env: dict[str, str] = field(default_factory=dict)
    """Environment variables that configure libraries, for example KMP_BLOCKTIME."""


@dataclass(frozen=True)
class Job:
    """What a worker runs. Parts that a function needs alone are passed alone."""

    subject: Subject = field(default_factory=Subject)
    data: Data = field(default_factory=Data)
    engine: Engine = field(default_factory=Engine)
    run: RunSettings = field(default_factory=RunSettings)
    expectations: Expectations = field(default_factory=Expectations)


# --- requests: host → worker ------------------------------------------------------------------------------
