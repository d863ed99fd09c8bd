"""From a job to what is run and on what: a checkpoint, and images or texts for it."""

from __future__ import annotations

from typing import Any

from runner.protocol import Job
from runner.worker.cache import Fetch
from runner.worker.datasets import Dataset, open_dataset, split
from runner.worker.failures import BadInput
from runner.worker.optimum.checkpoint import checkpoint_recipe, open_checkpoint
from runner.worker.optimum.hub import fresh_config, longest
from runner.worker.optimum.texts import Encoder, open_texts
from runner.worker.optimum.tokenizers import open_tokenizer, tokenizer_recipe


def open_subject(job: Job, fetch: Fetch) -> tuple[Dataset, Any]:
    """Return a job's data set and its checkpoint.

    Raises:
        JobFailure: they cannot be had.
        Missing: from `fetch`.
    """
    dataset = open_dataset(job, fetch) if job.task == "image-classification" else _texts(job, fetch)
    return dataset, open_checkpoint(job, fetch(checkpoint_recipe(job, dataset, fetch)))


def _texts(job: Job, fetch: Fetch) -> Dataset:
    """Return the texts of a job, as its model's tokenizer makes them.

    Raises:
        BadInput: they are longer than the model takes, or fewer than are asked for.
    """
    tokenizer = open_tokenizer(fetch(tokenizer_recipe(job)))
    # A published model's tokenizer knows how much the model takes.
    limit = None if job.weights == "pretrained" else longest(fresh_config(job, tokenizer, 2))
    limit = min(limit or tokenizer.model_max_length, tokenizer.model_max_length)
    room = limit - (job.new_tokens if job.task == "text-generation" else 0)
    if job.sequence_length is not None and job.sequence_length > room:
        generated = f" beside {job.new_tokens} new ones" if room < limit else ""
        raise BadInput(
            f"model.sequence_length: received {job.sequence_length}; allowed: at most {room}, "
            f"what {job.model_name} takes{generated}"
        )
    source = open_texts(job, Encoder(tokenizer, job.task, job.sequence_length, room))
    return split(source, job)
