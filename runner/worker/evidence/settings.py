"""What took effect: the settings that were requested, as observed from inside the measured process.

Everything here is read after the timed rounds, so that what a library changed late is seen too. What only a runtime
knows, such as the arithmetic that it executed, is the business of its own ``evidence``.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from runner.protocol import CONTRADICTED, UNKNOWN, VERIFIED, Expectations, Finding
from runner.worker.evidence.busy import Busy
from runner.worker.evidence.isa import amx_permission, cpu_flags

ADDR_NO_RANDOMIZE = 0x0040000  # <sys/personality.h>
THP_MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
MIN_HUGE_SHARE = 0.05
"""Share of the memory in huge pages that says nothing: NumPy asks for them for its own large arrays."""
ISA_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")
"""Variables that keep a library from instruction sets that the processor has."""


def collect(
    expectations: Expectations, before: Collection[int], pool: int | None, asked: int | None, busy: Busy
) -> list[Finding]:
    """Observe this process.

    Args:
        expectations: what the host set up, as `runner.processes.launch` describes it.
        before: the cores that this process might use before anything was imported.
        pool: threads that were requested in one request's pool, None if not set.
        asked: compute threads of the process, all requests together, None if not set.
        busy: which threads computed while batches ran.
    """
    maps = Path("/proc/self/maps").read_text()
    openmp, wanted, preloaded = expectations.openmp, expectations.env, expectations.allocator_library
    looks: dict[str, Callable[[], list[Finding]]] = {
        "allocator": lambda: [allocator(expectations.allocator, preloaded, maps, _log())],
        "hugepages": lambda: [
            hugepages(
                expectations.hugepages,
                Path("/proc/self/smaps_rollup").read_text(),
                Path("/proc/self/status").read_text(),
                THP_MODE.read_text() if THP_MODE.exists() else "",
            )
        ],
        "threads": lambda: [threads(pool, asked, len(before), busy, openmp)],
        "affinity": lambda: [affinity(set(before), set(expectations.cores), asked, busy)],
        "isa": lambda: [isa(wanted)],
    }
    if openmp:
        looks["openmp"] = lambda: [preloaded_openmp(openmp, maps)]
    if wanted:
        looks["variables"] = lambda: [variables(wanted, maps)]
    if expectations.layout != "random":
        looks["layout"] = lambda: [layout(expectations.layout, int(Path("/proc/self/personality").read_text(), 16))]
    return [finding for knob, look in looks.items() for finding in guarded(knob, look)]


def guarded(knob: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    """Return what a look finds; what fails is unknown, with the error: no measurement is lost for it."""
    try:
        return look()
    except Exception as error:
        logging.exception("no evidence of %s", knob)
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        return [Finding(knob, "as configured", message, UNKNOWN, "none: an exception, see the log")]


def allocator(asked: str, library: str, maps: str, log: str) -> Finding:
    """Report which allocator answers requests for memory.

    Args:
        asked: the allocator's name.
        library: the file that was preloaded, empty for the C library's own.
        maps: the process's /proc/self/maps.
        log: what the process has printed: ld.so says there what it could not preload.
    """
    source = "/proc/self/maps"
    if not library:
        others = [name for name in ANSWERS if f"lib{name}" in maps]
        return Finding(
            "allocator",
            asked,
            ", ".join(others) or "the C library's own",
            CONTRADICTED if others else VERIFIED,
            source,
            "find the source of LD_PRELOAD in the run's launch-candidate.json" if others else "",
        )
    if library not in maps:
        refused = next((line for line in log.splitlines() if "cannot be preloaded" in line), "it is not mapped")
        return Finding("allocator", asked, refused, CONTRADICTED, f"{source}, ld.so", "run make system")
    if asked not in ANSWERS:
        return Finding("allocator", asked, f"{library} is mapped", VERIFIED, source)
    answer = ANSWERS[asked]()
    return Finding(
        "allocator",
        asked,
        f"{library} is mapped; {answer or 'its own interface does not answer'}",
        VERIFIED if answer else CONTRADICTED,
        f"{source}, the allocator's own interface",
        "" if answer else "another library of that name precedes it: look at LD_PRELOAD in launch-candidate.json",
    )


def _tcmalloc() -> str:
    ask = getattr(ctypes.CDLL(None), "MallocExtension_GetNumericProperty", None)
    size = ctypes.c_size_t()
    if ask is None or not ask(b"generic.current_allocated_bytes", ctypes.byref(size)):
        return ""
    return f"MallocExtension counts {size.value >> 20} MiB in use" if size.value else ""


def _jemalloc() -> str:
    ask = getattr(ctypes.CDLL(None), "mallctl", None)
    text, length = ctypes.c_char_p(), ctypes.c_size_t(ctypes.sizeof(ctypes.c_char_p))
    if ask is None or ask(b"version", ctypes.byref(text), ctypes.byref(length), None, ctypes.c_size_t(0)):
        return ""
    return f"mallctl answers: version {(text.value or b'').decode().split('-')[0]}"


def _mimalloc() -> str:
    own = ctypes.CDLL(None)
    ask, inside = getattr(own, "mi_version", None), getattr(own, "mi_is_in_heap_region", None)
    if ask is None or inside is None:
        return ""
    own.malloc.restype, inside.argtypes, inside.restype = ctypes.c_void_p, [ctypes.c_void_p], ctypes.c_bool
    own.free.argtypes = [ctypes.c_void_p]
    piece = own.malloc(ctypes.c_size_t(1000))
    ours = inside(piece)
    own.free(piece)
    return f"malloc's memory lies in its heap, version {ask()}" if ours else ""


ANSWERS = {"tcmalloc": _tcmalloc, "jemalloc": _jemalloc, "mimalloc": _mimalloc}
"""How each allocator is asked through its own interface; an empty answer means that it is not the one in use."""


def hugepages(asked: str, rollup: str, status: str, switch: str) -> Finding:
    """Report how much of the memory is in transparent huge pages.

    Args:
        asked: a name of conf/hugepages.
        rollup: the process's /proc/self/smaps_rollup.
        status: its /proc/self/status, whose THP_enabled says whether the process may have any.
        switch: the kernel's mode, the chosen word in brackets; empty for a kernel without huge pages.
    """
    huge, anonymous = (_kib(rollup, name) >> 10 for name in ("AnonHugePages", "Anonymous"))
    mode = found.group(1) if (found := re.search(r"\[(\w+)\]", switch)) else "none"
    forbidden = bool(re.search(r"^THP_enabled:\s+0", status, re.MULTILINE))
    observed = f"{huge} of {anonymous} MiB anonymous memory in huge pages, kernel mode {mode}"
    observed += ", switched off for this process" if forbidden else ""
    remedy = ""
    many = huge > MIN_HUGE_SHARE * anonymous
    if asked == "off":
        # An allocator of its own may ask for them; under `always` the kernel gives them to whoever fits.
        state = UNKNOWN if many else VERIFIED
    else:
        state = VERIFIED if many else UNKNOWN if huge else CONTRADICTED
        if mode in ("never", "none"):
            remedy = f"the kernel gives none: as root, echo madvise > {THP_MODE}"
        elif not huge:
            remedy = "nothing that the process allocated was large enough: take hugepages=off"
    return Finding("hugepages", asked, observed, state, "/proc/self/smaps_rollup", remedy)


def _kib(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found.group(1)) if found else 0


def threads(pool: int | None, asked: int | None, cores: int, busy: Busy, library: str) -> Finding:
    """Report how many threads computed, and how many OpenMP's pools would take.

    Args:
        pool: threads that were requested in one request's pool, None if not set.
        asked: compute threads of the process, all requests together; None for the runtime's own default.
        cores: that the process may use.
        busy: which threads computed while batches ran.
        library: the OpenMP runtime that was preloaded, whose pools alone then count; empty if none was.
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
        state, remedy = CONTRADICTED, "a library set its own number: look for set_num_threads, or OMP_* in its settings"
    elif asked is not None and busy.threads > asked:
        state, remedy = CONTRADICTED, "the runtime has a further pool: take threading=default"
    elif not all(matching) or (asked is not None and busy.threads < asked):
        state = UNKNOWN  # a pool that is not used, or a network so small that threads have no work
    else:
        state = VERIFIED
    source = "CPU time of every thread" + (", threadpoolctl" if pools else "")
    return Finding(
        "threads", "default" if asked is None else str(asked), ", ".join(observed), state, source, remedy, facts
    )


def affinity(before: set[int], bound: set[int], asked: int | None, busy: Busy) -> Finding:
    """Compare the cores of the threads that computed with the requested ones.

    Args:
        before: cores of the process before anything was imported.
        bound: cores that it was bound to, empty if it was not.
        asked: compute threads that were requested: one thread may well be pinned to one core.
        busy: which threads computed.
    """
    allowed = bound or before
    own = os.sched_getaffinity(0)
    fewer = len(busy.cores) < min(len(allowed), asked or len(allowed))
    crowded = len(busy.cores) < min(busy.threads, len(allowed))
    if not busy.threads:
        state = UNKNOWN
    elif not busy.cores <= allowed or crowded or (fewer and not own >= allowed):
        state = CONTRADICTED
    else:  # a runtime may well leave cores alone: the second thread of each core, another socket
        state = UNKNOWN if fewer else VERIFIED
    return Finding(
        "affinity",
        _numbers(allowed),
        _numbers(busy.cores),
        state,
        "sched_getaffinity of every thread that computed",
        "a library changed the mask when it was imported: take KMP_AFFINITY and OMP_PROC_BIND away"
        if state == CONTRADICTED
        else "",
    )


def _numbers(cores: Collection[int]) -> str:
    return "cores " + ",".join(map(str, sorted(cores)))


def isa(asked: Mapping[str, str]) -> Finding:
    """Report whether the libraries may use every instruction set of the processor, but for the requested limits."""
    wanted = [f"{name}={asked[name]}" for name in ISA_LIMITS if name in asked]
    limits = [f"{name}={os.environ[name]}" for name in ISA_LIMITS if name in os.environ]
    has_amx = "amx_tile" in cpu_flags()
    refused = has_amx and not amx_permission()
    amx = ("AMX refused by the kernel" if refused else "AMX permitted") if has_amx else "no AMX"
    return Finding(
        "isa",
        ", ".join(wanted) or "all that the processor has",
        ", ".join([*(limits or ["no limit is set"]), amx]),
        CONTRADICTED if limits != wanted else UNKNOWN if refused else VERIFIED,
        "environment, /proc/cpuinfo, arch_prctl",
        "AMX needs the kernel's permission: Linux 5.16, and a seccomp profile that has arch_prctl" if refused else "",
    )


def preloaded_openmp(library: str, maps: str) -> Finding:
    """Report whether the OpenMP runtime that was preloaded is mapped; it then precedes any other."""
    mapped = _openmp_runtimes(maps)
    there = library in maps
    return Finding(
        "openmp",
        Path(library).name,
        ", ".join(sorted(mapped)) or "none",
        VERIFIED if there else CONTRADICTED,
        "/proc/self/maps",
        "" if there else "run make setup",
    )


def _openmp_runtimes(maps: str) -> set[str]:
    return {
        Path(line.split()[-1]).name for line in maps.splitlines() if re.search(r"/lib(gomp|iomp5|omp)[-.\w]*so", line)
    }


def variables(wanted: dict[str, str], maps: str) -> Finding:
    """Report whether the variables that configure libraries are set as asked, and whether what reads them is there.

    KMP_* are read by Intel's and LLVM's OpenMP runtimes only: GNU's libgomp ignores them.
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
        observed, remedy = ", ".join(wrong), "a launcher or a library changed them"
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
    """Report whether addresses are the same in every process of a pair.

    Args:
        expected: ``fixed``, or ``forbidden`` if the host found that this machine does not permit it.
        personality: of the process, from /proc/self/personality.
    """
    fixed = bool(personality & ADDR_NO_RANDOMIZE)
    state, remedy = VERIFIED, ""
    if not fixed and expected == "forbidden":
        state, remedy = UNKNOWN, "allow setarch --addr-no-randomize (a container's seccomp profile forbids it)"
    elif not fixed:
        state, remedy = CONTRADICTED, "take measure.fixed_layout=false"
    return Finding("layout", "fixed", f"personality {personality:#x}", state, "/proc/self/personality", remedy)


def _log() -> str:
    """Return the beginning of what this process printed, empty if standard error is not a file."""
    try:
        with Path("/proc/self/fd/2").resolve().open(encoding="utf-8", errors="replace") as stream:
            return stream.read(1 << 16) if stream.seekable() else ""
    except OSError:
        return ""
