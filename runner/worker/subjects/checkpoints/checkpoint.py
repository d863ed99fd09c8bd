"""A Transformers model as a folder in Transformers' format."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.job import Subject as Choice
from runner.protocol import DIGEST_FILE
from runner.worker.artifacts.cache import Fetch, Recipe
from runner.worker.data.datasets import FITTING_SAMPLES, Dataset
from runner.worker.data.texts import TextBatch
from runner.worker.failures import BadInput, Unsupported
from runner.worker.libraries import prepare_transformers
from runner.worker.subjects.checkpoints.hub import fetch_model, fresh_config, origin
from runner.worker.subjects.checkpoints.tokenizers import open_tokenizer, tokenizer_recipe
from runner.worker.subjects.state_dicts import load_into, read_state, shapes_of
from runner.worker.subjects.subject import BATCH, CHECKPOINT, MODULE, Batch, Form, Port, Signature, Subject

if TYPE_CHECKING:
    from torch import Tensor, nn

PIXELS = "pixel_values"
"""Name of the input of a model that takes images."""

AUTO_CLASSES = {
    "text-classification": "SequenceClassification",
    "question-answering": "QuestionAnswering",
    "text-generation": "CausalLM",
    "image-classification": "ImageClassification",
    "embedding": "FeatureExtraction",
}
"""By task, the suffix of the model classes of Optimum (``ORTModelFor…``) and, but for those without a head, of
Transformers (``AutoModelFor…``)."""
OPTIMUM_TASKS = {"embedding": "feature-extraction"}
"""Tasks that Optimum knows by another name."""
CHECKPOINT_VERSION = 2
"""Part of the cache key. Increment it when the way of making checkpoints changes: cached ones become invalid."""
PROBE_FILE = "probe.json"
"""Beside a checkpoint whose weights are a probe: how well it stands for trained weights."""


OUTPUTS = {
    "text-classification": ("logits",),
    "question-answering": ("start_logits", "end_logits"),
    "text-generation": ("logits",),
    "image-classification": ("logits",),
    "embedding": ("last_hidden_state",),
}
"""By task, the outputs of a model."""


class Checkpoint(Subject):
    """A model's folder."""

    forms = (CHECKPOINT, MODULE)

    def __init__(
        self, name: str, task: str, checkpoint: Path, inputs: tuple[Port, ...], notes: tuple[str, ...] = ()
    ) -> None:
        """Store the model's parts.

        Args:
            name: for messages.
            task: a value of ``runner.config.schema.Task``.
            checkpoint: config.json, weights as .safetensors, and the tokenizer's files if the model takes text.
            inputs: the model's inputs.
            notes: on where it comes from, for readers of the result.
        """
        self.name = name
        self.notes = notes
        self.task = task
        self.checkpoint = checkpoint
        probe = checkpoint / PROBE_FILE
        self.int8_sqnr_db = json.loads(probe.read_text())["int8_sqnr_db"] if probe.exists() else None
        self.signature = Signature(inputs, tuple(Port(output, "float32", (BATCH, "…")) for output in OUTPUTS[task]))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all files: weights, configuration and tokenizer."""
        files = json.loads((self.checkpoint / DIGEST_FILE).read_text())["files"]
        return hashlib.sha256(json.dumps(files).encode()).hexdigest()

    @property
    def key(self) -> dict[str, Any]:
        """Everything that artifacts made from the checkpoint depend on, as JSON values."""
        return {"checkpoint": self.digest, "task": self.task, "signature": self.signature.key}

    def folder(self, form: Form) -> Path | None:
        """Return the checkpoint's folder; None for the module, which is made from it."""
        return self.checkpoint if form == CHECKPOINT else None

    def inputs(self, samples: Any) -> Batch:
        """Return texts as the tokenizer encoded them, or images as the only input."""
        if isinstance(samples, TextBatch):
            return samples.inputs
        return {PIXELS: samples}

    def arguments(self, tensors: Mapping[str, Tensor]) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """Return the inputs as keyword arguments."""
        return (), dict(tensors)

    def module(self) -> nn.Module:
        """Return the model as Transformers loads it, in evaluation mode, in fp32."""
        import torch

        found: nn.Module = auto_class(self.task).from_pretrained(
            self.checkpoint, dtype=torch.float32, local_files_only=True
        )
        return found.eval()

    def meta_module(self) -> nn.Module:
        """Return the architecture on the meta device."""
        import torch
        from transformers import AutoConfig

        kind = auto_class(self.task)
        with torch.device("meta"):
            found: nn.Module = kind.from_config(AutoConfig.from_pretrained(self.checkpoint, local_files_only=True))
        return found.eval()

    def tokenizer(self) -> Any:
        """Return the model's tokenizer."""
        return open_tokenizer(self.checkpoint)

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

        kind = json.loads((self.checkpoint / "config.json").read_text())["model_type"]
        # Its own get_supported_model_type_for_task stops at an architecture that only another exporter knows.
        table, task = TasksManager._SUPPORTED_MODEL_TYPE, OPTIMUM_TASKS.get(self.task, self.task)
        known = [name for name, exporters in table.items() if task in exporters.get(exporter, {})]
        if kind not in known:
            near = ", ".join(difflib.get_close_matches(kind, known, n=3, cutoff=0.3)) or ", ".join(sorted(known)[:3])
            raise Unsupported(
                f"Optimum cannot export {kind} for {self.task} to {exporter}; the nearest that it can: {near}: "
                "take one of them, or backend=torch"
            )


def auto_class(task: str) -> Any:
    """Return the class of Transformers that loads models for a task."""
    prepare_transformers()
    import transformers

    return getattr(transformers, "AutoModel" if task == "embedding" else f"AutoModelFor{AUTO_CLASSES[task]}")


def checkpoint_recipe(subject: Choice, seed: int, dataset: Dataset, fetch: Fetch) -> Recipe:
    """Return the recipe of a model's checkpoint.

    Args:
        subject: the model.
        seed: of random weights and of the probe.
        dataset: a probe is fitted on its training samples.
        fetch: gets the tokenizer.
    """
    text = subject.task != "image-classification"
    tokenizer = tokenizer_recipe(subject, fetch) if text else None
    key: dict[str, Any] = {
        "task": subject.task,
        "weights": subject.weights,
        "tokenizer": tokenizer.key if tokenizer else None,
        "version": CHECKPOINT_VERSION,
    }
    if subject.weights == "pretrained":
        key |= origin(subject, fetch) | {"config": subject.model_config}
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
        with Path(subject.weights_path).open("rb") as stream:
            key["file"] = [hashlib.file_digest(stream, "sha256").hexdigest(), subject.weights_key]

    def build(folder: Path) -> None:
        opened = open_tokenizer(fetch(tokenizer)) if tokenizer else None
        module, sqnr_db = _make(subject, seed, opened, dataset, key.get("commit"))
        if opened is not None and module.can_generate():
            module.generation_config.pad_token_id = opened.pad_token_id
        module.save_pretrained(folder)
        if opened is not None:
            opened.save_pretrained(folder)
        if sqnr_db is not None:
            (folder / PROBE_FILE).write_text(json.dumps({"int8_sqnr_db": sqnr_db}))

    return Recipe("checkpoint", key, build)


def _make(subject: Choice, seed: int, tokenizer: Any, dataset: Dataset, commit: str | None) -> tuple[Any, float | None]:
    """Return a model with its weights, and what int8 leaves of a probe of images, in dB.

    Args:
        subject: the model.
        seed: of random weights and of the probe.
        tokenizer: the model's; None for images.
        dataset: a probe is fitted on its training samples.
        commit: of a model on the Hub.

    Raises:
        BadInput: the file of weights does not fit the model.
        Unavailable: the published model is not available.
    """
    import torch

    if subject.weights == "pretrained":
        return _load_published(subject, commit), None
    sqnr_db = None
    torch.manual_seed(seed)
    module = auto_class(subject.task).from_config(fresh_config(subject, tokenizer, dataset.source.classes)).eval()
    if subject.weights == "probe":
        from runner.worker.subjects.probes.language_probe import make_probe

        sqnr_db = make_probe(module, subject.task, dataset, seed)
    if subject.weights == "file" and subject.weights_path is not None:
        path = Path(subject.weights_path)
        state = read_state(path, subject.weights_key, shapes_of(module))
        load_into(module, state, path, str(subject.architecture))
    return module, sqnr_db


def _load_published(subject: Choice, commit: str | None) -> Any:
    """Return a published model; of the Hub, at a commit.

    Raises:
        BadInput: it does not load for the task, or its configuration is not the requested one.
        Unavailable: it is neither in a folder nor reachable.
    """
    import torch

    folder = fetch_model(subject, commit)
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
