"""Model files: one module of this folder for each format.

It has a `SUFFIX`, the `BASELINE` (the backend that the format belongs to, and that others are compared with), and a
function ``open_model``.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path
from types import ModuleType

from runner.protocol import Inspected, PortInfo
from runner.worker.failures import Refused
from runner.worker.subjects import files
from runner.worker.subjects.files.model_file import FIELD, ModelFile, fixed_batch
from runner.worker.subjects.files.shapes import apply
from runner.worker.subjects.subject import Port

MIB = 2**20


@cache
def formats() -> dict[str, ModuleType]:
    """Return the modules that read a format, by the suffix of its files; the empty one is that of folders."""
    modules = [importlib.import_module(f"{files.__name__}.{one.name}") for one in pkgutil.iter_modules(files.__path__)]
    return {module.SUFFIX: module for module in modules if hasattr(module, "SUFFIX")}


def open_file(path: Path) -> ModelFile:
    """Return what a model file or folder holds.

    Raises:
        Refused: it does not exist, is of no known format, is damaged, or lacks the file with its weights.
    """
    found: ModelFile = _format_of(path).open_model(path)
    return found


def _format_of(path: Path) -> ModuleType:
    """Return the module that reads a file.

    Raises:
        Refused: it does not exist, is empty, or of no known format.
    """
    if not path.exists():
        raise Refused(FIELD, path, "a file that exists", "Check the path")
    known = formats()
    suffix = "" if path.is_dir() else path.suffix.lower()
    if suffix not in known or (path.is_file() and not suffix):
        ends = ", ".join(sorted(filter(None, known)))
        remedy = "Export the model to ONNX, or with torch.export.save"
        raise Refused(FIELD, path, f"a file ending in {ends}, or a folder of Transformers", remedy)
    if path.is_file() and path.stat().st_size == 0:
        raise Refused(FIELD, path, "a model", "The file is empty")
    return known[suffix]


def inspect(path: Path, texts: list[str]) -> Inspected:
    """Describe a model file.

    Args:
        path: the file.
        texts: shapes of inputs, see :mod:`runner.worker.subjects.files.shapes`.

    Raises:
        Refused: the file or a shape cannot be used.
    """
    found = open_file(path)
    problem, batch, macs = "", None, 0.0
    try:
        filled, _ = apply(texts, found.inputs)
    except Refused as error:
        if error.mistake.received != "nothing":
            raise
        problem = str(error)
    else:
        batch = fixed_batch(filled) if filled else None
        macs = found.macs_per_sample(filled)
    return Inspected(
        kind=found.kind,
        title=found.title,
        producer=found.producer,
        inputs=[_info(port) for port in found.inputs],
        outputs=[_info(port) for port in found.outputs],
        batch=batch,
        problem=problem,
        parameters=found.parameters,
        precision=found.precision,
        size_mib=sum(file.stat().st_size for file in found.files) / MIB,
        macs=macs,
        task=found.task,
        baseline=_format_of(path).BASELINE,
    )


def _info(port: Port) -> PortInfo:
    return PortInfo(port.name, port.dtype, list(port.shape))
