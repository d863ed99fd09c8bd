"""A folder of Transformers as OpenVINO's IR, by Optimum Intel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runner.worker.converters import base
from runner.worker.converters.base import Order
from runner.worker.converters.optimum_onnx import copy_configuration
from runner.worker.subjects.checkpoints.checkpoint import AUTO_CLASSES, Checkpoint
from runner.worker.subjects.subject import CHECKPOINT, FILES, IR, Form


class Converter(base.Converter):
    """Exports a checkpoint; a model that generates text keeps its cached keys and values as a state."""

    name = "Optimum Intel"
    sources = (CHECKPOINT,)
    version = 2

    def makes(self, form: Form) -> bool:
        """Return whether the form is an IR in fp32."""
        return form == IR

    def convert(self, order: Order, source: Path | None, target: Path) -> None:
        """Write ``model.xml`` and ``model.bin``, and the model's configuration.

        Raises:
            Unsupported: Optimum cannot export the architecture.
        """
        assert isinstance(order.subject, Checkpoint)
        assert source is not None
        order.subject.refuse_unexportable("openvino")
        # By default, Optimum compresses the weights of large models to int8.
        model = model_class(order.subject.task).from_pretrained(
            source, export=True, compile=False, load_in_8bit=False, local_files_only=True
        )
        model.save_pretrained(target)
        for written in target.glob("openvino_model.*"):
            written.rename((target / FILES["ir"]).with_suffix(written.suffix))
        copy_configuration(source, target)


def model_class(task: str) -> Any:
    """Return Optimum Intel's model class for a task."""
    import optimum.intel

    return getattr(optimum.intel, f"OVModelFor{AUTO_CLASSES[task]}")
