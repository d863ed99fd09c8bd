"""Where a model of Transformers comes from: a folder, the Hub, or nothing but its architecture."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from runner.protocol import Subject
from runner.worker.failures import BadInput, Unavailable
from runner.worker.subjects.models import declare_torchvision_operators

PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model"]
"""What is fetched of a model: no pickles, and no weights for other frameworks."""


def origin(subject: Subject) -> dict[str, str]:
    """Return what identifies a published model: a folder by its content, one on the Hub by its name.

    It never looks at the network: a measured process asks it too.
    """
    assert subject.model_id is not None
    folder = Path(subject.model_id)
    if not folder.is_dir():
        return {"id": subject.model_id}
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file() and any(file.match(pattern) for pattern in PATTERNS):
            with file.open("rb") as stream:
                content = hashlib.file_digest(stream, "blake2b").hexdigest()
            digest.update(f"{file.relative_to(folder)} {content}\n".encode())
    return {"content": digest.hexdigest()}


def fetch_model(subject: Subject) -> Path:
    """Return the folder with a published model: the one that `model.id` names, or the Hub's copy of it.

    Raises:
        Unavailable: it is neither a folder nor in the Hub's cache nor reachable.
    """
    from huggingface_hub import snapshot_download

    assert subject.model_id is not None
    if Path(subject.model_id).is_dir():
        return Path(subject.model_id)
    try:
        return Path(snapshot_download(subject.model_id, allow_patterns=PATTERNS))
    except Exception as error:  # requests', the Hub's and the cache's errors have no base of their own
        raise Unavailable(
            f"model.id={subject.model_id} is neither a folder nor reachable ({type(error).__name__}): take "
            "weights=random or weights=probe with model.architecture, or model.id=FOLDER"
        ) from error


def fresh_config(subject: Subject, tokenizer: Any, classes: int) -> Any:
    """Return the configuration of a job's architecture, at its defaults but for what the job says.

    Args:
        subject: the model.
        tokenizer: whose special tokens it takes over; None for images.
        classes: outputs of a classifier.

    Raises:
        BadInput: the architecture has no such field, or not such a value for one.
    """
    fields: dict[str, Any] = {"num_labels": classes}
    if tokenizer is None:
        fields["image_size"] = subject.image_size
    else:
        marks = {"pad": tokenizer.pad_token_id, "bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id}
        fields |= {f"{name}_token_id": number for name, number in marks.items() if number is not None}
    if subject.task == "text-generation":
        fields["tie_word_embeddings"] = False  # the probe's output weights would be its input's
    return bare_config(subject, **fields)


def bare_config(subject: Subject, **fields: Any) -> Any:
    """Return the configuration of a job's architecture at its defaults, but for the fields given and the job's own.

    Raises:
        BadInput: the architecture has no such field, or not such a value for one.
    """
    declare_torchvision_operators()  # transformers imports torchvision
    from transformers import AutoConfig

    assert subject.architecture is not None
    try:
        default = AutoConfig.for_model(subject.architecture)
        unknown = [name for name in subject.model_config if not hasattr(default, name)]
        if unknown:
            raise BadInput(
                f"model.config.{unknown[0]}: {subject.architecture} has no such field: see its configuration class"
            )
        return AutoConfig.for_model(subject.architecture, **fields, **subject.model_config)
    except (TypeError, ValueError) as error:
        raise BadInput(f"model.config does not suit {subject.architecture}: {error}".splitlines()[0]) from error


def longest(config: Any) -> int | None:
    """Return how many tokens a model takes at most, None if its configuration does not say."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return None
    # RoBERTa and its kin count positions from after the padding token's number.
    offset = config.pad_token_id + 1 if config.model_type in OFFSET_POSITIONS else 0
    return int(positions) - offset


OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert", "longformer", "mpnet", "roberta-prelayernorm"})
