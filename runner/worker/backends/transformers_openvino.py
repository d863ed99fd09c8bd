"""OpenVINO through Optimum Intel: fp32 and bf16 by precision hint, int8 by NNCF, and weights alone in int8 or int4."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any, Literal

from runner.protocol import Finding
from runner.worker.artifacts.cache import Fetch, Recipe, package_versions
from runner.worker.backends.base import Settings
from runner.worker.backends.generation import Served, arrays
from runner.worker.backends.openvino import count_work, executed, quantise, read_model, save_model
from runner.worker.data.datasets import CALIBRATION_BATCH, Dataset
from runner.worker.evidence import arithmetic
from runner.worker.evidence.arithmetic import Work
from runner.worker.failures import Unsupported
from runner.worker.subjects.checkpoint import AUTO_CLASSES, Checkpoint

IR_FILE = "openvino_model.xml"
EXPORT_VERSION = 1
"""Raised when the way of exporting or quantising changes, so that cached models are no longer found."""
PROPERTIES: dict[str, dict[str, str]] = {
    "fp32": {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"},
    "bf16": {"INFERENCE_PRECISION_HINT": "bf16", "KV_CACHE_PRECISION": "bf16", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"},
    "int8": {"INFERENCE_PRECISION_HINT": "f32"},
    "int8_weights": {"INFERENCE_PRECISION_HINT": "f32"},
    "int4_weights": {"INFERENCE_PRECISION_HINT": "f32"},
}
"""Properties of the plugin. By default it computes in bf16 if the processor supports it, and keeps keys and values in
8 bits."""
WEIGHT_BITS = {"int8_weights": 8, "int4_weights": 4}


class Runtime(Served):
    """Runs one of Optimum's models for OpenVINO."""

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
            hint: what the plugin tunes itself for; None takes latency.
            streams: inferences that run at once; None leaves it to the hint.
            shape: A static shape is that of the run's own batch, if its texts have one length.
            inputs: Optimum hands them over itself: preset only.

        Raises:
            Unsupported: the precision is one that OpenVINO has no way to, or inputs are to be copied.
        """
        super().__init__(settings)
        if settings.precision not in PROPERTIES:
            raise Unsupported(
                f"OpenVINO has no precision={settings.precision} here: take precision=int8 (calibrated), or "
                "int8_weights for a model that generates"
            )
        if hint == "none":
            raise Unsupported("Optimum tunes for latency if no hint is given: take backend.options.hint=latency")
        if inputs == "copy":
            raise Unsupported("Optimum hands inputs over itself: take backend.options.inputs=preset")
        self._properties: dict[str, Any] = dict(PROPERTIES[settings.precision])
        self._properties["PERFORMANCE_HINT"] = (hint or "latency").upper()
        if streams is not None:
            self._properties["NUM_STREAMS"] = str(streams)
        if settings.threads is not None:
            self._properties["INFERENCE_NUM_THREADS"] = str(settings.threads)
        self._static = shape == "static"
        self._work: dict[str, float] = {}
        self._heavy: dict[str, str] = {}

    def recipe(self, network: Checkpoint, dataset: Dataset, fetch: Fetch) -> Recipe:
        """Return how the model is exported, and quantised if the precision requires it.

        Raises:
            Unsupported: activations of a model that generates are to be calibrated.
        """
        exported = export_recipe(network)
        precision = self._settings.precision
        if precision in ("fp32", "bf16"):
            return exported
        key = {"exported": exported.key, "packages": package_versions("openvino", "nncf"), "version": EXPORT_VERSION}
        if precision in WEIGHT_BITS:
            bits = WEIGHT_BITS[precision]
            return Recipe(
                "openvino-weights", key | {"bits": bits}, lambda folder: compress(fetch(exported), folder, bits)
            )
        if network.task == "text-generation":
            raise Unsupported("a generating model has its state in the graph: take precision=int8_weights")

        def build(folder: Path) -> None:
            batches = [arrays(batch) for batch, _ in dataset.batches(dataset.calibration, CALIBRATION_BATCH)]
            source = fetch(exported)
            quantise(source / IR_FILE, folder / IR_FILE, batches)
            _accompany(source, folder)

        return Recipe(
            "openvino-hub-int8",
            key | {"calibration": [dataset.digest_of(dataset.calibration), network.sequence_length]},
            build,
        )

    def load(self, network: Checkpoint, artifact: Path | None) -> None:
        """Read the model by Optimum's class for the task, give it its shape, and compile it."""
        assert artifact is not None
        self._checkpoint = network
        model = model_class(network.task).from_pretrained(
            artifact, compile=False, ov_config=self._properties, local_files_only=True
        )
        batch = self._settings.batch_size
        if self._static and network.task == "image-classification":
            model.reshape(batch, 3, network.image_size, network.image_size)
        elif (
            self._static and network.task != "text-generation" and network.sequence_length and network.scope == "model"
        ):
            model.reshape(batch, network.sequence_length)
        self._work, self._heavy = count_work(model.model)
        self._model = model
        model.compile()

    def evidence(self, images: Any) -> list[Finding]:
        """Return the precision in which the compiled model's layers run; if only weights are compressed, theirs."""
        if self._settings.precision in WEIGHT_BITS:
            return [weights_precision(self._settings.precision, self._model.model)]
        request = self._model.request
        compiled = request.get_compiled_model() if hasattr(request, "get_compiled_model") else request
        return [executed(self._settings.precision, compiled, self._work, self._heavy)]


def model_class(task: str) -> Any:
    """Return Optimum's class of models for OpenVINO that does a task."""
    import optimum.intel

    return getattr(optimum.intel, f"OVModelFor{AUTO_CLASSES[task]}")


def export_recipe(network: Checkpoint) -> Recipe:
    """Return how Optimum Intel exports a checkpoint to OpenVINO's own format."""

    def build(folder: Path) -> None:
        network.refuse_unexportable("openvino")
        # Left alone, weights of large models would be compressed to int8.
        model = model_class(network.task).from_pretrained(
            network.folder, export=True, compile=False, load_in_8bit=False, local_files_only=True
        )
        model.save_pretrained(folder)

    packages = package_versions("optimum-intel", "openvino")
    return Recipe("optimum-openvino", {"network": network.key, "packages": packages, "version": EXPORT_VERSION}, build)


def compress(source: Path, target: Path, bits: int) -> None:
    """Write a model whose weights NNCF has compressed to 8 bits, or to 4 in groups."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    mode = nncf.CompressWeightsMode.INT8_ASYM if bits == 8 else nncf.CompressWeightsMode.INT4_SYM
    options = {} if bits == 8 else {"group_size": 64, "ratio": 1.0}
    model = nncf.compress_weights(read_model(source / IR_FILE), mode=mode, **options)
    save_model(model, target / IR_FILE)
    _accompany(source, target)


def _accompany(source: Path, target: Path) -> None:
    """Copy the files that belong beside a model."""
    for name in ("config.json", "generation_config.json"):
        if (source / name).exists():
            (target / name).write_bytes((source / name).read_bytes())


def weights_precision(asked: str, model: Any) -> Finding:
    """Return how many of the numbers by which products multiply are stored in which type.

    The last layer, and the table of words that it shares, stay in 8 bits by NNCF's own choice.
    """
    works = []
    for node in model.get_ops():
        if node.get_type_name() != "MatMul":
            continue
        constant = _constant_behind(node.input_value(1).get_node())
        if constant is not None:
            kind = constant.get_element_type().get_type_name()
            words = STORED_AS.get(kind, kind)
            works.append(Work(words, float(math.prod(constant.get_output_shape(0)))))
    return arithmetic.precision(asked, works, "weights", "the constants of the model")


STORED_AS = {
    "i8": "int8_weights", "u8": "int8_weights", "i4": "int4_weights", "u4": "int4_weights", "f32": "fp32", "f16": "fp16"
}  # fmt: skip
"""OpenVINO's words for types, and what this program calls weights of them."""


def _constant_behind(node: Any) -> Any:
    """Return the constant that a product's weights come from, None if they are computed."""
    for _ in range(8):  # a conversion, a zero point, a scale, a shape: never more
        if node.get_type_name() == "Constant":
            return node
        if node.get_type_name() not in ("Convert", "Multiply", "Subtract", "Reshape", "Transpose"):
            return None
        node = node.input_value(0).get_node()
    return None
