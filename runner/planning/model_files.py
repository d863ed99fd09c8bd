"""What a model file decides about a run: its name, precision and batch, and the runtime of its baseline."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from runner.config.composition import compose_settings
from runner.config.data_checks import usable_data
from runner.config.schema import Task
from runner.data_files.arrays import describe_arrays
from runner.data_files.errors import UnreadableData
from runner.errors import Mistake
from runner.machine.memory import available_mib
from runner.processes.inspection import inspect
from runner.protocol import AS_IS, Inspected

DEFAULT_BATCH = 8
"""The batch of a file that takes any, as for other models."""
CALIBRATED = ("int8", "int8_accuracy")
"""Precisions whose ranges come from calibration samples, in whole batches of the file."""


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
        allowed = "a model file (.onnx, .xml, .pt2), or a folder of Transformers"
        return [Mistake("model.path", None, allowed, "Add model.path=mine.onnx")]
    shapes = [str(shape) for shape in settings.model.shapes]
    found = inspect(Path(path), shapes)
    if isinstance(found, Mistake):
        return [found]
    if found.problem and settings.data.name == "arrays" and (filled := _shapes_of_arrays(settings, found, shapes)):
        settings.model.shapes = filled
        found = inspect(Path(path), filled)
        if isinstance(found, Mistake):
            return [found]
    if settings.model.name == "file":
        settings.model.name = Path(path).stem
    if mistakes := _memory(settings, found):
        return mistakes
    _set_precision(settings, found)
    if found.kind == "checkpoint":
        return _as_transformers(settings, found)
    return [*_open_extent(found), *_batch(settings, found)]


def _shapes_of_arrays(settings: DictConfig, found: Inspected, given: list[str]) -> list[str]:
    """Return the shapes of the inputs that a file leaves open, as the arrays of the data have them; [] if they do not.

    The check of the data, which follows, reports what is wrong with the arrays.
    """
    try:
        arrays = describe_arrays(Path(settings.data.path or ""))
        named = {port.name: arrays.find(port.name, len(found.inputs)) for port in found.inputs}
    except (UnreadableData, OSError):
        return []
    own = []
    for port in found.inputs:
        is_open = any(isinstance(extent, str) for extent in port.shape)
        if is_open and not any(shape.strip("\"' ").startswith(port.name) for shape in given):
            batch = port.shape[0] if isinstance(port.shape[0], int) else "batch"
            extents = ",".join(map(str, (batch, *named[port.name].shape[1:])))
            own.append(f'"{port.name}"[{extents}]')
    return [*given, *own]


def _memory(settings: DictConfig, found: Inspected) -> list[Mistake]:
    """Return the mistake of a model that this machine cannot load: its weights alone are larger than its memory."""
    available = available_mib()
    copies = 1 if settings.measure.check else 2  # the run and its baseline
    if available is None or copies * found.size_mib <= available:
        return []
    allowed = f"a model of at most {available / copies:,.0f} MiB: {available:,.0f} MiB of memory are available"
    remedy = f"It has {found.size_mib:,.0f} MiB" + ("" if copies == 1 else ", and its baseline too: try measure=check")
    return [Mistake("model.path", settings.model.path, allowed, remedy)]


def _set_precision(settings: DictConfig, found: Inspected) -> None:
    """Name the precision of the file, and set the backend and the precision of baseline and reference."""
    own = "fp32" if found.precision == "fp32" or found.kind == "checkpoint" else AS_IS
    if settings.precision.name == AS_IS:
        settings.precision.name = own
    own_words = {"backend=ort": f"backend={found.baseline}", "precision=fp32": f"precision={own}"}
    for role in ("baseline", "reference"):
        words = [own_words.get(word, word) for word in settings[role]]
        OmegaConf.update(settings, role, words, merge=False)


def _as_transformers(settings: DictConfig, found: Inspected) -> list[Mistake]:
    """Turn a folder of Transformers into the model that it is, on data of its task: texts, or images."""
    folder, task = settings.model.path, Task[found.task]
    if settings.model.shapes:
        return [Mistake("model.shapes", list(settings.model.shapes), "none", "Set model.sequence_length for a folder")]
    settings.model.update({"source": "transformers", "path": None, "id": folder, "task": task})
    settings.batch_size = settings.batch_size or DEFAULT_BATCH
    fresh = compose_settings(["model=transformers", f"data={usable_data(task, is_transformers=True)[0]}"])
    settings.weights.name = "pretrained"
    if settings.data.name == "synthetic":
        OmegaConf.update(settings, "data", fresh.data, merge=False)
    return []


def _open_extent(found: Inspected) -> list[Mistake]:
    """Return the mistake of an extent that neither the file nor `model.shapes` gives."""
    if not found.problem:
        return []
    return [Mistake("model.shapes", None, *found.problem.partition("allowed: ")[2].split(". ", 1))]


def _batch(settings: DictConfig, found: Inspected) -> list[Mistake]:
    """Set the batch of the file, or return the mistake of requesting another, or of too few samples to fill it.

    Synthetic samples are as many as a batch has: they cost nothing.
    """
    if settings.batch_size == 0:
        settings.batch_size = found.batch or DEFAULT_BATCH
    elif found.batch is not None and settings.batch_size != found.batch:
        remedy = "Leave batch_size out, or export the model with an open batch"
        return [Mistake("batch_size", settings.batch_size, f"{found.batch}, which {settings.model.path} fixes", remedy)]
    if found.batch is None or found.batch <= settings.data.calibration_samples:
        return []
    if settings.data.name == "synthetic":
        settings.data.calibration_samples = found.batch
    elif settings.precision.name in CALIBRATED:
        allowed = f"at least {found.batch}, the batch that {settings.model.path} fixes"
        return [Mistake("data.calibration_samples", settings.data.calibration_samples, allowed)]
    return []
