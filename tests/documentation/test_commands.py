"""Every command of README and docs is composed and checked as it stands; one per page at least runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from runner import exit_codes
from runner.__main__ import main, verbs
from tests.conftest import RunProgram
from tests.documentation.commands import Shown, shown, write_desk

COMMANDS = shown()
MEASURES = ("resume", "find")
"""Verbs that measure, and take --dry-run for that."""
PARSED = {
    "machine": "takes two minutes",
    "ui": "serves",
    "provision": "installs",
    "sync": "needs a server",
    "ship": "measures with --verify",
    "merge": "writes a sweep",
}
"""Verbs whose commands are only parsed."""
ONE_MACHINE = "all rows were measured on one kind of machine"
"""What `--by machine` says of the sweeps of the tests."""
REAL = [one for one in COMMANDS if one.real is not None]
CHECKED = ("measure=check", "tracking=none", "data.evaluation_samples=8", "data.calibration_samples=8")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def desk(tmp_path_factory) -> Path:
    """A folder with all files that the documentation names."""
    return write_desk(tmp_path_factory.mktemp("documentation") / "desk")


def run_here(words: list[str], monkeypatch) -> int:
    """Run a command line in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["runner", *words])
    try:
        return main()
    except SystemExit as done:
        return int(done.code or 0)


def expanded(word: str, desk: Path) -> list[str]:
    """Return the files that a word with a star stands for, as a shell does."""
    files = sorted(desk.glob(word)) if "*" in word and "=" not in word else []
    return [str(file.relative_to(desk)) for file in files] or [word]


def marked(command: Shown) -> ParameterSet:
    """Return a command as a parameter; one that needs two cores runs where no test process has a single one."""
    several = any(word.startswith("instances=") or word == "threading=two_threads" for word in command.words)
    return pytest.param(command, marks=[pytest.mark.alone] if several else [], id=str(command))


@pytest.mark.parametrize("command", [marked(one) for one in COMMANDS if not one.refused])
def test_every_command_is_true(command: Shown, desk, monkeypatch, capsys):
    """With --dry-run where it would measure; a verb that is quick runs; of others the options exist."""
    monkeypatch.chdir(desk)
    monkeypatch.setenv("BROWSER", "true")  # what --open opens
    for name, value in command.variables:
        monkeypatch.setenv(name, value)
    words = [found for word in command.words for found in expanded(word, desk)]
    verb = next(iter(words), "")
    if verb in PARSED:
        assert run_here([verb, "--help"], monkeypatch) == exit_codes.OK
        options = [word.partition("=")[0] for word in words[1:] if word.startswith("--")]
        printed = capsys.readouterr().out
        assert [option for option in options if option not in printed] == []
        return
    if verb not in verbs() or verb in MEASURES or "--paired" in words:
        words = [*words, *(["--dry-run"] if "--dry-run" not in words and "--help" not in words else [])]
    code = run_here(words, monkeypatch)
    printed = capsys.readouterr()
    if verb == "compare" and "machine" in words:
        assert (code, ONE_MACHINE in printed.err) == (exit_codes.MISTAKE, True)
    else:
        assert code == exit_codes.OK, printed.err


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.refused], ids=str)
def test_every_command_that_is_shown_refused_is_refused(command: Shown, desk, monkeypatch, capsys):
    monkeypatch.chdir(desk)
    assert run_here([*command.words, "--dry-run"], monkeypatch) == exit_codes.MISTAKE
    assert "nothing was launched" in capsys.readouterr().err


def in_small(command: Shown) -> list[str]:
    """Return the words of a command with those of the comment above it in the place of its own."""
    assert command.real is not None
    extra = [*CHECKED, *command.real]
    replaced = {"output_dir", *(word.partition("=")[0] for word in extra)}
    return [*(word for word in command.words if word.partition("=")[0] not in replaced), *extra]


@pytest.mark.parametrize("command", REAL, ids=str)
def test_a_command_of_each_page_runs(command: Shown, desk, run_program: RunProgram):
    """As the comment above its block says: on a small network, checked and not timed."""
    done = run_program(*in_small(command), **dict(command.variables), cwd=desk)
    assert done.code == exit_codes.OK, done.out + done.err
    assert {str(result.status) for result in done.results()} <= {"ok", "unsupported"}, done.out
