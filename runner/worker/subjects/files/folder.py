"""Folders in the format of Transformers: a configuration, weights as .safetensors, and a tokenizer for text."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from runner.worker.failures import Refused
from runner.worker.subjects.checkpoints.checkpoint import AUTO_CLASSES
from runner.worker.subjects.files.model_file import FIELD, ModelFile

SUFFIX = ""
BASELINE = "torch"
CONFIG = "config.json"
PRECISIONS = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "I8": "int8"}
"""This program's names for the types of safetensors."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "spiece.model")
"""One of them is in the folder of a model of texts."""


def open_model(path: Path) -> ModelFile:
    """Return what a folder holds, from its configuration and the headers of its weights.

    Raises:
        Refused: it lacks the configuration or weights as .safetensors, or its model has no task that is known here.
    """
    if not (path / CONFIG).is_file():
        allowed = f"a file, or a folder in Transformers' format, with {CONFIG}"
        raise Refused(FIELD, path, allowed, "Name the file in the folder")
    try:
        config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        architecture = str((config.get("architectures") or [""])[0])
    except (ValueError, AttributeError, UnicodeDecodeError) as error:
        raise Refused(FIELD, path, "a folder in Transformers' format", f"{CONFIG} cannot be read: {error}") from error
    weights = tuple(sorted(path.glob("*.safetensors")))
    if not weights:
        remedy = "Other formats may contain code: save it again with save_pretrained(…, safe_serialization=True)"
        raise Refused(FIELD, path, "weights as .safetensors in the folder", remedy)
    endings = {f"For{suffix}": task for task, suffix in AUTO_CLASSES.items()} | {"LMHeadModel": "text-generation"}
    if any((path / name).is_file() for name in TOKENIZER_FILES):
        endings["Model"] = "embedding"  # a model without a head, such as BertModel, returns a vector for each token
    task = next((task for ending, task in endings.items() if architecture.endswith(ending)), None)
    if task is None:
        allowed = f"a model for {', '.join(AUTO_CLASSES)}"
        raise Refused(FIELD, path, allowed, f"{CONFIG} names the architecture {architecture or 'nothing'}")
    tensors = [tensor for file in weights for tensor in _tensors(file)]
    kinds = {kind: sum(size for own, size in tensors if own == kind) for kind, _ in tensors}
    return ModelFile(
        kind="checkpoint",
        title=f"Transformers folder, {config.get('model_type', 'unknown')}, {architecture}",
        producer=f"transformers {config['transformers_version']}" if "transformers_version" in config else "",
        files=(path / CONFIG, *weights),
        inputs=(),
        outputs=(),
        parameters=sum(kinds.values()),
        precision=PRECISIONS.get(max(kinds, key=lambda kind: kinds[kind]), "fp32") if kinds else "fp32",
        count=lambda _: 0.0,
        task=task,
    )


def _tensors(file: Path) -> list[tuple[str, int]]:
    """Return the type and the number of elements of each tensor, from a file's header.

    Raises:
        Refused: the header cannot be read.
    """
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header: dict[str, Any] = json.loads(stream.read(min(length, file.stat().st_size)))
        return [(str(one["dtype"]), math.prod(one["shape"])) for name, one in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise Refused(FIELD, file, "weights as .safetensors", f"It is truncated, or no such file: {error}") from error
