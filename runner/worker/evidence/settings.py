"""Compare the requested settings with those observed from inside the measured process.

All observations are made after the timed rounds, so that they include late changes by a library. Findings that only a
runtime can make, such as the executed precision, come from its method ``evidence``.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from runner.job import Expectations
from runner.protocol import CONTRADICTED, UNKNOWN, VERIFIED, Finding
from runner.worker.evidence.busy import Busy
from runner.worker.evidence.isa import amx_permission, cpu_flags

ADDR_NO_RANDOMIZE = 0x0040000  # <sys/personality.h>
THP_MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
MIN_HUGE_SHARE = 0.05
"""Share of the memory up to which huge pages prove nothing: NumPy requests them for its own large arrays."""
ISA_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")
"""Variables that restrict the instruction sets that a library uses."""


def collect(
    expectations: Expectations, before: Collection[int], pool: int | None, requested: int | None, busy: Busy
) -> list[Finding]:
    """Return the findings on all settings of this process.

    Args:
        expectations: the settings that the host requested, see `runner.processes.launch`.
        before: the process's affinity mask before any library was imported.
        pool: requested threads in the pool of one request, None if not set.
        requested: requested compute threads of the process, for all requests together, None if not set.
        busy: the threads that computed during untimed batches.
    """
    maps = Path("/proc/self/maps").read_text()
    openmp, wanted, preloaded = expectations.openmp, expectations.env, expectations.allocator_library
    observers: dict[str, Callable[[], list[Finding]]] = {
        "allocator": lambda: [allocator(expectations.allocator, preloaded, maps, _log())],
        "hugepages": lambda: [
            hugepages(
                expectations.hugepages,
                Path("/proc/self/smaps_rollup").read_text(),
                Path("/proc/self/status").read_text(),
                THP_MODE.read_text() if THP_MODE.exists() else "",
            )
        ],
        "threads": lambda: [threads(pool, requested, len(before), busy, openmp)],
        "affinity": lambda: [affinity(set(before), set(expectations.cores), requested, busy)],
        "isa": lambda: [isa(wanted)],
    }
    if openmp:
        observers["openmp"] = lambda: [preloaded_openmp(openmp, maps)]
    if wanted:
        observers["variables"] = lambda: [variables(wanted, maps)]
    if expectations.layout != "random":
        observers["layout"] = lambda: [layout(expectations.layout, int(Path("/proc/self/personality").read_text(), 16))]
    return [finding for knob, observe in observers.items() for finding in guarded(knob, observe)]


def guarded(knob: str, observe: Callable[[], list[Finding]]) -> list[Finding]:
    """Return the findings of an observer; if it fails, an unknown finding with the error, so that the run continues."""
    try:
        return observe()
    except Exception as error:
        logging.exception("evidence of %s is not available", knob)
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        return [Finding(knob, "as configured", message, UNKNOWN, "none: an exception, see the log")]


def allocator(requested: str, library: str, maps: str, log: str) -> Finding:
    """Report which allocator is in use.

    Args:
        requested: the allocator's name.
        library: the preloaded file, empty for the C library's own allocator.
        maps: contents of the process's /proc/self/maps.
        log: the output of the process, where ld.so reports failed preloads.
    """
    source = "/proc/self/maps"
    if not library:
        others = [name for name in ALLOCATOR_PROBES if f"lib{name}" in maps]
        return Finding(
            "allocator",
            requested,
            ", ".join(others) or "the C library's own",
            CONTRADICTED if others else VERIFIED,
            source,
            "find the source of LD_PRELOAD in the run's launch-candidate.json" if others else "",
        )
    if library not in maps:
        error = next((line for line in log.splitlines() if "cannot be preloaded" in line), "the library is not mapped")
        return Finding("allocator", requested, error, CONTRADICTED, f"{source}, ld.so", "run make system")
    if requested not in ALLOCATOR_PROBES:
        return Finding("allocator", requested, f"{library} is mapped", VERIFIED, source)
    response = ALLOCATOR_PROBES[requested]()
    return Finding(
        "allocator",
        requested,
        f"{library} is mapped; {response or 'its interface does not respond'}",
        VERIFIED if response else CONTRADICTED,
        f"{source}, the allocator's interface",
        "" if response else "another library of that name precedes it: check LD_PRELOAD in launch-candidate.json",
    )


def _tcmalloc() -> str:
    get_property = getattr(ctypes.CDLL(None), "MallocExtension_GetNumericProperty", None)
    size = ctypes.c_size_t()
    if get_property is None or not get_property(b"generic.current_allocated_bytes", ctypes.byref(size)):
        return ""
    return f"MallocExtension counts {size.value >> 20} MiB in use" if size.value else ""


def _jemalloc() -> str:
    mallctl = getattr(ctypes.CDLL(None), "mallctl", None)
    text, length = ctypes.c_char_p(), ctypes.c_size_t(ctypes.sizeof(ctypes.c_char_p))
    if mallctl is None or mallctl(b"version", ctypes.byref(text), ctypes.byref(length), None, ctypes.c_size_t(0)):
        return ""
    return f"mallctl reports version {(text.value or b'').decode().split('-')[0]}"


def _mimalloc() -> str:
    process = ctypes.CDLL(None)
    version, in_heap = getattr(process, "mi_version", None), getattr(process, "mi_is_in_heap_region", None)
    if version is None or in_heap is None:
        return ""
    process.malloc.restype, in_heap.argtypes, in_heap.restype = ctypes.c_void_p, [ctypes.c_void_p], ctypes.c_bool
    process.free.argtypes = [ctypes.c_void_p]
    block = process.malloc(ctypes.c_size_t(1000))
    in_use = in_heap(block)
    process.free(block)
    return f"malloc returns memory from its heap, version {version()}" if in_use else ""


ALLOCATOR_PROBES = {"tcmalloc": _tcmalloc, "jemalloc": _jemalloc, "mimalloc": _mimalloc}
"""Queries of each allocator's own interface; an empty string means that the allocator is not in use."""


def hugepages(requested: str, rollup: str, status: str, switch: str) -> Finding:
    """Report how much of the memory is in transparent huge pages.

    Args:
        requested: a name in conf/hugepages.
        rollup: contents of the process's /proc/self/smaps_rollup.
        status: contents of its /proc/self/status; THP_enabled there is 0 if huge pages are disabled for the process.
        switch: the kernel's modes, the active one in brackets; empty for a kernel without huge pages.
    """
    huge, anonymous = (_kib(rollup, name) >> 10 for name in ("AnonHugePages", "Anonymous"))
    mode = found.group(1) if (found := re.search(r"\[(\w+)\]", switch)) else "none"
    disabled = bool(re.search(r"^THP_enabled:\s+0", status, re.MULTILINE))
    observed = f"{huge} of {anonymous} MiB anonymous memory in huge pages, kernel mode {mode}"
    observed += ", disabled for this process" if disabled else ""
    remedy = ""
    many = huge > MIN_HUGE_SHARE * anonymous
    if requested == "off":
        # An allocator may request huge pages itself; in the mode `always` the kernel provides them without a request.
        state = UNKNOWN if many else VERIFIED
    else:
        state = VERIFIED if many else UNKNOWN if huge else CONTRADICTED
        if mode in ("never", "none"):
            remedy = f"the kernel provides none: as root, run echo madvise > {THP_MODE}"
        elif not huge:
            remedy = "no allocation of the process was large enough: take hugepages=off"
    return Finding("hugepages", requested, observed, state, "/proc/self/smaps_rollup", remedy)


def _kib(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found.group(1)) if found else 0


def threads(pool: int | None, requested: int | None, cores: int, busy: Busy, library: str) -> Finding:
    """Report how many threads computed, and the sizes of the OpenMP pools.

    Args:
        pool: requested threads in the pool of one request, None if not set.
        requested: compute threads of the process, for all requests together; None for the runtime's default.
        cores: number of cores that the process may use.
        busy: the threads that computed during untimed batches.
        library: the preloaded OpenMP runtime, whose pools alone count; empty if none is preloaded.
    """
    from threadpoolctl import threadpool_info

    pools = {one["filepath"]: int(one["num_threads"]) for one in threadpool_info() if one["user_api"] == "openmp"}
    pools = {file: size for file, size in pools.items() if not library or Path(file).resolve() == Path(library)}
    observed = [f"{busy.threads} computed, {busy.cores_used:.2f} cores used"]
    observed += [f"{size} in {Path(file).name}" for file, size in pools.items()]
    facts = {"busy": float(busy.threads), "cores": float(cores), "cores_used": busy.cores_used}
    remedy = ""
    matching = [size == pool for size in pools.values()] if pool is not None else []
    if not busy.threads:
        state = UNKNOWN  # a kernel without schedstat
    elif matching and not any(matching):
        state, remedy = CONTRADICTED, "a library set its own number: search it for set_num_threads or OMP_*"
    elif requested is not None and busy.threads > requested:
        state, remedy = CONTRADICTED, "the runtime has an additional thread pool: take threading=default"
    elif not all(matching) or (requested is not None and busy.threads < requested):
        state = UNKNOWN  # an unused pool, or a network too small to employ all threads
    else:
        state = VERIFIED
    source = "CPU time of every thread" + (", threadpoolctl" if pools else "")
    return Finding(
        "threads", "default" if requested is None else str(requested), ", ".join(observed), state, source, remedy, facts
    )


def affinity(before: set[int], bound: set[int], requested: int | None, busy: Busy) -> Finding:
    """Compare the cores of the threads that computed with the requested cores.

    Args:
        before: the process's affinity mask before any library was imported.
        bound: the cores to which the host bound the process, empty if it did not.
        requested: requested compute threads: fewer threads than cores may be pinned to fewer cores.
        busy: the threads that computed during untimed batches.
    """
    allowed = bound or before
    own = os.sched_getaffinity(0)
    fewer = len(busy.cores) < min(len(allowed), requested or len(allowed))
    crowded = len(busy.cores) < min(busy.threads, len(allowed))
    if not busy.threads:
        state = UNKNOWN
    elif not busy.cores <= allowed or crowded or (fewer and not own >= allowed):
        state = CONTRADICTED
    else:  # a runtime may leave some cores unused: the second thread of each core, another socket
        state = UNKNOWN if fewer else VERIFIED
    return Finding(
        "affinity",
        _numbers(allowed),
        _numbers(busy.cores),
        state,
        "sched_getaffinity of every thread that computed",
        "a library changed the mask on import: unset KMP_AFFINITY and OMP_PROC_BIND" if state == CONTRADICTED else "",
    )


def _numbers(cores: Collection[int]) -> str:
    return "cores " + ",".join(map(str, sorted(cores)))


def isa(requested: Mapping[str, str]) -> Finding:
    """Report whether libraries may use all instruction sets of the processor, except for the requested limits.

    Args:
        requested: the environment variables that the run requests.
    """
    wanted = [f"{name}={requested[name]}" for name in ISA_LIMITS if name in requested]
    limits = [f"{name}={os.environ[name]}" for name in ISA_LIMITS if name in os.environ]
    has_amx = "amx_tile" in cpu_flags()
    denied = has_amx and not amx_permission()
    amx = ("AMX denied by the kernel" if denied else "AMX permitted") if has_amx else "no AMX"
    return Finding(
        "isa",
        ", ".join(wanted) or "all of the processor",
        ", ".join([*(limits or ["no limit is set"]), amx]),
        CONTRADICTED if limits != wanted else UNKNOWN if denied else VERIFIED,
        "environment, /proc/cpuinfo, arch_prctl",
        "AMX needs Linux 5.16 or newer: allow arch_prctl in the seccomp profile" if denied else "",
    )


def preloaded_openmp(library: str, maps: str) -> Finding:
    """Report whether the preloaded OpenMP runtime is mapped; it then takes precedence over any other."""
    mapped = _openmp_runtimes(maps)
    is_mapped = library in maps
    return Finding(
        "openmp",
        Path(library).name,
        ", ".join(sorted(mapped)) or "none",
        VERIFIED if is_mapped else CONTRADICTED,
        "/proc/self/maps",
        "" if is_mapped else "run make setup",
    )


def _openmp_runtimes(maps: str) -> set[str]:
    return {
        Path(line.split()[-1]).name for line in maps.splitlines() if re.search(r"/lib(gomp|iomp5|omp)[-.\w]*so", line)
    }


def variables(wanted: dict[str, str], maps: str) -> Finding:
    """Report whether the requested environment variables are set, and whether a loaded library reads them.

    Only the OpenMP runtimes of Intel and LLVM read KMP_*; GNU's libgomp ignores them.

    Args:
        wanted: the requested variables and their values.
        maps: contents of the process's /proc/self/maps.
    """
    wrong = [
        f"{name}={os.environ.get(name, 'unset')}" for name, value in wanted.items() if os.environ.get(name) != value
    ]
    runtimes = _openmp_runtimes(maps)
    unread = [name for name in wanted if name.startswith("KMP_")]
    if any(name.startswith(("libiomp5", "libomp")) for name in runtimes):
        unread = []
    observed, remedy = "set", ""
    if wrong:
        observed, remedy = ", ".join(wrong), "a launcher or a library changed them: remove its setting"
    elif unread:
        observed = f"{', '.join(unread)} ignored by {', '.join(sorted(runtimes)) or 'a process without OpenMP'}"
        remedy = "take threading=intel_openmp, which preloads the runtime that reads them"
    return Finding(
        "variables",
        ", ".join(f"{name}={value}" for name, value in wanted.items()),
        observed,
        CONTRADICTED if wrong or unread else VERIFIED,
        "environment, /proc/self/maps",
        remedy,
    )


def layout(expected: str, personality: int) -> Finding:
    """Report whether address randomisation is off, so that both processes of a pair have the same layout.

    Args:
        expected: ``fixed``, or ``forbidden`` if this machine does not permit a fixed layout.
        personality: the process's personality flags, from /proc/self/personality.
    """
    fixed = bool(personality & ADDR_NO_RANDOMIZE)
    state, remedy = VERIFIED, ""
    if not fixed and expected == "forbidden":
        state, remedy = UNKNOWN, "allow setarch --addr-no-randomize (a container's seccomp profile forbids it)"
    elif not fixed:
        state, remedy = CONTRADICTED, "take measure.fixed_layout=false"
    return Finding("layout", "fixed", f"personality {personality:#x}", state, "/proc/self/personality", remedy)


def _log() -> str:
    """Return the start of the log file behind standard error, empty if standard error is not a file."""
    try:
        with Path("/proc/self/fd/2").resolve().open(encoding="utf-8", errors="replace") as stream:
            return stream.read(1 << 16) if stream.seekable() else ""
    except OSError:
        return ""
