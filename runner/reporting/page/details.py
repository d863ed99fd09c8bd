"""What a row of a page unfolds to, from the files of its folder."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from runner.config.redaction import hide_in_text
from runner.results.stored_sweep import StoredRun

BINS = 40
"""Of the distribution of batch times."""
HIGHEST_PERCENTILE = 99.5
"""Batches above it are counted and not drawn: a single slow one would flatten the picture."""
LOG_LINES = 30
PERSONAL = frozenset({"USER", "LOGNAME", "HOME"})
"""Variables that say who measured: a page is passed on."""
USUAL_ROWS, USUAL_BYTES = 60, 1_900_000
"""Bytes of all rows' details on a page of up to so many rows: with the library it stays below 3 MB."""
MAX_BYTES, ROW_BYTES = 9_000_000, 2_500
"""Bytes of the details on any page, and what each row takes of them elsewhere, in the table and in the charts: with the
library the page stays below 10 MB."""
MAX_ROWS = 3000
"""Rows on a page."""

Details = dict[str, Any]


def details(
    runs: Sequence[StoredRun], config_dir: str | None, *, logs: bool = False
) -> tuple[list[Details], list[str]]:
    """Return what each row unfolds to, and a line for each kind of part that was left out so that the page stays small.

    Args:
        runs: of the rows.
        config_dir: the folder of configuration groups that their command added.
        logs: whether to show the ends of the logs as they are on disk; else only what a failed run kept of its own.
    """
    found = [_of_run(run, config_dir, logs=logs) for run in runs]
    limit = USUAL_BYTES if len(runs) <= USUAL_ROWS else MAX_BYTES - ROW_BYTES * len(runs)
    left_out = []
    for what, part in THINNED:
        if _size(found) <= limit:
            break
        for one in found:
            one.pop(part, None)
        left_out.append(f"This page leaves out {what} of its rows to stay small; their folders hold them.")
    return found, left_out


THINNED = (
    ("the environments", "environment"),
    ("the ends of the logs", "log"),
    ("the rounds", "rounds"),
    ("the process command lines", "process"),
    ("the distributions of batch times", "times"),
    ("the evidence", "evidence"),
    ("the replicates", "replicates"),
    ("the notes", "notes"),
    ("the phases", "phases"),
    ("the commands", "command"),
)
"""What a page leaves out if it would become too large, in this order."""


def _size(found: Sequence[Details]) -> int:
    return len(json.dumps(found, ensure_ascii=False).encode())


def _of_run(run: StoredRun, config_dir: str | None, *, logs: bool) -> Details:
    result = run.result
    words = [*(["--config-dir", config_dir] if config_dir else []), *run.overrides]
    own: Details = {
        "label": result.label,
        "notes": [*([result.reason] if result.reason else []), *result.notes],
        "replicates": [asdict(one) for one in result.shown.replicates] if result.shown else [],
        "evidence": [
            {name: getattr(one, name) for name in ("knob", "asked", "observed", "state", "source", "remedy")}
            for one in result.evidence
        ],
        "phases": {name: round(seconds, 2) for name, seconds in result.phases.items()},
        "command": shlex.join(["python", "-m", "runner", *words]) if run.overrides else "",
        "log": result.log_tail,  # its secrets were hidden when it was measured
        "unreadable": [],
    }
    parts: dict[str, Callable[[Path], Details]] = {
        "rounds.csv": _rounds,
        "stamps_ns.npz": _times,
        "launch-candidate.json": _launch,
        **({"candidate.log": _log} if logs else {}),
    }
    for name, read in parts.items():
        try:
            own |= read(run.folder / name)
        except FileNotFoundError:  # the run ended before it was written
            continue
        except Exception as error:  # a damaged file: the page shows the rest, and this
            own["unreadable"].append(f"{name}: {type(error).__name__}: {error}")
    return own


def _rounds(path: Path) -> Details:
    """Return every round: number, replicate, ratio, and what contaminated it."""
    with path.open(newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    return {
        "rounds": [
            {
                "round": number,
                "replicate": int(line.get("replicate") or 0) + 1,
                "ratio": float(line["ratio"]),
                "contaminated": line.get("contaminated") or "",
            }
            for number, line in enumerate(lines, start=1)
            if line.get("ratio")
        ]
    }


def _times(path: Path) -> Details:
    """Return the distribution of the candidate's batch times, in ms, over all rounds."""
    with np.load(path, allow_pickle=False) as stamps:
        lanes = [np.diff(stamps[name]) / 1e6 for name in stamps.files if name.startswith("candidate")]
    times = np.concatenate(lanes) if lanes else np.array([])
    if not times.size:
        return {}
    highest = float(np.percentile(times, HIGHEST_PERCENTILE))
    counts, edges = np.histogram(times, bins=BINS, range=(float(times.min()), max(highest, float(times.min()) + 1e-6)))
    bars = [
        {"from": round(float(low), 4), "to": round(float(high), 4), "batches": int(count)}
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    return {"times": {"bars": bars, "beyond": int((times > edges[-1]).sum()), "all": int(times.size)}}


def _launch(path: Path) -> Details:
    """Return the command line and the environment of the measured process, or of the first of several."""
    launches = json.loads(path.read_text(encoding="utf-8"))
    first = launches[0]
    environment = {str(name): str(value) for name, value in sorted(first["env"].items()) if name not in PERSONAL}
    return {"process": shlex.join(map(str, first["argv"])), "environment": environment, "processes": len(launches)}


def _log(path: Path) -> Details:
    """Return the last lines of the worker's log, with known secrets hidden."""
    lines = hide_in_text(path.read_text(encoding="utf-8", errors="replace")).splitlines()
    return {"log": "\n".join(line[:500] for line in lines[-LOG_LINES:])}
