"""Plan an ablation: compare a configuration with itself after reverting one setting at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from runner.config.composition import derive, parse
from runner.errors import ConfigurationError, Mistake
from runner.planning.roles import Roles, derived_config


@dataclass(frozen=True)
class Part:
    """The comparison that measures one setting's contribution."""

    roles: Roles
    """The whole configuration, with itself after reverting this setting as the baseline."""
    setting: str
    """The setting in the whole configuration, for example ``allocator=tcmalloc``."""
    reverted: object
    """The baseline's value of the setting, for example ``system``."""


def parts_of(whole: Roles) -> list[Part]:
    """Return one part for each setting in which a configuration differs from its baseline.

    Raises:
        ConfigurationError: no setting differs, or reverting one setting gives an invalid configuration.
    """
    parts: list[Part] = []
    mistakes: list[Mistake] = []
    for key, overrides in _by_group(whole.config.baseline).items():
        reverted = derive(whole.settings, overrides)
        if OmegaConf.select(whole.settings, key) == OmegaConf.select(reverted, key):
            continue
        baseline, found = derived_config(f"ablate, with {' '.join(overrides)}", whole.settings, overrides)
        mistakes += found
        setting = f"{key}={_choice(whole.settings, key)}"
        parts.append(Part(whole.with_baseline(overrides, baseline), setting, _choice(reverted, key)))
    if not parts:
        mistakes.append(Mistake("ablate", True, "a configuration that differs from its baseline", "Add backend=…"))
    if mistakes:
        raise ConfigurationError(mistakes)
    return parts


def _by_group(overrides: Sequence[str]) -> dict[str, list[str]]:
    """Return overrides by the group or field that they set, since a choice and its options are one setting."""
    found: dict[str, list[str]] = {}
    for text, override in zip(overrides, parse(overrides), strict=True):
        found.setdefault(str(override.key_or_group).replace("/", ".").split(".")[0], []).append(text)
    return found


def _choice(settings: DictConfig, key: str) -> object:
    """Return the name of the option chosen in a group, or the value of a field."""
    chosen = OmegaConf.select(settings, key)
    return chosen.name if isinstance(chosen, DictConfig) else chosen
