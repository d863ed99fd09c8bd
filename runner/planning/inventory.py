"""The inventory of a machine: what settings depend on, and the remedy for what is missing."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from runner.config import backend_registry
from runner.machine.environments import find_environment
from runner.machine.facts import ISA_FLAGS, THP_MODE, Machine
from runner.machine.libraries import find_library
from runner.machine.provision import needs
from runner.paths import CONF
from runner.results.noise_floor import calibrations


@dataclass(frozen=True)
class Entry:
    """One property or component of a machine."""

    name: str
    found: str
    """Value, version or path; empty if it is missing."""
    remedy: str = ""
    """How to install or enable it, or what does not work without it; empty if nothing needs doing."""


def take(machine: Machine, cache: Path) -> list[Entry]:
    """Return the inventory of a machine: hardware, kernel, libraries, programs, packages, calibrations."""
    return [
        *_hardware(machine),
        *_kernel(machine),
        *_instruction_sets(machine),
        *_libraries(),
        *_programs(),
        *_packages(),
        *_calibrations(machine, cache),
    ]


def _hardware(machine: Machine) -> Iterator[Entry]:
    yield Entry("processor", f"{machine.cpu} ({machine.architecture})")
    yield Entry("memory", f"{machine.memory_gib} GiB")
    yield Entry("cores of this process", ",".join(map(str, machine.cores)))
    siblings = machine.topology.threads_per_core
    remedy = "threads of a core share its vector units: try threading=physical_cores" if siblings > 1 else ""
    yield Entry("threads per core", str(siblings), remedy)
    yield Entry("NUMA nodes", str(machine.numa_nodes))
    policy = machine.frequency
    yield Entry("governor", policy.governor, "" if policy.governor else "hidden here, as in most virtual machines")
    yield Entry("turbo", policy.turbo, "" if policy.turbo else "hidden here, as in most virtual machines")


def _kernel(machine: Machine) -> Iterator[Entry]:
    yield Entry("kernel, C library", f"{machine.kernel}, {machine.c_library}")
    quota = machine.quota_cores
    limited = quota is not None and quota < len(machine.cores)
    yield Entry(
        "quota of the control group",
        "none" if quota is None else f"{quota:g} cores",
        f"limits threads and instances to {machine.usable_cores} cores" if limited else "",
    )
    mode = machine.thp_mode
    remedies = {
        "never": f"hugepages=… has no effect: as root, run echo madvise > {THP_MODE}",
        "always": "hugepages=… is mostly redundant: the kernel gives huge pages to every large mapping",
        "unknown": "this kernel does not support transparent huge pages",
    }
    yield Entry("transparent huge pages", mode, remedies.get(mode, ""))
    fixed = " ".join(machine.fixed_layout)
    yield Entry(
        "fixed address layout", fixed, "" if fixed else "allow setarch --addr-no-randomize (seccomp forbids it)"
    )


def _instruction_sets(machine: Machine) -> Iterator[Entry]:
    for name in ISA_FLAGS.values():
        supported = name in machine.isa
        yield Entry(name, "yes" if supported else "", "" if supported else "not supported by this processor")


def _libraries() -> Iterator[Entry]:
    for need in needs():
        path = need.found()
        yield Entry(need.name, str(path or ""), "" if path else "run make system")
    options = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in sorted(CONF.glob("threading/*.yaml"))]
    for library in sorted({name for option in options for name in option.get("libraries", [])}):
        path = find_library([library])
        yield Entry(f"OpenMP runtime {library}", str(path or ""), "" if path else "run make setup")


def _programs() -> Iterator[Entry]:
    for names, remedy in (
        (("g++", "clang++"), "torch.compile needs a C++ compiler: run apt-get install g++"),
        (("taskset",), "instances > 1 needs it: run apt-get install util-linux"),
        (("setpriv",), "threading=xeon_run_cpu needs it to end with this program: run apt-get install util-linux"),
    ):
        path = next(filter(None, map(shutil.which, names)), None)
        yield Entry(names[0], path or "", "" if path else remedy)
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-dev"
    missing = "" if headers.exists() else f"torch.compile needs the headers of Python: run apt-get install {package}"
    yield Entry("headers of Python", "" if missing else str(headers), missing)


def _packages() -> Iterator[Entry]:
    """Yield the packages that a backend names, and the environments of those that have their own."""
    host = find_environment(None)
    yield Entry("python", host.versions["python"])
    for name in sorted({name for backend in backend_registry.backends().values() for name in backend.packages}):
        if version := host.versions.get(name):  # otherwise a run that needs it ends as `unavailable`
            yield Entry(name, version)
    yield Entry("environment", f"{host.digest}, {len(host.versions)} packages")
    for file in sorted(CONF.glob("backend/*.yaml")):
        backend = yaml.safe_load(file.read_text(encoding="utf-8"))
        if name := backend.get("environment"):
            own = find_environment(name)
            found = f"{own.digest}, {len(own.versions)} packages" if own.is_installed else ""
            yield Entry(f"backend={backend['name']}", found, "" if own.is_installed else f"run {own.install}")


def _calibrations(machine: Machine, cache: Path) -> Iterator[Entry]:
    found = calibrations(cache, machine)
    for one in found:
        what = f"noise floor δ: {one.model} {one.backend} {one.precision}, measure={one.measure}"
        found_floor = f"±{one.noise_floor:.1%} from {len(one.speedups)} A/A runs, {one.date[:10]}"
        yield Entry(what, f"{found_floor}; mean |speedup - 1| {one.mean_error:.1%}")
    if not found:
        yield Entry("noise floor δ", "", "not calibrated, measure.noise_floor applies: run runner aa=10")
