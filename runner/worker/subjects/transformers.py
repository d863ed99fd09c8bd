"""From a job to what is run and on what: a checkpoint, and images or texts for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from runner.protocol import BUNDLED_SAMPLES, Job
from runner.worker.artifacts.cache import Fetch
from runner.worker.data.datasets import Dataset, open_dataset, split
from runner.worker.data.texts import Encoder, open_texts
from runner.worker.failures import BadInput
from runner.worker.subjects.checkpoint import checkpoint_recipe, open_checkpoint
from runner.worker.subjects.hub import fresh_config, longest
from runner.worker.subjects.models import declare_torchvision_operators
from runner.worker.subjects.tokenizers import open_tokenizer, tokenizer_recipe

UNLIMITED = 1 << 20
"""Tokens of a text at most where neither the model nor its tokenizer says: no text is as long."""


def open_subject(job: Job, fetch: Fetch) -> tuple[Dataset, Any]:
    """Return a job's data set and its checkpoint.

    Raises:
        JobFailure: they cannot be had.
        Missing: from `fetch`.
    """
    declare_torchvision_operators()  # whatever of Transformers or Optimum is imported from here on imports torchvision
    dataset = open_dataset(job, fetch) if job.task == "image-classification" else _texts(job, fetch)
    fitted = dataset
    if job.weights == "probe" and _tells_nothing(job, dataset):
        own = FITTED_ON[job.task]
        training, evaluation = BUNDLED_SAMPLES[own]
        labelled = replace(job, data=own, evaluation_samples=evaluation, calibration_samples=training)
        fitted = open_dataset(labelled, fetch) if own == "digits" else _texts(labelled, fetch)
    return dataset, open_checkpoint(job, fetch(checkpoint_recipe(job, fitted, fetch)))


def _tells_nothing(job: Job, dataset: Dataset) -> bool:
    """Return whether a probe cannot be fitted on a job's own samples: one text, or nothing known of them."""
    return job.data == "one_text" or (job.task.endswith("-classification") and dataset.source.labels is None)


FITTED_ON = {
    "image-classification": "digits",
    "text-classification": "sentences",
    "question-answering": "questions",
    "text-generation": "passages",
}
"""What a probe is fitted on where the job's own samples cannot tell."""


def _texts(job: Job, fetch: Fetch) -> Dataset:
    """Return the texts of a job, as its model's tokenizer makes them.

    Raises:
        BadInput: they are longer than the model takes, or fewer than are asked for.
    """
    tokenizer = open_tokenizer(fetch(tokenizer_recipe(job)))
    # A published model's tokenizer knows how much the model takes, if anything does.
    limit = None if job.weights == "pretrained" else longest(fresh_config(job, tokenizer, 2))
    limit = min(limit or UNLIMITED, tokenizer.model_max_length, UNLIMITED)
    room = limit - (job.new_tokens if job.task == "text-generation" else 0)
    if job.sequence_length is not None and job.sequence_length > room:
        generated = f" beside {job.new_tokens} new ones" if room < limit else ""
        raise BadInput(
            f"model.sequence_length: received {job.sequence_length}; allowed: at most {room}, "
            f"what {job.model_name} takes{generated}"
        )
    source = open_texts(job, Encoder(tokenizer, job.task, job.sequence_length, room))
    return split(source, job)
