"""OpenVINO: fp32 and bf16 by precision hint, int8 quantised by NNCF after training."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from runner.protocol import Finding
from runner.worker.artifacts.cache import Fetch, Recipe, package_versions
from runner.worker.backends.base import Answers, Settings, Step
from runner.worker.data.datasets import CALIBRATION_BATCH, Dataset, Images
from runner.worker.evidence import arithmetic
from runner.worker.evidence.arithmetic import Work
from runner.worker.subjects.models import Network
from runner.worker.subjects.onnx_export import ONNX_FILE, onnx_recipe

# Importing OpenVINO or NNCF would try to report usage over the network, from inside the measured process; both do
# without the module that does it.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # None is how an import is refused
import openvino  # noqa: E402 -- after the line above

IR_FILE = "model.xml"
QUANTISE_VERSION = 2
"""Raised when the way of quantising changes, so that cached models are no longer found."""

PRECISION_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""Without a hint OpenVINO runs fp32 models in bf16 if the CPU supports it. What int8 does not cover is true fp32."""


class Runtime:
    """Runs an inference request on a compiled model."""

    def __init__(
        self,
        settings: Settings,
        *,
        hint: Literal["latency", "throughput", "none"] | None = None,
        streams: int | None = None,
        shape: Literal["static", "dynamic"] = "static",
        inputs: Literal["preset", "copy"] = "preset",
    ) -> None:
        """Keep the settings.

        Args:
            settings: common to every runtime.
            hint: what the plugin tunes itself for; None takes latency for sync and throughput for async.
            streams: inferences that run at once; None leaves it to the hint.
            shape: A static shape is that of the run's own batch_size; a dynamic one takes any.
            inputs: share the images' memory with the request once, or hand them over (copied) in every call.

        Raises:
            Unsupported: an image layout is requested.
        """
        settings.refuse_layout()
        settings.refuse_text_precision()
        self._settings = settings
        self._precision = settings.precision
        self._hint = hint or ("throughput" if settings.scenario == "async" else "latency")
        self._streams = streams
        self._shape = shape
        self._inputs = inputs
        self._compiled: Any = None
        self._work: dict[str, float] = {}
        self._heavy: dict[str, str] = {}

    def recipe(self, network: Network, dataset: Dataset, fetch: Fetch) -> Recipe:
        """Return how the graph is exported, and quantised if the precision requires it."""
        exported = onnx_recipe(network, self._settings.batch_size)
        if self._precision != "int8":
            return exported
        key = {
            "exported": exported.key,
            "calibration": dataset.digest_of(dataset.calibration),
            "packages": package_versions("openvino", "nncf"),
            "version": QUANTISE_VERSION,
        }
        return Recipe(
            "openvino-int8",
            key,
            lambda folder: quantise(
                fetch(exported) / ONNX_FILE,
                folder / IR_FILE,
                [images for images, _ in dataset.batches(dataset.calibration, CALIBRATION_BATCH)],
            ),
        )

    def load(self, network: Network, artifact: Path | None) -> None:
        """Read the model, give it its static shape, and compile it."""
        assert artifact is not None
        core = openvino.Core()
        model = core.read_model(artifact / (IR_FILE if self._precision == "int8" else ONNX_FILE))
        batch = self._settings.batch_size if self._shape == "static" else -1
        model.reshape([batch, 3, network.image_size, network.image_size])
        self._work, self._heavy = count_work(model)
        properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": PRECISION_HINTS[self._precision]}
        if self._hint != "none":
            properties["PERFORMANCE_HINT"] = self._hint.upper()
        if self._streams is not None:
            properties["NUM_STREAMS"] = self._streams
        if self._settings.threads is not None:
            properties["INFERENCE_NUM_THREADS"] = self._settings.threads
        self._compiled = core.compile_model(model, "CPU", properties)

    def requests(self) -> int:
        """Return one, or as many as OpenVINO reports to keep its streams full."""
        if self._settings.scenario == "sync":
            return 1
        return int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))

    def bind(self, images: Images) -> Step:
        """Return a step that infers these images, by a request of its own."""
        request = self._compiled.create_infer_request()
        if self._inputs == "copy":

            def copying() -> Any:
                request.infer([images])
                return request

            return copying
        request.set_input_tensor(openvino.Tensor(images, shared_memory=True))

        def step(_keep_alive: Images = images) -> Any:  # the tensor does not own the memory that it shares
            request.infer()
            return request

        return step

    def answers(self, images: Images) -> Answers:
        """Return the request's only output, copied: the request will use its memory again."""
        return {"logits": self.bind(images)().get_output_tensor().data.copy()}

    def marks(self) -> list[int]:
        """Return nothing: no text is generated."""
        return []

    def counters(self) -> dict[str, int]:
        """Count nothing."""
        return {}

    def evidence(self, images: Images) -> list[Finding]:
        """Return the precision in which the layers of the compiled model run that do the arithmetic."""
        return [executed(self._precision, self._compiled, self._work, self._heavy)]


PRECISIONS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}
"""OpenVINO's words for what this program calls a precision."""


DEQUANTISED = "/DequantizationMultiply"
"""What OpenVINO appends to the name of a product that it has turned into an integer one."""


def executed(precision: str, compiled: Any, work: Mapping[str, float], heavy: Mapping[str, str]) -> Finding:
    """Return the precision in which the layers of a compiled model run that do the arithmetic.

    Args:
        precision: the requested one.
        compiled: the model as the plugin executes it.
        work: of the model that was compiled, see :func:`count_work`.
        heavy: the same.
    """
    works, left = [], 0
    todo = dict(work)
    for node in compiled.get_runtime_model().get_ops():  # in the order of execution
        info = node.get_rt_info()
        names = [name.removesuffix(DEQUANTISED) for name in info["originalLayersNames"].astype(str).split(",")]
        # A layer may have the name of the product or of the bias that was fused into it; it counts once.
        amount = sum(todo.pop(found, 0.0) for found in {heavy.get(name, "") for name in names})
        kept = info["runtimePrecision"].astype(str)
        if amount:
            works.append(Work(PRECISIONS.get(kept, kept), amount, info["primitiveType"].astype(str)))
        left += info["layerType"].astype(str) == "FakeQuantize"
    source = "OpenVINO's get_runtime_model()"
    return arithmetic.precision(
        precision, works, "multiply-accumulates", source, expected=sum(work.values()), facts={"qdq": left}
    )


def count_work(model: Any) -> tuple[dict[str, float], dict[str, str]]:
    """Return the multiply-accumulates of every convolution and matrix product of a model, by its name.

    An extent that is not known before the run, as the batch of a dynamic shape, counts as one.

    Returns:
        The numbers by name, and for each name under which a compiled layer may show one that one's name.
    """
    counts: dict[str, float] = {}
    heavy: dict[str, str] = {}
    for node in model.get_ops():
        kind, name = node.get_type_name(), node.get_friendly_name()
        if kind not in ("Convolution", "GroupConvolution", "MatMul"):
            continue
        output, left, right = (
            [1 if extent.is_dynamic else extent.get_length() for extent in port.get_partial_shape()]
            for port in (node.output(0), node.input(0), node.input(1))
        )
        if kind == "MatMul":
            inner = left[-2 if node.get_attributes()["transpose_a"] else -1]
        else:  # weights: (groups ×) outputs × inputs × kernel
            inner = math.prod(right[1 if kind == "Convolution" else 2 :])
        counts[name] = float(math.prod(output) * inner)
        heavy |= dict.fromkeys(_names(node), name)
    return counts, heavy


def _names(node: Any) -> list[str]:
    """Return a product's name, and those of the factor and the bias that follow it, which may be fused into it."""
    names = [node.get_friendly_name()]
    for expected in ("Multiply", "Add"):
        uses = [use.get_node() for use in node.output(0).get_target_inputs()]
        if len(uses) == 1 and uses[0].get_type_name() == expected:
            [node] = uses
            names.append(node.get_friendly_name())
    return names


def quantise(source: Path, target: Path, batches: Sequence[Any]) -> None:
    """Write a model quantised to int8 by NNCF, calibrated on batches as the model takes them."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    model = read_model(source)
    # Attention has a softmax inside the network; a classifier that ends in logits has none.
    attention = any(node.get_type_name() == "Softmax" for node in model.get_ops())
    quantised = nncf.quantize(
        model,
        nncf.Dataset(batches),
        subset_size=len(batches),
        model_type=nncf.ModelType.TRANSFORMER if attention else None,
    )
    save_model(quantised, target)


def read_model(path: Path) -> Any:
    """Return the model in a file."""
    return openvino.Core().read_model(path)


def save_model(model: Any, path: Path) -> None:
    """Write a model; by default what stays in floating point would be stored in 16 bits."""
    openvino.save_model(model, path, compress_to_fp16=False)
