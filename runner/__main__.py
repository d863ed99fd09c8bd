"""The entry: ``runner`` and ``python -m runner``. A verb goes to its module; without one the words compose a sweep."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from pathlib import Path

from runner import commands, exit_codes

RUN = "run"
"""The module of a command line without a verb."""


def verbs() -> list[str]:
    """Return the names of all verbs: one per module of :mod:`runner.commands`."""
    folders = map(Path, commands.__path__)
    names = {file.stem for folder in folders for file in folder.glob("*.py")}
    return sorted(name for name in names if not name.startswith("_"))


def main() -> int:
    """Run the command line of this process and return its exit code."""
    words = sys.argv[1:]
    first = words[0] if words else ""
    if first.isidentifier():  # an override has a "=" or another sign, an option a dash
        if first not in verbs():
            near = difflib.get_close_matches(first, verbs(), n=1, cutoff=0.0)
            allowed = f"{', '.join(verbs())}, or overrides such as backend=ort"
            print(f"runner: received {first!r}; allowed: {allowed}. Did you mean {near[0]}?", file=sys.stderr)
            return exit_codes.MISTAKE
        words = words[1:]
    verb = first if first.isidentifier() else RUN
    try:
        return int(importlib.import_module(f"runner.commands.{verb}").main(words))
    except BrokenPipeError:  # the reader of standard output ended early, as head does: that is no failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it flushes
        return exit_codes.OK


if __name__ == "__main__":
    sys.exit(main())
