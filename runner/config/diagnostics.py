"""Find every mistake in a command line that Hydra cannot compose, and every field that the schema does not define.

Hydra stops at the first mistake. If composing fails, this module composes each override alone, so that all mistakes are
reported together, one line each.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import shlex
from collections.abc import Iterable, Sequence
from enum import Enum

from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import MarkedYAMLError

from runner.config.checks import check
from runner.config.composition import COMPOSITION_ERRORS, compose_settings, flatten, parse, quote, typed
from runner.config.schema import RunConfig
from runner.errors import ConfigurationError, Mistake


def unknown_fields(settings: DictConfig) -> list[Mistake]:
    """Return a mistake for every field outside the schema, because Hydra lets ``+name=value`` add any field."""
    known = flatten(OmegaConf.structured(RunConfig))
    mistakes: list[Mistake] = []

    def walk(node: DictConfig, prefix: str) -> None:
        schema = OmegaConf.get_type(node)
        fields = {field.name for field in dataclasses.fields(schema)} if dataclasses.is_dataclass(schema) else None
        for key in node:
            name = f"{prefix}{key!s}"
            if fields is not None and key not in fields:
                near = ", ".join(difflib.get_close_matches(name, [*known, *fields], n=3))
                allowed = "the fields and groups that runner --help lists"
                remedy = f"No such field exists{f'; the nearest: {near}' if near else ''}"
                mistakes.append(Mistake(name, OmegaConf.select(settings, name), allowed, remedy))
            elif OmegaConf.is_dict(node._get_node(key)):
                walk(node[key], f"{name}.")

    walk(settings, "")
    return mistakes


def diagnose(overrides: Sequence[str], error: Exception) -> ConfigurationError:
    """Return every mistake in a command line that could not be composed.

    Args:
        overrides: all overrides of the command line, including sweeps. Hydra must be initialised.
        error: the exception that composing raised. It is reported if no override is wrong by itself, or if it is a YAML
            error.
    """
    mistakes: list[Mistake] = []
    composable = _composable(overrides, mistakes)
    first: dict[str, str] = {}
    for key, assignment in composable:
        first.setdefault(key, assignment)
    # Check each assignment together with the others: weights.path, for example, is valid only with weights=file.
    for key, assignment in composable:
        try:
            mistakes += check(typed(compose_settings(list((first | {key: assignment}).values()))))
        except MissingMandatoryValue as found:
            mistakes.append(_missing(found))
        except COMPOSITION_ERRORS as found:
            mistakes.append(_explain(key, assignment.partition("=")[2], found))
    if not mistakes or isinstance(error, MarkedYAMLError):
        return ConfigurationError([_explain("configuration", None, error)])
    return ConfigurationError(mistakes)


def _composable(overrides: Sequence[str], mistakes: list[Mistake]) -> list[tuple[str, str]]:
    """Return every assignment that composes, as key and assignment, in order; add mistakes for all others.

    An assignment that fails alone is tried together with the chosen groups, because a backend's options exist only if
    that backend is chosen.
    """
    attempts: list[tuple[str, str, Exception | None]] = []
    for assignment in _assignments(overrides, mistakes):
        key = assignment.partition("=")[0]
        attempts.append((key, assignment, _composition_error([assignment])))
    choices: dict[str, str] = {}
    for key, assignment, error in attempts:
        if error is None and "." not in key:
            choices.setdefault(key, assignment)
    composable = []
    for key, assignment, error in attempts:
        if error is None or _composition_error([*choices.values(), assignment]) is None:
            composable.append((key, assignment))
        else:
            mistakes.append(_explain(key, assignment.partition("=")[2], error))
    return composable


def _composition_error(overrides: Sequence[str]) -> Exception | None:
    """Return the exception that composing raises, None if it succeeds."""
    try:
        compose_settings(overrides)
    except COMPOSITION_ERRORS as error:
        return error
    return None


def _missing(error: MissingMandatoryValue) -> Mistake:
    return Mistake(error.full_key or "configuration", None, "a value", f"Add {error.full_key}=…")


def _assignments(overrides: Sequence[str], mistakes: list[Mistake]) -> Iterable[str]:
    """Yield every assignment of a command line, sweeps expanded; add a mistake for each that cannot be parsed."""
    for text in overrides:
        try:
            override = parse([text])[0]
        except HydraException as error:
            mistakes.append(_unreadable(text, error))
            continue
        if override.is_sweep_override() and override.is_discrete_sweep():
            yield from (f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator())
        else:
            yield text


def _unreadable(text: str, error: HydraException) -> Mistake:
    """Return the mistake of a word that Hydra's grammar does not contain, with the quoted form to paste."""
    key, equals, value = text.partition("=")
    if not equals:
        return Mistake("command line", text, "GROUP=OPTION or FIELD=VALUE", "See runner --help")
    quoted = quote(key, value)
    try:
        parse([quoted])
    except HydraException:  # the mistake is in the key
        return _explain(key, value, error)
    return Mistake(key.lstrip("+~"), value, "a value that Hydra can read", f"Quote it: {shlex.quote(quoted)}")


def _explain(key: str, value: str | None, error: Exception) -> Mistake:
    """Translate a composition error into field, received value, allowed values and remedy."""
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
    if options and value in options:  # the option exists, so the mistake is in its file
        field = re.search(r"full_key: (\S+)", str(error))
        allowed = _allowed(error.__cause__ if error.__cause__ is not None else error)
        return Mistake(field.group(1) if field else name, f"{name}={value}", allowed, "Fix the file")
    if options:
        near = difflib.get_close_matches(value or "", options, n=1)
        return Mistake(name, value, ", ".join(options), f"Did you mean {name}={near[0]}?" if near else "")
    settings = compose_settings([])
    known = {*flatten(settings), *(str(group) for group in settings)}
    if name not in known and OmegaConf.select(settings, name, throw_on_missing=False) is None:
        near = difflib.get_close_matches(name, sorted(known), n=3)
        return Mistake(
            name,
            value,
            "the fields and groups that runner --help lists",
            f"No such field exists{'; the nearest: ' + ', '.join(near) if near else ''}",
        )
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    return Mistake(name, value, _allowed(cause), f"The default is {_plain(OmegaConf.select(settings, name))}")


def _plain(value: object) -> object:
    """Return an enum member as the string that YAML uses; other values unchanged."""
    return str(value) if isinstance(value, Enum) else value


def _allowed(error: BaseException) -> str:
    """Return the expected type or the allowed values, extracted from OmegaConf's message."""
    first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
    words = re.search(r"expected one of \[([^\]]*)\]", first_line)
    if words:
        return words.group(1)
    if "is not a ListConfig" in first_line:
        return "a list, for example '[1,2]' or '[\"backend=ort\"]'"
    kind = re.search(r"could not be converted to (\w+)|is not a valid (\w+)", first_line)
    names = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false", "bool": "true or false"}
    if kind:
        word = kind.group(1) or kind.group(2)
        return names.get(word, word)
    return first_line
