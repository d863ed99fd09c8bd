"""Results as files: written atomically, and read back."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from runner.analysis.accuracy import Accuracy, Gate
from runner.analysis.statistics import Estimate, Verdict
from runner.config.redaction import hide
from runner.protocol import Finding
from runner.results.result import SCHEMA, Measurement, Replicate, Result
from runner.results.status import Status

RESULT_FILE = "result.json"
RENAMED = {"rounds_disturbed": "rounds_contaminated"}
"""Fields of a measurement that version 0.1.0 wrote under other names: old name to new name."""


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, as :func:`write_text` does.

    Raises:
        OSError: the folder is not writable, or the disk is full.
    """
    write_text(path, json.dumps(content, indent=1, allow_nan=False))


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: after any failure it is complete, either the old or the new one.

    Raises:
        OSError: the folder is not writable, or the disk is full.
    """
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(partial).replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # makes the renaming durable
        finally:
            os.close(folder)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def save(result: Result, folder: Path) -> Path:
    """Write result.json into a run's folder and return its path.

    Raises:
        OSError: see :func:`write_json`.
    """
    path = folder / RESULT_FILE
    write_json(path, dataclasses.asdict(result))
    return path


def without_secrets(result: Result) -> Result:
    """Return a copy of a result with the secrets in its texts hidden."""
    return dataclasses.replace(
        result,
        reason=hide(result.reason),
        notes=hide(result.notes),
        evidence=[Finding(**hide(dataclasses.asdict(finding))) for finding in result.evidence],
        exception=hide(result.exception),
        log_tail=hide(result.log_tail),
    )


def load(path: Path) -> Result:
    """Read a result.json.

    Raises:
        OSError: the file cannot be read.
        ValueError, KeyError, TypeError: the file does not contain a result.
    """
    fields = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(fields, dict):
        raise TypeError(f"received a {type(fields).__name__}, a result is an object")
    fields.setdefault("schema", 1)
    if fields["schema"] > SCHEMA:
        raise ValueError(f"schema {fields['schema']} is newer than {SCHEMA}, which this version reads: update runner")
    for name, unknown in (("machine_class", ""), ("attempt", {})):  # the defaults describe this machine
        fields.setdefault(name, unknown)
    fields["status"] = Status(fields["status"])
    measurement, accuracy = fields["measurement"], fields["accuracy"]
    if measurement is not None:
        for name in ("throughput", "baseline_throughput", "speedup"):
            measurement[name] = Estimate(**measurement[name])
        measurement["verdict"] = Verdict(measurement["verdict"])
        for old, new in RENAMED.items():
            if old in measurement:
                measurement[new] = measurement.pop(old)
        measurement["replicates"] = [Replicate(**_known(Replicate, one)) for one in measurement.get("replicates", [])]
        fields["measurement"] = Measurement(**_known(Measurement, measurement))
    fields["evidence"] = [Finding(**_known(Finding, finding)) for finding in fields["evidence"]]
    if accuracy is not None:
        accuracy["gate"] = Gate(accuracy["gate"]) if accuracy["gate"] else None
        fields["accuracy"] = Accuracy(**_known(Accuracy, accuracy))
    return Result(**_known(Result, fields))


def _known(kind: type, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that a dataclass has; fields of other versions are dropped."""
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in fields.items() if name in names}
