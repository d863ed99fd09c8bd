"""ONNX Runtime's CPU provider: fp32, and static int8 in QDQ format."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import onnxruntime
from numpy.typing import NDArray

from runner.protocol import Finding
from runner.worker.artifacts.cache import Fetch, Recipe, package_versions
from runner.worker.backends.base import Answers, Settings, Step
from runner.worker.data.datasets import CALIBRATION_BATCH, Dataset, Images
from runner.worker.evidence import ort_profile
from runner.worker.evidence.isa import has_vnni
from runner.worker.failures import Unsupported
from runner.worker.subjects.models import Network
from runner.worker.subjects.onnx_export import INPUT, ONNX_FILE, OUTPUT, onnx_recipe

Feed = dict[str, NDArray[Any]]
"""A batch, by input name."""
LEVELS = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
"""ONNX Runtime's names for the levels of graph optimisation."""
QUANTISE_VERSION = 2
"""Part of the cache key. Increment it when the way of quantising changes: cached models become invalid."""


class Runtime:
    """Runs an inference session on the exported graph."""

    def __init__(
        self,
        settings: Settings,
        *,
        graph_optimization: Literal["none", "basic", "extended", "all"] = "all",
        execution_mode: Literal["sequential", "parallel"] = "sequential",
        inter_threads: int | None = None,
        spinning: bool = True,
        affinity: str | None = None,
    ) -> None:
        """Store the settings.

        Args:
            settings: the settings that all runtimes share.
            graph_optimization: level of graph optimisation.
            execution_mode: run operators one after the other, or independent ones in parallel.
            inter_threads: threads for independent operators; takes effect with execution_mode=parallel.
            spinning: whether waiting threads spin instead of sleeping.
            affinity: cores of the pool's threads in ONNX Runtime's syntax, for example ``1;2``; needs a thread count.

        Raises:
            Unsupported: an image layout, or a precision other than fp32 and int8, is requested.
        """
        settings.refuse_layout()
        refuse_bf16(settings.precision)
        settings.refuse_text_precision()
        self._settings = settings
        self._precision = settings.precision
        self._options = partial(
            session_options,
            threads=settings.threads_per_request,
            graph_optimization=graph_optimization,
            execution_mode=execution_mode,
            inter_threads=inter_threads,
            spinning=spinning,
            affinity=affinity,
        )
        self._session: Any = None
        self._path: Path

    def recipe(self, network: Network, dataset: Dataset, fetch: Fetch) -> Recipe:
        """Return the recipe that exports the graph, and quantises it for int8."""
        exported = onnx_recipe(network, self._settings.batch_size)
        if self._precision == "fp32":
            return exported
        # Without VNNI, pairs of products are accumulated in 16 bits and saturate: weights then have 7 bits.
        reduce_range = not has_vnni()
        key = {
            "exported": exported.key,
            "calibration": dataset.digest_of(dataset.calibration),
            "reduce_range": reduce_range,
            "packages": package_versions("onnxruntime", "onnx"),
            "version": QUANTISE_VERSION,
        }

        def build(folder: Path) -> None:
            batches = dataset.batches(dataset.calibration, CALIBRATION_BATCH)
            feeds = ({INPUT: images} for images, _ in batches)
            quantise(fetch(exported) / ONNX_FILE, folder / ONNX_FILE, feeds, reduce_range=reduce_range)

        return Recipe("ort-int8", key, build)

    def load(self, network: Network, artifact: Path | None) -> None:
        """Open a session for the graph."""
        assert artifact is not None
        self._path = artifact / ONNX_FILE
        self._session = self._open(self._options())

    def _open(self, options: Any) -> Any:
        return onnxruntime.InferenceSession(self._path, options, providers=["CPUExecutionProvider"])

    def requests(self) -> int:
        """Return 1 for ``sync``, one per thread for ``async``."""
        return self._settings.requests

    def bind(self, images: Images) -> Step:
        """Return a step that runs the session on these images."""
        feed = {INPUT: images}
        session = self._session
        return lambda: session.run([OUTPUT], feed)

    def answers(self, images: Images) -> Answers:
        """Return the only output."""
        return {"logits": self.bind(images)()[0]}

    def marks(self) -> list[int]:
        """Return no times: no text is generated."""
        return []

    def counters(self) -> dict[str, int]:
        """Return no counters."""
        return {}

    def evidence(self, images: Images) -> list[Finding]:
        """Return the executed precision, from a second session with the same options and the profiler."""

        def run(options: Any) -> Any:
            session = self._open(options)
            session.run([OUTPUT], {INPUT: images})
            return session

        return [profiled(self._precision, self._options(), run)]


def refuse_bf16(precision: str) -> None:
    """Reject bf16, for which ONNX Runtime has no arithmetic on x86.

    Raises:
        Unsupported: the precision is bf16.
    """
    if precision == "bf16":
        raise Unsupported(
            "ONNX Runtime's CPU provider has no bf16 arithmetic on x86: "
            "take precision=int8 here, or backend=openvino or torch for bf16"
        )


def session_options(
    *,
    threads: int | None,
    graph_optimization: str,
    execution_mode: str,
    inter_threads: int | None,
    spinning: bool,
    affinity: str | None,
) -> Any:
    """Return the options of a session.

    Args:
        threads: compute threads; None for ONNX Runtime's default.
        graph_optimization: a key of ``LEVELS``.
        execution_mode: sequential or parallel.
        inter_threads: threads for independent operators; None for ONNX Runtime's default.
        spinning: whether waiting threads spin instead of sleeping.
        affinity: cores of the pool's threads in ONNX Runtime's syntax; None leaves them unpinned.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[graph_optimization])
    options.execution_mode = getattr(onnxruntime.ExecutionMode, f"ORT_{execution_mode.upper()}")
    if inter_threads is not None:
        options.inter_op_num_threads = inter_threads
    if threads is not None:
        options.intra_op_num_threads = threads
    if not spinning:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if affinity is not None:
        options.add_session_config_entry("session.intra_op_thread_affinities", affinity)
    return options


def profiled(precision: str, options: Any, run: Callable[[Any], Any]) -> Finding:
    """Return the precision that a session executed.

    Args:
        precision: the requested precision.
        options: the session's options; this function enables the profiler in them.
        run: opens a session with these options, runs it, and returns it.
    """
    import onnx  # here, not above: the measured process must not load it before timing has ended

    with tempfile.TemporaryDirectory(prefix="runner-ort-") as folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        options.optimized_model_filepath = str(Path(folder) / ONNX_FILE)
        session = run(options)
        events = json.loads(Path(session.end_profiling()).read_text())
        graph = onnx.load(options.optimized_model_filepath, load_external_data=False).graph
        return ort_profile.precision(precision, events, ort_profile.weight_shapes(graph))


def quantise(source: Path, target: Path, feeds: Iterable[Feed], *, reduce_range: bool, symbolic: bool = True) -> None:
    """Write a static int8 model in QDQ format: unsigned activations, and signed weights per channel.

    In a graph with attention, only the linear layers are quantised, and their outputs remain in fp32: on ViT-B/16 the
    logits then have an SQNR of 26 dB instead of 9 dB, and this was the fastest of the variants tried.

    Args:
        source: the exported model.
        target: the file to write.
        feeds: the calibration data.
        reduce_range: quantise weights to 7 bits.
        symbolic: use symbolic shape inference; it fails on the attention masks of language models.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = target.with_name("prepared.onnx")
    quant_pre_process(source, prepared, skip_symbolic_shape=not symbolic)
    attention = any(node.op_type == "Softmax" for node in onnx.load(prepared).graph.node)
    linear = ["Conv", "MatMul", "Gemm"]
    quantize_static(
        prepared,
        target,
        calibration_reader(feeds),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=reduce_range,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=linear if attention else None,
        extra_options={"OpTypesToExcludeOutputQuantization": linear} if attention else {},
    )
    prepared.unlink()


def calibration_reader(feeds: Iterable[Feed]) -> Any:
    """Return the calibration data in the form that ONNX Runtime's quantiser reads."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
        def __init__(self) -> None:
            self._feeds = iter(feeds)

        def get_next(self) -> Feed | None:
            return next(self._feeds, None)

    return Reader()
