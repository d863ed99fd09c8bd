"""The protocol between host and worker: the messages, and the constants that both sides need.

A message is one line of JSON: ``{"type": "<class name>", ...fields}``, with nested objects for nested dataclasses.
Host and worker both import this module and :mod:`runner.codec`, so these import only the standard library: a backend
may run its worker in another interpreter.

A worker answers each request with exactly one final reply (the class named in the request's docstring) or with
:class:`Failure`. Before the final reply it may send any number of :class:`Phase` messages.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, TypeAlias, get_args

from runner.codec import DecodeError, rebuild
from runner.job import Job

CHANNEL_VARIABLE = "RUNNER_CHANNEL"
"""Environment variable with the path of the host's Unix socket."""

AS_IS = "as_is"
"""The precision of a model file that is quantised already, or stored in 16 bits: it runs as it is."""

MODELS_VARIABLE = "RUNNER_MODELS"
"""Environment variable with folders of Python modules that build models, separated by colons."""
MODELS_GROUP = "runner.models"
"""Group of the entry points of installed packages that build models."""

BACKENDS_VARIABLE = "RUNNER_BACKENDS"
"""Environment variable with additional folders of backend modules, separated by ``os.pathsep``."""
EMBEDDING = "embedding"
"""Name of the array of answers of that task: a vector for each sample."""
OUTPUT_PREFIX = "output:"
"""Prefix of a model's outputs among the answers of the task ``tensors``, before the output's name."""
DIGEST_FILE = "digest.json"
"""File in each entry of the artifact cache with the entry's key and the digests of its files."""
BUNDLED_SAMPLES = {
    "digits": (1000, 797),
    "sentences": (1600, 800),
    "questions": (800, 400),
    "passages": (800, 400),
}
"""Training and evaluation samples of each bundled data set."""


class ProtocolError(Exception):
    """A line on the channel is not a message of this protocol."""


@dataclass(frozen=True)
class Load:
    """Load and prepare the job; answered by :class:`Loaded`."""

    job: Job


@dataclass(frozen=True)
class WarmUp:
    """Run untimed batches until the speed is steady; answered by :class:`Warm`."""

    maximum_s: float
    """Stop after this many seconds and report the speed as not steady."""
    tolerance: float
    """Largest relative spread of the last windows' medians at which the speed is steady; see
    :func:`runner.worker.timing.warm_up`."""
    expected_ms: float | None = None
    """Batch time of an earlier process of this job: warm-up ends when a batch is as fast, because it only faults in
    memory. None: there was none."""


@dataclass(frozen=True)
class RunSlice:
    """Time batches for one slice of a round; answered by :class:`Slice`."""

    settle_s: float
    """Minimum untimed seconds before the slice: they refill the caches after the process was frozen."""
    settle_iterations: int
    """Maximum untimed batches before the slice. They end earlier, when a batch is as fast as those of the slice
    before: memory that the kernel reclaimed meanwhile is then back."""
    heap_seed: int
    """Seed of the heap layout at the start of the slice; see :mod:`runner.worker.heap`."""
    minimum_s: float
    """Minimum timed seconds."""
    minimum_iterations: int
    """Minimum timed batches."""


@dataclass(frozen=True)
class Observe:
    """Report which settings took effect, from untimed batches with verbose flags and profilers.

    Answered by :class:`Observed`.
    """

    watch_s: float
    """Seconds for which the computing threads are sampled."""
    arithmetic: bool = True
    """Whether to observe the arithmetic too, by verbose flags and profilers, which takes seconds."""


@dataclass(frozen=True)
class Evaluate:
    """Write the model's answers on the evaluation set to ``path``; answered by :class:`Evaluated`."""

    path: str
    """An ``.npz`` file: the backend's answers (:meth:`runner.worker.backends.base.Runtime.answers`), ``labels``
    (int64, one per sample, or empty), ``right`` (for questions, the right answers as JSON, else empty), ``differing``
    (whether the samples differ from each other), and the digests ``weights`` and ``data``, by which the host verifies
    that two files belong to the same network and samples."""
    cached: bool
    """Read the answers from the cache, or store them there: only for the fp32 reference, never for a candidate."""


@dataclass(frozen=True)
class Stop:
    """Exit; not answered."""


# --- replies: worker → host -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hello:
    """First message of a worker, sent once it has connected to the host."""

    pid: int


@dataclass(frozen=True)
class Phase:
    """The worker has started a phase; the host may show its name."""

    name: str


@dataclass(frozen=True)
class Loaded:
    """The job is prepared and the first inference has completed."""

    load_s: float
    """Seconds for imports, weights and data."""
    prepare_s: float
    """Seconds for export, quantisation and compilation, or for reading their results from the cache."""
    first_inference_s: float
    """Seconds for the first inference."""
    artifact_mib: float | None
    """Size in MiB of the files that the backend loaded; None if it loads none."""
    rebuilt: list[str]
    """Kinds of the artifacts that were not in the cache and were made by a separate process."""
    weights_digest: str
    data_digest: str
    """Hash of the evaluation and calibration samples and their labels."""
    notes: list[str] = field(default_factory=list)
    """Remarks on the samples, for readers of the result."""
    tokens_per_sample: float = 0.0
    """Mean number of tokens in the timed texts, without padding; 0 unless they differ in length."""
    no_gate: str = ""
    """Why there is no verdict of the gate: the accuracy says nothing about trained weights; empty if it does."""


@dataclass(frozen=True)
class Warm:
    """Warm-up is complete."""

    steady: bool
    seconds: float
    iterations: int
    batch_ms: float = 0.0
    """Median time of a batch at the end."""


@dataclass(frozen=True)
class Slice:
    """One timed slice."""

    stamps_ns: list[list[int]]
    """For each request in flight, CLOCK_MONOTONIC before its first batch and after each batch: batches + 1 stamps."""
    major_faults: int
    """Page faults served from disk, during the slice and the settling before it."""
    marks_ns: list[int] = field(default_factory=list)
    """CLOCK_MONOTONIC at the first generated token of each timed batch; empty if no text is generated."""
    minor_faults: int = 0
    """Page faults served without the disk, over the same period: memory that the allocator returned to the kernel and
    requested again."""
    untimed: int = 0
    """Batches before the timed ones, of all requests in flight."""


VERIFIED, CONTRADICTED, UNKNOWN = "verified", "contradicted", "unknown"
"""States of a :class:`Finding`: as requested; not as requested; not observable."""


@dataclass(frozen=True)
class Finding:
    """One setting: its requested and its observed value."""

    knob: str
    """The setting's name."""
    asked: str
    """The requested value."""
    observed: str
    """The observed value."""
    state: str
    """VERIFIED, CONTRADICTED or UNKNOWN."""
    source: str
    """Where it was observed, for example /proc/self/maps."""
    remedy: str = ""
    """What the user can do if the state is not VERIFIED."""
    facts: dict[str, float] = field(default_factory=dict)
    """The numbers behind the observation, for the diagnosis."""


@dataclass(frozen=True)
class Observed:
    """The evidence of one process."""

    evidence: list[Finding]


@dataclass(frozen=True)
class Evaluated:
    """The answers are on disk."""

    path: str
    seconds: float
    from_cache: bool


@dataclass(frozen=True)
class Built:
    """Reply of :mod:`runner.worker.build` to the worker that started it."""

    kinds: list[str]
    """Kinds of the artifacts that were made."""


@dataclass(frozen=True)
class Shipped:
    """Reply of :mod:`runner.worker.ship` to the host: what it wrote."""

    settings: dict[str, Any]
    """What the backend's file in ``runner/worker/shipped/runtimes`` takes."""
    packages: list[str]
    """The packages that it imports."""
    inputs: list[PortInfo]
    outputs: list[PortInfo]
    task: str
    logits: str | None
    """The output with scores of classes; None for outputs of another meaning."""
    labels: dict[str, str] | None
    """Names of the classes by number; None if they are not known."""
    pictures: dict[str, Any] | None
    """How pictures are prepared: the fields of :class:`runner.worker.data.preprocessing.Preprocessing`."""
    texts: dict[str, Any] | None
    """How texts are encoded by the tokenizer that was written: ``limit``, ``length`` and the padding."""
    weights_digest: str
    data_digest: str


@dataclass(frozen=True)
class Inspect:
    """Describe a model file; answered by :class:`Inspected` or :class:`Mistaken`."""

    path: str
    """Absolute path."""
    shapes: list[str]
    """Shapes of inputs; see :mod:`runner.worker.subjects.files.shapes`."""
    forms: list[list[str]] = field(default_factory=list)
    """Kind and precision of forms, see :class:`runner.worker.subjects.subject.Form`: which can be made of the file?"""


@dataclass(frozen=True)
class CheckNetwork:
    """Check a network of a library before a launch; answered by :class:`Network`, :class:`Mistaken` or Failure."""

    job: Job
    """Its subject and its cache count."""


@dataclass(frozen=True)
class Network:
    """A network can be built, takes the size of its input, and its file of weights fits."""

    image_size: int
    classes: int | None
    """Number of classes of a file of weights; None for others."""


@dataclass(frozen=True)
class PortInfo:
    """An input or output of a model."""

    name: str
    dtype: str
    shape: list[int | str]
    """Extents; a symbol where one is open."""


@dataclass(frozen=True)
class Inspected:
    """A model file, as :mod:`runner.worker.inspect` found it."""

    kind: str
    """onnx, ir, program or checkpoint."""
    title: str
    """The format, with its version."""
    inputs: list[PortInfo]
    """As in the file, before any shape is filled in."""
    outputs: list[PortInfo]
    batch: int | None
    """The batch that the file fixes; None if it is open. The latter holds only if `problem` is empty."""
    problem: str
    """Why it cannot run as it is: an extent that is open; empty if it can."""
    producer: str
    parameters: int
    precision: str
    """fp32, fp16, bf16, or int8 if it is quantised."""
    size_mib: float
    """Of all files together."""
    macs: float
    """Multiply-accumulates of one sample; 0 if they are not known."""
    baseline: str
    """The backend that the format belongs to: others are compared with it."""
    task: str = ""
    """A value of ``runner.config.schema.Task``, if the file tells what its outputs mean."""
    reachable: list[bool] = field(default_factory=list)
    """For each of the requested forms, whether the file is one or can be converted to one."""


@dataclass(frozen=True)
class Mistaken:
    """A mistake of the user, in the parts that a message names."""

    field: str
    received: str
    allowed: str
    remedy: str


@dataclass(frozen=True)
class Peaks:
    """Reply of :mod:`runner.worker.peak` to the host."""

    gops: dict[str, float]
    """10⁹ operations per second by precision and threads (``bf16_2``); a multiply-add counts as two."""
    cores: int
    """Cores available to the process."""
    gops_per_sample: float
    """10⁹ operations per sample; 0 if unknown."""


@dataclass(frozen=True)
class Failure:
    """The request failed; the worker exits."""

    status: str
    """A value of :class:`runner.results.status.Status`."""
    reason: str
    """One line: the problem and its remedy."""
    exception: str = ""
    """Type or message of the exception; empty if there is none."""
    traceback: str = ""


Message: TypeAlias = (
    Load
    | Shipped
    | CheckNetwork
    | Network
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
    | Inspect
    | Inspected
    | Mistaken
    | Peaks
    | Failure
)

_MESSAGES: dict[str, type[Message]] = {cls.__name__: cls for cls in get_args(Message)}


def encode(message: Message) -> bytes:
    """Return the message as one line of JSON, including the newline."""
    return json.dumps({"type": type(message).__name__, **dataclasses.asdict(message)}).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Return the message in one line of JSON.

    Every field must be present, even one with a default: sender and receiver run the same code.

    Raises:
        ProtocolError: the line is not JSON, names an unknown message, or has an unknown, missing or ill-typed field.
    """
    try:
        fields = json.loads(line)
        cls = _MESSAGES[fields.pop("type")]
        message: Message = rebuild(cls, fields)
    except (ValueError, KeyError, TypeError, AttributeError, DecodeError) as error:
        raise ProtocolError(f"not a message: {line[:200]!r} ({error!r})") from error
    return message
