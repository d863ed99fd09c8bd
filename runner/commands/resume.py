"""``runner resume [SWEEP] [FIELD=VALUE …]``: continue a sweep."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from runner import run
from runner.commands import find
from runner.errors import ConfigurationError


def main(arguments: Sequence[str]) -> int:
    """Continue a sweep: reuse what is measured, measure the rest."""
    parser = argparse.ArgumentParser(
        prog="runner resume",
        description=main.__doc__,
        epilog="Further words are those of a command without a verb: budget=2h, wait=true, fresh=true, --dry-run, …",
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="[SWEEP] [FIELD=VALUE …]",
        help="last, or its folder, name, prefix of its name or MLflow run id; the newest unfinished one by default",
    )
    options, others = parser.parse_known_args(list(arguments))
    sweeps = [word for word in options.words if "=" not in word]
    if len(sweeps) > 1:
        parser.error(f"received {' and '.join(sweeps)}; allowed: one sweep")
    overrides = [word for word in options.words if "=" in word]
    words = [*others, *overrides, f"resume={sweeps[0] if sweeps else 'true'}"]
    parsed = run.parse_options(words)
    try:
        command = run.command_of(parsed)
    except ConfigurationError as error:
        return run.refuse(error)
    if command.search:
        return find.resume(command, parsed)
    return run.main(words)
