"""The schema of a run: every setting with its meaning, its unit, and why one would change it.

Hydra merges the files of ``conf/`` into :class:`RunConfig`. Each field with its own class is a config group, and
`name` is the chosen option. :func:`runner.config.checks.check` validates what types cannot express, for example
combinations of fields and files. This module imports neither Hydra nor a runtime.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from omegaconf import MISSING

from runner.protocol import AS_IS

Task = StrEnum(  # the functional form: a class body cannot define members with a hyphen
    "Task",
    {
        "image-classification": "image-classification",
        "text-classification": "text-classification",
        "question-answering": "question-answering",
        "text-generation": "text-generation",
        "tensors": "tensors",
        "embedding": "embedding",
    },
)
"""What a model does, by the task names of Transformers' pipelines; `tensors`: outputs of no known meaning, compared
with those of fp32; `embedding`: a vector for each sample, of which near ones are alike."""


class Scope(StrEnum):
    """What one inference includes.

    `model`: input tensors to output tensors. `pipeline`: text to answers through Transformers' pipeline, including
    tokenisation.
    """

    model = "model"
    pipeline = "pipeline"


class Precision(StrEnum):
    """The arithmetic of convolutions and matrix products."""

    fp32 = "fp32"
    bf16 = "bf16"
    int8 = "int8"
    """8-bit weights and activations; the ranges of activations are calibrated once."""
    int8_accuracy = "int8_accuracy"
    """The same, but operations that cost too much accuracy remain in floating point, until the loss on training samples
    is at most 1 % (NNCF's accuracy control)."""
    int8_dynamic = "int8_dynamic"
    """8-bit weights and activations; the ranges of activations are computed in every inference, without calibration."""
    int8_weights = "int8_weights"
    """8-bit weights; the runtime chooses the arithmetic. For text generation."""
    as_is = AS_IS
    """That of a model file which is quantised already, or stored in 16 bits: it runs as it is."""
    int4_weights = "int4_weights"
    """4-bit weights; the runtime chooses the arithmetic. For text generation."""


Scenario = StrEnum("Scenario", {"sync": "sync", "async": "async"})  # the functional form: async is a keyword
"""How batches arrive, which defines throughput and latency. `sync`: one batch at a time, each after the previous one
completes: the latency of one caller. `async`: as many batches in flight as saturate the machine: its maximum
throughput."""


class MemoryFormat(StrEnum):
    """Layout of image tensors in PyTorch: NCHW (contiguous) or NHWC (channels_last)."""

    contiguous = "contiguous"
    channels_last = "channels_last"


class WeightsKind(StrEnum):
    """The origin of the weights."""

    probe = "probe"
    """Untrained backbone with a classifier fitted on the data: no download."""
    pretrained = "pretrained"
    random = "random"
    file = "file"
    own = "own"
    """Those that a model file contains, or that a Python module makes."""


class DataKind(StrEnum):
    """The origin of images or texts, and of their labels."""

    digits = "digits"
    synthetic = "synthetic"
    image_folder = "image_folder"
    sentences = "sentences"
    questions = "questions"
    passages = "passages"
    one_text = "one_text"
    text_file = "text_file"
    arrays = "arrays"


@dataclass
class PreprocessingConfig:
    """How pictures become inputs.

    null: as the network's library, or the folder of the model, says for its weights. For weights=probe and random,
    which have seen no pictures, these are ImageNet's usual constants.
    """

    mean: list[float] | None = None
    """Of red, green and blue, on a scale from 0 to 1."""
    std: list[float] | None = None
    """Standard deviations, likewise."""
    crop: float | None = None
    """Share of the shorter side that the square in the centre keeps: 0.875 is 224 of 256 pixels."""
    squash: bool | None = None
    """true: resize both sides, whatever the picture's proportions, instead of the shorter one."""
    interpolation: str | None = None
    """nearest, box, bilinear, hamming, bicubic or lanczos."""


@dataclass
class ModelConfig:
    """The network to measure."""

    source: str = MISSING
    """Module in runner/worker/subjects that opens the model: the library that defines the architecture."""
    name: str = MISSING
    """Name under which `source` registers the architecture, for example resnet50."""
    image_size: int | None = None
    """Height and width of the input in pixels; null: the network's own, 224 for most. Smaller images are faster; some
    architectures accept only one size."""
    preprocessing: PreprocessingConfig = field(default_factory=PreprocessingConfig)
    """What differs from the network's own preprocessing of pictures."""
    classes: int | None = None
    """Number of classes; null: that of the weights, or of the data. Set it for weights=random, or if a file of weights
    does not show it."""
    task: Task = Task["image-classification"]
    """What the model does. Networks of torchvision and timm take image-classification, tensors and embedding;
    Transformers models take all but tensors, an embedding those of texts."""
    path: str | None = None
    """With source=file: an ONNX graph (.onnx), an OpenVINO IR (.xml), an exported program of PyTorch (.pt2), or a
    folder in Transformers' format. `runner inspect FILE` describes it."""
    shapes: list[str] = field(default_factory=list)
    """With source=file: shapes of inputs, for extents that the file leaves open, such as ids[batch,128]. Behind the
    shape may follow the type and a range of synthetic values: ids[batch,128]:int64:0..30521."""
    id: str | None = None
    """With weights=pretrained: a name on the Hugging Face Hub, or a folder in Transformers' format."""
    revision: str | None = None
    """With a name on the Hub: a branch, tag or commit; null: its main branch. The cache keeps the commit that it was at
    when it was first used, and a note below the table names it."""
    architecture: str | None = None
    """With other weights: the architecture's name in Transformers (model_type), for example distilbert."""
    config: dict[str, Any] = field(default_factory=dict)
    """Fields of the architecture's configuration that differ from its defaults, for example n_layers."""
    sequence_length: int | None = 128
    """Tokens per text, by padding and truncation. null pads to the longest text of each batch."""
    new_tokens: int = 32
    """Tokens to generate for each text, by greedy decoding. At least 2, to measure the time per token."""

    @property
    def is_file(self) -> bool:
        """Whether it is a file of the user: `path` and `shapes` then apply."""
        return self.source == "file"

    @property
    def has_labels(self) -> bool:
        """Whether its task has right answers; the outputs of others are compared with fp32 alone."""
        return self.task not in (Task["tensors"], Task["embedding"])

    @property
    def is_python(self) -> bool:
        """Whether a Python module of the user builds it."""
        return self.source == "python"

    @property
    def brings_weights(self) -> bool:
        """Whether its own weights are all that it has: a file contains them, a module makes them."""
        return self.is_file or self.is_python

    @property
    def is_transformers(self) -> bool:
        """Whether it is a Transformers model: fields such as `architecture` and `sequence_length` then apply."""
        return self.source == "transformers"


@dataclass
class BackendConfig:
    """The runtime that executes the network."""

    name: str = MISSING
    """Module in runner/worker/backends."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the backend's constructor; names and values are checked before anything is launched."""
    openmp: bool = False
    """Whether the backend's threads are OpenMP threads. Only such workers receive OMP_* settings."""
    pytorch: bool = False
    """Whether the backend computes in PyTorch's buffers. Only then do PyTorch's memory settings have an effect."""
    bf16_needs_hardware: bool = False
    """Whether the backend falls back to fp32 on a processor without bf16 arithmetic. Such a run ends as unsupported."""
    env: dict[str, str] = field(default_factory=dict)
    """Environment variables that the runtime needs in every run."""
    sources: list[str] = field(default_factory=list)
    """Sources of models that the backend's environment contains; empty: all."""
    environment: str | None = None
    """A separate virtual environment, ``.venvs/NAME``, which ``make NAME`` sets up; null: that of this program."""
    worth_trying: dict[str, Any] = field(default_factory=dict)
    """What `runner find` varies with this choice: by the name of a list (small, wide), fields and their values. It is
    no part of a configuration: composing empties it."""


@dataclass
class PrecisionConfig:
    """The arithmetic to use."""

    name: Precision = MISSING
    """Lower precision is faster on processors that support it, and can cost accuracy."""
    ignore: list[str] = field(default_factory=list)
    """Operations that int8 leaves in floating point: their names, which may have * and ?, or types such as Softmax."""
    calibration: str | None = None
    """How int8 takes the ranges of activations from the calibration samples: minmax, percentile or entropy. null: the
    quantiser's own way."""
    preset: str | None = None
    """performance: symmetric ranges of activations, which some processors compute faster; mixed: asymmetric ones where
    values have one sign, which is more accurate. null: the quantiser's own choice."""
    model_type: str | None = None
    """transformer or other: whether the quantiser treats attention specially. null: it does if the graph has a
    softmax."""
    worth_trying: dict[str, Any] = field(default_factory=dict)
    """What `runner find` varies with this choice: by the name of a list (small, wide), fields and their values. It is
    no part of a configuration: composing empties it."""


@dataclass
class AllocatorConfig:
    """The memory allocator to preload."""

    name: str = MISSING
    """Allocator. Change it if a runtime allocates and frees memory in every batch, as eager PyTorch does."""
    libraries: list[str] = field(default_factory=list)
    """File names to search for, best first; the first one found is preloaded. Empty: the C library's allocator."""
    packages: list[str] = field(default_factory=list)
    """Debian packages that contain the library, best first; `make system` installs the first available one."""
    env: dict[str, str] = field(default_factory=dict)
    """The allocator's settings, as environment variables of the worker."""
    xeon_run_cpu: str = "--use-default-allocator"
    """Option that names this allocator to torch.backends.xeon.run_cpu, so that the launcher does not choose another."""


@dataclass
class HugepagesConfig:
    """Whether large buffers request transparent huge pages from the kernel."""

    name: str = MISSING
    """Which memory requests huge pages. They reduce page faults and TLB misses of large buffers."""
    pytorch: bool = False
    """Whether the setting applies to PyTorch's buffers."""
    c_library: bool = False
    """Whether the setting applies to the heap of the C library's allocator."""
    env: dict[str, str] = field(default_factory=dict)
    """Environment variables of the worker that make the request."""


@dataclass
class ThreadingConfig:
    """The number of compute threads, their placement, and how they wait."""

    name: str = MISSING
    """Combination of thread settings."""
    threads: int | None = None
    """Threads per process. 0: one per core that the process may use; null: each runtime's default."""
    physical_cores: bool = False
    """Bind each process to one hardware thread of each of its physical cores, and use that many compute threads.
    Hyper-threads of a core share its vector units, so for matrix products the second one usually costs more than it
    gains."""
    env: dict[str, str] = field(default_factory=dict)
    """OMP_* settings; only backends that use OpenMP receive them."""
    libraries: list[str] = field(default_factory=list)
    """OpenMP runtime to preload instead of the backend's own: file names, best first."""
    prefix: list[str] = field(default_factory=list)
    """Arguments between the interpreter and ``-m runner.worker`` in the worker's command. Placeholders: ``{python}``,
    ``{instances}``, ``{instance}`` and ``{allocator}`` (the allocator's `xeon_run_cpu`)."""


@dataclass
class WeightsConfig:
    """The weights to load."""

    name: WeightsKind = MISSING
    """Origin of the weights. Use pretrained or file for an accuracy verdict on your model."""
    path: str | None = None
    """With name=file: a file that torch.save wrote (.pt, .pth, .ckpt, .tar, .bin; read with weights_only=True), or a
    .safetensors file. Wrappers and prefixes of training scripts are removed."""
    key: str | None = None
    """Where in the file the state_dict is, such as ema, with dots between levels. null: it is found."""


@dataclass
class DataConfig:
    """Images or texts for two disjoint sets: int8 calibration and accuracy evaluation."""

    name: DataKind = MISSING
    """Origin of the samples. Use image_folder, text_file or arrays for accuracy on your data."""
    path: str | None = None
    """With name=image_folder: a folder of pictures. With name=text_file: a table (.csv, .tsv, .jsonl, .json, .parquet).
    With name=arrays: a file of NumPy (.npz, .npy)."""
    labels: str | None = None
    """With name=image_folder: a table with a file and a label in each record. null: the single table in the folder, or
    the folders in it, of which each is a class."""
    columns: dict[str, str] = field(default_factory=dict)
    """With name=text_file: the file's columns by the names text, label, question, context and answers, where they
    differ."""
    logits: str | None = None
    """With name=arrays and labels among them: the output whose values are scores of classes. null: the only one that
    can be."""
    max_broken: float = 0.01
    """With name=image_folder: the largest share of pictures that may be unreadable. They are left out and named."""
    text: str | None = None
    """With name=one_text: the text of every sample."""
    evaluation_samples: int = 400
    """Samples for accuracy. More samples narrow the interval of the accuracy delta and lengthen every run."""
    calibration_samples: int = 128
    """Samples for the calibration of int8 ranges. More samples make the preparation of int8 longer."""


@dataclass
class MeasureConfig:
    """How long to measure, and with which precision of the result."""

    name: str = MISSING
    """Preset: quick, standard, publish or check."""
    replicates: int = MISSING
    """Number of replicates: fresh processes of the candidate and its baseline. The intervals are Student's t over them,
    because address layout, heap and scheduling shift a process as a whole. At least 2."""
    rounds: int = MISSING
    """Clean rounds per replicate. In a round each process is timed twice, on the way forward and back through all that
    are measured side by side."""
    noise_floor: float = MISSING
    """δ, relative: a speedup within ±δ counts as no measurable effect. A/A runs (`aa`) can raise it, never lower it."""
    slice_s: float = MISSING
    """Minimum duration of one slice, in seconds. Raise it if the slices of several instances do not overlap."""
    slice_iterations: int = MISSING
    """Minimum number of batches in one slice."""
    fixed_layout: bool = MISSING
    """Start all processes with the same address layout and hash seed, so that neither causes a difference. false draws
    both at random for each process, so that the interval includes their effect."""
    settle_s: float = 0.15
    """Minimum untimed time after a thaw, in seconds, which warms the caches."""
    settle_iterations: int = 3
    """Maximum untimed batches after a thaw; they end earlier, when one is as fast as those of the slice before. The
    first ones fault in memory that the kernel or a hypervisor reclaimed while the process was frozen."""
    guards: bool = True
    """Repeat rounds that an external disturbance contaminated. false counts every round, for a machine that is always
    busy; rounds.csv records the disturbances in both cases."""
    watch_s: float = 0.3
    """Duration for which threads are observed while they compute, in seconds: the evidence for threads and cores."""
    warmup_s: float = 20.0
    """Maximum duration of warm-up, in seconds. Raise it if warm-up ends before the speed is steady."""
    warmup_tolerance: float = 0.03
    """Maximum relative spread of the medians of the last windows that counts as a steady speed: 0.03 is 3 %."""
    prepare_timeout_s: float = 1200.0
    """Time limit for loading, exporting, quantising and compiling together, in seconds. Raise it for large models."""
    request_timeout_s: float = 300.0
    """Time limit for any other step of a worker (a slice, a warm-up, an evaluation), in seconds. Raise it for slow
    models."""
    check: bool = False
    """Only check that a run works: load, one batch, evidence and accuracy. Nothing is timed."""


@dataclass
class TrackingConfig:
    """Where runs are recorded in addition to the run folder."""

    enabled: bool = True
    """Record runs in MLflow. false: run folders only."""
    uri: str | None = None
    """MLflow tracking URI. null: MLFLOW_TRACKING_URI if it is set, else an SQLite database in the output folder."""
    experiment: str = "runner"
    """Name of the MLflow experiment."""


@dataclass
class Published:
    """The published result of one row for one model."""

    throughput: float | None = None
    """Samples per second."""
    speedup: float | None = None
    """Speedup over the table's baseline; the lower end if a range was published."""
    speedup_high: float | None = None
    """The upper end of a published range of speedups."""
    derived: bool = False
    """Whether the numbers are computed from other published numbers instead of being printed."""


@dataclass
class RowConfig:
    """The row of a published table that a run reproduces."""

    table: str = ""
    """Folder in experiments/; empty for a run that reproduces no row."""
    name: str = ""
    """The row's name in the table."""
    needs: list[str] = field(default_factory=list)
    """Instruction sets that the published number depends on, by the names of `runner.machine.facts`."""
    note: str = ""
    """Information needed to compare the published and the measured number."""
    published: dict[str, Published] = field(default_factory=dict)
    """Published results by model name."""


@dataclass
class RunConfig:
    """The configuration of one run."""

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
    """Samples (images or texts) per inference. Larger batches usually raise throughput and latency. With a model file,
    0 takes the batch that the file fixes, else 8."""
    instances: int = 1
    """Processes that run at the same time, each on its share of the cores. Their throughputs are summed."""
    scenario: Scenario = Scenario["sync"]
    """How batches arrive: sync to measure the latency of one caller, async to measure maximum throughput."""
    scope: Scope = Scope.model
    """What one inference includes: model (tensors to tensors) or pipeline (text to answers; Transformers only)."""
    pipeline_batch_size: int = 1
    """With scope=pipeline: texts that the pipeline passes to the model at once; 1 is the pipeline's default."""
    memory_format: MemoryFormat = MemoryFormat.contiguous
    """Layout of image tensors in PyTorch; other runtimes choose their own layout."""
    seed: int = 0
    """Seed of random weights, the probe, and the order of slices."""
    baseline: list[str] = field(default_factory=list)
    """Overrides that turn the run's configuration into its baseline, which every speedup is relative to."""
    reference: list[str] = field(default_factory=list)
    """Overrides that turn the run's configuration into the fp32 reference, whose logits are the truth for accuracy."""
    row: RowConfig = field(default_factory=RowConfig)
    aa: int = 0
    """Number of A/A (self-comparison) runs to perform instead: 0, or at least 2. They calibrate δ for this machine and
    model."""
    ablate: bool = False
    """Also measure each setting's contribution, by reverting one setting at a time."""
    resume: str | None = None
    """Resume a sweep: its name, or true for the newest unfinished sweep (with other settings: of the same command)."""
    fresh: bool = False
    """With resume: measure every run again, in a new sweep."""
    budget: str | None = None
    """Time limit of the command, for example 2h or 1h30m: no run starts that is expected to exceed it. The sweep can be
    resumed."""
    shard: str | None = None
    """Measure one part of the sweep: 2/8 is the third of eight, auto/8 that of this job in an array of SLURM or an
    indexed job of Kubernetes. runner merge puts the parts together."""
    cache_limit_gib: float = 20.0
    """Maximum size of the artifact cache, in GiB. Beyond it the least recently used artifacts are deleted, except those
    of the current sweep."""
    wait: bool = False
    """Wait for another measurement on this machine to end, instead of exiting with an error."""
    verbose: bool = False
    """List the evidence of every run below the table."""
    cache_dir: str | None = None
    """Folder of artifacts and calibrated noise floors. null: `cache` in the output folder for a checkout, the user's
    cache (``$XDG_CACHE_HOME/runner``) for an installed program."""
    output_dir: str = "outputs"
    """Folder of run folders, the MLflow database and, in a checkout, the cache."""


FOLDER_NAME = re.compile(r"[\w-][\w.-]*")
"""A table or sweep name: the name of a single folder, never a path."""

SESSION_FIELDS = (
    *(
        "resume",
        "fresh",
        "budget",
        "shard",
        "cache_limit_gib",
        "wait",
        "verbose",
        "output_dir",
        "cache_dir",
        "tracking",
    ),
)
"""Fields and groups that do not affect the measurement, and so are not part of a fingerprint."""
