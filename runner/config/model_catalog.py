"""Model names that the installed libraries define, parsed from their source files without importing them."""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

from runner.config.schema import ModelConfig
from runner.paths import SUBJECTS, extra_model_folders
from runner.protocol import MODELS_GROUP

WEIGHT_SUFFIXES = (".pt", ".pth", ".safetensors", ".ckpt", ".tar", ".bin")
"""Suffixes of weight files that weights=file reads."""

_OPENER = re.compile(r"^def open_subject\(", re.MULTILINE)
"""The function that makes a module a source of models."""
_REGISTERED = re.compile(r"^@register_model(?:\([^)]*\))?\n(?:[@ )].*\n)*def (\w+)\(", re.MULTILINE)

_TAGGED = re.compile(r"""^\s+["'](\w+)\.(\w+)["']\s*:""", re.MULTILINE)
"""An entry of the dictionaries with timm's published weights: architecture and tag."""


@cache
def sources() -> list[str]:
    """Return the sources of models, by name."""
    return [file.stem for file in sorted(SUBJECTS.glob("*.py")) if _OPENER.search(file.read_text(encoding="utf-8"))]


@cache
def pretrained_tags() -> dict[str, tuple[str, ...]]:
    """Return the tags of published weights of timm's architectures, by architecture; empty if it is not installed."""
    spec = importlib.util.find_spec("timm")
    if spec is None or spec.origin is None:
        return {}
    found: dict[str, list[str]] = {}
    for file in sorted((Path(spec.origin).parent / "models").glob("*.py")):
        for name, tag in _TAGGED.findall(file.read_text(encoding="utf-8")):
            found.setdefault(name, []).append(tag)
    return {name: tuple(dict.fromkeys(tags)) for name, tags in found.items()}


@cache
def model_names(source: str, *, classifiers: bool = True) -> frozenset[str]:
    """Return the models that a library registers; empty if it is not installed.

    Args:
        source: ``torchvision`` or ``timm``.
        classifiers: leave out torchvision's models for detection, segmentation and video.
    """
    spec = importlib.util.find_spec(source)
    if spec is None or spec.origin is None:
        return frozenset()
    models = Path(spec.origin).parent / "models"
    pattern = "*.py" if classifiers else "**/*.py"  # in torchvision the others are in subfolders
    return frozenset(
        name for file in sorted(models.glob(pattern)) for name in _REGISTERED.findall(file.read_text(encoding="utf-8"))
    )


def python_models() -> dict[str, Path | None]:
    """Return the models that Python modules of the user build, by name, with the file; None for an entry point."""
    found: dict[str, Path | None] = {one.name: None for one in metadata.entry_points(group=MODELS_GROUP)}
    for folder in extra_model_folders():
        found |= {file.stem: file.absolute() for file in sorted(folder.glob("[!_.]*.py"))}
    return found


def file_of(model: ModelConfig) -> str | None:
    """Return the file of a model: that of `model.path`, or the Python module that builds it."""
    found = python_models().get(model.name) if model.is_python else model.path
    return None if found is None else str(found)


def nearest(name: str, known: Iterable[str], count: int = 5) -> list[str]:
    """Return up to `count` known names similar to `name`, the most similar first."""
    return difflib.get_close_matches(name, list(known), n=count, cutoff=0.4)


TASK_TABLES = {
    "text-classification": "FOR_SEQUENCE_CLASSIFICATION",
    "question-answering": "FOR_QUESTION_ANSWERING",
    "text-generation": "FOR_CAUSAL_LM",
    "image-classification": "FOR_IMAGE_CLASSIFICATION",
    "embedding": "FOR_MASKED_LM",  # encoders; a table of those alone lacks MPNet and ModernBERT
}
"""For each task, the part of the name of Transformers' table (MODEL_…_MAPPING_NAMES) of its architectures."""


@cache
def _architectures_by_task() -> dict[str, frozenset[str]]:
    """Return the architectures that Transformers registers, by task; empty if it is not installed."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        return {}
    source = (Path(spec.origin).parent / "models" / "auto" / "modeling_auto.py").read_text(encoding="utf-8")
    found = {}
    for task, table in TASK_TABLES.items():
        entries = re.search(
            rf"^MODEL_{table}_MAPPING_NAMES = OrderedDict\(\n(.*?)^\)", source, re.MULTILINE | re.DOTALL
        )
        found[task] = frozenset(re.findall(r'^ +\("([\w.-]+)",', entries.group(1), re.MULTILINE) if entries else ())
    return found


def architectures() -> frozenset[str]:
    """Return the architectures (model_type) that Transformers supports for any task; empty if not installed."""
    return frozenset().union(*_architectures_by_task().values())


def tasks_of(architecture: str) -> list[str]:
    """Return the tasks that an architecture supports."""
    return [task for task, known in _architectures_by_task().items() if architecture in known]
