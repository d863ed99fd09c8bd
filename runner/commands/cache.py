"""``runner cache [clean]``: show what the artifact cache holds, or remove it."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from runner import exit_codes
from runner.config.schema import RunConfig
from runner.errors import NothingLaunched
from runner.machine.lock import measurement_lock
from runner.results.artifacts import MIB, Artifact, Artifacts, cache_folder, remove_any


def main(arguments: Sequence[str] | None = None) -> int:
    """Show what the cache holds, by kind. `clean` keeps calibrated noise floors and, if installed, libraries."""
    parser = argparse.ArgumentParser(prog="runner cache", description=main.__doc__)
    parser.add_argument("action", nargs="?", choices=["show", "clean"], default="show")
    parser.add_argument("--output-dir", default=RunConfig.output_dir, help="(default: %(default)s)")
    parser.add_argument("--cache-dir", help="of a command with cache_dir=…; by default that of the output folder")
    options = parser.parse_args(arguments)
    folder = cache_folder(RunConfig(output_dir=options.output_dir, cache_dir=options.cache_dir))
    artifacts, console = Artifacts(folder), Console()
    if options.action == "show":
        show([*artifacts.entries(), *artifacts.others()], str(folder), console)
        return exit_codes.OK
    try:
        with measurement_lock(wait=False, report=print, remedy="wait until it has ended"):
            clean(folder, artifacts, console)
    except NothingLaunched as error:
        print(f"nothing was removed: {error}", file=sys.stderr)
        return exit_codes.MISTAKE
    return exit_codes.OK


def clean(folder: Path, artifacts: Artifacts, console: Console) -> None:
    """Remove every artifact that no process uses, and print what was removed and what was not."""
    found = [*artifacts.entries(), *artifacts.others()]
    removed = [one for one in found if remove_any(one.path)]
    for lock in folder.glob("*.lock"):
        lock.unlink()
    show(removed, f"removed from {folder}", console)
    for left in [one for one in found if one not in removed]:
        console.print(f"{left.path.name} was not removed: a process uses it", highlight=False)


def show(artifacts: Sequence[Artifact], title: str, console: Console) -> None:
    """Print how much space each kind takes."""
    table = Table(title=title)
    for name in ("kind", "entries", "MiB", "last used"):
        table.add_column(name, justify="right" if name in ("entries", "MiB") else "left")
    for kind, found in _by_kind(artifacts):
        used = datetime.datetime.fromtimestamp(max(one.used_at for one in found), datetime.UTC)
        size = sum(one.bytes for one in found) / MIB
        table.add_row(kind, str(len(found)), f"{size:.1f}", used.strftime("%Y-%m-%d %H:%M UTC"))
    table.add_section()
    table.add_row("all", str(len(artifacts)), f"{sum(one.bytes for one in artifacts) / MIB:.1f}", "")
    console.print(table)


def _by_kind(artifacts: Sequence[Artifact]) -> Iterator[tuple[str, list[Artifact]]]:
    """Yield the artifacts of each kind, the largest kind first."""
    kinds: dict[str, list[Artifact]] = {}
    for artifact in artifacts:
        kinds.setdefault(artifact.kind, []).append(artifact)
    yield from sorted(kinds.items(), key=lambda item: -sum(one.bytes for one in item[1]))
