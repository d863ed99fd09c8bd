"""Locate shared libraries on this machine."""

from __future__ import annotations

import platform
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from runner.paths import library_prefix


def library_folders() -> list[Path]:
    """Return the folders to search for shared libraries, in order: the virtual environment's first."""
    multiarch = sysconfig.get_config_var("MULTIARCH") or f"{platform.machine()}-linux-gnu"
    folders = list(dict.fromkeys([library_prefix() / "lib", Path(sys.prefix) / "lib"]))
    folders += [Path(root) for root in ("/usr/local/lib", f"/usr/lib/{multiarch}", "/usr/lib64", "/usr/lib", "/lib64")]
    return [folder for folder in folders if folder.is_dir()]


def find_library(names: Iterable[str]) -> Path | None:
    """Return the path of the first file name that exists in a searched folder, else None.

    Args:
        names: file names in order of preference.
    """
    folders = library_folders()
    for name in names:
        for folder in folders:
            if (folder / name).exists():
                return folder / name
    return None
