"""OpenVINO: fp32 and bf16 by precision hint, int8 by NNCF's post-training quantisation."""

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

# On import, OpenVINO and NNCF would report usage over the network from the measured process. Both work without the
# module that does so.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # None blocks an import
import openvino  # noqa: E402 -- must follow the line above

IR_FILE = "model.xml"
QUANTISE_VERSION = 2
"""Part of the cache key. Increment it when the way of quantising changes: cached models become invalid."""

PRECISION_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""Without a hint, OpenVINO runs fp32 models in bf16 if the CPU supports it. With int8, the unquantised layers run in
fp32."""


class Runtime:
    """Runs inference requests on a compiled model."""

    def __init__(
        self,
        settings: Settings,
        *,
        hint: Literal["latency", "throughput", "none"] | None = None,
        streams: int | None = None,
        shape: Literal["static", "dynamic"] = "static",
        inputs: Literal["preset", "copy"] = "preset",
    ) -> None:
        """Store the settings.

        Args:
            settings: the settings that all runtimes share.
            hint: OpenVINO's performance hint; None takes latency for sync and throughput for async.
            streams: concurrent inferences; None leaves the number to the hint.
            shape: A static shape has the run's batch_size; a dynamic one accepts any.
            inputs: preset shares the images' memory with the request once, copy copies them in every call.

        Raises:
            Unsupported: an image layout, or a precision other than fp32, bf16 and int8, is requested.
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
        self._aliases: dict[str, str] = {}

    def recipe(self, network: Network, dataset: Dataset, fetch: Fetch) -> Recipe:
        """Return the recipe that exports the graph, and quantises it for int8."""
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
        """Read the model, set its shape, and compile it."""
        assert artifact is not None
        core = openvino.Core()
        model = core.read_model(artifact / (IR_FILE if self._precision == "int8" else ONNX_FILE))
        batch = self._settings.batch_size if self._shape == "static" else -1
        model.reshape([batch, 3, network.image_size, network.image_size])
        self._work, self._aliases = count_work(model)
        properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": PRECISION_HINTS[self._precision]}
        if self._hint != "none":
            properties["PERFORMANCE_HINT"] = self._hint.upper()
        if self._streams is not None:
            properties["NUM_STREAMS"] = self._streams
        if self._settings.threads is not None:
            properties["INFERENCE_NUM_THREADS"] = self._settings.threads
        self._compiled = core.compile_model(model, "CPU", properties)

    def requests(self) -> int:
        """Return 1 for ``sync``; for ``async`` the number that OpenVINO reports as optimal."""
        if self._settings.scenario == "sync":
            return 1
        return int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))

    def bind(self, images: Images) -> Step:
        """Return a step that runs inference on these images in its own request."""
        request = self._compiled.create_infer_request()
        if self._inputs == "copy":

            def copying() -> Any:
                request.infer([images])
                return request

            return copying
        request.set_input_tensor(openvino.Tensor(images, shared_memory=True))

        def step(_keep_alive: Images = images) -> Any:  # the tensor does not own the shared memory
            request.infer()
            return request

        return step

    def answers(self, images: Images) -> Answers:
        """Return a copy of the only output: the request reuses its memory."""
        return {"logits": self.bind(images)().get_output_tensor().data.copy()}

    def marks(self) -> list[int]:
        """Return no times: no text is generated."""
        return []

    def counters(self) -> dict[str, int]:
        """Return no counters."""
        return {}

    def evidence(self, images: Images) -> list[Finding]:
        """Return the precision of the compiled model's compute-intensive layers."""
        return [executed(self._precision, self._compiled, self._work, self._aliases)]


PRECISIONS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}
"""This program's names for OpenVINO's precisions."""
DEQUANTISED = "/DequantizationMultiply"
"""Suffix that OpenVINO appends to the name of an operation that it has converted to integers."""


def executed(precision: str, compiled: Any, work: Mapping[str, float], aliases: Mapping[str, str]) -> Finding:
    """Return the precision of a compiled model's compute-intensive layers.

    Args:
        precision: the requested precision.
        compiled: the compiled model.
        work: multiply-accumulates of the model before compilation, see :func:`count_work`.
        aliases: names of compiled layers, see :func:`count_work`.
    """
    works, unfused = [], 0
    remaining = dict(work)
    for node in compiled.get_runtime_model().get_ops():  # in the order of execution
        info = node.get_rt_info()
        names = [name.removesuffix(DEQUANTISED) for name in info["originalLayersNames"].astype(str).split(",")]
        # A layer may have the name of the operation or that of the bias fused into it; it counts once.
        amount = sum(remaining.pop(found, 0.0) for found in {aliases.get(name, "") for name in names})
        executed_in = info["runtimePrecision"].astype(str)
        if amount:
            works.append(Work(PRECISIONS.get(executed_in, executed_in), amount, info["primitiveType"].astype(str)))
        unfused += info["layerType"].astype(str) == "FakeQuantize"
    source = "OpenVINO's get_runtime_model()"
    return arithmetic.precision(
        precision, works, "multiply-accumulates", source, expected=sum(work.values()), facts={"qdq": unfused}
    )


def count_work(model: Any) -> tuple[dict[str, float], dict[str, str]]:
    """Return the multiply-accumulates of every convolution and matrix product of a model.

    A dynamic extent, for example the batch of a dynamic shape, counts as 1.

    Returns:
        The multiply-accumulates by operation name; and, for each name that a compiled layer may have, the name of its
        operation.
    """
    counts: dict[str, float] = {}
    aliases: dict[str, str] = {}
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
        aliases |= dict.fromkeys(_names(node), name)
    return counts, aliases


def _names(node: Any) -> list[str]:
    """Return an operation's name, and those of the scale and the bias that follow it and may be fused into it."""
    names = [node.get_friendly_name()]
    for expected in ("Multiply", "Add"):
        uses = [use.get_node() for use in node.output(0).get_target_inputs()]
        if len(uses) == 1 and uses[0].get_type_name() == expected:
            [node] = uses
            names.append(node.get_friendly_name())
    return names


def quantise(source: Path, target: Path, batches: Sequence[Any]) -> None:
    """Quantise a model to int8 with NNCF, and write it.

    Args:
        source: the model to quantise.
        target: the file to write.
        batches: the calibration data, in the form of the model's inputs.
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    model = read_model(source)
    # A softmax in the graph means attention: the classifiers end in logits.
    attention = any(node.get_type_name() == "Softmax" for node in model.get_ops())
    quantised = nncf.quantize(
        model,
        nncf.Dataset(batches),
        subset_size=len(batches),
        model_type=nncf.ModelType.TRANSFORMER if attention else None,
    )
    save_model(quantised, target)


def read_model(path: Path) -> Any:
    """Read a model from a file."""
    return openvino.Core().read_model(path)


def save_model(model: Any, path: Path) -> None:
    """Write a model in fp32: by default, OpenVINO stores floating-point values in 16 bits."""
    openvino.save_model(model, path, compress_to_fp16=False)
