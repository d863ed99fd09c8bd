"""Topologies of several kinds of machines as sysfs shows them, and the shares of instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner.machine.topology import Topology, flat_topology, parse_list, read_topology


@dataclass(frozen=True)
class Recorded:
    """The topology in a machine's sysfs; ``lscpu --extended=CPU,NODE,SOCKET,CORE`` prints the same."""

    cores: Sequence[tuple[int, Sequence[int]]]
    """Package (None writes no file) and CPUs of each core."""
    nodes: Mapping[int, str]
    """CPU list of each memory node; empty for a kernel without NUMA."""
    online: str
    siblings_file: str = "core_cpus_list"

    def write(self, root: Path) -> Path:
        """Write the tree below a folder, and return the folder."""
        cpus = root / "sys/devices/system/cpu"
        cpus.mkdir(parents=True)
        (cpus / "online").write_text(f"{self.online}\n")
        for package, threads in self.cores:
            for cpu in threads:
                folder = cpus / f"cpu{cpu}" / "topology"
                folder.mkdir(parents=True)
                (folder / self.siblings_file).write_text(",".join(map(str, threads)) + "\n")
                if package is not None:
                    (folder / "physical_package_id").write_text(f"{package}\n")
        for node, listed in self.nodes.items():
            folder = root / f"sys/devices/system/node/node{node}"
            folder.mkdir(parents=True)
            (folder / "cpulist").write_text(f"{listed}\n")
        return root


# Two Xeon Gold 6430-like sockets, 4 cores each with hyper-threads: Linux numbers the second threads last.
TWO_SOCKETS = Recorded(
    cores=[(cpu // 4, (cpu, cpu + 8)) for cpu in range(8)],
    nodes={0: "0-3,8-11", 1: "4-7,12-15"},
    online="0-15",
)
# Some firmware numbers the CPUs of the sockets alternately.
INTERLEAVED = Recorded(
    cores=[(cpu % 2, (cpu, cpu + 8)) for cpu in range(8)],
    nodes={0: "0,2,4,6,8,10,12,14", 1: "1,3,5,7,9,11,13,15"},
    online="0-15",
)
# AWS Graviton: no SMT, one node, no package reported by the firmware; siblings file named as before Linux 5.3.
GRAVITON = Recorded(
    cores=[(-1, (cpu,)) for cpu in range(8)], nodes={0: "0-7"}, online="0-7", siblings_file="thread_siblings_list"
)
VM_WITHOUT_SMT = Recorded(cores=[(0, (0,)), (0, (1,))], nodes={0: "0-1"}, online="0-1")
# Siblings numbered side by side, as hypervisors do; CPU 5, the second thread of the third core, is offline.
OFFLINE = Recorded(cores=[(0, (0, 1)), (0, (2, 3)), (0, (4,)), (0, (6, 7))], nodes={0: "0-4,6-7"}, online="0-4,6-7")


def cpus(topology: Topology) -> list[tuple[int, ...]]:
    """Return the CPUs of each core, in order."""
    return [core.cpus for core in topology.cores]


@pytest.mark.parametrize(
    ("machine", "allowed", "expected"),
    [
        (TWO_SOCKETS, range(16), [(0, 8), (1, 9), (2, 10), (3, 11), (4, 12), (5, 13), (6, 14), (7, 15)]),
        (INTERLEAVED, range(16), [(0, 8), (2, 10), (4, 12), (6, 14), (1, 9), (3, 11), (5, 13), (7, 15)]),
        (GRAVITON, range(8), [(cpu,) for cpu in range(8)]),
        (VM_WITHOUT_SMT, range(2), [(0,), (1,)]),
        (TWO_SOCKETS, [2, 3, 10, 12, 13], [(2, 10), (3,), (12,), (13,)]),  # a cpuset
        (OFFLINE, range(8), [(0, 1), (2, 3), (4,), (6, 7)]),
    ],
)
def test_cores_are_ordered_by_node_package_and_number(tmp_path, machine, allowed, expected):
    """For any numbering of the threads; CPUs that are offline or not allowed are omitted."""
    topology = read_topology(allowed, machine.write(tmp_path))
    assert cpus(topology) == expected
    assert topology.cpus == sorted(cpu for core in expected for cpu in core)


def test_each_cpu_is_a_core_without_sysfs(tmp_path):
    """As in some containers."""
    assert read_topology([2, 5, 6], tmp_path) == flat_topology([2, 5, 6])


def test_one_thread_of_each_core(tmp_path):
    """The first usable one."""
    topology = read_topology([2, 3, 10, 12, 13], TWO_SOCKETS.write(tmp_path))
    assert (topology.first_threads(), topology.threads_per_core) == ([2, 3, 12, 13], 2)


@pytest.mark.parametrize(
    ("machine", "instances", "expected"),
    [
        # Cutting the sorted list in two would give 0-7 and 8-15: the same physical cores twice.
        (TWO_SOCKETS, 2, [[0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]]),
        (INTERLEAVED, 2, [[0, 2, 4, 6, 8, 10, 12, 14], [1, 3, 5, 7, 9, 11, 13, 15]]),
        (TWO_SOCKETS, 4, [[0, 1, 8, 9], [2, 3, 10, 11], [4, 5, 12, 13], [6, 7, 14, 15]]),
        (TWO_SOCKETS, 1, [list(range(16))]),
        (TWO_SOCKETS, 3, [[0, 1, 8, 9], [2, 3, 10, 11], [4, 5, 12, 13]]),  # two cores are unused
        (GRAVITON, 2, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (VM_WITHOUT_SMT, 2, [[0], [1]]),
        (OFFLINE, 7, [[0], [1], [2], [3], [4], [6], [7]]),  # more instances than cores: single threads
    ],
)
def test_instances_get_whole_cores_of_one_node(tmp_path, machine, instances, expected):
    """Equal shares without common cores."""
    topology = read_topology(range(16), machine.write(tmp_path))
    shares = [topology.share(instances, number) for number in range(instances)]
    assert [one.cpus for one in shares] == expected
    cores = [core for one in shares for core in one.cores]
    assert len(cores) == len(set(cores))


def test_four_nodes_for_two_instances(tmp_path):
    """Each instance gets two whole nodes."""
    machine = Recorded(
        cores=[(cpu // 4, (cpu,)) for cpu in range(8)], nodes={0: "0-1", 1: "2-3", 2: "4-5", 3: "6-7"}, online="0-7"
    )
    topology = read_topology(range(8), machine.write(tmp_path))
    assert [topology.share(2, number).nodes for number in range(2)] == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("text", "numbers"), [("0-3,8,10-11\n", [0, 1, 2, 3, 8, 10, 11]), ("5", [5]), ("", []), ("\n", [])]
)
def test_parse_list(text, numbers):
    """Ranges and single numbers; an empty file gives an empty list."""
    assert parse_list(text) == numbers
