"""What a configuration may start, load and set: names from closed lists, never a path of its own.

A configuration may come from somebody else (``--config-dir``). What it can still choose are the files of weights, data
and models that are read, and the folders that are written.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from runner.config.schema import FOLDER_NAME, RunConfig
from runner.errors import Mistake
from runner.paths import default_cache

LIBRARY = re.compile(r"[\w+-][\w.+-]*\.so(\.\d+)*")
"""A library's file name: it is searched for in the system's folders and in this program's own."""
LAUNCHER = ("-m", "torch.backends.xeon.run_cpu")
"""The only launcher: PyTorch's."""
LAUNCHER_WORD = re.compile(r"--[a-z][a-z-]*(=[\w{}]+)?|\{allocator\}|\{python\}")
FORBIDDEN_NAMES = frozenset({"PATH", "HOME", "SHELL", "ENV", "IFS", "GCONV_PATH", "VIRTUAL_ENV"})
FORBIDDEN_PREFIXES = ("LD_", "DYLD_", "PYTHON", "BASH", "RUNNER_")
"""Variables that would make a process load or run something else."""


def check_execution(config: RunConfig) -> list[Mistake]:
    """Return the mistakes in libraries, environments, launchers and variables, and a cache that others can write."""
    return [*_libraries(config), *_environment(config), *_launcher(config), *_variables(config), *_cache(config)]


def _libraries(config: RunConfig) -> Iterator[Mistake]:
    for field, names in (
        ("allocator.libraries", config.allocator.libraries),
        ("threading.libraries", config.threading.libraries),
    ):
        for name in names:
            if not LIBRARY.fullmatch(name):
                yield Mistake(field, name, "file names such as libjemalloc.so.2, without a folder")


def _environment(config: RunConfig) -> Iterator[Mistake]:
    name = config.backend.environment
    if name is not None and not FOLDER_NAME.fullmatch(name):
        yield Mistake("backend.environment", name, "null, or the name of a folder in .venvs")


def _launcher(config: RunConfig) -> Iterator[Mistake]:
    words = config.threading.prefix
    known = tuple(words[:2]) == LAUNCHER and all(LAUNCHER_WORD.fullmatch(word) for word in words[2:])
    if words and not known:
        allowed = f"{' '.join(LAUNCHER)} and its options, as in conf/threading/xeon_run_cpu.yaml"
        yield Mistake("threading.prefix", list(words), allowed)


def _variables(config: RunConfig) -> Iterator[Mistake]:
    for group in ("backend", "allocator", "hugepages", "threading"):
        for name in getattr(config, group).env:
            if name in FORBIDDEN_NAMES or name.startswith(FORBIDDEN_PREFIXES):
                allowed = "settings of a runtime; LD_*, PYTHON*, BASH*, PATH and the like are this program's own"
                yield Mistake(f"{group}.env", name, allowed)


def _cache(config: RunConfig) -> Iterator[Mistake]:
    """Refuse a cache of another user, or one that everybody can write: its artifacts are loaded and executed."""
    folder = Path(config.cache_dir) if config.cache_dir else default_cache(Path(config.output_dir))
    try:
        found = folder.stat()
    except OSError:  # it does not exist yet
        return
    if found.st_uid not in (os.geteuid(), 0) or found.st_mode & stat.S_IWOTH:
        yield Mistake("cache_dir", str(folder), "a folder of yours that not everybody can write", "Choose another")
