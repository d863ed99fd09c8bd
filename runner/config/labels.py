"""What a configuration is called: the choices that people compare."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from runner.config import backend_registry
from runner.config.schema import RunConfig


def distinct_labels(jobs: Sequence[dict[str, Any]]) -> list[str]:
    """Return what distinguishes each job from the others, in words; empty if nothing does.

    A setting that follows from its group's choice is not repeated: with another `backend.name`, `backend.env` says
    nothing more.

    Args:
        jobs: the flattened settings of each.
    """
    varied = [key for key in dict.fromkeys(itertools.chain(*jobs)) if len({repr(job.get(key)) for job in jobs}) > 1]
    choices = [key for key in varied if key.endswith(".name")]
    shown = [key for key in varied if key in choices or not _follows(key, f"{key.split('.')[0]}.name", jobs)]
    return [" ".join(_word(key, job.get(key)) for key in shown if job.get(key) is not None) for job in jobs]


def _follows(key: str, choice: str, jobs: Sequence[dict[str, Any]]) -> bool:
    """Return whether one setting has only one value for each value of another."""
    values: dict[str, set[str]] = {}
    for job in jobs:
        values.setdefault(repr(job.get(choice)), set()).add(repr(job.get(key)))
    return choice in jobs[0] and all(len(found) == 1 for found in values.values())


def _word(key: str, value: object) -> str:
    """Return a setting as a word of a label: a choice by its name alone."""
    return (
        str(value) if key.endswith(".name") or key == "memory_format" else f"{key.rsplit('.', maxsplit=1)[-1]}={value}"
    )


def describe(config: RunConfig) -> str:
    """Return the configuration in a few words: the choices that people compare."""
    words = [config.model.name, config.backend.name, str(config.precision.name)]
    if config.scope != "model":
        words.append(str(config.scope))
    if config.memory_format != "contiguous":
        words.append(str(config.memory_format))
    for choice, usual in (
        (config.allocator.name, "system"),
        (config.hugepages.name, "off"),
        (config.threading.name, "default"),
    ):
        if choice != usual:
            words.append(choice)
    defaults = backend_registry.backend_options(hub=config.model.is_transformers).get(config.backend.name, {})
    words += [
        f"{name}={value}"
        for name, value in config.backend.options.items()
        if name not in defaults or value != defaults[name].default
    ]
    if config.instances > 1:
        words.append(f"{config.instances} instances")
    if config.scenario != "sync":
        words.append(str(config.scenario))
    words.append(f"batch {config.batch_size}")
    return " ".join(words)
