"""What a resumed sweep continues with: its command line, and the finished runs that it reuses.

``resume=true`` alone stands for the whole command that started the newest unfinished sweep, ``resume=NAME`` for that of
a named one. Beside other settings, ``resume=true`` continues the newest sweep of this very command, if there is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runner.config.redaction import hide_in_override
from runner.config.schema import SESSION_FIELDS, RunConfig
from runner.errors import ConfigurationError, Mistake
from runner.results.locate import find_sweep, sweep_folders
from runner.results.plan import Plan
from runner.results.result import Result
from runner.results.status import Status
from runner.results.store import SweepStore, read_results

YES, NO = ("true", "yes", "on", "y", "1"), ("false", "no", "off", "n", "0", "null", "")
ONE_SHOT_FIELDS = ("resume", "fresh", "budget")
"""Fields that a resumed command does not inherit."""
SETTLED = frozenset({Status.ok, Status.unsupported, Status.dropped})
"""Statuses of runs that are reused; a run with any other has no number, or a remedy, and is measured again."""


@dataclass(frozen=True)
class Command:
    """The command line of a sweep."""

    overrides: list[str]
    config_dir: str | None = None
    """The folder of --config-dir, absolute."""
    jobs: list[list[str]] = field(default_factory=list)
    """The words of each run, if they are no product of the overrides: each also has these."""
    search: list[str] = field(default_factory=list)
    """The words of a search that are no overrides: its goal, bounds, budget and space."""

    @property
    def measured(self) -> list[str]:
        """The overrides that affect what is measured."""
        return [word for word in self.overrides if group_of(word) not in SESSION_FIELDS]

    def value(self, name: str) -> str | None:
        """Return the value of the last override of a field."""
        values = [word.partition("=")[2] for word in self.overrides if _key(word) == name]
        return values[-1].strip("'\"") if values else None

    def arguments(self) -> list[str]:
        """Return the command line."""
        return [*(["--config-dir", self.config_dir] if self.config_dir else []), *self.overrides]

    def as_json(self) -> dict[str, Any]:
        """Return what plan.json stores: overrides that hold secrets are left out, and their fields named."""
        lasting = [word for word in self.overrides if _key(word) not in ONE_SHOT_FIELDS]
        stored = [word for word in lasting if hide_in_override(word) == word]
        left_out = [_key(word) for word in lasting if word not in stored]
        others = {name: words for name in ("jobs", "search") if (words := getattr(self, name))}
        return {"overrides": stored, "config_dir": self.config_dir, "left_out": left_out, **others}

    def measures_as(self, other: Command, left_out: Sequence[str] = ()) -> bool:
        """Return whether both request the same runs, ignoring fields that were not stored of the other."""
        measured = [word for word in self.measured if _key(word) not in left_out]
        searched = [[word for word in one.search if _key(word) != "budget"] for one in (self, other)]
        parts = [(one.config_dir, one.jobs, one.value("shard")) for one in (self, other)]
        return measured == other.measured and parts[0] == parts[1] and searched[0] == searched[1]

    def with_value(self, name: str, value: str | None) -> Command:
        """Return the command with another value of a field, or without it."""
        others = [word for word in self.overrides if _key(word) != name]
        return replace(self, overrides=[*others, *([f"{name}={value}"] if value is not None else [])])


def resumed(command: Command, name_of_run: Callable[[str], str | None] | None = None) -> Command:
    """Return the command to execute; if it resumes a sweep, with the sweep's name.

    Args:
        command: as the user gave it.
        name_of_run: returns the name of the sweep of an MLflow run, see :func:`runner.results.locate.find_sweep`.

    Raises:
        ConfigurationError: there is no such sweep, or another command started it.
    """
    wanted = command.value("resume")
    if wanted is None or wanted.lower() in NO:
        return _started_anew(command)
    output_dir = Path(command.value("output_dir") or RunConfig.output_dir)
    fresh = (command.value("fresh") or "").lower() in YES
    if wanted.lower() in YES:
        found = _newest(output_dir, command, ended=fresh)
    else:
        found = find_sweep(wanted, output_dir, field="resume", name_of_run=name_of_run)
    if found is not None and SweepStore.is_merged(found):
        remedy = "Resume the part that is unfinished, and merge again"
        raise ConfigurationError([Mistake("resume", wanted, "a sweep that one command measured", remedy)])
    if found is None and command.measured:
        return _started_anew(command)  # this command is given for the first time
    if found is None:
        allowed = f"a command, or true if {output_dir / 'sweeps'} holds an unfinished sweep"
        raise ConfigurationError([Mistake("resume", wanted, allowed, "Every sweep there has ended: nothing is left")])
    started, left_out = stored_command(found)
    secrets = [word for word in command.measured if _key(word) in left_out]
    if command.measured not in ([], secrets) and not command.measures_as(started, left_out):
        allowed = f"a sweep of this very command; {found.name} was runner {' '.join(started.overrides)}"
        raise ConfigurationError([Mistake("resume", wanted, allowed, "Leave the other settings out")])
    missing = [name for name in left_out if command.value(name) is None]
    if missing:
        allowed = "the value that the sweep was started with: it held a secret, and is not stored"
        raise ConfigurationError([Mistake(name, None, allowed, f"Add {name}=…") for name in missing])
    now = [*secrets, *(word for word in command.overrides if group_of(word) in SESSION_FIELDS)]
    given = {_key(word) for word in now}
    whole = replace(started, overrides=[*(word for word in started.overrides if _key(word) not in given), *now])
    if found.parent.parent.resolve() != output_dir.resolve():  # a folder was named
        whole = whole.with_value("output_dir", str(found.parent.parent))
    return _started_anew(whole) if fresh else whole.with_value("fresh", None).with_value("resume", found.name)


def stored_command(folder: Path) -> tuple[Command, list[str]]:
    """Return the command that started a sweep, and the fields that were not stored of it."""
    stored = SweepStore.read_plan(folder)["command"]
    command = Command(stored["overrides"], stored["config_dir"], stored.get("jobs", []), stored.get("search", []))
    return command, stored.get("left_out", [])


def reusable_runs(folder: Path, plans: Sequence[Plan]) -> tuple[dict[int, tuple[Path, Result]], list[str]]:
    """Return which finished runs of a sweep a resumed one reuses: those of the same fingerprint that are settled.

    Args:
        folder: of the sweep.
        plans: one per run, in order.

    Returns:
        By the numbers of their plans, the folder and the result of each reusable run; and messages about results that
        cannot be read, or are of another fingerprint.
    """
    messages: list[str] = []
    settled: dict[str, list[tuple[Path, Result]]] = {}
    for path, result in read_results(folder):
        if not isinstance(result, Result):
            messages.append(f"{path.parent.name}: {path.name} cannot be read ({result}): the run is measured again")
        elif result.status in SETTLED:
            settled.setdefault(result.fingerprint, []).append((path.parent, result))
    reusable = {}
    for number, plan in enumerate(plans):
        if same := settled.get(plan.fingerprint):
            reusable[number] = same.pop(0)
    others = sum(len(rest) for rest in settled.values())
    if others:
        what = "of another configuration, code, packages or machine"
        messages.append(f"{others} finished {'run is' if others == 1 else 'runs are'} {what}: stored, not merged")
    return reusable, messages


def _newest(output_dir: Path, command: Command, *, ended: bool) -> Path | None:
    """Return the newest sweep of a command; for a command that requests nothing, the newest that can be continued.

    Args:
        output_dir: holds ``sweeps``.
        command: as the user gave it.
        ended: take a sweep even if all its runs have ended.
    """
    for folder in reversed(sweep_folders(output_dir)):
        if SweepStore.is_merged(folder):
            continue
        if command.measured:
            if command.measures_as(*stored_command(folder)):
                return folder
        elif ended or SweepStore.is_unfinished(folder):
            return folder
    return None


def _started_anew(command: Command) -> Command:
    return command.with_value("resume", None).with_value("fresh", None)


def _key(word: str) -> str:
    return word.partition("=")[0].strip().lstrip("+~")


def group_of(word: str) -> str:
    """Return the group or field that an override sets: ``tracking`` of ``tracking.uri=…``."""
    return re.split(r"[./@]", _key(word))[0]
