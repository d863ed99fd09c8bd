"""System libraries that pip cannot install, allocators and numactl: what is needed, what is present, how to fetch it.

As root the distribution's packages are installed. Without root they are unpacked, if package lists are present. What
cannot be fetched is reported, and the runs that need it end as `unavailable`.
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
"""Where packages are unpacked without root."""


@dataclass(frozen=True)
class Need:
    """A library or a program that some configurations need."""

    name: str
    packages: Sequence[str]
    """Names of the package in different releases of the distribution, best first."""
    libraries: Sequence[str] = ()
    program: str = ""

    def found(self) -> Path | None:
        """Return its path, None if it is not installed."""
        if self.program:
            path = shutil.which(self.program) or shutil.which(self.program, path=str(UNPACKED / "usr/bin"))
            return Path(path) if path else None
        return find_library(self.libraries)


def needs() -> list[Need]:
    """Return every allocator that conf/allocator describes, and numactl."""
    found = [Need("numactl", ["numactl"], program="numactl")]
    for file in sorted((CONF / "allocator").glob("*.yaml")):
        described = yaml.safe_load(file.read_text(encoding="utf-8"))
        if described.get("packages"):
            found.append(Need(described["name"], described["packages"], described["libraries"]))
    return found


def link_plain_names() -> None:
    """Give every allocator that was found its plain name (libtcmalloc.so) in the virtual environment.

    torch.backends.xeon.run_cpu looks for these names there, and misses the distribution's versioned ones.
    """
    for need in needs():
        found = need.found()
        plain = library_prefix() / "lib" / f"lib{need.name}.so"
        if need.libraries and found is not None and not plain.exists():
            plain.parent.mkdir(parents=True, exist_ok=True)
            plain.unlink(missing_ok=True)  # a link to what has gone
            plain.symlink_to(found)


def fetch(need: Need) -> None:
    """Install or unpack the first of the need's packages that is available."""
    for package in need.packages:
        fetched = _install(package) if os.geteuid() == 0 else _unpack(package)
        if fetched and need.found() is not None:
            return


def _install(package: str) -> bool:
    return run_command("apt-get", "install", "-qq", "--yes", "--no-install-recommends", package)


def _unpack(package: str) -> bool:
    """Unpack a package into the virtual environment, and link its libraries into a folder that is searched."""
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
    """Return whether the dynamic linker can load a library: one that lacks its own dependencies is of no use."""
    program = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
    return run_command(sys.executable, "-c", program, str(library))


def run_command(*command: str, cwd: str | None = None) -> bool:
    """Run a command, its output shown only if it fails; return whether it succeeded."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        print(f"  {' '.join(command[:4])} …: {last[0] if last else 'failed'}")
    return done.returncode == 0
