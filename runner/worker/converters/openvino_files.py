"""What the converters to OpenVINO's IR share: reading and writing models, and NNCF without its usage reports."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from runner.worker.failures import BadInput
from runner.worker.subjects.subject import FILES, Batch


def import_openvino() -> Any:
    """Return the package ``openvino``.

    On import, OpenVINO and NNCF would report usage over the network. Both work without the module that does so.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # None blocks an import
    import openvino

    return openvino


def quiet_nncf() -> Any:
    """Return the package ``nncf``, which then logs errors only."""
    import_openvino()
    import nncf

    nncf.set_log_level(logging.ERROR)
    return nncf


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
