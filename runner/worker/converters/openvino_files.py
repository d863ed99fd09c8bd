"""What the converters to OpenVINO's IR share: reading and writing models, and their inputs by name."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from runner.worker.libraries import import_openvino
from runner.worker.subjects.subject import FILES


def read(folder: Path) -> Any:
    """Read the model of an artifact's folder: an IR, else an ONNX graph."""
    ir = folder / FILES["ir"]
    return import_openvino().Core().read_model(ir if ir.exists() else folder / FILES["onnx"])


def read_folded(folder: Path) -> Any:
    """Read the model of an artifact's folder as :func:`read` does, with all that is constant computed.

    A quantiser needs it: some networks normalise their weights in the graph, as those of timm's NFNets do.
    """
    if (folder / FILES["ir"]).exists():
        return read(folder)
    return import_openvino().convert_model(folder / FILES["onnx"])


def save(model: Any, folder: Path) -> None:
    """Write a model in fp32: by default, OpenVINO stores floating-point values in 16 bits."""
    import_openvino().save_model(model, folder / FILES["ir"], compress_to_fp16=False)


def input_names(model: Any) -> list[Collection[str]]:
    """Return the names of each input of a model, before or after compilation."""
    return [port.get_names() for port in model.inputs]
