"""The command line: what every verb says of itself."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
from unittest import mock

from docs.generate.markdown import MADE
from runner.__main__ import RUN, verbs

FILE = "commands.md"
WIDTH = "100"
"""Columns of the help."""


def page() -> str:
    """Return the page."""
    lines = [
        *("# Commands", "", MADE, ""),
        "`runner` without a verb composes a run or a sweep and measures it: `runner --help` lists its groups, options",
        "and fields, `runner backend=ort --help` those of a choice. `--dry-run` only lists the runs, `--wide` prints",
        "all columns, `--log-level info` logs on standard error, `--config-dir FOLDER` adds a folder with groups.",
        "`python -m runner` is the same as `runner`. [Exit codes](verdicts.md#exit-codes).",
    ]
    for verb in verbs():
        if verb != RUN:
            lines += ["", f"## runner {verb}", "", "```text", help_of(verb), "```"]
    return "\n".join([*lines, ""])


def help_of(verb: str) -> str:
    """Return what ``runner VERB --help`` prints."""
    printed = io.StringIO()
    with (
        mock.patch.dict(os.environ, COLUMNS=WIDTH),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        importlib.import_module(f"runner.commands.{verb}").main(["--help"])
    return printed.getvalue().strip()
