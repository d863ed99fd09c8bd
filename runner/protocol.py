"""The corridor between the two wings: the messages, and the few constants that both need.

A message is one line of JSON: ``{"type": "<class name>", ...fields}``. Both wings import this module, so it
imports only the standard library and stays valid for every interpreter that a worker may run in.

A worker answers each request with exactly one final reply (the reply class named beside the request) or with
:class:`Failure`. Before the final reply it may send any number of :class:`Phase` messages.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, TypeAlias, get_args

CHANNEL_VARIABLE = "RUNNER_CHANNEL"
"""Environment variable that carries the path of the host's Unix socket to the worker."""

PACKAGES = (
    "torch",
    "intel_extension_for_pytorch",
    "torchvision",
    "timm",
    "torchao",
    "onnx",
    "onnxruntime",
    "openvino",
    "nncf",
    "numpy",
    "transformers",
    "tokenizers",
    "optimum",
    "optimum-onnx",
    "optimum-intel",
)
"""Packages whose version a result depends on, whatever was run."""

BACKENDS_VARIABLE = "RUNNER_BACKENDS"
"""Environment variable naming further folders of backend modules, for those that live outside this package."""
TRANSFORMERS_PREFIX = "transformers_"
"""Begins the names of backend modules that run models of Transformers: ``transformers_ort`` beside ``ort``."""
DIGEST_FILE = "digest.json"
"""The file in each entry of the artifact cache that holds its key and the digests of its files."""
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
"""Files of a folder that count as images."""
BUNDLED_SAMPLES = {
    "digits": (1000, 797),
    "sentences": (1600, 800),
    "questions": (800, 400),
    "passages": (800, 400),
}
"""Of the data sets that this program brings, how many samples are for training, and how many for evaluation."""


class ProtocolError(Exception):
    """A line on the channel was not a message of this protocol."""


@dataclass(frozen=True)
class Job:
    """What a worker runs, and on what: flat, so that it reads the same in JSON and in a log."""

    backend: str
    precision: str
    model_source: str
    model_name: str
    image_size: int
    """Height and width of the square input, in pixels."""
    weights: str
    weights_path: str | None
    data: str
    data_path: str | None
    evaluation_samples: int
    calibration_samples: int
    batch_size: int
    memory_format: str
    threads: int | None
    """Compute threads of the runtime; None leaves the runtime's own default."""
    scenario: str
    """sync or async; see :class:`runner.config.schema.Scenario`."""
    seed: int
    cache_dir: str
    python: str
    """The interpreter that makes artifacts: the host's own, whichever one measures."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keywords for the backend's constructor."""
    task: str = "image-classification"
    """A word of :class:`runner.config.schema.Task`."""
    model_id: str | None = None
    architecture: str | None = None
    model_config: dict[str, Any] = field(default_factory=dict)
    sequence_length: int | None = None
    """Tokens of every text; None pads to the longest of a batch."""
    new_tokens: int = 0
    """Tokens that are generated of every text."""
    scope: str = "model"
    """model or pipeline; see :class:`runner.config.schema.Scope`."""
    pipeline_batch_size: int = 1
    data_text: str | None = None
    expectations: dict[str, Any] = field(default_factory=dict)
    """Settings of the environment that the worker is to verify in its own process: allocator, huge pages, …"""


# --- requests: host → worker ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Load:
    """Load and prepare the job; answered by :class:`Loaded`."""

    job: Job


@dataclass(frozen=True)
class WarmUp:
    """Run untimed batches until the speed is steady; answered by :class:`Warm`."""

    maximum_s: float
    """Give up waiting for a steady state after this many seconds (it is then reported as not steady)."""
    tolerance: float
    """Largest relative spread between the medians of the last windows that counts as steady."""


@dataclass(frozen=True)
class RunSlice:
    """Time batches for one slice of a round; answered by :class:`Slice`."""

    settle_s: float
    """Untimed seconds before the slice at least, which bring the caches back after a thaw."""
    settle_iterations: int
    """Untimed batches at least: so many take again the memory that the kernel got back meanwhile."""
    heap_seed: int
    """Draws the heap that the slice begins with; see :mod:`runner.worker.heap`."""
    minimum_s: float
    minimum_iterations: int


@dataclass(frozen=True)
class Observe:
    """Tell what took effect, from untimed batches under verbose flags and profilers; answered by :class:`Observed`."""

    watch_s: float
    """Seconds for which threads are watched while they compute."""


@dataclass(frozen=True)
class Evaluate:
    """Write the answers to the evaluation set to ``path``; answered by :class:`Evaluated`."""

    path: str
    """An ``.npz`` file: the backend's answers (:meth:`runner.worker.backends.base.Runtime.answers`), ``labels``
    (samples, int64, or none), ``right`` (for questions, the right answers as JSON), and the digests ``weights`` and
    ``data``, by which the host sees that two files speak of the same network and samples."""
    cached: bool
    """Take the logits from the cache where they are: only for the fp32 reference, never for a candidate."""


@dataclass(frozen=True)
class Stop:
    """End the process; not answered."""


# --- replies: worker → host -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hello:
    """The first message of a worker, sent when it has dialled back."""

    pid: int


@dataclass(frozen=True)
class Phase:
    """The worker has begun something that the screen may show."""

    name: str


@dataclass(frozen=True)
class Loaded:
    """The job is prepared and has answered its first inference."""

    load_s: float
    """Imports, weights and data."""
    prepare_s: float
    """Export, quantisation and compilation, or fetching their results from the cache."""
    first_inference_s: float
    artifact_mib: float | None
    """Size of the files that the backend loaded; None where it loads none."""
    rebuilt: list[str]
    """Artifacts that were not in the cache and were made, in a process of their own."""
    weights_digest: str
    data_digest: str
    """Hash over evaluation samples and labels and calibration samples."""
    packages: dict[str, str]
    notes: list[str] = field(default_factory=list)
    """What whoever reads the result must know of the samples."""


@dataclass(frozen=True)
class Warm:
    """Warm-up has ended."""

    steady: bool
    seconds: float
    iterations: int


@dataclass(frozen=True)
class Slice:
    """One timed slice."""

    stamps_ns: list[list[int]]
    """For each request in flight, CLOCK_MONOTONIC before its first batch and after each: one more than batches."""
    major_faults: int
    """Page faults that needed the disk, in the slice and while it settled."""
    marks_ns: list[int] = field(default_factory=list)
    """CLOCK_MONOTONIC when each timed batch's first tokens were there; empty where no text is generated."""
    minor_faults: int = 0
    """Page faults that did not, likewise: memory that the allocator had given back and asked for again."""


VERIFIED, CONTRADICTED, UNKNOWN = "verified", "contradicted", "unknown"
"""States of a :class:`Finding`: as asked; otherwise than asked; not to be seen."""


@dataclass(frozen=True)
class Finding:
    """One setting: what was asked, and what was observed."""

    knob: str
    asked: str
    observed: str
    state: str
    """VERIFIED, CONTRADICTED or UNKNOWN."""
    source: str
    """Where it was observed."""
    remedy: str = ""
    """What to do where it is not as asked."""
    facts: dict[str, float] = field(default_factory=dict)
    """The numbers behind it, for a diagnosis."""


@dataclass(frozen=True)
class Observed:
    """The evidence of one process."""

    evidence: list[Finding]


@dataclass(frozen=True)
class Evaluated:
    """The logits are on disk."""

    path: str
    seconds: float
    from_cache: bool


@dataclass(frozen=True)
class Built:
    """What the process that makes artifacts tells the worker that started it."""

    kinds: list[str]


@dataclass(frozen=True)
class Peaks:
    """What :mod:`runner.worker.peak` writes."""

    gops: dict[str, float]
    """10⁹ operations per second by precision and threads (``bf16_2``); a product and its addition are two."""
    cores: int
    gops_per_sample: float
    """10⁹ operations of one sample's inference; 0 where they are not known."""


@dataclass(frozen=True)
class Failure:
    """The request could not be carried out; the worker is of no further use."""

    status: str
    """One of the words of :class:`runner.results.status.Status`."""
    reason: str
    """One line: what is the matter, and what to do now."""
    exception: str = ""
    """Type and message of the exception behind it, where there is one."""
    traceback: str = ""


Message: TypeAlias = (
    Load
    | WarmUp
    | RunSlice
    | Observe
    | Evaluate
    | Stop
    | Hello
    | Phase
    | Loaded
    | Warm
    | Slice
    | Observed
    | Evaluated
    | Built
    | Peaks
    | Failure
)

_MESSAGES: dict[str, type[Message]] = {cls.__name__: cls for cls in get_args(Message)}


def encode(message: Message) -> bytes:
    """Return the message as one line of JSON, with its newline."""
    return json.dumps({"type": type(message).__name__, **dataclasses.asdict(message)}).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Return the message in one line of JSON.

    Raises:
        ProtocolError: the line is not JSON, names no known message, or its fields do not fit.
    """
    try:
        fields = json.loads(line)
        cls = _MESSAGES[fields.pop("type")]
        if cls is Load:
            return Load(job=Job(**fields["job"]))
        if cls is Observed:
            return Observed([Finding(**finding) for finding in fields["evidence"]])
        return cls(**fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(f"not a message: {line[:200]!r} ({error!r})") from error
