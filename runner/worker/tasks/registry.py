"""From a job to its task."""

from __future__ import annotations

from runner.job import Job
from runner.worker.failures import Unsupported
from runner.worker.subjects.checkpoints.checkpoint import Checkpoint
from runner.worker.subjects.subject import GENERATION, Subject
from runner.worker.tasks import base, classification, embedding, pipeline, question_answering, tensors, text_generation


def open_task(job: Job, subject: Subject) -> base.Task:
    """Return the task of a job.

    Raises:
        Unsupported: the task does not run several batches at once.
    """
    engine, task = job.engine, _plain_task(job, subject)
    if engine.scenario == "async" and (engine.scope == "pipeline" or subject.task == GENERATION):
        what = "pipelines" if engine.scope == "pipeline" else "models that generate text"
        raise Unsupported(f"{what} run one batch at a time: take scenario=sync, or instances=2")
    if engine.scope != "pipeline":
        return task
    assert isinstance(subject, Checkpoint)
    return pipeline.Task(task, subject, engine.pipeline_batch_size, job.subject.new_tokens)


def _plain_task(job: Job, subject: Subject) -> base.Task:
    """Return the task from tensors to tensors."""
    if subject.task == GENERATION:
        return text_generation.Task(subject, job.subject.new_tokens)
    if subject.task == "tensors":
        return tensors.Task(subject)
    if subject.task == "embedding":
        return embedding.Task(subject)
    if subject.task == "question-answering":
        return question_answering.Task(subject)
    return classification.Task(subject)
