"""OpenVINO through Optimum Intel: fp32, bf16, static int8 (NNCF), and weight-only int8 and int4."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any, Literal

from runner.protocol import Finding
from runner.worker.artifacts.cache import Fetch, Recipe, package_versions
from runner.worker.backends.base import Settings
from runner.worker.backends.generation import TransformersRuntime, arrays
from runner.worker.backends.openvino import count_work, executed, quantise, read_model, save_model
from runner.worker.data.datasets import CALIBRATION_BATCH, Dataset
from runner.worker.evidence import arithmetic
from runner.worker.evidence.arithmetic import Work
from runner.worker.failures import Unsupported
from runner.worker.subjects.checkpoint import AUTO_CLASSES, Checkpoint

IR_FILE = "openvino_model.xml"
EXPORT_VERSION = 1
"""Part of the cache key. Increment it when the way of exporting or quantising changes: cached models become invalid."""
PROPERTIES: dict[str, dict[str, str]] = {
    "fp32": {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"},
    "bf16": {"INFERENCE_PRECISION_HINT": "bf16", "KV_CACHE_PRECISION": "bf16", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"},
    "int8": {"INFERENCE_PRECISION_HINT": "f32"},
    "int8_weights": {"INFERENCE_PRECISION_HINT": "f32"},
    "int4_weights": {"INFERENCE_PRECISION_HINT": "f32"},
}
"""Properties of OpenVINO's CPU plugin by precision. Its defaults are bf16 arithmetic if the processor supports it, and
8-bit keys and values."""
WEIGHT_BITS = {"int8_weights": 8, "int4_weights": 4}


class Runtime(TransformersRuntime):
    """Runs a model of Optimum Intel."""

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
            hint: OpenVINO's performance hint, latency or throughput; None takes latency.
            streams: concurrent inferences; None leaves the number to the hint.
            shape: A static shape has the run's batch_size and sequence length; it needs texts of one length.
            inputs: preset only, because Optimum passes the inputs.

        Raises:
            Unsupported: the precision, hint=none or inputs=copy is not implemented.
        """
        super().__init__(settings)
        if settings.precision not in PROPERTIES:
            raise Unsupported(
                f"backend=openvino does not implement precision={settings.precision} for Transformers: "
                "take precision=int8 (calibrated), or precision=int8_weights for text generation"
            )
        if hint == "none":
            raise Unsupported("Optimum takes the hint latency if none is given: take backend.options.hint=latency")
        if inputs == "copy":
            raise Unsupported("Optimum passes the inputs to OpenVINO itself: take backend.options.inputs=preset")
        self._properties: dict[str, Any] = dict(PROPERTIES[settings.precision])
        self._properties["PERFORMANCE_HINT"] = (hint or "latency").upper()
        if streams is not None:
            self._properties["NUM_STREAMS"] = str(streams)
        if settings.threads is not None:
            self._properties["INFERENCE_NUM_THREADS"] = str(settings.threads)
        self._static = shape == "static"
        self._work: dict[str, float] = {}
        self._aliases: dict[str, str] = {}

    def recipe(self, network: Checkpoint, dataset: Dataset, fetch: Fetch) -> Recipe:
        """Return the recipe that exports the model, and quantises it or compresses its weights.

        Raises:
            Unsupported: static int8 of a model that generates text.
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
            raise Unsupported("int8 needs a graph without state, text generation has one: take precision=int8_weights")

        def build(folder: Path) -> None:
            batches = [arrays(batch) for batch, _ in dataset.batches(dataset.calibration, CALIBRATION_BATCH)]
            source = fetch(exported)
            quantise(source / IR_FILE, folder / IR_FILE, batches)
            _copy_configs(source, folder)

        return Recipe(
            "openvino-hub-int8",
            key | {"calibration": [dataset.digest_of(dataset.calibration), network.sequence_length]},
            build,
        )

    def load(self, network: Checkpoint, artifact: Path | None) -> None:
        """Read the model with Optimum's class for the task, set its shape, and compile it."""
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
        self._work, self._aliases = count_work(model.model)
        self._model = model
        model.compile()

    def evidence(self, images: Any) -> list[Finding]:
        """Return the precision of the compiled model's layers, or that of the weights if only these are compressed."""
        if self._settings.precision in WEIGHT_BITS:
            return [weights_precision(self._settings.precision, self._model.model)]
        request = self._model.request
        compiled = request.get_compiled_model() if hasattr(request, "get_compiled_model") else request
        return [executed(self._settings.precision, compiled, self._work, self._aliases)]


def model_class(task: str) -> Any:
    """Return Optimum Intel's model class for a task."""
    import optimum.intel

    return getattr(optimum.intel, f"OVModelFor{AUTO_CLASSES[task]}")


def export_recipe(network: Checkpoint) -> Recipe:
    """Return the recipe that exports a checkpoint to OpenVINO's format with Optimum Intel."""

    def build(folder: Path) -> None:
        network.refuse_unexportable("openvino")
        # By default, Optimum compresses the weights of large models to int8.
        model = model_class(network.task).from_pretrained(
            network.folder, export=True, compile=False, load_in_8bit=False, local_files_only=True
        )
        model.save_pretrained(folder)

    packages = package_versions("optimum-intel", "openvino")
    return Recipe("optimum-openvino", {"network": network.key, "packages": packages, "version": EXPORT_VERSION}, build)


def compress(source: Path, target: Path, bits: int) -> None:
    """Compress a model's weights with NNCF, and write it.

    Args:
        source: folder of the exported model.
        target: folder to write to.
        bits: 8 (asymmetric), or 4 (symmetric, in groups of 64).
    """
    import nncf

    nncf.set_log_level(logging.ERROR)
    mode = nncf.CompressWeightsMode.INT8_ASYM if bits == 8 else nncf.CompressWeightsMode.INT4_SYM
    options = {} if bits == 8 else {"group_size": 64, "ratio": 1.0}
    model = nncf.compress_weights(read_model(source / IR_FILE), mode=mode, **options)
    save_model(model, target / IR_FILE)
    _copy_configs(source, target)


def _copy_configs(source: Path, target: Path) -> None:
    """Copy the configuration files of a model."""
    for name in ("config.json", "generation_config.json"):
        if (source / name).exists():
            (target / name).write_bytes((source / name).read_bytes())


def weights_precision(requested: str, model: Any) -> Finding:
    """Return the storage types of the weights of matrix products, as shares of their number.

    By default, NNCF stores the last layer, and the embedding that shares its weights, in 8 bits.
    """
    works = []
    for node in model.get_ops():
        if node.get_type_name() != "MatMul":
            continue
        constant = _constant_behind(node.input_value(1).get_node())
        if constant is not None:
            kind = constant.get_element_type().get_type_name()
            works.append(Work(STORED_AS.get(kind, kind), float(math.prod(constant.get_output_shape(0)))))
    return arithmetic.precision(requested, works, "weights", "the constants of the model")


STORED_AS = {
    "i8": "int8_weights", "u8": "int8_weights", "i4": "int4_weights", "u4": "int4_weights", "f32": "fp32", "f16": "fp16"
}  # fmt: skip
"""This program's names for weights of OpenVINO's types."""


def _constant_behind(node: Any) -> Any:
    """Return the constant from which an operation's weights are derived, None if they are computed."""
    for _ in range(8):  # conversion, zero point, scale and reshape: fewer than eight nodes
        if node.get_type_name() == "Constant":
            return node
        if node.get_type_name() not in ("Convert", "Multiply", "Subtract", "Reshape", "Transpose"):
            return None
        node = node.input_value(0).get_node()
    return None
