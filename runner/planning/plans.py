"""From the command line to plans: every run composed and checked before anything is launched."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from runner.config.checks import check
from runner.config.composition import (
    COMPOSITION_ERRORS,
    compose_settings,
    derive,
    diagnose,
    flatten,
    parse,
    typed,
    unknown_fields,
)
from runner.config.redaction import hide, learn
from runner.config.schema import OF_THE_COMMAND, ConfigurationError, Mistake, Precision, RowConfig, RunConfig
from runner.machine.facts import Machine, as_dict, this_machine
from runner.paths import PROJECT, extra_backend_folders
from runner.processes.launch import describe
from runner.protocol import PACKAGES

AA = "A/A"
"""A run of a configuration against itself."""
WHOLE = "whole"
"""The first row of an ablation: everything together, against the baseline."""


@dataclass(frozen=True)
class Plan:
    """A run that is still to be made."""

    config: RunConfig
    baseline: RunConfig
    reference: RunConfig
    """The fp32 configuration whose logits are the truth that this run's are compared with."""
    settings: dict[str, Any]
    """The flattened resolved configuration, its secrets hidden."""
    yaml: str
    """The resolved configuration, for the run's folder, its secrets hidden."""
    label: str
    fingerprint: str
    part: str = ""
    """AA; in an ablation WHOLE, or the setting that the baseline of this run has put back; else empty."""


@dataclass(frozen=True)
class Composed:
    """One run's configuration and the two that are derived from it."""

    settings: DictConfig
    config: RunConfig
    baseline: RunConfig
    reference: RunConfig


def make_plans(jobs: Sequence[Sequence[str]]) -> list[Plan]:
    """Return the plan of every run, before anything is launched.

    Args:
        jobs: the overrides of each.

    Raises:
        ConfigurationError: with all mistakes of all jobs.
    """
    mistakes: list[Mistake] = []
    composed: list[Composed] = []
    for overrides in jobs:
        settings = compose_settings(overrides)
        config = typed(settings)
        found = [*unknown_fields(settings), *check(config)]
        mistakes += found
        if not found:
            baseline, of_baseline = derived_config("baseline", settings, config.baseline)
            reference, of_reference = derived_config("reference", settings, config.reference)
            if reference.precision.name is not Precision.fp32:
                allowed = "overrides with precision=fp32: it is the truth for accuracy"
                of_reference.append(Mistake("reference", config.reference, allowed))
            mistakes += [*of_baseline, *of_reference]
            composed.append(Composed(settings, config, baseline, reference))
    if mistakes:
        raise ConfigurationError(mistakes)
    labels = distinct_labels([_shown(one.settings) for one in composed])
    return [
        plan
        for label, one in zip(labels, composed, strict=True)
        for plan in _expand(one, one.config.row.name or label or describe(one.config))
    ]


def _shown(settings: DictConfig) -> dict[str, Any]:
    """Return the flattened settings without their secrets."""
    flat = flatten(settings)
    learn(flat)
    shown: dict[str, Any] = hide(flat)
    return shown


def _plan(composed: Composed, label: str, *, part: str = "") -> Plan:
    container = OmegaConf.to_container(composed.settings, resolve=True, enum_to_str=True)
    return Plan(
        config=composed.config,
        baseline=composed.baseline,
        reference=composed.reference,
        settings=_shown(composed.settings),
        yaml=yaml.safe_dump(hide(container), sort_keys=False, allow_unicode=True),
        label=label,
        fingerprint=fingerprint(composed, this_machine(), label if part else ""),
        part=part,
    )


def _expand(composed: Composed, label: str) -> list[Plan]:
    """Return the runs that one configuration asks for: itself, its A/A repetitions, or itself and its parts."""
    count = composed.config.aa
    if count:
        itself = _against(composed, [], composed.config)
        return [_plan(itself, f"{label} A/A {number + 1} of {count}", part=AA) for number in range(count)]
    if composed.config.ablate:
        return [_plan(composed, f"{label}: the whole", part=WHOLE), *_parts(composed, label)]
    return [_plan(composed, label)]


def _parts(composed: Composed, label: str) -> list[Plan]:
    """Return for each setting that the baseline has otherwise: the whole, against the whole with that one put back.

    Raises:
        ConfigurationError: nothing differs from the baseline, or a part put back leaves a configuration with a mistake.
    """
    found, mistakes = [], []
    for key, words in _by_group(composed.config.baseline).items():
        put_back = derive(composed.settings, words)
        if OmegaConf.select(composed.settings, key) == OmegaConf.select(put_back, key):
            continue
        config, wrong = derived_config(f"ablate, with {' '.join(words)}", composed.settings, words)
        mistakes += wrong
        part = f"{key}={_choice(composed.settings, key)}"
        over = f"{part} over {_choice(put_back, key)}"
        found.append(_plan(_against(composed, words, config), f"{label}: {over}", part=part))
    if not found:
        mistakes.append(Mistake("ablate", True, "a configuration that differs from its baseline", "Add backend=…"))
    if mistakes:
        raise ConfigurationError(mistakes)
    return found


def _against(composed: Composed, words: Sequence[str], baseline: RunConfig) -> Composed:
    """Return a configuration with another baseline than its own, and so with no row in a table."""
    settings = composed.settings.copy()
    OmegaConf.update(settings, "baseline", list(words), merge=False)
    OmegaConf.update(settings, "row", OmegaConf.structured(RowConfig), merge=False)
    return Composed(settings, typed(settings), baseline, composed.reference)


def _by_group(words: Sequence[str]) -> dict[str, list[str]]:
    """Return overrides by the group or field that they set: a choice and its options are one setting."""
    found: dict[str, list[str]] = {}
    for word, override in zip(words, parse(words), strict=True):
        found.setdefault(str(override.key_or_group).replace("/", ".").split(".")[0], []).append(word)
    return found


def _choice(settings: DictConfig, key: str) -> object:
    """Return what is chosen in a group, by its name, or a field's value."""
    chosen = OmegaConf.select(settings, key)
    return chosen.name if isinstance(chosen, DictConfig) else chosen


def derived_config(role: str, settings: DictConfig, words: Sequence[str]) -> tuple[RunConfig, list[Mistake]]:
    """Return the configuration that a role's overrides make of a run's own, and its mistakes, named by the role.

    Raises:
        ConfigurationError: the overrides cannot be composed.
    """
    try:
        config = typed(derive(settings, words))
    except COMPOSITION_ERRORS as error:
        told = diagnose(words, error).mistakes
        raise ConfigurationError(replace(one, field=f"{role}: {one.field}") for one in told) from error
    return config, [replace(one, field=f"{role}: {one.field}") for one in check(config)]


def distinct_labels(jobs: Sequence[dict[str, Any]]) -> list[str]:
    """Return what tells each job from the others, in words: empty where nothing does.

    A setting that follows from its group's choice is not repeated: with another `backend.name`, `backend.env` says
    nothing more.

    Args:
        jobs: the flattened settings of each.
    """
    varied = [key for key in dict.fromkeys(itertools.chain(*jobs)) if len({repr(job.get(key)) for job in jobs}) > 1]
    choices = [key for key in varied if key.endswith(".name")]
    told = [key for key in varied if key in choices or not _follows(key, f"{key.split('.')[0]}.name", jobs)]
    return [" ".join(_word(key, job.get(key)) for key in told if job.get(key) is not None) for job in jobs]


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


def fingerprint(composed: Composed, machine: Machine, repetition: str) -> str:
    """Return a hash over everything that a result depends on: configuration, code, packages, machine.

    Args:
        composed: the run's configuration, its baseline's and its reference's; files that they name count by their
            sizes and times.
        machine: where it runs.
        repetition: tells runs of one configuration apart, as in A/A; else empty.
    """
    config = composed.config
    roles = (config, composed.baseline, composed.reference)
    content = {
        "repetition": repetition,
        "settings": [_measured(one) for one in roles],
        "files": [_stamps(path) for path in (config.weights.path, config.data.path, config.model.id) if path],
        "code": code_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "interpreters": [_packages_beside(place) for one in roles if (place := one.backend.interpreter)],
        "machine": as_dict(machine),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _measured(config: RunConfig) -> dict[str, Any]:
    """Return what of a configuration says what is measured."""
    return {name: value for name, value in asdict(config).items() if name not in OF_THE_COMMAND}


@cache
def _stamps(path: str) -> list[tuple[str, int, int]]:
    """Return name, bytes and time of a file, or of all files in a folder; nothing where it is neither."""
    named = Path(path)
    files = sorted(file for file in named.rglob("*") if file.is_file()) if named.is_dir() else [named]
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.exists()]


@cache
def _packages_beside(interpreter: str) -> list[str]:
    """Return names and versions of the packages of a backend's own interpreter; none where it is not there."""
    place = (PROJECT / interpreter).parent.parent
    return sorted(found.stem for found in place.glob("lib/python*/site-packages/*.dist-info"))


@cache
def code_version() -> str:
    """Return a hash over this program's own source, and that of backends outside this checkout."""
    digest = hashlib.sha256()
    for folder in (PROJECT / "runner", *extra_backend_folders()):
        for file in sorted(folder.rglob("*.py")):
            digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # the runs that need it will be `unavailable`
        return "absent"
