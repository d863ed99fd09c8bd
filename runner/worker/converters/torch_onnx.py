"""A module as an ONNX graph, by PyTorch's exporter: ONNX Runtime runs it, and OpenVINO reads it."""

from __future__ import annotations

from pathlib import Path

from runner.worker.converters import base
from runner.worker.converters.base import Order
from runner.worker.converters.tracing import traced
from runner.worker.subjects.subject import FILES, MAX_ONNX_BYTES, MODULE, ONNX, Form


class Converter(base.Converter):
    """Exports a module; extents that its signature leaves open remain dynamic."""

    name = "PyTorch's exporter"
    sources = (MODULE,)
    version = 2

    def makes(self, form: Form) -> bool:
        """Return whether the form is a graph in fp32, as exported."""
        return form == ONNX

    def convert(self, order: Order, source: Path | None, target: Path) -> None:  # noqa: ARG002 -- a module has no files
        """Write ``model.onnx``."""
        import torch

        signature = order.subject.signature
        arguments, module = traced(order), order.subject.module()
        stored = sum(one.numel() * one.element_size() for one in (*module.parameters(), *module.buffers()))
        torch.onnx.export(
            module,
            arguments.args,
            target / FILES["onnx"],
            kwargs=arguments.kwargs,
            dynamo=True,
            input_names=[port.name for port in signature.inputs],
            output_names=[port.name for port in signature.outputs],
            dynamic_shapes=arguments.dynamic_shapes,
            external_data=stored > MAX_ONNX_BYTES,
            verbose=False,
        )
