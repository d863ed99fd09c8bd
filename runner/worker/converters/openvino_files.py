"""What the converters to OpenVINO's IR share: reading and writing models, and their inputs by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runner.worker.failures import BadInput
from runner.worker.libraries import import_openvino
from runner.worker.subjects.subject import FILES, Batch


def read(folder: Path) -> Any:
    """Read the model of an artifact's folder: an IR, else an ONNX graph."""
    ir = folder / FILES["ir"]
    return import_openvino().Core().read_model(ir if ir.exists() else folder / FILES["onnx"])


def save(model: Any, folder: Path) -> None:
    """Write a model in fp32: by default, OpenVINO stores floating-point values in 16 bits."""
    import_openvino().save_model(model, folder / FILES["ir"], compress_to_fp16=False)


def inputs_for(model: Any, batch: Batch) -> dict[str, Any]:
    """Return the entries of a batch that a model takes, by the model's own names.

    Raises:
        BadInput: the batch lacks one of the model's inputs.
    """
    found = {}
    for port in model.inputs:
        names = [name for name in port.get_names() if name in batch]
        if not names:
            raise BadInput(f"the model takes {port.get_any_name()}, and the data provide {', '.join(batch)}")
        found[port.get_any_name()] = batch[names[0]]
    return found
