"""A Transformers model as a folder in Transformers' format, which every runtime loads or exports."""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.protocol import DIGEST_FILE, Engine, Subject
from runner.worker.artifacts.cache import Fetch, Recipe, package_versions
from runner.worker.data.datasets import FITTING_SAMPLES, Dataset
from runner.worker.failures import BadInput, Unsupported
from runner.worker.subjects.hub import architecture_config, fetch_model, fresh_config, origin
from runner.worker.subjects.models import count_gops, declare_torchvision_operators
from runner.worker.subjects.tokenizers import open_tokenizer, tokenizer_recipe
from runner.worker.subjects.weights import read_state

if TYPE_CHECKING:
    from torch import nn

AUTO_CLASSES = {
    "text-classification": "SequenceClassification",
    "question-answering": "QuestionAnswering",
    "text-generation": "CausalLM",
    "image-classification": "ImageClassification",
}
"""By task, the suffix of the model classes of Transformers (``AutoModelFor…``) and Optimum (``ORTModelFor…``)."""
CHECKPOINT_VERSION = 1
"""Part of the cache key. Increment it when the way of making checkpoints changes: cached ones become invalid."""


@dataclass(frozen=True)
class Checkpoint:
    """A model's folder, and how to call the model."""

    folder: Path
    """config.json, weights as .safetensors, and the tokenizer's files if the model takes text."""
    digest: str
    """SHA-256 of all its files: weights, configuration and tokenizer."""
    task: str
    scope: str
    """``model``: tensors in, tensors out. ``pipeline``: text in, answers out."""
    pipeline_batch_size: int
    sequence_length: int | None
    new_tokens: int
    image_size: int

    @property
    def weights(self) -> Checkpoint:
        """The checkpoint itself: it has a digest, as the weights of a Network do."""
        return self

    @property
    def key(self) -> dict[str, Any]:
        """Everything that artifacts made from the checkpoint depend on, as JSON values."""
        return {"checkpoint": self.digest, "task": self.task, "packages": package_versions("torch", "transformers")}

    def module(self) -> nn.Module:
        """Return the model as Transformers loads it, in evaluation mode, in fp32."""
        import torch

        found: nn.Module = auto_class(self.task).from_pretrained(
            self.folder, dtype=torch.float32, local_files_only=True
        )
        return found.eval()

    def tokenizer(self) -> Any:
        """Return the model's tokenizer."""
        return open_tokenizer(self.folder)

    def refuse_unexportable(self, exporter: str) -> None:
        """Reject an architecture that Optimum cannot export.

        Args:
            exporter: onnx or openvino.

        Raises:
            Unsupported: the reason names the most similar architectures that Optimum can export.
        """
        import optimum.exporters.onnx.model_configs  # tells the tasks manager what each can
        import optimum.exporters.openvino  # noqa: F401
        from optimum.exporters.tasks import TasksManager

        kind = json.loads((self.folder / "config.json").read_text())["model_type"]
        # Its own get_supported_model_type_for_task stops at an architecture that only another exporter knows.
        table = TasksManager._SUPPORTED_MODEL_TYPE
        known = [name for name, exporters in table.items() if self.task in exporters.get(exporter, {})]
        if kind not in known:
            near = ", ".join(difflib.get_close_matches(kind, known, n=3, cutoff=0.3)) or ", ".join(sorted(known)[:3])
            raise Unsupported(
                f"Optimum cannot export {kind} for {self.task} to {exporter}; the nearest that it can: {near}: "
                "take one of them, or backend=torch"
            )


def auto_class(task: str) -> Any:
    """Return the class of Transformers that loads models for a task."""
    declare_torchvision_operators()  # transformers imports torchvision
    import transformers

    return getattr(transformers, f"AutoModelFor{AUTO_CLASSES[task]}")


def count_hub_operations(subject: Subject, scope: str) -> float:
    """Return the operations per sample in units of 10⁹, as PyTorch's FlopCounterMode counts them.

    Args:
        subject: the model.
        scope: model or pipeline.

    Returns:
        0 if the number is unknown: for text generation, pipelines, published models, and texts of variable length.
    """
    import torch

    unknown = subject.task == "text-generation" or subject.architecture is None or subject.weights == "pretrained"
    images = subject.task == "image-classification"
    if unknown or scope == "pipeline" or (not images and subject.sequence_length is None):
        return 0.0
    config = fresh_config(subject, None, 2) if images else architecture_config(subject)
    module = auto_class(subject.task).from_config(config).eval()
    if images:
        inputs = {"pixel_values": torch.zeros(1, 3, subject.image_size, subject.image_size)}
    else:
        inputs = {"input_ids": torch.zeros(1, subject.sequence_length or 0, dtype=torch.long)}
    return count_gops(lambda: module(**inputs))


def checkpoint_recipe(subject: Subject, seed: int, dataset: Dataset, fetch: Fetch) -> Recipe:
    """Return the recipe of a model's checkpoint.

    Args:
        subject: the model.
        seed: of random weights and of the probe.
        dataset: a probe is fitted on its training samples.
        fetch: gets the tokenizer.
    """
    text = subject.task != "image-classification"
    tokenizer = tokenizer_recipe(subject) if text else None
    key: dict[str, Any] = {
        "task": subject.task,
        "weights": subject.weights,
        "tokenizer": tokenizer.identity if tokenizer else None,
        "packages": package_versions("torch", "transformers"),
        "version": CHECKPOINT_VERSION,
    }
    if subject.weights == "pretrained":
        key |= origin(subject) | {"config": subject.model_config}
    else:
        key |= {
            "architecture": subject.architecture,
            "config": subject.model_config,
            "image_size": subject.image_size,
            "seed": seed,
            "classes": dataset.source.classes,
        }
    if subject.weights == "probe":
        key["training"] = [dataset.digest_of(dataset.training[:FITTING_SAMPLES]), subject.sequence_length]
    if subject.weights == "file" and subject.weights_path is not None:
        key["file"] = hashlib.sha256(Path(subject.weights_path).read_bytes()).hexdigest()

    def build(folder: Path) -> None:
        opened = open_tokenizer(fetch(tokenizer)) if tokenizer else None
        module = _make(subject, seed, opened, dataset)
        if opened is not None and module.can_generate():
            module.generation_config.pad_token_id = opened.pad_token_id
        module.save_pretrained(folder)
        if opened is not None:
            opened.save_pretrained(folder)

    return Recipe("checkpoint", key, build)


def _make(subject: Subject, seed: int, tokenizer: Any, dataset: Dataset) -> Any:
    """Return a model with its weights.

    Args:
        subject: the model.
        seed: of random weights and of the probe.
        tokenizer: the model's; None for images.
        dataset: a probe is fitted on its training samples.

    Raises:
        BadInput: the file of weights does not fit the model.
        Unavailable: the published model is not available.
    """
    import torch

    if subject.weights == "pretrained":
        return _load_published(subject)
    torch.manual_seed(seed)
    module = auto_class(subject.task).from_config(fresh_config(subject, tokenizer, dataset.source.classes)).eval()
    if subject.weights == "probe":
        from runner.worker.subjects.language_probe import make_probe

        make_probe(module, subject.task, dataset, seed)
    if subject.weights == "file" and subject.weights_path is not None:
        try:
            module.load_state_dict(read_state(Path(subject.weights_path)))
        except RuntimeError as error:  # PyTorch's error for missing, unexpected and misshaped tensors
            wrong = " ".join(line.strip() for line in str(error).splitlines()[1:3])[:200]
            path, architecture = subject.weights_path, subject.architecture
            raise BadInput(f"weights.path={path} does not fit {architecture}: {wrong}") from error
    return module


def _load_published(subject: Subject) -> Any:
    """Return a published model.

    Raises:
        BadInput: it does not load for the task, or its configuration is not the requested one.
        Unavailable: it is neither in a folder nor reachable.
    """
    import torch

    folder = fetch_model(subject)
    try:
        module = auto_class(subject.task).from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"model.id={subject.model_id} cannot be loaded for {subject.task}: {reason}") from error
    for name, value in subject.model_config.items():
        if (own := getattr(module.config, name, None)) != value:
            raise BadInput(f"model.config.{name}: received {value}; allowed: {own}, the value of {subject.model_id}")
    return module.eval()


def open_checkpoint(subject: Subject, engine: Engine, folder: Path) -> Checkpoint:
    """Return a checkpoint of the cache.

    Args:
        subject: the model.
        engine: its scope and pipeline_batch_size apply.
        folder: the checkpoint's folder in the cache.
    """
    return Checkpoint(
        folder=folder,
        digest=hashlib.sha256(json.dumps(json.loads((folder / DIGEST_FILE).read_text())["files"]).encode()).hexdigest(),
        task=subject.task,
        scope=engine.scope,
        pipeline_batch_size=engine.pipeline_batch_size,
        sequence_length=subject.sequence_length,
        new_tokens=subject.new_tokens,
        image_size=subject.image_size,
    )
