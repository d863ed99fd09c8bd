"""An ONNX graph with int8 weights whose activations ONNX Runtime quantises in every inference."""

from __future__ import annotations

from pathlib import Path

from runner.worker.converters import base
from runner.worker.converters.base import Order
from runner.worker.converters.optimum_onnx import copy_configuration
from runner.worker.converters.ort_int8 import is_large
from runner.worker.subjects.subject import FILES, ONNX, Form
from runner.worker.subjects.torchvision import declare_torchvision_operators


class Converter(base.Converter):
    """Quantises a graph's weights per channel; the form's variant names Optimum's configuration for a processor."""

    name = "ONNX Runtime's quantiser"
    sources = (ONNX,)

    def makes(self, form: Form) -> bool:
        """Return whether the form is a graph in dynamic int8."""
        return (form.kind, form.precision) == ("onnx", "int8_dynamic")

    def convert(self, order: Order, source: Path | None, target: Path) -> None:
        """Write ``model.onnx``."""
        declare_torchvision_operators()  # Optimum imports torchvision
        from optimum.onnxruntime import ORTQuantizer
        from optimum.onnxruntime.configuration import AutoQuantizationConfig

        assert source is not None
        config = getattr(AutoQuantizationConfig, order.form.variant)(is_static=False, per_channel=True)
        quantizer = ORTQuantizer.from_pretrained(source, file_name=FILES["onnx"])
        large = is_large(source / FILES["onnx"])
        quantizer.quantize(save_dir=target, quantization_config=config, use_external_data_format=large)
        [written] = target.glob("*.onnx")
        written.rename(target / FILES["onnx"])
        copy_configuration(source, target)
