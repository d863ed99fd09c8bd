"""Where a Transformers model comes from: a folder, the Hugging Face Hub, or only an architecture's configuration."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from runner.job import Subject
from runner.worker.artifacts.cache import Fetch, Recipe
from runner.worker.failures import BadInput, Unavailable
from runner.worker.libraries import prepare_transformers
from runner.worker.subjects.subject import GENERATION

COMMIT_FILE = "commit"
PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model"]
"""Files to download: no pickles, and no weights for other frameworks."""


def origin(subject: Subject, fetch: Fetch) -> dict[str, str]:
    """Return what identifies a published model in a cache key: the content of a folder, or name and commit on the Hub.

    It does not access the network: measured processes call it too. The commit is that of the revision when it was first
    asked for; the cache keeps it.

    Args:
        subject: the model.
        fetch: gets the commit.

    Raises:
        Missing: from `fetch`.
    """
    assert subject.model_id is not None
    folder = Path(subject.model_id)
    if not folder.is_dir():
        commit = (fetch(commit_recipe(subject)) / COMMIT_FILE).read_text()
        return {"id": subject.model_id, "commit": commit}
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file() and any(file.match(pattern) for pattern in PATTERNS):
            with file.open("rb") as stream:
                content = hashlib.file_digest(stream, "blake2b").hexdigest()
            digest.update(f"{file.relative_to(folder)} {content}\n".encode())
    return {"content": digest.hexdigest()}


def commit_recipe(subject: Subject) -> Recipe:
    """Return the recipe of the commit that a revision on the Hub is at."""

    def build(folder: Path) -> None:
        snapshot = fetch_model(subject, subject.revision)  # its folder is named by the commit
        (folder / COMMIT_FILE).write_text(snapshot.name)

    return Recipe("commit", {"id": subject.model_id, "revision": subject.revision}, build)


def fetch_model(subject: Subject, revision: str | None) -> Path:
    """Return the folder of a published model: `model_id` itself, or the Hub's cached copy of it.

    Args:
        subject: the model.
        revision: branch, tag or commit on the Hub; None for the main branch.

    Raises:
        Unavailable: it is not a folder, not in the Hub's cache, and not reachable.
    """
    from huggingface_hub import snapshot_download

    assert subject.model_id is not None
    if Path(subject.model_id).is_dir():
        return Path(subject.model_id)
    try:
        return Path(snapshot_download(subject.model_id, revision=revision, allow_patterns=PATTERNS))
    except Exception as error:  # the errors of requests, the Hub and its cache have no common base
        at = f" at {revision}" if revision else ""
        raise Unavailable(
            f"model.id={subject.model_id}{at} is neither a folder nor reachable ({type(error).__name__}): take "
            "weights=random or weights=probe with model.architecture, or model.id=FOLDER"
        ) from error


def fresh_config(subject: Subject, tokenizer: Any, classes: int) -> Any:
    """Return the configuration of a model with new weights: the architecture's defaults, and the subject's own fields.

    Args:
        subject: the model.
        tokenizer: its special tokens go into the configuration; None for images.
        classes: number of outputs of a classifier.

    Raises:
        BadInput: the architecture has no such field, or rejects its value.
    """
    fields: dict[str, Any] = {"num_labels": classes}
    if tokenizer is None:
        fields["image_size"] = subject.image_size  # known by then: see published.picture_preparation
    else:
        marks = {"pad": tokenizer.pad_token_id, "bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id}
        fields |= {f"{name}_token_id": number for name, number in marks.items() if number is not None}
    if subject.task == GENERATION:
        fields["tie_word_embeddings"] = False  # fitting the probe's output weights must not change its input embeddings
    return architecture_config(subject, **fields)


def architecture_config(subject: Subject, **fields: Any) -> Any:
    """Return the architecture's default configuration with the given fields and the subject's own.

    Args:
        subject: the model.
        fields: fields of the configuration; those of the subject must differ from them.

    Raises:
        BadInput: the architecture has no such field, or rejects its value.
    """
    prepare_transformers()
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


def max_tokens(config: Any) -> int | None:
    """Return the maximum number of tokens that a model takes, None if its configuration does not say."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return None
    offset = config.pad_token_id + 1 if config.model_type in OFFSET_POSITIONS else 0
    return int(positions) - offset


OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert", "longformer", "mpnet", "roberta-prelayernorm"})
"""Architectures whose positions start after the padding token's id."""
