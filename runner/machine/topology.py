"""Mapping of logical CPUs to physical cores, packages and memory nodes, from sysfs.

The order of CPU numbers does not show what CPUs share: on most machines Linux numbers the second threads of all cores
after the first threads of all cores, and some firmware interleaves the nodes.
https://docs.kernel.org/admin-guide/cputopology.html describes the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

CPUS, NODES = Path("sys/devices/system/cpu"), Path("sys/devices/system/node")


@dataclass(frozen=True)
class PhysicalCore:
    """One core with the logical CPUs (threads) that share its execution units."""

    node: int
    """Its memory node; 0 if the kernel has no NUMA support."""
    package: int
    """Its socket; 0 if the kernel does not report one."""
    cpus: tuple[int, ...]
    """Its threads, ascending, numbered as in taskset and sched_getaffinity."""


@dataclass(frozen=True)
class Topology:
    """The physical cores that a process may use, ordered by node, package and number."""

    cores: tuple[PhysicalCore, ...]

    @property
    def cpus(self) -> list[int]:
        """All logical CPUs, ascending."""
        return sorted(cpu for core in self.cores for cpu in core.cpus)

    @property
    def nodes(self) -> list[int]:
        """The memory nodes of the cores, ascending."""
        return sorted({core.node for core in self.cores})

    @property
    def threads_per_core(self) -> int:
        """Largest number of usable threads of a core."""
        return max((len(core.cpus) for core in self.cores), default=1)

    def first_threads(self) -> list[int]:
        """Return the first usable logical CPU of each physical core, ascending."""
        return sorted(core.cpus[0] for core in self.cores)

    def share(self, instances: int, instance: int) -> Topology:
        """Return the share of one instance: all instances get equally many CPUs, and no CPU is shared.

        Each instance gets whole physical cores, and whole memory nodes or cores of one node if the counts allow it.
        If there are more instances than physical cores, instances get single threads, so two may share a core.

        Args:
            instances: number of instances; at most the number of logical CPUs.
            instance: index of the instance, from 0.
        """
        nodes = self.nodes
        if instances % len(nodes) == 0 and all(
            len(self._on({node}).cores) >= instances // len(nodes) for node in nodes
        ):
            each = instances // len(nodes)
            return self._on({nodes[instance // each]})._cut(each, instance % each)
        if len(nodes) % instances == 0:
            each = len(nodes) // instances
            return self._on(set(nodes[instance * each : (instance + 1) * each]))
        return self._cut(instances, instance)

    def _on(self, nodes: set[int]) -> Topology:
        return Topology(tuple(core for core in self.cores if core.node in nodes))

    def _cut(self, instances: int, instance: int) -> Topology:
        """Return one of several equal parts, ignoring nodes."""
        units = self.cores
        if len(units) < instances:  # assign single threads
            units = tuple(PhysicalCore(core.node, core.package, (cpu,)) for core in self.cores for cpu in core.cpus)
        each = len(units) // instances
        return Topology(units[instance * each : (instance + 1) * each])


def read_topology(allowed: Iterable[int], root: Path = Path("/")) -> Topology:
    """Return the physical cores of the CPUs that a process may use.

    If the kernel reports no topology, as in some containers, each CPU counts as its own core.

    Args:
        allowed: logical CPUs, as sched_getaffinity returns them. Offline CPUs are ignored.
        root: of the file system, for tests.
    """
    online = parse_list(_read(root / CPUS / "online"))
    usable = sorted(set(allowed) & set(online)) if online else sorted(allowed)
    nodes = {
        cpu: int(folder.name.removeprefix("node"))
        for folder in (root / NODES).glob("node[0-9]*")
        for cpu in parse_list(_read(folder / "cpulist"))
    }
    threads: dict[tuple[int, ...], list[int]] = {}
    for cpu in usable:
        threads.setdefault(_siblings(cpu, root), []).append(cpu)
    found = [PhysicalCore(nodes.get(cpus[0], 0), _package(cpus[0], root), tuple(cpus)) for cpus in threads.values()]
    return Topology(tuple(sorted(found, key=lambda core: (core.node, core.package, core.cpus))))


def flat_topology(cpus: Sequence[int]) -> Topology:
    """Return a topology in which every CPU is its own core, all on one node."""
    return Topology(tuple(PhysicalCore(0, 0, (cpu,)) for cpu in sorted(cpus)))


def parse_list(text: str) -> list[int]:
    """Return the numbers of a list in the kernel's format, such as ``0-3,8,10-11``; empty for an empty text."""
    numbers: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.strip():
            numbers += range(int(first), int(last or first) + 1)
    return numbers


def _siblings(cpu: int, root: Path) -> tuple[int, ...]:
    """Return the threads of a CPU's core, including the CPU itself."""
    folder = root / CPUS / f"cpu{cpu}" / "topology"
    for name in ("core_cpus_list", "thread_siblings_list"):  # thread_siblings_list: before Linux 5.3
        if found := parse_list(_read(folder / name)):
            return tuple(found)
    return (cpu,)


def _package(cpu: int, root: Path) -> int:
    """Return a CPU's socket; 0 if the firmware reports none, which the kernel shows as -1 on some ARM machines."""
    text = _read(root / CPUS / f"cpu{cpu}" / "topology" / "physical_package_id").strip()
    return max(0, int(text)) if text else 0


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # not reported by this kernel
        return ""
