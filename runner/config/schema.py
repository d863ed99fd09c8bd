"""The schema of a run: what can be asked, in which unit, and why one would change it.

Hydra merges the files of ``conf/`` into :class:`RunConfig`; each of its fields with a class of its own is a config
group. Checks that need more than one field, or a look at the disk, are in :func:`check`. This module imports neither
hydra nor a runtime.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from omegaconf import MISSING


class ModelSource(StrEnum):
    """The library that defines the architecture."""

    torchvision = "torchvision"
    timm = "timm"
    transformers = "transformers"


Task = StrEnum(  # a class cannot have members with a hyphen
    "Task",
    {
        "image-classification": "image-classification",
        "text-classification": "text-classification",
        "question-answering": "question-answering",
        "text-generation": "text-generation",
    },
)
"""What a model does, in the words of Transformers' pipelines."""


class Scope(StrEnum):
    """What one inference is.

    `model`: from tensors to tensors. `pipeline`: from text to answers, by Transformers' own pipeline, so that
    tokenising counts.
    """

    model = "model"
    pipeline = "pipeline"


class Precision(StrEnum):
    """The arithmetic of convolutions and matrix products."""

    fp32 = "fp32"
    bf16 = "bf16"
    int8 = "int8"
    int8_dynamic = "int8_dynamic"
    """The ranges of activations are computed in every inference, without calibration."""
    int8_weights = "int8_weights"
    """Weights are stored in 8 bits, and the rest is left to the runtime: for text generation."""
    int4_weights = "int4_weights"


Scenario = StrEnum("Scenario", {"sync": "sync", "async": "async"})  # a class cannot have a member named async
"""How batches arrive, and so what throughput and latency mean. `sync`: one at a time, the next when the last is done:
the latency of one caller. `async`: as many in flight as keep the machine full: its largest throughput."""


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
    """Where images or texts, and what is known of them, come from."""

    digits = "digits"
    synthetic = "synthetic"
    image_folder = "image_folder"
    sentences = "sentences"
    questions = "questions"
    passages = "passages"
    one_text = "one_text"
    text_file = "text_file"


@dataclass
class ModelConfig:
    """Which network."""

    source: ModelSource = MISSING
    name: str = MISSING
    """The name under which `source` registers the architecture, for example resnet50."""
    image_size: int = 224
    """Height and width of the input in pixels. Smaller is faster; some architectures allow only their own size."""
    task: Task = Task["image-classification"]
    """What the model does; with another source than transformers it classifies images."""
    id: str | None = None
    """With weights=pretrained: a name on the Hugging Face Hub, or a folder in Transformers' format."""
    architecture: str | None = None
    """With other weights: what Transformers calls the kind of model (model_type), for example distilbert."""
    config: dict[str, Any] = field(default_factory=dict)
    """Fields of the architecture's configuration that differ from its defaults, for example n_layers."""
    sequence_length: int | None = 128
    """Tokens of every text, by padding and cutting; null pads to the longest of a batch."""
    new_tokens: int = 32
    """Tokens that are generated of every text, greedily."""

    @property
    def is_transformers(self) -> bool:
        """Whether it is one of Transformers', which backends of their own run."""
        return self.source is ModelSource.transformers


@dataclass
class BackendConfig:
    """Which runtime."""

    name: str = MISSING
    """A module of runner/worker/backends."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keywords of the backend's constructor; the names are checked against it before anything is launched."""
    openmp: bool = False
    """Whether its threads are OpenMP's: only then do OMP_* settings reach its worker."""
    pytorch: bool = False
    """Whether it computes in PyTorch's own buffers: only then do settings of PyTorch's memory have an effect."""
    bf16_needs_hardware: bool = False
    """Whether it computes bf16 in fp32 on a processor without bf16 arithmetic; such a run is then unsupported."""
    env: dict[str, str] = field(default_factory=dict)
    """Environment variables that the runtime needs in every run."""
    interpreter: str | None = None
    """A Python of its own, relative to the checkout; null: the one that runs this program."""
    install: str = "make setup"
    """The command that installs it."""


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
    xeon_run_cpu: str = "--use-default-allocator"
    """The option by which torch.backends.xeon.run_cpu learns of it, so that it does not choose another."""


@dataclass
class HugepagesConfig:
    """Whether large buffers ask the kernel for transparent huge pages."""

    name: str = MISSING
    pytorch: bool = False
    """Whether it acts on PyTorch's buffers."""
    c_library: bool = False
    """Whether it acts on the heap of the C library's own allocator."""
    env: dict[str, str] = field(default_factory=dict)


@dataclass
class ThreadingConfig:
    """How many compute threads, and how they wait."""

    name: str = MISSING
    threads: int | None = None
    """Threads per process; 0 means one per core that the process may use; null leaves each runtime's default."""
    physical_cores: bool = False
    """Bind each process to one thread of each of its physical cores, and compute with as many threads. Two threads of a
    core share its vector units: for matrix products the second one usually costs more than it brings."""
    env: dict[str, str] = field(default_factory=dict)
    """OMP_* settings; they reach only backends that use OpenMP."""
    libraries: list[str] = field(default_factory=list)
    """An OpenMP runtime to preload instead of the one that the backend brings: its file names, best first."""
    prefix: list[str] = field(default_factory=list)
    """Words between the interpreter and ``-m runner.worker`` in the worker's command. ``{python}``, ``{instances}``,
    ``{instance}`` and ``{allocator}`` (the allocator's `xeon_run_cpu`) are filled in."""


@dataclass
class WeightsConfig:
    """Which weights."""

    name: WeightsKind = MISSING
    path: str | None = None
    """With name=file: a state_dict (.pt, .pth, loaded with weights_only=True) or .safetensors."""


@dataclass
class DataConfig:
    """Which images or texts: to calibrate int8 on, and to compare accuracy on. The two sets are disjoint."""

    name: DataKind = MISSING
    path: str | None = None
    """With name=image_folder: a folder with one folder of images per class; with name=text_file: a file."""
    text: str | None = None
    """With name=one_text: the text that every sample is."""
    evaluation_samples: int = 400
    """Samples the accuracy is computed on. More narrow the interval of the delta, and cost time in every run."""
    calibration_samples: int = 128
    """Samples int8 ranges are calibrated on."""


@dataclass
class MeasureConfig:
    """How long to measure, and how sure to be."""

    name: str = MISSING
    processes_min: int = MISSING
    """Fresh process pairs at least. One pair cannot see what address layout does to a process (about 1.5 %)."""
    processes_max: int = MISSING
    """Fresh process pairs at most, if the goal is not reached."""
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
    guards: bool = True
    """Measure a round again that something outside disturbed. false: every round counts, for a machine that is never
    quiet; what disturbed it is in rounds.csv all the same."""
    watch_s: float = 0.3
    """Seconds for which threads are watched while they compute: the evidence of threads and cores."""
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
class Published:
    """What a published table says of one row, for one model."""

    throughput: float | None = None
    """Samples per second."""
    speedup: float | None = None
    """Over the table's own baseline; the lower end if a range was published."""
    speedup_high: float | None = None
    """The upper end of a range."""
    derived: bool = False
    """Whether it follows from other published numbers, instead of being printed itself."""


@dataclass
class RowConfig:
    """The row of a published table that a run stands for."""

    table: str = ""
    """Folder in experiments/; empty for a run that is no row."""
    name: str = ""
    """What the table calls the row."""
    needs: list[str] = field(default_factory=list)
    """Instruction sets, as `runner.machine.facts` names them, that the published number rests on."""
    note: str = ""
    """What one must know to compare."""
    published: dict[str, Published] = field(default_factory=dict)
    """By model name."""


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
    """Samples (images or texts) per inference."""
    instances: int = 1
    """Processes that share the cores, each with its part of them; their throughput is added up."""
    scenario: Scenario = Scenario["sync"]
    scope: Scope = Scope.model
    """What one inference is: of tensors, or of text in and answers out (models of Transformers)."""
    pipeline_batch_size: int = 1
    """With scope=pipeline: texts that the pipeline gives the model at once; 1 is its own default."""
    memory_format: MemoryFormat = MemoryFormat.contiguous
    """PyTorch's image layout; the other runtimes choose their own."""
    seed: int = 0
    """Seeds random weights, the probe, the order of slices and the bootstrap."""
    baseline: list[str] = field(default_factory=list)
    """Overrides that turn a run's own configuration into that of its baseline."""
    reference: list[str] = field(default_factory=list)
    """Overrides that turn it into the fp32 configuration whose logits are the truth for accuracy."""
    row: RowConfig = field(default_factory=RowConfig)
    aa: int = 0
    """Number of A/A (self-comparison) runs to perform instead. They calibrate δ for this machine and model."""
    ablate: bool = False
    """Also measure each setting's contribution, by reverting one setting at a time."""
    resume: str | None = None
    """Continue a sweep: true for the newest unfinished one (beside settings: of this command), or its name."""
    fresh: bool = False
    """With resume: measure everything again, in a sweep of its own."""
    budget: str | None = None
    """Start no run that would not end within this time, for example 2h or 1h30m; the sweep can be resumed."""
    cache_limit_gib: float = 20.0
    """Artifacts that were not used for longest are removed beyond this size, never those of the running sweep."""
    wait: bool = False
    """Wait while another measurement runs on this machine, instead of refusing."""
    verbose: bool = False
    """List the evidence of every run below the table."""
    cache_dir: str | None = None
    """Artifacts and calibrated noise floors. null: `cache` in the output folder of a checkout; for an installed program
    the user's cache, ``$XDG_CACHE_HOME/runner``."""
    output_dir: str = "outputs"
    """Run folders, the MLflow database and the cache."""


FOLDER_NAME = re.compile(r"[\w-][\w.-]*")
"""Names of tables and of sweeps: each is a folder's, and none is a path."""

SESSION_FIELDS = (
    *("resume", "fresh", "budget", "cache_limit_gib", "wait", "verbose", "output_dir", "cache_dir", "tracking"),
)
"""Fields and groups of a command that do not affect what is measured: no fingerprint depends on them."""
