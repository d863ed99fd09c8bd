"""Mistakes in a command line that Hydra could not compose, and fields that nothing reads: all of them, a line each.

Hydra stops at the first mistake. So if composing fails, each override is composed alone, and all mistakes are reported
together.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Sequence
from enum import Enum

from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import MarkedYAMLError

from runner.config.checks import check
from runner.config.composition import COMPOSITION_ERRORS, compose_settings, flatten, parse, typed
from runner.config.schema import RunConfig
from runner.errors import ConfigurationError, Mistake


def unknown_fields(settings: DictConfig) -> list[Mistake]:
    """Return a mistake for every field that nothing reads: Hydra lets ``+name=value`` add any field."""
    known = flatten(OmegaConf.structured(RunConfig))
    mistakes: list[Mistake] = []

    def walk(node: DictConfig, prefix: str) -> None:
        schema = OmegaConf.get_type(node)
        fields = {field.name for field in dataclasses.fields(schema)} if dataclasses.is_dataclass(schema) else None
        for key in node:
            name = f"{prefix}{key!s}"
            if fields is not None and key not in fields:
                near = ", ".join(difflib.get_close_matches(name, [*known, *fields], n=3))
                allowed = "the fields and groups that python -m runner --help lists"
                remedy = f"There is no such field{f'; the nearest: {near}' if near else ''}"
                mistakes.append(Mistake(name, OmegaConf.select(settings, name), allowed, remedy))
            elif OmegaConf.is_dict(node._get_node(key)):
                walk(node[key], f"{name}.")

    walk(settings, "")
    return mistakes


def diagnose(overrides: Sequence[str], error: Exception) -> ConfigurationError:
    """Return every mistake in a command line that could not be composed.

    Args:
        overrides: the command line's, sweeps included. Hydra must be initialised.
        error: what composing raised; reported itself if no single override is at fault.
    """
    mistakes: list[Mistake] = []
    composable = _composable(overrides, mistakes)
    sound: dict[str, str] = {}
    for key, assignment in composable:
        sound.setdefault(key, assignment)
    # What composes is checked in the company of the others: weights.path is a mistake only without weights=file.
    for key, assignment in composable:
        try:
            mistakes += check(typed(compose_settings(list((sound | {key: assignment}).values()))))
        except MissingMandatoryValue as found:
            mistakes.append(_missing(found))
        except COMPOSITION_ERRORS as found:
            mistakes.append(_explain(key, assignment.partition("=")[2], found))
    if not mistakes or isinstance(error, MarkedYAMLError):
        return ConfigurationError([_explain("configuration", None, error)])
    return ConfigurationError(mistakes)


def _composable(overrides: Sequence[str], mistakes: list[Mistake]) -> list[tuple[str, str]]:
    """Return every assignment that composes, by its key, in order; add what does not to `mistakes`.

    An option of a backend composes beside the choice of that backend only.
    """
    found: list[tuple[str, str, Exception | None]] = []
    for assignment in _assignments(overrides, mistakes):
        key = assignment.partition("=")[0]
        found.append((key, assignment, _refusal([assignment])))
    choices: dict[str, str] = {}
    for key, assignment, refusal in found:
        if refusal is None and "." not in key:
            choices.setdefault(key, assignment)
    composable = []
    for key, assignment, refusal in found:
        if refusal is None or _refusal([*choices.values(), assignment]) is None:
            composable.append((key, assignment))
        else:
            mistakes.append(_explain(key, assignment.partition("=")[2], refusal))
    return composable


def _refusal(overrides: Sequence[str]) -> Exception | None:
    """Return why a command line does not compose, None if it does."""
    try:
        compose_settings(overrides)
    except COMPOSITION_ERRORS as error:
        return error
    return None


def _missing(error: MissingMandatoryValue) -> Mistake:
    return Mistake(error.full_key or "configuration", None, "a value", f"Add {error.full_key}=…")


def _assignments(overrides: Sequence[str], mistakes: list[Mistake]) -> Iterable[str]:
    """Yield every single assignment of a command line; add what cannot be parsed to `mistakes`."""
    for text in overrides:
        try:
            override = parse([text])[0]
        except HydraException as error:
            mistakes.append(_explain(text.partition("=")[0], text.partition("=")[2], error))
            continue
        if override.is_sweep_override() and override.is_discrete_sweep():
            yield from (f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator())
        else:
            yield text


def _explain(key: str, value: str | None, error: Exception) -> Mistake:
    """Translate an error of composing into field, value received, values allowed and remedy."""
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark
        where = f"{mark.name}, line {mark.line + 1}" if mark else "a configuration file"
        return Mistake(where, (error.problem or "").strip(), "valid YAML", "Fix the file")
    if isinstance(error, MissingMandatoryValue):
        return _missing(error)
    name = key.lstrip("+~")
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    options = hydra.config_loader.get_group_options(name)
    if options and value in options:  # the choice is right: what its file says is not
        wrong = re.search(r"full_key: (\S+)", str(error))
        allowed = _allowed(error.__cause__ if error.__cause__ is not None else error)
        return Mistake(wrong.group(1) if wrong else name, f"{name}={value}", allowed, "Fix the file")
    if options:
        near = difflib.get_close_matches(value or "", options, n=1)
        return Mistake(name, value, ", ".join(options), f"Did you mean {name}={near[0]}?" if near else "")
    settings = compose_settings([])
    known = {*flatten(settings), *(str(group) for group in settings)}
    if name not in known and OmegaConf.select(settings, name, throw_on_missing=False) is None:
        parent = name.rpartition(".")[0]
        node = OmegaConf.select(settings, parent, throw_on_missing=False) if parent else None
        if node is not None and OmegaConf.get_type(node) is dict:
            return Mistake(name, value, f"what conf/ gives {parent}", f"Write +{name}={value} to add it")
        near = difflib.get_close_matches(name, sorted(known), n=3)
        return Mistake(
            name,
            value,
            "the fields and groups that python -m runner --help lists",
            f"There is no such field{'; the nearest: ' + ', '.join(near) if near else ''}",
        )
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    return Mistake(name, value, _allowed(cause), f"The default is {_plain(OmegaConf.select(settings, name))}")


def _plain(value: object) -> object:
    """Return a value in YAML's notation instead of Python's."""
    return str(value) if isinstance(value, Enum) else value


def _allowed(error: BaseException) -> str:
    """Return the type or the words that a refused value should have had, from OmegaConf's message."""
    first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
    words = re.search(r"expected one of \[([^\]]*)\]", first_line)
    if words:
        return words.group(1)
    if "is not a ListConfig" in first_line:
        return "a list, for example 'baseline=[\"backend=ort\"]'"
    kind = re.search(r"could not be converted to (\w+)|is not a valid (\w+)", first_line)
    names = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false", "bool": "true or false"}
    if kind:
        word = kind.group(1) or kind.group(2)
        return names.get(word, word)
    return first_line
