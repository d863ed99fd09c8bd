"""Which logical CPUs belong to which physical core, package and memory node, from sysfs.

On most machines Linux numbers the second threads of all cores behind the first threads of all cores, and on some it
interleaves the nodes: a sorted list of CPUs says nothing about what they share.
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
    """Its memory node; 0 on a kernel without NUMA."""
    package: int
    """Its socket; 0 if the kernel does not report one."""
    cpus: tuple[int, ...]
    """Its threads, ascending. Their numbers are those of taskset and of sched_getaffinity."""


@dataclass(frozen=True)
class Topology:
    """The physical cores that a process may use, by node, package and number."""

    cores: tuple[PhysicalCore, ...]

    @property
    def cpus(self) -> list[int]:
        """Every logical CPU, ascending."""
        return sorted(cpu for core in self.cores for cpu in core.cpus)

    @property
    def nodes(self) -> list[int]:
        """The memory nodes of the cores, ascending."""
        return sorted({core.node for core in self.cores})

    @property
    def threads_per_core(self) -> int:
        """Threads of a core that the process may use, at most."""
        return max((len(core.cpus) for core in self.cores), default=1)

    def first_threads(self) -> list[int]:
        """Return one logical CPU of each physical core, ascending."""
        return sorted(core.cpus[0] for core in self.cores)

    def share(self, instances: int, instance: int) -> Topology:
        """Return the cores of one of several instances: all get equally many, and none is shared.

        Physical cores are dealt out whole, and memory nodes too if the numbers allow it. Only if there are more
        instances than physical cores do two instances share a core, each with threads of its own.

        Args:
            instances: how many there are; at most as many as logical CPUs.
            instance: its number, from 0.
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
        """Return one of several equal parts, without regard to nodes."""
        units = self.cores
        if len(units) < instances:  # threads are dealt out one by one
            units = tuple(PhysicalCore(core.node, core.package, (cpu,)) for core in self.cores for cpu in core.cpus)
        each = len(units) // instances
        return Topology(units[instance * each : (instance + 1) * each])


def read_topology(allowed: Iterable[int], root: Path = Path("/")) -> Topology:
    """Return the physical cores of the CPUs that a process may use.

    A kernel that reports no topology, as in some containers, leaves each CPU a core of its own.

    Args:
        allowed: logical CPUs, as sched_getaffinity returns them. CPUs that are offline are ignored.
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
    """Return a topology in which every CPU is a core of its own, on one node."""
    return Topology(tuple(PhysicalCore(0, 0, (cpu,)) for cpu in sorted(cpus)))


def parse_list(text: str) -> list[int]:
    """Return the numbers of a list in the kernel's form, ``0-3,8,10-11``; none for an empty one."""
    numbers: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.strip():
            numbers += range(int(first), int(last or first) + 1)
    return numbers


def _siblings(cpu: int, root: Path) -> tuple[int, ...]:
    """Return the threads of a CPU's core, itself included."""
    folder = root / CPUS / f"cpu{cpu}" / "topology"
    for name in ("core_cpus_list", "thread_siblings_list"):  # the second is the name before Linux 5.3
        if found := parse_list(_read(folder / name)):
            return tuple(found)
    return (cpu,)


def _package(cpu: int, root: Path) -> int:
    """Return a CPU's socket; ARM's firmware may report none, which the kernel shows as -1."""
    text = _read(root / CPUS / f"cpu{cpu}" / "topology" / "physical_package_id").strip()
    return max(0, int(text)) if text else 0


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # this kernel does not report it
        return ""
