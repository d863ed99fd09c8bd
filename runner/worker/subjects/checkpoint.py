"""A model as a folder in Transformers' format, from which every runtime begins."""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.protocol import DIGEST_FILE, Job
from runner.worker.artifacts.cache import Fetch, Recipe, package_versions
from runner.worker.data.datasets import FITTING_SAMPLES, Dataset
from runner.worker.failures import BadInput, Unsupported
from runner.worker.subjects.hub import bare_config, fetch_model, fresh_config, origin
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
"""Tasks, and what Transformers', ONNX Runtime's and OpenVINO's classes of models are called behind their `For`."""
CHECKPOINT_VERSION = 1
"""Raised when the way checkpoints are made changes, so that cached ones are no longer found."""


@dataclass(frozen=True)
class Checkpoint:
    """A model's folder, and how it is to be asked."""

    folder: Path
    """config.json, weights as .safetensors, and the tokenizer's files where it takes text."""
    digest: str
    """Of all its files: weights, configuration and tokenizer."""
    task: str
    scope: str
    """``model``: tensors in, tensors out. ``pipeline``: text in, answers out."""
    pipeline_batch_size: int
    sequence_length: int | None
    new_tokens: int
    image_size: int

    @property
    def weights(self) -> Checkpoint:
        """Itself: a network's weights have a digest."""
        return self

    @property
    def key(self) -> dict[str, Any]:
        """What everything that is made of it depends on."""
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
        """Refuse an architecture that Optimum cannot export.

        Args:
            exporter: onnx or openvino.

        Raises:
            Unsupported: with the nearest that it can.
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
    """Return Transformers' class that loads models for a task."""
    declare_torchvision_operators()  # transformers imports torchvision
    import transformers

    return getattr(transformers, f"AutoModelFor{AUTO_CLASSES[task]}")


def count_hub_operations(job: Job) -> float:
    """Return the operations of one sample's inference in units of 10⁹, as PyTorch's FlopCounterMode counts them.

    0 where they cannot be told: of a model that generates, or of one that is known by its id only; of texts whose
    length is not fixed.
    """
    import torch

    untold = job.task == "text-generation" or job.architecture is None or job.weights == "pretrained"
    if untold or job.scope == "pipeline" or (job.task != "image-classification" and job.sequence_length is None):
        return 0.0
    config = fresh_config(job, None, 2) if job.task == "image-classification" else bare_config(job)
    module = auto_class(job.task).from_config(config).eval()
    if job.task == "image-classification":
        inputs = {"pixel_values": torch.zeros(1, 3, job.image_size, job.image_size)}
    else:
        inputs = {"input_ids": torch.zeros(1, job.sequence_length or 0, dtype=torch.long)}
    return count_gops(lambda: module(**inputs))


def checkpoint_recipe(job: Job, dataset: Dataset, fetch: Fetch) -> Recipe:
    """Return how the checkpoint of a job is made.

    Args:
        job: what to run.
        dataset: the job's; a probe is fitted on its training samples.
        fetch: gets the tokenizer.
    """
    text = job.task != "image-classification"
    tokenizer = tokenizer_recipe(job) if text else None
    key: dict[str, Any] = {
        "task": job.task,
        "weights": job.weights,
        "tokenizer": tokenizer.identity if tokenizer else None,
        "packages": package_versions("torch", "transformers"),
        "version": CHECKPOINT_VERSION,
    }
    if job.weights == "pretrained":
        key |= origin(job) | {"config": job.model_config}
    else:
        key |= {
            "architecture": job.architecture,
            "config": job.model_config,
            "image_size": job.image_size,
            "seed": job.seed,
            "classes": dataset.source.classes,
        }
    if job.weights == "probe":
        key["training"] = [dataset.digest_of(dataset.training[:FITTING_SAMPLES]), job.sequence_length]
    if job.weights == "file" and job.weights_path is not None:
        key["file"] = hashlib.sha256(Path(job.weights_path).read_bytes()).hexdigest()

    def build(folder: Path) -> None:
        opened = open_tokenizer(fetch(tokenizer)) if tokenizer else None
        module = _make(job, opened, dataset)
        if opened is not None and module.can_generate():
            module.generation_config.pad_token_id = opened.pad_token_id
        module.save_pretrained(folder)
        if opened is not None:
            opened.save_pretrained(folder)

    return Recipe("checkpoint", key, build)


def _make(job: Job, tokenizer: Any, dataset: Dataset) -> Any:
    """Return a job's model with its weights.

    Raises:
        BadInput: the file of weights does not fit.
        Unavailable: published weights cannot be had.
    """
    import torch

    if job.weights == "pretrained":
        return _load_published(job)
    torch.manual_seed(job.seed)
    module = auto_class(job.task).from_config(fresh_config(job, tokenizer, dataset.source.classes)).eval()
    if job.weights == "probe":
        from runner.worker.subjects.language_probe import make_probe

        make_probe(module, job.task, dataset, job.seed)
    if job.weights == "file" and job.weights_path is not None:
        try:
            module.load_state_dict(read_state(Path(job.weights_path)))
        except RuntimeError as error:  # torch's one error for missing, unexpected and misshapen tensors
            wrong = " ".join(line.strip() for line in str(error).splitlines()[1:3])[:200]
            raise BadInput(f"weights.path={job.weights_path} does not fit {job.architecture}: {wrong}") from error
    return module


def _load_published(job: Job) -> Any:
    """Return a published model.

    Raises:
        BadInput: it cannot be loaded for the task, or is not configured as the job says.
        Unavailable: it cannot be had.
    """
    import torch

    folder = fetch_model(job)
    try:
        module = auto_class(job.task).from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"model.id={job.model_id} cannot be loaded for {job.task}: {reason}") from error
    for name, value in job.model_config.items():
        if (own := getattr(module.config, name, None)) != value:
            raise BadInput(f"model.config.{name}: received {value}; allowed: {own}, what {job.model_id} has")
    return module.eval()


def open_checkpoint(job: Job, folder: Path) -> Checkpoint:
    """Return the checkpoint that lies in a folder of the cache."""
    return Checkpoint(
        folder=folder,
        digest=hashlib.sha256(json.dumps(json.loads((folder / DIGEST_FILE).read_text())["files"]).encode()).hexdigest(),
        task=job.task,
        scope=job.scope,
        pipeline_batch_size=job.pipeline_batch_size,
        sequence_length=job.sequence_length,
        new_tokens=job.new_tokens,
        image_size=job.image_size,
    )
