"""Checks of the settings of Transformers models and of text data, made before anything is launched."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

from runner.config import model_catalog
from runner.config.schema import DataKind, ModelConfig, PrecisionConfig, RunConfig, Scope, Task, WeightsKind
from runner.errors import Mistake

IMAGE_TASK = Task["image-classification"]
TEXTS = (DataKind.sentences, DataKind.one_text, DataKind.text_file)
IMAGES = (DataKind.digits, DataKind.synthetic, DataKind.image_folder, DataKind.arrays)
DATA = {
    IMAGE_TASK: IMAGES,
    Task["tensors"]: (DataKind.synthetic, DataKind.arrays),
    Task["embedding"]: (DataKind.synthetic, DataKind.arrays),
    Task["text-classification"]: TEXTS,
    Task["question-answering"]: (DataKind.questions, DataKind.text_file),
    Task["text-generation"]: (DataKind.passages, DataKind.one_text, DataKind.text_file),
}
"""Data sets that each task can use; a mistake suggests the first."""
CHANNELS = 3
FILTERS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
"""Pillow's ways of interpolating."""
STEERING = {
    "calibration": ("minmax", "percentile", "entropy"),
    "preset": ("performance", "mixed"),
    "model_type": ("transformer", "other"),
}
"""Settings of quantisers with their values; each quantiser has some of them."""
HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
"""A model name on the Hugging Face Hub: at most one slash, no leading dot (huggingface_hub, validate_repo_id)."""


def check_transformers_model(config: RunConfig) -> list[Mistake]:
    """Return the mistakes in a Transformers model, its data, and the settings that only such a model supports."""
    model = config.model
    found = _check_data_for_task(config)
    if model.brings_weights:
        return [*found, *_check_own_model(config)]
    if not model.is_transformers:
        if model.task is not IMAGE_TASK and model.has_labels:
            allowed = f"{IMAGE_TASK}, tensors or embedding with source={model.source}"
            found.append(Mistake("model.task", str(model.task), allowed))
        if config.scope is not Scope.model:
            found.append(Mistake("scope", str(config.scope), "model, or a model with source=transformers"))
        return found
    return [*found, *_check_inputs(config), *_check_origin(model, config.weights.name)]


def check_preprocessing(model: ModelConfig) -> list[Mistake]:
    """Return the mistakes in what differs from the network's own preprocessing."""
    given, found = model.preprocessing, []
    for name, values in (("mean", given.mean), ("std", given.std)):
        least = 0.0 if name == "std" else -math.inf
        if values is not None and (len(values) != CHANNELS or not all(least < one < math.inf for one in values)):
            allowed = f"{CHANNELS} numbers{', more than 0' if name == 'std' else ''}, such as [0.5,0.5,0.5]"
            found.append(Mistake(f"model.preprocessing.{name}", list(values), allowed))
    if given.crop is not None and not 0 < given.crop <= 1:
        found.append(Mistake("model.preprocessing.crop", given.crop, "a share, more than 0 and at most 1"))
    if given.interpolation is not None and given.interpolation not in FILTERS:
        near = model_catalog.nearest(given.interpolation, FILTERS, 1)
        remedy = f"The nearest: {near[0]}" if near else ""
        found.append(Mistake("model.preprocessing.interpolation", given.interpolation, ", ".join(FILTERS), remedy))
    return found


def check_steering(precision: PrecisionConfig) -> list[Mistake]:
    """Return the mistakes in what steers a quantiser."""
    found = []
    for name, allowed in STEERING.items():
        value = getattr(precision, name)
        if value is not None and value not in allowed:
            found.append(Mistake(f"precision.{name}", value, ", ".join(allowed)))
    set_ones = [name for name in ("ignore", *STEERING) if getattr(precision, name)]
    if set_ones and not str(precision.name).startswith("int8"):
        value = getattr(precision, set_ones[0])
        found.append(Mistake(f"precision.{set_ones[0]}", value, "only with precision=int8 or int8_accuracy"))
    return found


def _check_own_model(config: RunConfig) -> list[Mistake]:
    """Return the mistakes in settings that a model file or a module of the user does not have."""
    found = []
    name, allowed = config.weights.name, ["own", *(["file"] if config.model.is_python else [])]
    if name not in allowed:
        found.append(Mistake("weights", str(name), f"{' or '.join(allowed)} with model={config.model.source}"))
    if config.scope is not Scope.model:
        found.append(Mistake("scope", str(config.scope), "model, or a model with source=transformers"))
    return found


def _check_inputs(config: RunConfig) -> list[Mistake]:
    """Return the mistakes in how texts are passed to a Transformers model and what it generates."""
    model = config.model
    found: list[Mistake] = []
    if model.sequence_length is not None and model.sequence_length < 2:
        found.append(Mistake("model.sequence_length", model.sequence_length, "2 or more, or null"))
    if model.new_tokens < 2:
        found.append(Mistake("model.new_tokens", model.new_tokens, "2 or more", "Time per token needs two tokens"))
    if config.pipeline_batch_size < 1:
        found.append(Mistake("pipeline_batch_size", config.pipeline_batch_size, "1 or more"))
    if config.pipeline_batch_size != 1 and config.scope is not Scope.pipeline:
        found.append(Mistake("pipeline_batch_size", config.pipeline_batch_size, "only with scope=pipeline"))
    if config.scope is Scope.pipeline and model.task is Task["embedding"]:
        found.append(Mistake("scope", str(config.scope), "model with model.task=embedding"))
    if config.scope is Scope.pipeline and model.sequence_length is not None:
        remedy = "Add model.sequence_length=null: a pipeline processes every text at its own length"
        found.append(Mistake("model.sequence_length", model.sequence_length, "null with scope=pipeline", remedy))
    return found


def _check_origin(model: ModelConfig, weights: WeightsKind) -> list[Mistake]:
    """Return the mistakes in where a model comes from (Hub, folder or architecture), and in its task."""
    if weights is WeightsKind.pretrained:
        if not model.id:
            remedy = "Add model.id=…, or use weights=random"
            return [Mistake("model.id", model.id, "a name on the Hugging Face Hub, or a folder", remedy)]
        if not Path(model.id).is_dir() and not HUB_NAME.fullmatch(model.id):
            allowed = "an existing folder, or a name on the Hugging Face Hub (owner/name)"
            remedy = "No such folder exists. Check the path, or use weights=random or probe with model.architecture"
            return [Mistake("model.id", model.id, allowed, remedy)]
        if model.revision is not None and Path(model.id).is_dir():
            return [Mistake("model.revision", model.revision, "null with a folder", "A folder has no revisions")]
        return _check_task(model, _architecture_in(Path(model.id)))
    if model.revision is not None:
        return [Mistake("model.revision", model.revision, "null without weights=pretrained", "Add weights=pretrained")]
    known = model_catalog.architectures()
    if not known:  # the library is not installed: the run ends as `unavailable`
        return []
    if model.architecture is None:
        remedy = "Add model.architecture=…, or use weights=pretrained with model.id"
        return [Mistake("model.architecture", None, "a model_type of Transformers", remedy)]
    if model.architecture not in known:
        near = ", ".join(model_catalog.nearest(model.architecture, known)) or "none"
        allowed = f"one of the {len(known)} model types of Transformers"
        return [Mistake("model.architecture", model.architecture, allowed, f"The nearest: {near}")]
    return _check_task(model, model.architecture)


def _check_task(model: ModelConfig, architecture: str | None) -> list[Mistake]:
    tasks = model_catalog.tasks_of(architecture) if architecture else []
    if not tasks or model.task in tasks:
        return []
    return [Mistake("model.task", str(model.task), ", ".join(tasks), f"{architecture} does not support {model.task}")]


def _architecture_in(folder: Path) -> str | None:
    """Return the `model_type` in a folder's config.json, None if it cannot be read."""
    try:
        model_type = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError):  # the worker, which needs it, reports the error
        return None
    return str(model_type)


def usable_data(task: Task, *, is_transformers: bool) -> tuple[DataKind, ...]:
    """Return the data sets that a task can use, the best first; an embedding by Transformers is one of texts."""
    return TEXTS if is_transformers and task is Task["embedding"] else DATA[task]


def _check_data_for_task(config: RunConfig) -> list[Mistake]:
    """Return the mistakes in the choice of data for a task, and in a text file."""
    data, task = config.data, config.model.task
    takes_images = not (config.model.has_labels or config.model.brings_weights or config.model.is_transformers)
    usable = IMAGES if takes_images else usable_data(task, is_transformers=config.model.is_transformers)
    if data.name not in usable:
        return [Mistake("data", str(data.name), f"{', '.join(usable)} for {task}", f"Add data={usable[0]}")]
    if data.name is DataKind.one_text:
        if not (data.text or "").strip():
            return [Mistake("data.text", data.text, "a non-empty text", "Add 'data.text=…'")]
    elif data.text is not None:
        return [Mistake("data.text", data.text, "only with data=one_text", "Add data=one_text")]
    return []
