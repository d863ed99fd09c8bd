"""A command line as it can be given again: what ``resume`` goes on with.

``resume=true`` alone stands for the whole command that began the newest unfinished sweep, ``resume=NAME`` for that of
a named one; beside other settings it goes on with the newest sweep of this very command, where there is one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser

from runner.config.redaction import hide_in_override
from runner.config.schema import FOLDER_NAME, SESSION_FIELDS, RunConfig
from runner.errors import ConfigurationError, Mistake
from runner.results.store import SweepStore

YES, NO = ("true", "yes", "on", "y", "1"), ("false", "no", "off", "n", "0", "null", "")
ONE_SHOT_FIELDS = ("resume", "fresh", "budget")
"""Fields that the next command does not inherit."""


@dataclass(frozen=True)
class Command:
    """What a sweep was asked for with."""

    overrides: list[str]
    config_dir: str | None = None
    """An absolute folder, where --config-dir named one."""

    @property
    def own(self) -> list[str]:
        """The overrides that say what is measured."""
        return [word for word in self.overrides if _group(word) not in SESSION_FIELDS]

    def value(self, field: str) -> str | None:
        """Return what the last override of a field says."""
        values = [word.partition("=")[2] for word in self.overrides if _key(word) == field]
        return values[-1].strip("'\"") if values else None

    def arguments(self) -> list[str]:
        """Return the command line."""
        return [*(["--config-dir", self.config_dir] if self.config_dir else []), *self.overrides]

    def as_json(self) -> dict[str, Any]:
        """Return what is kept of it: overrides that hold secrets are left out, and named."""
        lasting = [word for word in self.overrides if _key(word) not in ONE_SHOT_FIELDS]
        kept = [word for word in lasting if hide_in_override(word) == word]
        left_out = [_key(word) for word in lasting if word not in kept]
        return {"overrides": kept, "config_dir": self.config_dir, "left_out": left_out}

    def asks_as(self, other: Command, left_out: Sequence[str] = ()) -> bool:
        """Return whether both ask for the same runs, but for fields that were not kept of the other."""
        own = [word for word in self.own if _key(word) not in left_out]
        return own == other.own and self.config_dir == other.config_dir


def given() -> Command:
    """Return this process's own command line."""
    arguments = get_args_parser().parse_args()
    folder = arguments.config_dir
    return Command(list(arguments.overrides), str(Path(folder).absolute()) if folder else None)


def resumed(command: Command) -> Command:
    """Return the command to carry out; where it resumes a sweep, with the sweep's name.

    Raises:
        ConfigurationError: there is no such sweep, or it is another command's.
    """
    wanted = command.value("resume")
    if wanted is None or wanted.lower() in NO:
        return _with(command, resume=None)
    sweeps = Path(command.value("output_dir") or RunConfig.output_dir) / "sweeps"
    fresh = (command.value("fresh") or "").lower() in YES
    found = _newest(sweeps, command, ended=fresh) if wanted.lower() in YES else _named(sweeps, wanted)
    if found is None and command.own:
        return _with(command, resume=None)  # the first time that this is asked
    if found is None:
        allowed = f"a command, or true where {sweeps} holds an unfinished sweep"
        raise ConfigurationError([Mistake("resume", wanted, allowed, "Every sweep there has ended: nothing is left")])
    begun, left_out = stored(found)
    secret = [word for word in command.own if _key(word) in left_out]
    if command.own not in ([], secret) and not command.asks_as(begun, left_out):
        allowed = f"a sweep of this very command; {found.name} was python -m runner {' '.join(begun.overrides)}"
        raise ConfigurationError([Mistake("resume", wanted, allowed, "Leave the other settings out")])
    missing = [field for field in left_out if command.value(field) is None]
    if missing:
        allowed = "what the sweep was begun with: it held a secret, and is not kept"
        raise ConfigurationError([Mistake(field, None, allowed, f"Add {field}=…") for field in missing])
    now = [*secret, *(word for word in command.overrides if _group(word) in SESSION_FIELDS)]
    said = {_key(word) for word in now}
    whole = Command([*(word for word in begun.overrides if _key(word) not in said), *now], begun.config_dir)
    return _with(whole, resume=None if fresh else found.name)


def _named(sweeps: Path, name: str) -> Path:
    """Return the folder of a sweep.

    Raises:
        ConfigurationError: there is none of that name.
    """
    if not FOLDER_NAME.fullmatch(name):
        raise ConfigurationError([Mistake("resume", name, "true, or the name of a folder in " + str(sweeps))])
    if not SweepStore.holds_plan(sweeps / name):
        there = sorted(folder.name for folder in sweeps.glob("*") if SweepStore.holds_plan(folder))
        allowed = f"true, or a sweep in {sweeps}: {', '.join(there[-5:]) or 'there is none'}"
        raise ConfigurationError([Mistake("resume", name, allowed)])
    return sweeps / name


def _newest(sweeps: Path, command: Command, *, ended: bool) -> Path | None:
    """Return the newest sweep of a command; of one that asks for nothing, the newest that is unfinished, or of all."""
    for folder in sorted(sweeps.glob("*"), reverse=True):
        if not SweepStore.holds_plan(folder):
            continue
        if command.asks_as(*stored(folder)) if command.own else ended or SweepStore.is_unfinished(folder):
            return folder
    return None


def stored(folder: Path) -> tuple[Command, list[str]]:
    """Return the command that began a sweep, and the fields that were not kept of it."""
    kept = SweepStore.read_plan(folder)["command"]
    return Command(kept["overrides"], kept["config_dir"]), kept["left_out"]


def _with(command: Command, *, resume: str | None) -> Command:
    """Return a command with another value of `resume`, or with none."""
    others = [word for word in command.overrides if _key(word) not in ("resume", "fresh")]
    return Command([*others, *([f"resume={resume}"] if resume else [])], command.config_dir)


def _key(word: str) -> str:
    return word.partition("=")[0].strip().lstrip("+~")


def _group(word: str) -> str:
    return re.split(r"[./@]", _key(word))[0]
