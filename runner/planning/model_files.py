"""What a model file decides about a run: its name, its batch, and the runtime of its baseline."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from runner.errors import Mistake
from runner.processes.inspection import inspect
from runner.protocol import Inspected

DEFAULT_BATCH = 8
"""The batch of a file that takes any, as for other models."""


def apply_file(settings: DictConfig) -> list[Mistake]:
    """Fill in what the file of model=file decides; other models remain as they are.

    Args:
        settings: a composed configuration; it is changed.

    Returns:
        The mistakes in the file and in the settings that it contradicts.
    """
    if settings.model.source != "file":
        return []
    path = settings.model.path
    if not path:
        return [
            Mistake("model.path", None, "an ONNX graph (.onnx) or an OpenVINO IR (.xml)", "Add model.path=mine.onnx")
        ]
    shapes = [str(shape) for shape in settings.model.shapes]
    found = inspect(Path(path), shapes)
    if isinstance(found, Mistake):
        return [found]
    if settings.model.name == "file":
        settings.model.name = Path(path).stem
    if found.kind == "ir":
        for role in ("baseline", "reference"):
            words = ["backend=openvino" if word == "backend=ort" else word for word in settings[role]]
            OmegaConf.update(settings, role, words, merge=False)
    return [*_open_extent(found), *_batch(settings, found), *_quantised(settings, found)]


def _open_extent(found: Inspected) -> list[Mistake]:
    """Return the mistake of an extent that neither the file nor `model.shapes` gives."""
    if not found.problem:
        return []
    return [Mistake("model.shapes", None, *found.problem.partition("allowed: ")[2].split(". ", 1))]


def _batch(settings: DictConfig, found: Inspected) -> list[Mistake]:
    """Set the batch of the file, or return the mistake of requesting another."""
    if settings.batch_size == 0:
        settings.batch_size = found.batch or DEFAULT_BATCH
    elif found.batch is not None and settings.batch_size != found.batch:
        remedy = "Leave batch_size out, or export the model with an open batch"
        return [Mistake("batch_size", settings.batch_size, f"{found.batch}, which {settings.model.path} fixes", remedy)]
    return []


def _quantised(settings: DictConfig, found: Inspected) -> list[Mistake]:
    """Return the mistake of a file that is not in fp32: nothing would be fp32, so nothing is a baseline."""
    if found.precision == "fp32":
        return []
    allowed = "a model in fp32, from which this program makes the other precisions"
    return [Mistake("model.path", settings.model.path, allowed, f"The file is {found.precision}: export it in fp32")]
