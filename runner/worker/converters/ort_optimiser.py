"""An ONNX graph of a Transformers model with fused operators, by ONNX Runtime's optimiser through Optimum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runner.worker.converters import base
from runner.worker.converters.base import Order
from runner.worker.converters.optimum_onnx import copy_configuration
from runner.worker.failures import Unsupported
from runner.worker.subjects.subject import CHECKPOINT, FILES, ONNX, Form

LEVELS = ("O1", "O2", "O3")


class Converter(base.Converter):
    """Optimises a graph; the form's variant is the level."""

    name = "ORTOptimizer"
    sources = (ONNX,)

    def makes(self, form: Form) -> bool:
        """Return whether the form is a graph in fp32, optimised at a level."""
        return (form.kind, form.precision) == ("onnx", "fp32") and form.variant in LEVELS

    def key(self, order: Order) -> dict[str, Any]:
        """Return nothing.

        Raises:
            Unsupported: the model does not come from Transformers, whose architectures the optimiser knows.
        """
        if CHECKPOINT not in order.subject.forms:
            raise Unsupported(
                "backend.options.optimization is for models of Transformers: take backend.options.graph_optimization"
            )
        return {}

    def convert(self, order: Order, source: Path | None, target: Path) -> None:
        """Write ``model.onnx`` and the model's configuration."""
        from optimum.onnxruntime import ORTOptimizer
        from optimum.onnxruntime.configuration import AutoOptimizationConfig

        assert source is not None
        config = getattr(AutoOptimizationConfig, order.form.variant)()
        ORTOptimizer.from_pretrained(source, file_names=[FILES["onnx"]]).optimize(
            save_dir=target, optimization_config=config
        )
        [written] = target.glob("*.onnx")
        written.rename(target / FILES["onnx"])
        copy_configuration(source, target)
