"""What an ablation measures: the whole configuration against itself, with one setting at a time reverted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from runner.config.composition import derive, parse
from runner.errors import ConfigurationError, Mistake
from runner.planning.roles import Roles, derived_config


@dataclass(frozen=True)
class Part:
    """One setting of an ablation."""

    roles: Roles
    """The whole configuration; its baseline is the whole with this setting reverted."""
    setting: str
    """The setting as the whole has it, for example ``allocator=tcmalloc``."""
    reverted: object
    """What the baseline has instead."""


def parts_of(whole: Roles) -> list[Part]:
    """Return one part for each setting in which a configuration differs from its baseline.

    Raises:
        ConfigurationError: nothing differs, or reverting one setting makes a configuration with a mistake.
    """
    parts: list[Part] = []
    mistakes: list[Mistake] = []
    for key, words in _by_group(whole.config.baseline).items():
        reverted = derive(whole.settings, words)
        if OmegaConf.select(whole.settings, key) == OmegaConf.select(reverted, key):
            continue
        baseline, found = derived_config(f"ablate, with {' '.join(words)}", whole.settings, words)
        mistakes += found
        setting = f"{key}={_choice(whole.settings, key)}"
        parts.append(Part(whole.against(words, baseline), setting, _choice(reverted, key)))
    if not parts:
        mistakes.append(Mistake("ablate", True, "a configuration that differs from its baseline", "Add backend=…"))
    if mistakes:
        raise ConfigurationError(mistakes)
    return parts


def _by_group(words: Sequence[str]) -> dict[str, list[str]]:
    """Return overrides by the group or field that they set: a choice and its options are one setting."""
    found: dict[str, list[str]] = {}
    for word, override in zip(words, parse(words), strict=True):
        found.setdefault(str(override.key_or_group).replace("/", ".").split(".")[0], []).append(word)
    return found


def _choice(settings: DictConfig, key: str) -> object:
    """Return the name of what is chosen in a group, or the value of a field."""
    chosen = OmegaConf.select(settings, key)
    return chosen.name if isinstance(chosen, DictConfig) else chosen
