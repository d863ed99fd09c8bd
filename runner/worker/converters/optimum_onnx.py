"""A folder of Transformers as an ONNX graph, by Optimum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runner.worker.converters import base
from runner.worker.converters.base import Order
from runner.worker.subjects.checkpoints.checkpoint import AUTO_CLASSES, Checkpoint
from runner.worker.subjects.subject import CHECKPOINT, ONNX, Form


class Converter(base.Converter):
    """Exports a checkpoint; a model that generates text has inputs and outputs for its cached keys and values."""

    name = "Optimum"
    sources = (CHECKPOINT,)

    def makes(self, form: Form) -> bool:
        """Return whether the form is a graph in fp32, as exported."""
        return form == ONNX

    def convert(self, order: Order, source: Path | None, target: Path) -> None:
        """Write ``model.onnx`` and the model's configuration.

        Raises:
            Unsupported: Optimum cannot export the architecture.
        """
        assert isinstance(order.subject, Checkpoint)
        order.subject.refuse_unexportable("onnx")
        kind = model_class(order.subject.task)
        kind.from_pretrained(source, export=True, local_files_only=True).save_pretrained(target)


def model_class(task: str) -> Any:
    """Return Optimum's model class for a task in ONNX Runtime."""
    import optimum.onnxruntime

    return getattr(optimum.onnxruntime, f"ORTModelFor{AUTO_CLASSES[task]}")


def copy_configuration(source: Path, target: Path) -> None:
    """Copy the configuration of a Transformers model, if a folder has one: the classes of Optimum need it."""
    for name in ("config.json", "generation_config.json"):
        if (source / name).exists():
            (target / name).write_bytes((source / name).read_bytes())
