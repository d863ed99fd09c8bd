"""All processes that one sweep has started, by a tag in their environment, wherever they have gone since.

A process leaves its group when it makes a session of its own, and its parent when the parent ends. It keeps its tag:
the kernel holds the environment that a process was started with, and its children inherit it. So the reaper, a small
process that waits until the host has ended, can kill whatever the host left behind: running, frozen or orphaned.
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
"""The tag of all that this process starts; a worker's own adds its number. A process that was itself started with a tag
adds to it, so that whoever started it finds its processes too."""
ANY = ""
"""The beginning of every tag."""
AWAITED: set[int] = set()
"""Children of this process that somebody waits for."""
_adopting: set[int] = set()
"""This process, once it adopts orphans; a fork of it does not."""
PR_SET_CHILD_SUBREAPER = 36  # <sys/prctl.h>
ATTEMPTS, PAUSE_S = 100, 0.02
"""How often tagged_processes are looked for again: one may start another while it is being killed."""
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends a terminal's programs must not end the reaper before the host."""


def tagged_processes(tag: str) -> list[int]:
    """Return the processes that were started with a tag, or with one that starts with it; zombies have none."""
    wanted = f"\0{PROCESS_TAG_VARIABLE}={tag}".encode()
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                environment = Path(entry.path, "environ").read_bytes()
            except OSError:  # it has ended, or is another user's
                continue
            if wanted in b"\0" + environment:
                found.append(int(entry.name))
    return found


def kill_tagged(tag: str) -> list[int]:
    """Kill every process with a tag; return those that survive, as while they wait for a broken disk."""
    found: list[int] = []
    for _ in range(ATTEMPTS):
        found = tagged_processes(tag)
        if not found:
            break
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # it has ended meanwhile
                continue
        time.sleep(PAUSE_S)
    if os.getpid() in _adopting:
        _reap()
    return found


def _reap() -> None:
    """Reap children that have ended and that nobody else waits for: orphans that this process has adopted."""
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) in AWAITED:
            continue
        try:
            state, parent, *_ = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
            if state == "Z" and int(parent) == os.getpid():
                os.waitpid(int(entry.name), os.WNOHANG)
        except (OSError, ValueError):  # it has gone meanwhile
            continue


def adopt_orphans() -> None:
    """Become the parent of all descendants that lose theirs, so that they can be reaped, and are no zombies."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _adopting.add(os.getpid())


class Reaper:
    """A process that kills everything this process started, once this process has ended, however it ended."""

    def __enter__(self) -> Self:
        """Start it."""
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
        """Have it kill what is left, and wait until it has ended."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _watch(tag: str) -> None:
    """Block until standard input closes: the kernel does that for a host that was killed."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    kill_tagged(tag)


if __name__ == "__main__":
    _watch(sys.argv[1])
