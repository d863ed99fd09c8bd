"""Environments: interpreters with their installed packages. The host's runs this program; a backend may name another.

An environment has a name, ``ipex`` for example, and is set up by ``make ipex`` in ``.venvs/ipex``; the host's own is
``host``. Its digest changes with any installed version, and is part of every cache key, fingerprint and row.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from runner.job import HOST_ENVIRONMENT
from runner.paths import environment_folder


@dataclass(frozen=True)
class Environment:
    """An interpreter with its installed packages."""

    name: str
    python: Path
    versions: dict[str, str]
    """Version of each installed package, by its normalised name."""

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of the SHA-256 of all versions."""
        return hashlib.sha256(json.dumps(self.versions, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def install(self) -> str:
        """The command that sets it up."""
        return "make setup" if self.name == HOST_ENVIRONMENT else f"make {self.name}"

    @property
    def is_installed(self) -> bool:
        """Whether its interpreter exists."""
        return self.python.exists()


def find_environment(name: str | None) -> Environment:
    """Return an environment; one that is not installed has no versions.

    Args:
        name: a name; None for the host's.
    """
    if name in (None, HOST_ENVIRONMENT):
        return Environment(HOST_ENVIRONMENT, Path(sys.executable), _own_versions())
    assert name is not None
    folder = environment_folder(name)
    return Environment(name, folder / "bin" / "python", _versions_in(folder))


@cache
def _own_versions() -> dict[str, str]:
    """Return the versions in this interpreter, wherever it finds them; of two of a package, the one it imports."""
    found: dict[str, str] = {}
    for folder in reversed(sys.path):
        found |= _versions_of(Path(folder))
    return {"python": platform.python_version(), **found}


def _versions_in(folder: Path) -> dict[str, str]:
    """Return the versions in a virtual environment."""
    found: dict[str, str] = {}
    for packages in sorted(folder.glob("lib/python*/site-packages")):
        found["python"] = packages.parent.name.removeprefix("python")
        found |= _versions_of(packages)
    return found


def _versions_of(packages: Path) -> dict[str, str]:
    """Return the versions in a folder of packages, from the names of its metadata folders: ``torch-2.8.0.dist-info``.

    importlib.metadata parses a file of each package instead, which takes half a second.
    https://packaging.python.org/en/latest/specifications/recording-installed-packages/#the-dist-info-directory
    """
    found = {}
    for one in sorted([*packages.glob("*.egg-info"), *packages.glob("*.dist-info")]):
        name, _, version = one.stem.partition("-")
        found[_normalised(name)] = version.partition("-py")[0]
    return found


def _normalised(name: str) -> str:
    """Return a package's name in lower case with hyphens; see PEP 503."""
    return name.lower().replace("_", "-").replace(".", "-")
