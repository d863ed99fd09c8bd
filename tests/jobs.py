"""Jobs for tests, built from flat keywords."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from runner.job import HOST_ENVIRONMENT, Data, Engine, Environment, Expectations, Job, RunSettings, Subject
from runner.worker.artifacts.cache import Cache
from runner.worker.build import open_cache

GROUPS = {"subject": Subject, "data": Data, "engine": Engine, "run": RunSettings, "expectations": Expectations}
DATA_NAME = {"data": "name", "data_path": "path", "data_text": "text"}
"""Keywords for fields of Data whose own names are too general; ``name`` is the model's."""


def make_job(**fields: Any) -> Job:
    """Return a small job, ResNet-18 on 32 × 32 pixels in fp32 PyTorch, with other values in some fields.

    Args:
        fields: see :func:`change_job`.
    """
    job = Job(
        subject=Subject(name="resnet18", image_size=32),
        data=Data(evaluation_samples=8, calibration_samples=8),
        run=RunSettings(batch_size=4, environments={HOST_ENVIRONMENT: Environment(sys.executable, "tests")}),
    )
    return change_job(job, **fields)


def change_job(job: Job, **fields: Any) -> Job:
    """Return a job with other values in some fields, each in the group that has it.

    Args:
        job: the original.
        fields: names of fields of any group; those of Data that are keys of DATA_NAME go by these.

    Raises:
        TypeError: no group has such a field.
    """
    for field, value in fields.items():
        group = "data" if field in DATA_NAME else _group_of(field)
        changed = dataclasses.replace(getattr(job, group), **{DATA_NAME.get(field, field): value})
        job = dataclasses.replace(job, **{group: changed})
    return job


def cache_of(job: Job) -> Cache:
    """Return a job's cache, as a process of the host's environment opens it."""
    return open_cache(job, HOST_ENVIRONMENT)


def _group_of(field: str) -> str:
    for group, cls in GROUPS.items():
        if field in {one.name for one in dataclasses.fields(cls)}:
            return group
    raise TypeError(f"{field}: no group of a job has such a field")
