"""Compose a command line into typed configurations: the run's own, and those derived from it."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Sequence
from dataclasses import is_dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from runner.config import backend_registry
from runner.config.schema import RunConfig
from runner.errors import ConfigurationError, Mistake

CONFIG_NAME = "config"
INSTANTIATED = ("sweeper", "launcher", "callbacks", "job_logging", "hydra_logging")
"""Settings of Hydra that contain import paths."""
_LIKE_A_NUMBER = re.compile(r"[+-]?[\d_]*\.?\d+(e[+-]?\d+)?|true|false|inf|nan", re.IGNORECASE)
"""What Hydra reads as a number or as a truth value."""
_PLAIN = re.compile(r"[\w./+-]+")
"""A word in a sweep that stays as it is."""
WORTH_TRYING = "worth_trying"
"""Field of an option's file that only a search reads."""
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, MarkedYAMLError)
"""Exceptions that Hydra, OmegaConf and the YAML parser raise for a user's mistake."""


def register_schema() -> None:
    """Register the schema under ``schema``, the first entry of the defaults list in conf/config.yaml."""
    ConfigStore.instance().store(name="schema", node=RunConfig)


def compose_settings(overrides: Sequence[str]) -> DictConfig:
    """Return the composed configuration of one run.

    Args:
        overrides: of one run, without sweeps. Hydra must be initialised.
    """
    return _compose(overrides)


def _compose(overrides: Sequence[str], *, with_hydra: bool = False) -> DictConfig:
    """Compose overrides; those of open dictionaries need no plus sign before a new key."""
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    composed = copy.deepcopy(_composed(hydra, tuple(overrides)))
    if not with_hydra:
        with open_dict(composed):
            del composed["hydra"]
    return composed


@lru_cache(maxsize=64)
def _composed(hydra: Hydra, overrides: tuple[str, ...]) -> DictConfig:
    """Return what overrides compose to in one initialisation of Hydra, which takes 0.1 s. The result is only read."""
    assert hydra is GlobalHydra.instance().hydra
    open_ones = _open_dictionaries(RunConfig)
    words = [f"++{word}" if _is_within(word.partition("=")[0], open_ones) else word for word in overrides]
    composed = compose(CONFIG_NAME, overrides=words, return_hydra_config=True)
    for name in open_ones:
        if name.endswith(f".{WORTH_TRYING}"):
            OmegaConf.update(composed, name, {}, merge=False)
    return composed


def _is_within(key: str, dictionaries: Iterable[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in dictionaries)


@cache
def _open_dictionaries(schema: type, prefix: str = "") -> tuple[str, ...]:
    """Return the dotted names of a schema's fields that are dictionaries with any keys."""
    found: list[str] = []
    for name, kind in get_type_hints(schema).items():
        if is_dataclass(kind) and isinstance(kind, type):
            found += _open_dictionaries(kind, f"{prefix}{name}.")
        elif get_origin(kind) is dict:
            found.append(f"{prefix}{name}")
    return tuple(found)


def sweep_folder(overrides: Sequence[str]) -> Path:
    """Return the folder of a new sweep: ``hydra.sweep.dir`` of the configuration, which contains the time."""
    return Path(_compose(overrides, with_hydra=True).hydra.sweep.dir)


def typed(settings: DictConfig) -> RunConfig:
    """Return a composed configuration as a dataclass, with interpolations resolved and types checked."""
    config = OmegaConf.to_object(settings)
    assert isinstance(config, RunConfig)
    return config


def refuse_code(overrides: Sequence[str]) -> None:
    """Reject settings that make Hydra import code: it instantiates plugins and callbacks by their import paths.

    Hydra must be initialised. A command line that cannot be composed passes; :func:`diagnose` reports it.

    Raises:
        ConfigurationError: one of these settings differs from the program's own value.
    """
    try:
        words = [str(one.input_line) for one in parse(overrides) if not one.is_sweep_override() or _of_hydra(one)]
        requested, own = (_compose(some, with_hydra=True).hydra for some in (words, []))
    except COMPOSITION_ERRORS:
        return
    mistakes = [
        Mistake(
            f"hydra.{key}", _shown(requested, key), "the program's own; configuration contains no code", "Remove it"
        )
        for key in INSTANTIATED
        if _shown(requested, key) != _shown(own, key)
    ]
    if mistakes:
        raise ConfigurationError(mistakes)


def _of_hydra(override: Override) -> bool:
    return str(override.key_or_group).replace("/", ".").split(".")[0] == "hydra"


def _shown(node: DictConfig, key: str) -> str:
    return str(OmegaConf.to_container(node, resolve=False)[key])  # type: ignore[index,call-overload]  # a dictionary


def derive(settings: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Return a copy of a run's configuration with some settings replaced.

    Each group or field that an override names is replaced as a whole by its value in a configuration composed from
    these overrides alone. So ``backend=torch`` also removes the options of the run's own backend.
    """
    fresh = compose_settings(overrides)
    derived = settings.copy()
    for override in parse(overrides):
        key = str(override.key_or_group).replace("/", ".")
        OmegaConf.update(derived, key, OmegaConf.select(fresh, key), merge=False)
    return derived


def split_sweep(override: str) -> list[str]:
    """Return the words of a sweep over one field: a=1,2 is a=1 and a=2. Hydra must be initialised."""
    [jobs] = BasicSweeper.split_arguments(parse(quote_words([override])), max_batch_size=None)
    return [words[0] for words in jobs]


def expand(overrides: Sequence[str]) -> Sequence[Sequence[str]]:
    """Return the overrides of every run of a command line, as Hydra's own sweeper expands it."""
    parsed = parse(quote_words(overrides))
    refuse_empty_globs(parsed)
    [jobs] = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    return jobs


def parse(overrides: Sequence[str]) -> list[Override]:
    """Return the parsed overrides. Hydra must be initialised."""
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    return OverridesParser.create(config_loader=hydra.config_loader).parse_overrides(list(overrides))


def quote(key: str, value: str) -> str:
    """Return an assignment whose value Hydra takes as it is, whatever characters it has."""
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', value)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)  # before the closing quote, too
    return f'{key}="{escaped}"'


def quote_words(overrides: Sequence[str]) -> list[str]:
    """Return overrides in which numbers are words where the field is one: a name, a path, a commit.

    Hydra would read the commit 1234e5 as 123400000.0, and the list of cores 1 as a number.
    """
    words = _word_fields(RunConfig)
    options = {
        f"backend.options.{name}"
        for backend in backend_registry.backends().values()
        for name, option in backend.options.items()
        if "str" in option.types and not {"int", "float"} & set(option.types)
    }
    return [_quote_word(text) if text.partition("=")[0].lstrip("+") in words | options else text for text in overrides]


def _quote_word(text: str) -> str:
    key, _, value = text.partition("=")
    parts = [part.strip() for part in value.split(",")]
    if not all(_PLAIN.fullmatch(part) for part in parts):
        return text
    return f"{key}={','.join(quote('', part)[1:] if _LIKE_A_NUMBER.fullmatch(part) else part for part in parts)}"


@cache
def _word_fields(schema: type, prefix: str = "") -> frozenset[str]:
    """Return the dotted names of a schema's fields that hold text."""
    found: set[str] = set()
    for name, kind in get_type_hints(schema).items():
        if is_dataclass(kind) and isinstance(kind, type):
            found |= _word_fields(kind, f"{prefix}{name}.")
        elif kind in (str, str | None):
            found.add(f"{prefix}{name}")
    return frozenset(found)


def refuse_empty_globs(overrides: Sequence[Override]) -> None:
    """Reject a glob over a group without files: the sweep would contain no run.

    Raises:
        ConfigurationError: one mistake for each such group.
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
    """Return the resolved configuration as one dictionary with dotted keys; a list remains one value."""
    flat: dict[str, Any] = {}

    def walk(node: object, prefix: str) -> None:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                if key != WORTH_TRYING:
                    walk(value, f"{prefix}.{key}" if prefix else str(key))
        else:
            flat[prefix] = node

    walk(OmegaConf.to_container(settings, resolve=True, enum_to_str=True), "")
    return flat
