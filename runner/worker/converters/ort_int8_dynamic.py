"""An ONNX graph with int8 weights whose activations ONNX Runtime quantises in every inference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runner.worker.converters import base
from runner.worker.converters.base import Order, range_key
from runner.worker.converters.optimum_onnx import copy_configuration
from runner.worker.converters.ort_int8 import is_large
from runner.worker.evidence.isa import has_vnni
from runner.worker.libraries import prepare_transformers
from runner.worker.subjects.subject import FILES, ONNX, Form


class Converter(base.Converter):
    """Quantises a graph's weights per channel; the form's variant names Optimum's configuration for a processor."""

    name = "ONNX Runtime's quantiser"
    sources = (ONNX,)

    def makes(self, form: Form) -> bool:
        """Return whether the form is a graph in dynamic int8."""
        return (form.kind, form.precision) == ("onnx", "int8_dynamic")

    def key(self, order: Order) -> dict[str, Any]:  # noqa: ARG002 -- part of the interface
        """Return whether weights have 7 bits."""
        return range_key()

    def convert(self, order: Order, source: Path | None, target: Path) -> None:
        """Write ``model.onnx``."""
        prepare_transformers()
        from optimum.onnxruntime import ORTQuantizer
        from optimum.onnxruntime.configuration import AutoQuantizationConfig

        assert source is not None
        plan = order.form.variant
        # Its plans for processors with VNNI, and for ARM, leave no bit free.
        free = {"reduce_range": not has_vnni()} if plan in ("avx2", "avx512") else {}
        config = getattr(AutoQuantizationConfig, plan)(is_static=False, per_channel=True, **free)
        large = is_large(source / FILES["onnx"])
        if not large:
            source = _without_shapes(source, target)
        quantizer = ORTQuantizer.from_pretrained(source, file_name=FILES["onnx"])
        quantizer.quantize(save_dir=target, quantization_config=config, use_external_data_format=large)
        [written] = target.glob("*_quantized.onnx")
        written.rename(target / FILES["onnx"])
        copy_configuration(source, target)


def _without_shapes(source: Path, target: Path) -> Path:
    """Write a graph without the shapes of its intermediate values, and return its folder.

    The quantiser transposes weights of Gemm and infers shapes anew; it then takes the exporter's for contradictions.
    """
    import onnx

    graph = onnx.load(source / FILES["onnx"])
    del graph.graph.value_info[:]
    onnx.save(graph, target / FILES["onnx"])
    copy_configuration(source, target)
    return target
