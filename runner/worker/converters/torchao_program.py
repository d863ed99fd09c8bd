"""A module as an int8 program: torchao's PT2E flow for x86, calibrated. Inductor compiles it where it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runner.worker.converters import base
from runner.worker.converters.base import Order, range_key
from runner.worker.converters.tracing import traced
from runner.worker.evidence.isa import has_vnni
from runner.worker.failures import Unsupported
from runner.worker.subjects.subject import CHECKPOINT, FILES, MODULE, Form


class Converter(base.Converter):
    """Quantises a module to static int8."""

    name = "torchao"
    sources = (MODULE,)
    version = 3

    def makes(self, form: Form) -> bool:
        """Return whether the form is an int8 program."""
        return form == Form("program", "int8")

    def key(self, order: Order) -> dict[str, Any]:
        """Return the calibration data, and whether activations have 7 bits.

        Raises:
            Unsupported: a model of Transformers.
        """
        if CHECKPOINT in order.subject.forms:
            raise Unsupported(
                "backend=torch does not implement precision=int8 for Transformers: "
                "take precision=int8_dynamic (torchao), backend=ort or backend=openvino"
            )
        return {"calibration": order.dataset.digest_of(order.dataset.calibration), **range_key()}

    def convert(self, order: Order, source: Path | None, target: Path) -> None:  # noqa: ARG002 -- a module has no files
        """Write ``program.pt2``; its batch is dynamic, so that the ranges do not depend on the run's."""
        import torch
        from torchao.quantization.pt2e import move_exported_model_to_eval
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

        subject, found = order.subject, traced(order)
        module = subject.module()
        # strict: otherwise a shared ReLU (as in ResNets) becomes a node with two outputs, which the quantiser rejects.
        # Of a program that was exported before, a strict export loses what tells the quantiser its convolutions.
        exported = torch.export.export(
            module,
            found.args,
            found.kwargs,
            dynamic_shapes=found.dynamic_shapes,
            strict=not isinstance(module, torch.fx.GraphModule),
        ).module()
        config = x86.get_default_x86_inductor_quantization_config(reduce_range=not has_vnni())
        quantiser = x86.X86InductorQuantizer().set_global(config)
        with torch.no_grad():
            prepared = prepare_pt2e(exported, quantiser)
            for samples in order.dataset.calibration_batches():
                tensors = {name: torch.from_numpy(values) for name, values in subject.inputs(samples).items()}
                args, kwargs = subject.arguments(tensors)
                prepared(*args, **kwargs)
            converted = convert_pt2e(prepared)
            move_exported_model_to_eval(converted)
            program = torch.export.export(converted, found.args, found.kwargs, dynamic_shapes=found.dynamic_shapes)
            torch.export.save(program, target / FILES["program"])
