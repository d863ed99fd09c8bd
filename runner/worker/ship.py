"""Write a job's model for a folder that runs without this program: ``python -m runner.worker.ship JOB REPLY TARGET``.

It runs in the environment of the measured process, so that its answers are those that were measured. The file REPLY is
then Shipped or Failure. TARGET has the model's files, the batches that were timed with their outputs, the tokenizer,
and the answers on the evaluation set.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from runner.job import Job
from runner.protocol import Load, Message, PortInfo, Shipped, decode, encode
from runner.worker.build import Gathered
from runner.worker.data.images import ArrayImages, ImageSource
from runner.worker.data.texts import Texts
from runner.worker.failures import Unsupported, as_failure
from runner.worker.session import Session
from runner.worker.subjects.checkpoints.checkpoint import Checkpoint
from runner.worker.subjects.subject import BATCH, CLASSIFICATION, GENERATION, Port
from runner.worker.subprocesses import die_with_parent

MODEL, EXAMPLE, ANSWERS, TOKENIZER = "model", "example.npz", "answers.npz", "tokenizer.json"
TOKENS = "tokens"
"""The output of a model that generates text."""
CLASSIFY = (CLASSIFICATION, "text-classification")


def main(request: Path, reply: Path, target: Path) -> None:
    """Load a job, and write its model.

    Args:
        request: a file with a Load message.
        reply: the file to write.
        target: an empty folder.
    """
    die_with_parent()
    message = decode(request.read_bytes())
    assert isinstance(message, Load)
    try:
        answer: Message = ship(message.job, target)
    except Exception as error:  # the reply reports it to the host
        answer = as_failure(error)
    reply.write_bytes(encode(answer))


def ship(job: Job, target: Path) -> Shipped:
    """Write a job's model, and return what it needs to run.

    Raises:
        JobFailure: the job cannot run, or its model not without this program.
    """
    _refuse(job)
    session = Session(job, lambda _: None)
    loaded = session.load()
    session.evaluate(str(target / ANSWERS), cached=False)
    parts = session.parts
    (target / MODEL).mkdir()
    deployment = parts.runtime.deploy(parts.model, target / MODEL)
    _write_examples(parts, target / EXAMPLE, job.subject.new_tokens)
    subject, generates = parts.subject, parts.subject.task == GENERATION
    tokens = PortInfo(TOKENS, "int64", [BATCH, job.subject.new_tokens])
    names = subject.class_names if subject.task in CLASSIFY else None
    return Shipped(
        settings=deployment.settings | ({"new_tokens": job.subject.new_tokens} if generates else {}),
        packages=list(deployment.packages),
        inputs=[_described(port) for port in subject.signature.inputs],
        outputs=[tokens] if generates else [_described(port) for port in subject.signature.outputs],
        task=subject.task,
        logits=subject.logits if subject.task in CLASSIFY else None,
        labels={str(number): name for number, name in names.items()} if names else None,
        pictures=_pictures(parts),
        texts=_texts(parts, target / TOKENIZER),
        weights_digest=loaded.weights_digest,
        data_digest=loaded.data_digest,
    )


def _refuse(job: Job) -> None:
    """Refuse what a folder cannot do.

    Raises:
        Unsupported: the job runs a pipeline, or several batches at once.
    """
    if job.engine.scope == "pipeline":
        raise Unsupported("a pipeline of Transformers cannot be shipped: take the row with scope=model")
    if job.engine.scenario == "async":
        raise Unsupported("concurrent batches in one process cannot be shipped: take scenario=sync, or instances=2")


def _write_examples(parts: Gathered, path: Path, new_tokens: int) -> None:
    """Write the batches that were timed, with their outputs: arrays named NUMBER:input:NAME and NUMBER:output:NAME.

    Raises:
        Unsupported: samples are not the rows of an input or output, so that batches could not be filled and cut.
    """
    arrays: dict[str, Any] = {}
    for number, samples in enumerate((parts.samples, *parts.others)):
        inputs = parts.subject.inputs(samples)
        if parts.subject.task == GENERATION:
            outputs = {TOKENS: parts.runtime.generator.generate(inputs, new_tokens)}
        else:
            outputs = parts.runtime.outputs(inputs)
        for side, batch in (("input", inputs), ("output", outputs)):
            for name, values in batch.items():
                if not values.ndim or len(values) != parts.settings.batch_size:
                    shape = list(values.shape)
                    raise Unsupported(
                        f"the {side} {name}, {shape}, does not begin with the batch: it cannot be shipped"
                    )
                arrays[f"{number}:{side}:{name}"] = values
    np.savez(path, **arrays)


def _described(port: Port) -> PortInfo:
    return PortInfo(port.name, port.dtype, list(port.shape))


def _pictures(parts: Gathered) -> dict[str, Any] | None:
    """Return how the model's pictures are prepared; None if it takes none, or was measured on arrays."""
    source = parts.dataset.source
    return (
        asdict(source.preprocessing)
        if isinstance(source, ImageSource) and not isinstance(source, ArrayImages)
        else None
    )


def _texts(parts: Gathered, path: Path) -> dict[str, Any] | None:
    """Write the tokenizer of a model that takes texts, and return how it encodes them."""
    source = parts.dataset.source
    if not isinstance(source, Texts) or not isinstance(parts.subject, Checkpoint):
        return None
    tokenizer = source.encoder.tokenizer
    tokenizer.backend_tokenizer.save(str(path))
    return {
        "limit": source.encoder.limit,
        "length": source.encoder.length,
        "pad_id": tokenizer.pad_token_id,
        "pad_token": tokenizer.pad_token,
        "pad_type_id": tokenizer.pad_token_type_id,
        "side": tokenizer.padding_side,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
