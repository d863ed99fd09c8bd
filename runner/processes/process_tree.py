"""Find and kill all processes that a sweep has started, by a tag in their environment.

A process leaves its process group when it creates a session, and loses its parent when the parent ends. The tag stays:
the kernel keeps the environment that a process was started with, and children inherit it. The reaper, a small process
that waits for the end of the host, uses the tag to kill every remaining process: running, frozen or orphaned.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

PROCESS_TAG_VARIABLE = "RUNNER_PROCESS_TAG"
"""Environment variable that carries the tag."""
PROCESS_TAG = os.environ.get(PROCESS_TAG_VARIABLE, "") + uuid4().hex[:12]
"""Tag of all processes that this process starts; a worker's tag appends the worker's number. If this process was itself
started with a tag, its tag extends that one, so that the starter finds all descendants."""
ANY_TAG = ""
"""The common prefix of all tags."""
AWAITED: set[int] = set()
"""Process ids of children that other code waits for."""
_adopting: set[int] = set()
"""The id of this process once it adopts orphans. A fork has another id and does not adopt."""
PR_SET_CHILD_SUBREAPER = 36  # <sys/prctl.h>
ATTEMPTS, PAUSE_S = 100, 0.02
"""Number of search-and-kill rounds and the pause between them: a process may start another while it is being killed."""
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that the reaper ignores: those that end a terminal's programs must not end it before the host."""


def tagged_processes(tag: str) -> list[int]:
    """Return the ids of the processes whose tag starts with `tag`. Zombies have no environment and are not found."""
    wanted = f"\0{PROCESS_TAG_VARIABLE}={tag}".encode()
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                environment = Path(entry.path, "environ").read_bytes()
            except OSError:  # ended, or owned by another user
                continue
            if wanted in b"\0" + environment:
                found.append(int(entry.name))
    return found


def kill_tagged(tag: str) -> list[int]:
    """Kill every process with a tag; return those that survive, for example while they wait for a broken disk."""
    found: list[int] = []
    for _ in range(ATTEMPTS):
        found = tagged_processes(tag)
        if not found:
            break
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # ended meanwhile
                continue
        time.sleep(PAUSE_S)
    if os.getpid() in _adopting:
        _reap()
    return found


def _reap() -> None:
    """Reap zombies among the orphans that this process has adopted; other code reaps the processes in `AWAITED`."""
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) in AWAITED:
            continue
        try:
            state, parent, *_ = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
            if state == "Z" and int(parent) == os.getpid():
                os.waitpid(int(entry.name), os.WNOHANG)
        except (OSError, ValueError):  # ended meanwhile
            continue


def adopt_orphans() -> None:
    """Become the parent of all orphaned descendants, so that they are reaped and do not stay zombies."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _adopting.add(os.getpid())


class Reaper:
    """A process that kills everything this process has started, once this process has ended, even by SIGKILL."""

    def __enter__(self) -> Self:
        """Start the reaper."""
        adopt_orphans()
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__, PROCESS_TAG],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        AWAITED.add(self._process.pid)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Let the reaper kill the remaining processes, and wait for its end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _watch(tag: str) -> None:
    """Block until standard input closes, which also happens if the host is killed; then kill all tagged processes."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    kill_tagged(tag)


if __name__ == "__main__":
    _watch(sys.argv[1])
