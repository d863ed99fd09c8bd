"""From a job to what is run and on what: a checkpoint, and images or texts for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from runner.protocol import BUNDLED_SAMPLES, Data, Job, Subject
from runner.worker.artifacts.cache import Fetch
from runner.worker.data.datasets import Dataset, open_dataset, split
from runner.worker.data.texts import Encoder, open_texts
from runner.worker.failures import BadInput
from runner.worker.subjects.checkpoint import checkpoint_recipe, open_checkpoint
from runner.worker.subjects.hub import fresh_config, longest
from runner.worker.subjects.models import declare_torchvision_operators
from runner.worker.subjects.tokenizers import open_tokenizer, tokenizer_recipe

UNLIMITED = 1 << 20
"""Tokens of a text at most if neither the model nor its tokenizer sets a limit: no text is as long."""


def open_subject(job: Job, fetch: Fetch) -> tuple[Dataset, Any]:
    """Return a job's data set and its checkpoint.

    Raises:
        JobFailure: they are not available.
        Missing: from `fetch`.
    """
    declare_torchvision_operators()  # Transformers and Optimum import torchvision
    subject, seed = job.subject, job.run.seed
    dataset = _open_data(subject, job.data, seed, fetch)
    fitted = dataset
    if subject.weights == "probe" and _tells_nothing(subject, job.data, dataset):
        own = FITTED_ON[subject.task]
        training, evaluation = BUNDLED_SAMPLES[own]
        labelled = replace(job.data, name=own, evaluation_samples=evaluation, calibration_samples=training)
        fitted = _open_data(subject, labelled, seed, fetch)
    folder = fetch(checkpoint_recipe(subject, seed, fitted, fetch))
    return dataset, open_checkpoint(subject, job.engine, folder)


def _open_data(subject: Subject, data: Data, seed: int, fetch: Fetch) -> Dataset:
    if subject.task == "image-classification":
        return open_dataset(data, subject.image_size, seed, fetch)
    return _texts(subject, data, seed, fetch)


def _tells_nothing(subject: Subject, data: Data, dataset: Dataset) -> bool:
    """Return whether a probe cannot be fitted on a job's own samples: one text, or nothing known of them."""
    return data.name == "one_text" or (subject.task.endswith("-classification") and dataset.source.labels is None)


FITTED_ON = {
    "image-classification": "digits",
    "text-classification": "sentences",
    "question-answering": "questions",
    "text-generation": "passages",
}
"""What a probe is fitted on if the job's own samples are not enough."""


def _texts(subject: Subject, data: Data, seed: int, fetch: Fetch) -> Dataset:
    """Return texts, as a model's tokenizer makes them.

    Raises:
        BadInput: they are longer than the model takes, or fewer than requested.
    """
    tokenizer = open_tokenizer(fetch(tokenizer_recipe(subject)))
    # A published model's tokenizer knows how much the model takes, if anything does.
    limit = None if subject.weights == "pretrained" else longest(fresh_config(subject, tokenizer, 2))
    limit = min(limit or UNLIMITED, tokenizer.model_max_length, UNLIMITED)
    room = limit - (subject.new_tokens if subject.task == "text-generation" else 0)
    if subject.sequence_length is not None and subject.sequence_length > room:
        generated = f" beside {subject.new_tokens} new ones" if room < limit else ""
        raise BadInput(
            f"model.sequence_length: received {subject.sequence_length}; allowed: at most {room}, "
            f"what {subject.name} takes{generated}"
        )
    source = open_texts(data, seed, Encoder(tokenizer, subject.task, subject.sequence_length, room))
    return split(source, data, seed)
