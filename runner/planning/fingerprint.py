"""The fingerprint of a run: a hash of everything that its result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from runner.config.schema import SESSION_FIELDS, RunConfig
from runner.machine.facts import Machine, as_dict
from runner.paths import PACKAGE, extra_backend_folders
from runner.paths import interpreter as interpreter_path
from runner.protocol import PACKAGES


def fingerprint(roles: Sequence[RunConfig], machine: Machine, *, repetition: str = "") -> str:
    """Return a hash of everything that a result depends on: configuration, files, code, packages, machine.

    Args:
        roles: the configurations of the run, its baseline and its reference. The weights, data and model files that the
            first one names enter by path, size and modification time.
        machine: the machine that executes the run.
        repetition: distinguishes repeated runs of the same configuration, such as A/A runs.

    Returns:
        16 hexadecimal digits of a SHA-256.
    """
    config = roles[0]
    content = {
        "repetition": repetition,
        "settings": [_measured(one) for one in roles],
        "files": [_stamps(path) for path in (config.weights.path, config.data.path, config.model.id) if path],
        "code": code_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "interpreters": [_packages_of(path) for one in roles if (path := one.backend.interpreter)],
        "machine": as_dict(machine),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _measured(config: RunConfig) -> dict[str, Any]:
    """Return the fields of a configuration that affect the measurement."""
    return {name: value for name, value in asdict(config).items() if name not in SESSION_FIELDS}


@cache
def _stamps(path: str) -> list[tuple[str, int, int]]:
    """Return path, bytes and modification time in ns of a file, or of all files in a folder; empty if it is neither."""
    root = Path(path)
    files = sorted(file for file in root.rglob("*") if file.is_file()) if root.is_dir() else [root]
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.exists()]


@cache
def _packages_of(interpreter: str) -> list[str]:
    """Return names and versions of the packages of a backend's separate interpreter; empty if it is not installed."""
    environment = interpreter_path(interpreter).parent.parent
    return sorted(found.stem for found in environment.glob("lib/python*/site-packages/*.dist-info"))


@cache
def code_version() -> str:
    """Return a hash of the source files of this program and of the folders in RUNNER_BACKENDS."""
    digest = hashlib.sha256()
    for folder in (PACKAGE, *extra_backend_folders()):
        for file in sorted(folder.rglob("*.py")):
            digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # runs that need it end as `unavailable`
        return "absent"
