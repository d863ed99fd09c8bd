"""Turn a command line into plans: compose and check every run before anything is launched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from runner.config.checks import check
from runner.config.composition import compose_settings, flatten, typed
from runner.config.diagnostics import unknown_fields
from runner.config.labels import describe, distinct_labels
from runner.config.redaction import hide, hide_in_override, learn
from runner.config.schema import SESSION_FIELDS, RunConfig
from runner.errors import ConfigurationError, Mistake
from runner.machine.facts import this_machine
from runner.planning.ablation import parts_of
from runner.planning.fingerprint import baseline_fingerprint, fingerprint
from runner.planning.model_files import apply_file
from runner.planning.networks import NetworkChecks
from runner.planning.resume import ONE_SHOT_FIELDS, group_of
from runner.planning.roles import Roles, derive_roles
from runner.results.plan import SELF_COMPARISON, WHOLE, Plan


def make_plans(jobs: Sequence[Sequence[str]]) -> list[Plan]:
    """Return the plan of every run.

    Args:
        jobs: the overrides of each job, without sweeps. Hydra must be initialised.

    Returns:
        One plan for each job; several for a job with `aa` or `ablate`.

    Raises:
        ConfigurationError: the jobs contain mistakes; it holds those of all jobs.
    """
    composed: list[tuple[Roles, Sequence[str]]] = []
    mistakes: list[Mistake] = []
    networks = NetworkChecks()
    for overrides in jobs:
        roles, found = _compose(overrides, networks)
        if roles is not None:
            composed.append((roles, overrides))
        mistakes += found
    mistakes += _different_sessions([roles.config for roles, _ in composed])
    if mistakes:
        raise ConfigurationError(mistakes)
    return _plans(composed)


def possible_plans(jobs: Sequence[Sequence[str]]) -> tuple[list[Plan], list[tuple[Sequence[str], list[Mistake]]]]:
    """Return the plans of the jobs without mistakes, and the others with their mistakes: for a search.

    Args:
        jobs: the overrides of each job, without sweeps. Hydra must be initialised.
    """
    composed: list[tuple[Roles, Sequence[str]]] = []
    refused: list[tuple[Sequence[str], list[Mistake]]] = []
    networks = NetworkChecks()
    for overrides in jobs:
        try:
            roles, found = _compose(overrides, networks)
        except ConfigurationError as error:
            roles, found = None, error.mistakes
        if roles is None or found:
            refused.append((overrides, found))
        else:
            composed.append((roles, overrides))
    return _plans(composed), refused


def _compose(overrides: Sequence[str], networks: NetworkChecks) -> tuple[Roles | None, list[Mistake]]:
    """Return the configurations of a job, and the mistakes in it; without configurations if these are its own."""
    settings = compose_settings(overrides)
    found = [*unknown_fields(settings), *apply_file(settings)]
    config = typed(settings)
    found += check(config) if not found else []
    found += networks.check(config) if not found else []
    return (None, found) if found else derive_roles(settings, config)


def _plans(composed: Sequence[tuple[Roles, Sequence[str]]]) -> list[Plan]:
    labels = distinct_labels([_shown(roles.settings) for roles, _ in composed])
    return [
        plan
        for label, (roles, overrides) in zip(labels, composed, strict=True)
        for plan in _expand(roles, roles.config.row.name or label or describe(roles.config), _lasting(overrides))
    ]


def _different_sessions(configs: Sequence[RunConfig]) -> list[Mistake]:
    """Return the fields of the session that a sweep varies: they hold for the whole command."""
    return [
        Mistake(name, [getattr(config, name) for config in configs], "one value for the whole command", "Give one")
        for name in SESSION_FIELDS
        if any(getattr(config, name) != getattr(configs[0], name) for config in configs)
    ]


def _expand(roles: Roles, label: str, overrides: tuple[str, ...]) -> list[Plan]:
    """Return the runs that one configuration requests: itself, its A/A runs, or itself and its ablation's parts."""
    count = roles.config.aa
    if count:
        itself = roles.with_baseline([], roles.config)
        return [
            _plan(itself, f"{label} A/A {number + 1} of {count}", overrides, part=SELF_COMPARISON)
            for number in range(count)
        ]
    if not roles.config.ablate:
        return [_plan(roles, label, overrides)]
    return [
        _plan(roles, f"{label}: the whole", overrides, part=WHOLE),
        *(
            _plan(part.roles, f"{label}: {part.setting} over {part.reverted}", overrides, part=part.setting)
            for part in parts_of(roles)
        ),
    ]


def _plan(roles: Roles, label: str, overrides: tuple[str, ...], *, part: str = "") -> Plan:
    container = OmegaConf.to_container(roles.settings, resolve=True, enum_to_str=True)
    return Plan(
        config=roles.config,
        baseline=roles.baseline,
        reference=roles.reference,
        settings=_shown(roles.settings),
        yaml=yaml.safe_dump(hide(container), sort_keys=False, allow_unicode=True),
        label=label,
        fingerprint=fingerprint(list(roles), this_machine(), repetition=label if part else ""),
        baseline_fingerprint=baseline_fingerprint(roles.baseline, this_machine()),
        overrides=overrides,
        part=part,
    )


def _lasting(overrides: Sequence[str]) -> tuple[str, ...]:
    """Return the words that ask for the same configuration again, with secrets hidden."""
    lasting = [word for word in overrides if group_of(word) not in (*ONE_SHOT_FIELDS, "shard")]
    return tuple(hide_in_override(word) for word in lasting)


def _shown(settings: DictConfig) -> dict[str, Any]:
    """Return the flattened settings with secrets hidden, and register the secrets for later texts."""
    flat = flatten(settings)
    learn(flat)
    shown: dict[str, Any] = hide(flat)
    return shown
