"""The command that asks for rows of past sweeps again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runner.config.redaction import HIDDEN
from runner.config.schema import SESSION_FIELDS, RunConfig
from runner.planning.resume import Command, group_of
from runner.results.stored_sweep import StoredRun


def command_again(runs: Sequence[StoredRun], output_dir: Path, config_dir: str | None) -> Command:
    """Return the command that measures rows of past sweeps again, in order.

    Args:
        runs: the rows.
        output_dir: for the new sweep.
        config_dir: the folder of configuration groups that the sweeps' commands added.

    Raises:
        LookupError: the words of a row's command line are not stored.
    """
    for run in runs:
        if not run.overrides:
            raise LookupError(
                f"{run.folder}: an earlier version measured it, and did not store its words: measure it again"
            )
        if any(HIDDEN in word for word in run.overrides):
            raise LookupError(f"{run.folder}: its command line held a secret, which is not stored: measure it again")
    first = runs[0].overrides
    session = [word for word in first if group_of(word) in SESSION_FIELDS and group_of(word) != "output_dir"]
    if str(output_dir) != RunConfig.output_dir:
        session.append(f"output_dir={output_dir}")
    jobs = [[word for word in run.overrides if group_of(word) not in SESSION_FIELDS] for run in runs]
    return Command(session, config_dir, jobs)
