"""The space of a search: every combination of choices that is worth trying, as words of a command line.

A space is a file with `axes`, fields and their values, and `worth_trying`, names of lists in the files of options: each
chosen option adds the axes that it lists under these names. Words of the command line narrow an axis, or add one.
"""

from __future__ import annotations

import difflib
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from runner.config.composition import quote, split_sweep
from runner.errors import ConfigurationError, Mistake
from runner.paths import CONF

SPACES = Path(__file__).parent / "spaces"
KEYS = {"axes", "worth_trying"}
MAX_COMBINATIONS = 5000
"""More combinations take minutes to compose, and no budget sees a tenth of them."""

Axes = dict[str, list[str]]
"""By field, the words that set it: backend=ort, backend=openvino."""


@dataclass(frozen=True)
class Space:
    """The combinations of a search."""

    name: str
    combinations: list[tuple[str, ...]]
    """The words of each, without those that all share."""
    fixed: tuple[str, ...]
    """The words that all share."""
    representatives: list[tuple[str, ...]]
    """One combination for each choice of axes, without what their options vary: enough to tell what can run."""
    added: tuple[str, ...]
    """Fields outside a group, such as batch_size, on which the candidates differ: their baseline keeps one value."""


def read_space(name: str, overrides: Sequence[str], config_dir: Path | None = None) -> Space:
    """Return all combinations of a space, narrowed by the words of a command line. Hydra must be initialised.

    Args:
        name: of a file in runner/searching/spaces, without its suffix; or a path.
        overrides: words that narrow the space, or hold for all candidates.
        config_dir: the folder of options that the command line adds.

    Raises:
        ConfigurationError: there is no such space, it holds a mistake, or it has too few or too many combinations.
    """
    axes, lists = _read(name)
    given: Axes = {}
    for override in overrides:
        words = split_sweep(override)
        given[_key(words[0])] = words
    fixed = tuple(words[0] for key, words in given.items() if len(words) == 1 and key not in axes)
    outer = axes | {key: words for key, words in given.items() if len(words) > 1 or key in axes}
    combinations: dict[frozenset[str], tuple[str, ...]] = {}
    representatives: list[tuple[str, ...]] = []
    for chosen in itertools.product(*outer.values()):
        inner = _worth_trying((*chosen, *fixed), lists, config_dir)
        own = {key: words for key, words in inner.items() if key not in outer and key not in given}
        representatives.append((*chosen, *(words[0] for words in own.values())))
        for rest in itertools.product(*own.values()):
            combination = (*chosen, *rest)
            combinations.setdefault(frozenset(combination), combination)
            if len(combinations) > MAX_COMBINATIONS:
                allowed = f"at most {MAX_COMBINATIONS} combinations"
                raise ConfigurationError([Mistake("space", name, allowed, "Narrow it: backend=ort precision=int8")])
    varied = {_key(word) for words in combinations.values() for word in words}
    added = tuple(sorted(key for key in varied if "." not in key and not (CONF / key).is_dir()))
    return Space(name, list(combinations.values()), fixed, representatives, added)


def drawn(space: Space, count: int, seed: int) -> list[tuple[str, ...]]:
    """Return so many combinations, drawn at random, the representatives among them; all if there are no more."""
    if len(space.combinations) <= count:
        return space.combinations
    others = [one for one in space.combinations if one not in set(space.representatives)]
    return [*space.representatives, *random.Random(seed).sample(others, max(0, count - len(space.representatives)))]


def _read(name: str) -> tuple[Axes, list[str]]:
    """Return the axes of a space, and the names of the lists that options add."""
    file = SPACES / f"{name}.yaml"
    if not file.is_file():
        file = Path(name)
    if not file.is_file():
        known = sorted(one.stem for one in SPACES.glob("*.yaml"))
        near = difflib.get_close_matches(name, known, n=1)
        remedy = f"Did you mean {near[0]}?" if near else ""
        raise ConfigurationError([Mistake("space", name, f"{', '.join(known)}, or a file", remedy)])
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = " ".join(str(error).split())
        raise ConfigurationError([Mistake(f"space {file}", line, "YAML with `axes` and `worth_trying`")]) from error
    if not isinstance(content, dict) or not isinstance(content.get("axes", {}), dict):
        raise ConfigurationError([Mistake(f"space {file}", content, "axes: {backend: [ort, openvino]}")])
    if unknown := set(content) - KEYS:
        [near] = difflib.get_close_matches(min(unknown), KEYS, n=1, cutoff=0.0)
        raise ConfigurationError([Mistake(f"space {file}", min(unknown), ", ".join(KEYS), f"Did you mean {near}?")])
    return _axes(content.get("axes", {}), str(file)), list(content.get("worth_trying") or [])


def _axes(listed: Mapping[str, Any], where: str) -> Axes:
    """Return axes as words.

    Raises:
        ConfigurationError: an axis is no list of plain values.
    """
    axes: Axes = {}
    for key, values in listed.items():
        if not isinstance(values, list) or not values or any(isinstance(one, (list, dict)) for one in values):
            raise ConfigurationError([Mistake(f"{where}: {key}", values, "a list of values, such as [1, 8]")])
        axes[key] = [_word(key, value) for value in values]
    return axes


def _word(key: str, value: object) -> str:
    if value is None:
        return f"{key}=null"
    if isinstance(value, bool):
        return f"{key}={str(value).lower()}"
    plain = isinstance(value, (int, float)) or str(value).replace("_", "").isalnum()
    return f"{key}={value}" if plain else quote(key, str(value))


def _worth_trying(words: Sequence[str], lists: Sequence[str], config_dir: Path | None) -> Axes:
    """Return the axes that the chosen options add: the union of what each lists, in order."""
    found: Axes = {}
    for word in words:
        for key, values in _listed_by(word, lists, config_dir):
            own = found.setdefault(key, [])
            own += [value for value in values if value not in own]
    return found


def _listed_by(word: str, lists: Sequence[str], config_dir: Path | None) -> Iterator[tuple[str, list[str]]]:
    group, _, option = word.partition("=")
    folders = [folder for folder in (config_dir, CONF) if folder is not None]
    file = next((one for folder in folders if (one := folder / group / f"{option}.yaml").is_file()), None)
    if file is None or "/" in option:
        return
    content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    for name in lists:
        yield from _axes((content.get("worth_trying") or {}).get(name) or {}, f"{file}: worth_trying").items()


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+").replace("/", ".")
