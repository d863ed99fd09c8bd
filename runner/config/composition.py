"""From the command line to typed configurations: composing a run's own and those derived from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from runner.config.schema import RunConfig
from runner.errors import ConfigurationError, Mistake

CONFIG_NAME = "config"
INSTANTIATED = ("sweeper", "launcher", "callbacks", "job_logging", "hydra_logging")
"""Hydra's own settings that hold import paths."""
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, MarkedYAMLError)
"""What Hydra, OmegaConf and the YAML parser raise for a user's mistake."""


def register_schema() -> None:
    """Register the schema under the name that is first in the defaults list."""
    ConfigStore.instance().store(name="schema", node=RunConfig)


def compose_settings(overrides: Sequence[str]) -> DictConfig:
    """Return the configuration of one run."""
    return compose(CONFIG_NAME, overrides=list(overrides))


def sweep_folder(overrides: Sequence[str]) -> Path:
    """Return the folder of a new sweep: ``hydra.sweep.dir`` of the configuration, which holds the time."""
    return Path(compose(CONFIG_NAME, overrides=list(overrides), return_hydra_config=True).hydra.sweep.dir)


def typed(settings: DictConfig) -> RunConfig:
    """Return a composed configuration as its dataclass, every value resolved and of its type."""
    config = OmegaConf.to_object(settings)
    assert isinstance(config, RunConfig)
    return config


def refuse_code(overrides: Sequence[str]) -> None:
    """Refuse what would have Hydra import something: it instantiates plugins and callbacks by their import paths.

    Hydra must be initialised. A command that cannot be composed is left to :func:`diagnose`.

    Raises:
        ConfigurationError: a setting of Hydra's differs from this program's own.
    """
    try:
        words = [str(one.input_line) for one in parse(overrides) if not one.is_sweep_override() or _of_hydra(one)]
        asked, own = (
            compose(CONFIG_NAME, overrides=list(some), return_hydra_config=True).hydra for some in (words, [])
        )
    except COMPOSITION_ERRORS:
        return
    mistakes = [
        Mistake(f"hydra.{key}", _shown(asked, key), "this program's own: a configuration holds no code", "Leave it out")
        for key in INSTANTIATED
        if _shown(asked, key) != _shown(own, key)
    ]
    if mistakes:
        raise ConfigurationError(mistakes)


def _of_hydra(override: Override) -> bool:
    return str(override.key_or_group).replace("/", ".").split(".")[0] == "hydra"


def _shown(node: DictConfig, key: str) -> str:
    return str(OmegaConf.to_container(node, resolve=False)[key])  # type: ignore[index,call-overload]  # a dictionary


def derive(settings: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Return a run's own configuration with some settings put to other values.

    What an override names is taken whole from a configuration composed of these overrides alone. So with
    ``backend=torch`` the options of the run's own backend are gone with it.
    """
    fresh = compose_settings(overrides)
    derived = settings.copy()
    for override in parse(overrides):
        key = str(override.key_or_group).replace("/", ".")
        OmegaConf.update(derived, key, OmegaConf.select(fresh, key), merge=False)
    return derived


def parse(overrides: Sequence[str]) -> list[Override]:
    """Return the overrides, parsed."""
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    return OverridesParser.create(config_loader=hydra.config_loader).parse_overrides(list(overrides))


def refuse_empty_globs(overrides: Sequence[Override]) -> None:
    """Refuse a sweep over all files of a group that has none: it would be no run at all.

    Raises:
        ConfigurationError: naming each such group.
    """
    empty = [
        override
        for override in overrides
        if override.value_type is ValueType.GLOB_CHOICE_SWEEP and not list(override.sweep_string_iterator())
    ]
    if empty:
        allowed = "a table with rows: a folder with YAML files"
        raise ConfigurationError(
            Mistake(str(one.key_or_group), (one.input_line or "").partition("=")[2], allowed, "Check the name")
            for one in empty
        )


def flatten(settings: DictConfig) -> dict[str, Any]:
    """Return the resolved configuration with dotted keys; lists stay values."""
    flat: dict[str, Any] = {}

    def walk(node: object, prefix: str) -> None:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                walk(value, f"{prefix}.{key}" if prefix else str(key))
        else:
            flat[prefix] = node

    walk(OmegaConf.to_container(settings, resolve=True, enum_to_str=True), "")
    return flat
