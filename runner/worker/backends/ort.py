"""ONNX Runtime's CPU provider: fp32, and static int8 in QDQ form."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime

from runner.worker.backends.base import Step, refuse_layout
from runner.worker.cache import Fetch, Recipe, package_versions
from runner.worker.datasets import CALIBRATION_BATCH, Dataset, Images
from runner.worker.export import INPUT, ONNX_FILE, OUTPUT, onnx_recipe
from runner.worker.failures import Unsupported
from runner.worker.isa import has_vnni
from runner.worker.models import Network

QUANTISE_VERSION = 2
"""Raised when the way of quantising changes, so that cached models are no longer found."""


class Runtime:
    """Runs an inference session on the exported graph."""

    def __init__(self, precision: str, batch_size: int, threads: int | None, memory_format: str) -> None:
        """Keep the settings; see the seam in base.py for what they mean.

        Raises:
            Unsupported: precision is bf16, or an image layout is asked for.
        """
        refuse_layout(memory_format)
        if precision == "bf16":
            raise Unsupported(
                "ONNX Runtime's CPU provider has no bf16 arithmetic on x86: "
                "take precision=int8 here, or backend=openvino or torch for bf16"
            )
        self._precision = precision
        self._batch_size = batch_size
        self._threads = threads
        self._session: Any = None

    def recipe(self, network: Network, dataset: Dataset, fetch: Fetch) -> Recipe:
        """Return how the graph is exported, and quantised where the precision asks for it."""
        exported = onnx_recipe(network, self._batch_size)
        if self._precision == "fp32":
            return exported
        # Without VNNI pairs of products are added up in 16 bits and saturate: weights then get 7 bits.
        reduce_range = not has_vnni()
        key = {
            "exported": exported.key,
            "calibration": dataset.digest_of(dataset.calibration),
            "reduce_range": reduce_range,
            "packages": package_versions("onnxruntime", "onnx"),
            "version": QUANTISE_VERSION,
        }

        def build(folder: Path) -> None:
            quantise(fetch(exported) / ONNX_FILE, folder / ONNX_FILE, dataset, reduce_range)

        return Recipe("ort-int8", key, build)

    def load(self, network: Network, artifact: Path | None) -> None:
        """Open a session on the graph."""
        assert artifact is not None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
        self._session = onnxruntime.InferenceSession(artifact / ONNX_FILE, options, providers=["CPUExecutionProvider"])

    def bind(self, images: Images) -> Step:
        """Return a step that runs the session on these images."""
        feed = {INPUT: images}
        session = self._session
        return lambda: session.run([OUTPUT], feed)

    def logits(self, outputs: Any) -> Images:
        """Return the only output."""
        found: Images = outputs[0]
        return found

    def evidence(self) -> list[dict[str, str]]:
        """Return nothing that the process's own evidence does not hold."""
        return []


def quantise(source: Path, target: Path, dataset: Dataset, reduce_range: bool) -> None:
    """Write a static int8 model in QDQ form: unsigned activations, signed weights per channel.

    A graph with attention has only its linear layers quantised, and their outputs left in fp32: on ViT-B/16 that kept
    26 dB of the logits where quantising everything kept 9, and was the fastest of the variants tried.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = target.with_name("prepared.onnx")
    quant_pre_process(source, prepared)
    attention = any(node.op_type == "Softmax" for node in onnx.load(prepared).graph.node)
    linear = ["Conv", "MatMul", "Gemm"]
    quantize_static(
        prepared,
        target,
        calibration_reader(dataset),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=reduce_range,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=linear if attention else None,
        extra_options={"OpTypesToExcludeOutputQuantization": linear} if attention else {},
    )
    prepared.unlink()


def calibration_reader(dataset: Dataset) -> Any:
    """Return the calibration images as ONNX Runtime's quantiser reads them."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
        def __init__(self) -> None:
            self._batches: Iterator[tuple[Images, int]] = dataset.batches(dataset.calibration, CALIBRATION_BATCH)

        def get_next(self) -> dict[str, Images] | None:
            images, _ = next(self._batches, (None, 0))
            return None if images is None else {INPUT: images}

    return Reader()
