"""Short descriptions of configurations, built from the choices that users compare."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from runner.config import backend_registry
from runner.config.schema import RunConfig


def distinct_labels(jobs: Sequence[dict[str, Any]]) -> list[str]:
    """Return a label for each job from the settings in which the jobs differ; empty strings if they do not differ.

    A setting that depends only on its group's choice is omitted: `backend.env` adds nothing to `backend.name`.

    Args:
        jobs: the flattened settings of each job.
    """
    varied = [key for key in dict.fromkeys(itertools.chain(*jobs)) if len({repr(job.get(key)) for job in jobs}) > 1]
    choices = [key for key in varied if key.endswith(".name")]
    shown = [key for key in varied if key in choices or not _depends_on(key, f"{key.split('.')[0]}.name", jobs)]
    return [" ".join(_word(key, job.get(key)) for key in shown if job.get(key) is not None) for job in jobs]


def _depends_on(key: str, choice: str, jobs: Sequence[dict[str, Any]]) -> bool:
    """Return whether `key` has exactly one value for each value of `choice`."""
    values: dict[str, set[str]] = {}
    for job in jobs:
        values.setdefault(repr(job.get(choice)), set()).add(repr(job.get(key)))
    return choice in jobs[0] and all(len(found) == 1 for found in values.values())


def _word(key: str, value: object) -> str:
    """Return a setting as a word of a label: the name alone for a choice, else ``name=value``."""
    return (
        str(value) if key.endswith(".name") or key == "memory_format" else f"{key.rsplit('.', maxsplit=1)[-1]}={value}"
    )


def describe(config: RunConfig) -> str:
    """Describe a configuration in words: model, backend, precision, batch size, and settings other than defaults."""
    words = [config.model.name, config.backend.name, str(config.precision.name)]
    if config.scope != "model":
        words.append(str(config.scope))
    if config.memory_format != "contiguous":
        words.append(str(config.memory_format))
    for choice, default in (
        (config.allocator.name, "system"),
        (config.hugepages.name, "off"),
        (config.threading.name, "default"),
    ):
        if choice != default:
            words.append(choice)
    known = backend_registry.backends().get(config.backend.name)
    defaults = known.options if known else {}
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
