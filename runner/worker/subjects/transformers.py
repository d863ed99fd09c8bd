"""From a job of a Transformers model to its data set and checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from runner.job import Data, Job
from runner.job import Subject as Choice
from runner.protocol import BUNDLED_SAMPLES
from runner.worker.artifacts.cache import Fetch
from runner.worker.data.datasets import Dataset, split
from runner.worker.data.images import open_images
from runner.worker.data.preprocessing import Preprocessing
from runner.worker.data.texts import Encoder, open_texts
from runner.worker.failures import BadInput
from runner.worker.libraries import prepare_transformers
from runner.worker.subjects.checkpoints.checkpoint import PIXELS, Checkpoint, checkpoint_recipe
from runner.worker.subjects.checkpoints.hub import fresh_config, max_tokens, origin
from runner.worker.subjects.checkpoints.published import class_names, picture_preparation
from runner.worker.subjects.checkpoints.tokenizers import open_tokenizer, tokenizer_recipe
from runner.worker.subjects.subject import BATCH, GENERATION, TOKENS, Port, Subject

IMAGES = "image-classification"
UNLIMITED = 1 << 20
"""Maximum number of tokens of a text if neither the model nor its tokenizer has a limit: more than any text has."""


def open_subject(job: Job, fetch: Fetch) -> tuple[Dataset, Subject]:
    """Return a job's samples and its checkpoint; see :class:`runner.worker.subjects.subject.Opener`."""
    prepare_transformers()
    subject, seed = job.subject, job.run.seed
    preparation = picture_preparation(subject, fetch) if subject.task == IMAGES else None
    if preparation is not None:
        subject = replace(subject, image_size=preparation.size)
    dataset = _open_data(subject, job.data, seed, fetch, preparation)
    fitted = dataset
    if subject.weights == "probe" and _cannot_fit_probe(subject, job.data, dataset):
        own = PROBE_DATA[subject.task]
        training, evaluation = BUNDLED_SAMPLES[own]
        labelled = replace(job.data, name=own, evaluation_samples=evaluation, calibration_samples=training)
        fitted = _open_data(subject, labelled, seed, fetch, preparation)
    folder = fetch(checkpoint_recipe(subject, seed, fitted, fetch))
    found = Checkpoint(subject.name, subject.task, folder, _inputs(subject, dataset), _notes(subject, fetch))
    if subject.weights == "pretrained" and subject.task.endswith("-classification"):
        found.class_names = class_names(subject, fetch)
        found.classes = len(found.class_names or ()) or None
    return dataset, found


def _notes(subject: Choice, fetch: Fetch) -> tuple[str, ...]:
    """Return the commit of a model on the Hub."""
    commit = origin(subject, fetch).get("commit") if subject.weights == "pretrained" else None
    return (f"{subject.model_id} at commit {commit}",) if commit else ()


def _inputs(subject: Choice, dataset: Dataset) -> tuple[Port, ...]:
    """Return a model's inputs: images, or what its tokenizer returns."""
    if subject.task == IMAGES:
        size = subject.image_size or 0
        return (Port(PIXELS, "float32", (BATCH, 3, size, size)),)
    encoded = dataset.source.batch(dataset.evaluation[:1]).inputs
    return tuple(Port(name, "int64", (BATCH, subject.sequence_length or TOKENS)) for name in encoded)


def _open_data(subject: Choice, data: Data, seed: int, fetch: Fetch, preparation: Preprocessing | None) -> Dataset:
    published = class_names(subject, fetch) if subject.weights == "pretrained" else None
    if preparation is not None:
        return open_images(data, preparation, seed, fetch, published)
    return _texts(subject, data, seed, fetch, published)


def _cannot_fit_probe(subject: Choice, data: Data, dataset: Dataset) -> bool:
    """Return whether a data set cannot fit a probe: all samples are one text, or they have no labels."""
    return data.name == "one_text" or (subject.task.endswith("-classification") and dataset.source.labels is None)


PROBE_DATA = {
    "image-classification": "digits",
    "text-classification": "sentences",
    "question-answering": "questions",
    "text-generation": "passages",
    "embedding": "sentences",
}
"""By task, the data set that fits a probe if the job's own samples cannot."""


def _texts(subject: Choice, data: Data, seed: int, fetch: Fetch, published: Mapping[int, str] | None) -> Dataset:
    """Return texts, encoded by the model's tokenizer.

    Raises:
        BadInput: they are longer than the model allows, or fewer than requested.
    """
    tokenizer = open_tokenizer(fetch(tokenizer_recipe(subject, fetch)))
    # For a published model the tokenizer has the limit, if it is known at all.
    limit = None if subject.weights == "pretrained" else max_tokens(fresh_config(subject, tokenizer, 2))
    limit = min(limit or UNLIMITED, tokenizer.model_max_length, UNLIMITED)
    room = limit - (subject.new_tokens if subject.task == GENERATION else 0)
    if subject.sequence_length is not None and subject.sequence_length > room:
        generated = f" beside {subject.new_tokens} new ones" if room < limit else ""
        raise BadInput(
            f"model.sequence_length: received {subject.sequence_length}; allowed: at most {room}, "
            f"the limit of {subject.name}{generated}"
        )
    source = open_texts(data, seed, Encoder(tokenizer, subject.task, subject.sequence_length, room), published)
    return split(source, data, seed)
