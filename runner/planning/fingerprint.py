"""The fingerprint of a run: a hash of everything that its result depends on."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from runner.config import backend_registry
from runner.config.model_catalog import file_of
from runner.config.schema import SESSION_FIELDS, RunConfig
from runner.job import HOST_ENVIRONMENT
from runner.machine.environments import find_environment
from runner.machine.facts import Machine, as_dict
from runner.machine.libraries import find_library
from runner.paths import PACKAGE, extra_backend_folders

SHOWING = frozenset({"reporting", "tracking", "commands"})
"""Folders of this package that show and record results."""
COMPUTING = frozenset(
    {
        *("python", "numpy", "torch", "torchvision", "timm", "transformers", "tokenizers", "safetensors"),
        *("intel-openmp", "pillow", "scikit-learn"),
    }
)
"""Packages that build models and samples in every measured process, beside those that its backend declares."""
CONVERTING = frozenset(
    {"onnx", "onnx-ir", "onnxscript", "optimum", "optimum-onnx", "optimum-intel", "nncf", "openvino"}
)
"""Packages that make the artifacts of backends other than PyTorch."""
MIB = 2**20


def fingerprint(roles: Sequence[RunConfig], machine: Machine, *, repetition: str = "") -> str:
    """Return a hash of everything that a result depends on: configuration, files, code, packages, machine.

    Args:
        roles: the configurations of the run, its baseline and its reference. The files that they name enter by path and
            content.
        machine: the machine that executes the run.
        repetition: distinguishes repeated runs of the same configuration, such as A/A runs.

    Returns:
        16 hexadecimal digits of a SHA-256.
    """
    installed = [find_environment(name).digest for name in _environments(roles)]
    return _hash(roles, machine, {"repetition": repetition, "environments": installed})


def baseline_fingerprint(baseline: RunConfig, machine: Machine) -> str:
    """Return a hash of everything that the speed of a baseline depends on.

    It holds only the packages that its process computes with: speedups over PyTorch before and after an update of
    ONNX Runtime are over the same baseline.

    Returns:
        16 hexadecimal digits of a SHA-256.
    """
    known = backend_registry.backends().get(baseline.backend.name)
    names = COMPUTING | set(known.packages if known else ())
    own, host = (find_environment(name).versions for name in (baseline.backend.environment, None))
    packages = {name: own.get(name) for name in names}
    if known is None or "torch" not in known.packages:  # its artifact is made in the host's environment
        packages |= {f"host {name}": host.get(name) for name in COMPUTING | CONVERTING}
    return _hash([baseline], machine, {"packages": packages})


def _hash(roles: Sequence[RunConfig], machine: Machine, others: dict[str, Any]) -> str:
    paths = [path for one in roles for path in _paths(one) if path]
    libraries = [name for one in roles for name in (*one.allocator.libraries, *one.threading.libraries)]
    content = {
        **others,
        "settings": [_measured(one) for one in roles],
        "files": [_contents(path) for path in dict.fromkeys(paths)],
        "libraries": [_contents(str(found)) for name in libraries if (found := find_library([name]))],
        "code": code_version(),
        "python": platform.python_version(),
        "machine": _machine(machine),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _paths(config: RunConfig) -> tuple[str | None, ...]:
    """Return the files and folders that a configuration names."""
    return config.weights.path, config.data.path, config.data.labels, config.model.id, file_of(config.model)


def _measured(config: RunConfig) -> dict[str, Any]:
    """Return the fields of a configuration that affect the measurement."""
    return {name: value for name, value in asdict(config).items() if name not in SESSION_FIELDS}


@cache
def _contents(path: str) -> list[tuple[str, int, str]]:
    """Return path, bytes and a digest of a file, or of all files in a folder; empty if it is neither.

    A large file enters by its first and last MiB: its size and these differ for any two weights that occur in practice.
    """
    root = Path(path)
    files = sorted(file for file in root.rglob("*") if file.is_file()) if root.is_dir() else [root]
    return [(str(file), file.stat().st_size, _digest(file)) for file in files if file.is_file()]


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        digest = hashlib.sha256(stream.read(MIB))
        if file.stat().st_size > 2 * MIB:
            stream.seek(-MIB, os.SEEK_END)
        digest.update(stream.read())
    return digest.hexdigest()[:16]


def _machine(machine: Machine) -> dict[str, Any]:
    """Return what a result depends on: not which numbers the cores have, but how many and how they are arranged."""
    found = as_dict(machine)
    del found["cores"], found["topology"]
    cores = [len(core.cpus) for core in machine.topology.cores]
    nodes = sorted(Counter(core.node for core in machine.topology.cores).values())
    return {**found, "threads_of_cores": cores, "cores_of_nodes": nodes, "class": machine.machine_class}


def _environments(roles: Sequence[RunConfig]) -> list[str]:
    """Return the names of the environments of a run: the host's makes the artifacts of every one."""
    return sorted({HOST_ENVIRONMENT, *(one.backend.environment or HOST_ENVIRONMENT for one in roles)})


@cache
def code_version() -> str:
    """Return the hash of the source files that results depend on, as they were when it was first asked for."""
    return _hash_code()


def is_current(version: str) -> bool:
    """Return whether the source files still have the hash that :func:`code_version` returned."""
    return _hash_code() == version


def _hash_code() -> str:
    """Return a hash of the source files that results depend on, and of the folders in RUNNER_BACKENDS.

    What shows and records results is not among them: a correction there measures nothing anew.
    """
    digest = hashlib.sha256()
    for folder in (PACKAGE, *extra_backend_folders()):
        for file in sorted(folder.rglob("*.py")):
            path = file.relative_to(folder)
            if folder != PACKAGE or path.parts[0] not in SHOWING:
                digest.update(path.as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]
