"""System libraries that pip cannot install (allocators, numactl): which are needed, which exist, how to fetch them.

Root installs the distribution's packages. Other users unpack them, if package lists exist. A package that cannot be
fetched is reported, and the runs that need it end as `unavailable`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from runner.machine.libraries import find_library
from runner.paths import CONF, library_prefix

UNPACKED = library_prefix() / "system"
"""Folder into which packages are unpacked without root."""


@dataclass(frozen=True)
class Need:
    """A system library or program that some configurations need."""

    name: str
    packages: Sequence[str]
    """Names of the package in different releases of the distribution, in order of preference."""
    libraries: Sequence[str] = ()
    program: str = ""

    def found(self) -> Path | None:
        """Return its path; None if it is not installed."""
        if self.program:
            path = shutil.which(self.program) or shutil.which(self.program, path=str(UNPACKED / "usr/bin"))
            return Path(path) if path else None
        return find_library(self.libraries)


def needs() -> list[Need]:
    """Return numactl and every allocator that conf/allocator describes."""
    found = [Need("numactl", ["numactl"], program="numactl")]
    for file in sorted((CONF / "allocator").glob("*.yaml")):
        described = yaml.safe_load(file.read_text(encoding="utf-8"))
        if described.get("packages"):
            found.append(Need(described["name"], described["packages"], described["libraries"]))
    return found


def browser_needs() -> list[Need]:
    """Return headless Chromium and its driver, which only pictures and tests of pages need."""
    return [
        Need("chromium", ["chromium", "chromium-browser"], program="chromium"),
        Need("chromedriver", ["chromium-driver", "chromium-chromedriver"], program="chromedriver"),
    ]


def link_plain_names() -> None:
    """Link every installed allocator under its plain name (libtcmalloc.so) in the virtual environment.

    torch.backends.xeon.run_cpu searches for these names there and does not find the distribution's versioned ones.
    """
    for need in needs():
        found = need.found()
        plain = library_prefix() / "lib" / f"lib{need.name}.so"
        if need.libraries and found is not None and not plain.exists():
            plain.parent.mkdir(parents=True, exist_ok=True)
            plain.unlink(missing_ok=True)  # a dangling link
            plain.symlink_to(found)


def fetch(need: Need) -> None:
    """Install or unpack the first package of a need that is available."""
    for package in need.packages:
        fetched = _install(package) if os.geteuid() == 0 else _unpack(package)
        if fetched and need.found() is not None:
            return


def _install(package: str) -> bool:
    return run_command("apt-get", "install", "-qq", "--yes", "--no-install-recommends", package)


def _unpack(package: str) -> bool:
    """Unpack a package into the virtual environment, and link its libraries into a searched folder."""
    if shutil.which("dpkg-deb") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        if not run_command("apt-get", "download", "-qq", package, cwd=folder):
            return False
        archives = sorted(Path(folder).glob("*.deb"))
        if not all(run_command("dpkg-deb", "--extract", str(archive), str(UNPACKED)) for archive in archives):
            return False
    for library in UNPACKED.glob("usr/lib/**/lib*.so.*"):
        link = library_prefix() / "lib" / library.name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists() and _loads(library):
            link.symlink_to(library)
    return True


def _loads(library: Path) -> bool:
    """Return whether the dynamic linker can load a library; it cannot if a dependency is missing."""
    program = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
    return run_command(sys.executable, "-c", program, str(library))


def run_command(*command: str, cwd: str | None = None) -> bool:
    """Run a command and return whether it succeeded; print the last line of its output if it failed."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        print(f"  {' '.join(command[:4])} …: {last[0] if last else 'failed'}")
    return done.returncode == 0
