"""What took effect: the settings that were asked for, as observed from inside the measured process."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

ADDR_NO_RANDOMIZE = 0x0040000  # <sys/personality.h>
VERIFIED, CONTRADICTED, UNKNOWN = "verified", "contradicted", "unknown"

ALLOCATOR_SYMBOLS = {
    "tcmalloc": "MallocExtension_GetNumericProperty",
    "jemalloc": "mallctl",
    "mimalloc": "mi_version",
}
"""A function of each allocator's own interface: that it resolves means that the library is in use, not only there."""


def finding(knob: str, asked: object, observed: object, state: str, source: str) -> dict[str, str]:
    """Return one entry of the list of evidence."""
    return {"knob": knob, "asked": str(asked), "observed": str(observed), "state": state, "source": source}


def collect(expectations: dict[str, Any], affinity_before: set[int], threads: int | None) -> list[dict[str, str]]:
    """Observe this process after its first inference.

    Args:
        expectations: ``allocator``, ``allocator_library`` and ``hugepages`` as the host set them up.
        affinity_before: the cores this process had before anything was imported.
        threads: the compute threads that were asked for, None where none were.
    """
    maps = Path("/proc/self/maps").read_text()
    found = [
        _allocator(str(expectations.get("allocator", "system")), str(expectations.get("allocator_library", "")), maps),
        _affinity(affinity_before, set(expectations.get("cores", []))),
    ]
    if expectations.get("openmp"):
        found.append(_openmp(str(expectations["openmp"]), maps))
    if expectations.get("hugepages", "off") != "off":
        found.append(_hugepages(str(expectations["hugepages"])))
    found.append(_threads(threads, str(expectations.get("openmp", ""))))
    if expectations.get("layout") == "fixed":
        found.append(_layout())
    return found


def _allocator(asked: str, library: str, maps: str) -> dict[str, str]:
    if not library:
        others = [name for name in ALLOCATOR_SYMBOLS if f"lib{name}" in maps]
        state = CONTRADICTED if others else VERIFIED
        return finding("allocator", asked, ", ".join(others) or "system", state, "/proc/self/maps")
    if library not in maps:
        return finding("allocator", asked, "its library is not mapped", CONTRADICTED, "/proc/self/maps")
    symbol = ALLOCATOR_SYMBOLS.get(asked)
    if symbol is None:
        return finding("allocator", asked, f"{library} is mapped", VERIFIED, "/proc/self/maps")
    answers = _resolves(symbol)
    observed = f"{library} is mapped, {symbol} {'resolves' if answers else 'does not resolve'}"
    return finding("allocator", asked, observed, VERIFIED if answers else CONTRADICTED, "/proc/self/maps, dlsym")


def _openmp(library: str, maps: str) -> dict[str, str]:
    """Tell whether the OpenMP runtime that was preloaded is mapped; it then stands before any other that is."""
    mapped = {
        Path(line.split()[-1]).name for line in maps.splitlines() if re.search(r"/lib(gomp|iomp5|omp)[-.\w]*so", line)
    }
    state = VERIFIED if library in maps else CONTRADICTED
    return finding("openmp", Path(library).name, ", ".join(sorted(mapped)) or "none", state, "/proc/self/maps")


def _layout() -> dict[str, str]:
    personality = int(Path("/proc/self/personality").read_text(), 16)
    state = VERIFIED if personality & ADDR_NO_RANDOMIZE else CONTRADICTED
    return finding("layout", "fixed", f"personality {personality:#x}", state, "/proc/self/personality")


def _resolves(symbol: str) -> bool:
    import ctypes

    return hasattr(ctypes.CDLL(None), symbol)


def _affinity(before: set[int], bound: set[int]) -> dict[str, str]:
    """Compare every thread's cores after the imports with those it was bound to, else with the process's before."""
    after: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            after |= os.sched_getaffinity(int(task.name))
        except ProcessLookupError:  # the thread ended since it was listed
            continue
    state = VERIFIED if (after == bound if bound else after >= before) else CONTRADICTED
    return finding("affinity", sorted(bound or before), sorted(after), state, "sched_getaffinity of every thread")


def _hugepages(asked: str) -> dict[str, str]:
    fields = dict(
        line.split(":", 1) for line in Path("/proc/self/smaps_rollup").read_text().splitlines() if ":" in line
    )
    huge, anonymous = (int(fields[name].split()[0]) for name in ("AnonHugePages", "Anonymous"))
    switch = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    mode = switch.read_text().strip() if switch.exists() else "without huge pages"
    observed = f"{huge // 1024} of {anonymous // 1024} MiB anonymous memory in huge pages, kernel mode {mode}"
    return finding("hugepages", asked, observed, VERIFIED if huge else CONTRADICTED, "/proc/self/smaps_rollup")


def _threads(asked: int | None, library: str) -> dict[str, str]:
    """Compare the threads of OpenMP's pools, of the preloaded runtime's alone where one was, with what was asked."""
    from threadpoolctl import threadpool_info

    pools = {pool["filepath"]: int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "openmp"}
    pools = {file: threads for file, threads in pools.items() if not library or Path(file).resolve() == Path(library)}
    if not pools:
        return finding("threads", asked or "default", "no OpenMP runtime is loaded", UNKNOWN, "threadpoolctl")
    observed = ", ".join(f"{threads} in {Path(file).name}" for file, threads in pools.items())
    state = VERIFIED if asked in (None, *pools.values()) else CONTRADICTED
    return finding("threads", asked or "default", observed, state, "threadpoolctl")
