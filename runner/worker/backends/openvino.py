"""OpenVINO: fp32 and bf16 by precision hint, int8 quantised by NNCF after training."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any, Literal

from runner.worker.backends.base import Settings, Step
from runner.worker.cache import Fetch, Recipe, package_versions
from runner.worker.datasets import CALIBRATION_BATCH, Dataset, Images
from runner.worker.evidence import CONTRADICTED, VERIFIED, finding
from runner.worker.export import ONNX_FILE, onnx_recipe
from runner.worker.models import Network

# Importing OpenVINO or NNCF would try to report usage over the network, from inside the measured process; both do
# without the module that does it.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # None is how an import is refused
import openvino  # noqa: E402 -- after the line above

IR_FILE = "model.xml"
QUANTISE_VERSION = 2
"""Raised when the way of quantising changes, so that cached models are no longer found."""

PRECISION_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""Without a hint OpenVINO runs fp32 models in bf16 where the CPU can. What int8 leaves over is true fp32."""


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
            settings: what every runtime is told.
            hint: what the plugin tunes itself for; None takes latency for sync and throughput for async.
            streams: inferences that run at once; None leaves it to the hint.
            shape: A static shape is that of the run's own batch_size; a dynamic one takes any.
            inputs: share the images' memory with the request once, or hand them over (copied) in every call.

        Raises:
            Unsupported: an image layout is asked for.
        """
        settings.refuse_layout()
        self._settings = settings
        self._precision = settings.precision
        self._hint = hint or ("throughput" if settings.scenario == "async" else "latency")
        self._streams = streams
        self._shape = shape
        self._inputs = inputs
        self._compiled: Any = None

    def recipe(self, network: Network, dataset: Dataset, fetch: Fetch) -> Recipe:
        """Return how the graph is exported, and quantised where the precision asks for it."""
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
            lambda folder: quantise(fetch(exported) / ONNX_FILE, folder / IR_FILE, dataset),
        )

    def load(self, network: Network, artifact: Path | None) -> None:
        """Read the model, give it its static shape, and compile it."""
        assert artifact is not None
        core = openvino.Core()
        model = core.read_model(artifact / (IR_FILE if self._precision == "int8" else ONNX_FILE))
        batch = self._settings.batch_size if self._shape == "static" else -1
        model.reshape([batch, 3, network.image_size, network.image_size])
        properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": PRECISION_HINTS[self._precision]}
        if self._hint != "none":
            properties["PERFORMANCE_HINT"] = self._hint.upper()
        if self._streams is not None:
            properties["NUM_STREAMS"] = self._streams
        if self._settings.threads is not None:
            properties["INFERENCE_NUM_THREADS"] = self._settings.threads
        self._compiled = core.compile_model(model, "CPU", properties)

    def requests(self) -> int:
        """Return one, or as many as OpenVINO says keep its streams full."""
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

    def logits(self, outputs: Any) -> Images:
        """Return the request's only output."""
        found: Images = outputs.get_output_tensor().data
        return found

    def evidence(self) -> list[dict[str, str]]:
        """Return the precision in which the compiled model's heavy layers run."""
        layers = [
            info["runtimePrecision"].astype(str)
            for info in (node.get_rt_info() for node in self._compiled.get_runtime_model().get_ops())
            if info["layerType"].astype(str) in HEAVY_LAYERS
        ]
        wanted = RUNTIME_PRECISIONS[self._precision]
        share = sum(precision in wanted for precision in layers) / len(layers) if layers else 0.0
        counts = ", ".join(f"{layers.count(name)} × {name}" for name in sorted(set(layers)))
        required = 1.0 if self._precision == "fp32" else REQUIRED_SHARE
        state = VERIFIED if share >= required else CONTRADICTED
        return [finding("precision", self._precision, counts, state, "OpenVINO get_runtime_model()")]


HEAVY_LAYERS = frozenset({"Convolution", "FullyConnected", "MatMul", "GroupConvolution"})
"""Layer types that do nearly all of a network's arithmetic."""
RUNTIME_PRECISIONS = {"fp32": {"f32"}, "bf16": {"bf16"}, "int8": {"i8", "u8"}}
REQUIRED_SHARE = 0.8
"""Share of the heavy layers that must run in bf16 or int8 where it was asked for; fp32 must be whole."""


def quantise(source: Path, target: Path, dataset: Dataset) -> None:
    """Write a model quantised to int8 by NNCF, calibrated on the data set's calibration images."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    model = openvino.Core().read_model(source)
    # Attention has a softmax inside the network; a classifier that ends in logits has none.
    attention = any(node.get_type_name() == "Softmax" for node in model.get_ops())
    batches = [images for images, _ in dataset.batches(dataset.calibration, CALIBRATION_BATCH)]
    quantised = nncf.quantize(
        model,
        nncf.Dataset(batches),
        subset_size=len(batches),
        model_type=nncf.ModelType.TRANSFORMER if attention else None,
    )
    # The default would store what stays in floating point in 16 bits.
    openvino.save_model(quantised, target, compress_to_fp16=False)
