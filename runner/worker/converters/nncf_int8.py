"""An OpenVINO model in static int8, by NNCF's post-training quantisation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runner.worker.converters import base
from runner.worker.converters.base import Order, calibration_key, range_key
from runner.worker.converters.openvino_files import input_names, read_folded, save
from runner.worker.converters.optimum_onnx import copy_configuration
from runner.worker.evidence.isa import has_vnni
from runner.worker.libraries import quiet_nncf
from runner.worker.subjects.subject import IR, ONNX, Form, select


class Converter(base.Converter):
    """Quantises a model's weights and activations."""

    name = "NNCF"
    sources = (IR, ONNX)
    version = 4

    def makes(self, form: Form) -> bool:
        """Return whether the form is an IR in static int8."""
        return form == Form("ir", "int8")

    def key(self, order: Order) -> dict[str, Any]:
        """Return the calibration data, and whether weights have 7 bits.

        Raises:
            Unsupported: a model that generates text.
        """
        reason = "int8 needs a graph without state, text generation has one: take precision=int8_weights"
        return {**calibration_key(order, reason), **range_key()}

    def convert(self, order: Order, source: Path | None, target: Path) -> None:
        """Write ``model.xml`` and ``model.bin``."""
        assert source is not None
        nncf = quiet_nncf()
        model = read_folded(source)
        batches = [
            select(order.subject.inputs(samples), input_names(model)) for samples in order.dataset.calibration_batches()
        ]
        # A softmax in the graph means attention: the classifiers end in logits.
        attention = any(node.get_type_name() == "Softmax" for node in model.get_ops())
        quantised = nncf.quantize(
            model,
            nncf.Dataset(batches),
            subset_size=len(batches),
            model_type=nncf.ModelType.TRANSFORMER if attention else None,
            # By default, only the first layer leaves a bit free on a processor without VNNI.
            advanced_parameters=None if has_vnni() else _seven_bits(nncf),
        )
        save(quantised, target)
        copy_configuration(source, target)


def _seven_bits(nncf: Any) -> Any:
    """Return the parameters with which NNCF leaves a bit of every weight free."""
    fix = nncf.quantization.advanced_parameters.OverflowFix.ENABLE
    return nncf.AdvancedQuantizationParameters(overflow_fix=fix)
