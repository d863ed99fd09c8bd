"""The entry: ``runner`` and ``python -m runner``. A verb goes to its module; without one the words compose a sweep."""

from __future__ import annotations

import argparse
import difflib
import importlib
import logging
import os
import sys
from pathlib import Path

from runner import commands, exit_codes

RUN = "run"
"""What a command line without a verb does; it may be written, too."""
LEVELS = ("debug", "info", "warning", "error")
"""Of ``--log-level``, which every verb takes."""


def verbs() -> list[str]:
    """Return the names of all verbs: `RUN`, and one per module of :mod:`runner.commands`."""
    folders = map(Path, commands.__path__)
    names = {file.stem for folder in folders for file in folder.glob("*.py")}
    return sorted([RUN, *(name for name in names if not name.startswith("_"))])


def module_of(verb: str) -> str:
    """Return the name of a verb's module."""
    return f"runner.{RUN}" if verb == RUN else f"runner.commands.{verb}"


def start_logging(words: list[str]) -> list[str]:
    """Write this program's log to standard error as ``--log-level`` requests, and return the other words."""
    parser = argparse.ArgumentParser(prog="runner", add_help=False, allow_abbrev=False)
    parser.add_argument("--log-level", choices=LEVELS, default="warning")
    options, others = parser.parse_known_args(words)
    pattern = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=options.log_level.upper(), format=pattern, stream=sys.stderr)
    return others


def main() -> int:
    """Run the command line of this process and return its exit code."""
    words = start_logging(sys.argv[1:])
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
        return int(importlib.import_module(module_of(verb)).main(words))
    except BrokenPipeError:  # the reader of standard output ended early, as head does: that is no failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it flushes
        return exit_codes.OK


if __name__ == "__main__":
    sys.exit(main())
