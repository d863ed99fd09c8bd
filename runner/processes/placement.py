"""Which cores each process of a configuration runs on."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence

from runner.machine.facts import Machine
from runner.results.status import RunFailed, Status


def share(machine: Machine, instances: int, instance: int, *, physical: bool = False) -> list[int]:
    """Return the CPUs of one of several instances, by memory node, physical core and thread; none is shared.

    Args:
        machine: where they run.
        instances: how many there are.
        instance: its number, from 0.
        physical: one thread of each physical core only.
    """
    own = machine.topology.share(instances, instance)
    return own.first_threads() if physical else own.cpus


def threads_of(machine: Machine, cores: Sequence[int], instances: int) -> int:
    """Return the compute threads that can be kept busy on some cores: a quota of the control group counts as cores.

    Args:
        machine: whose quota counts.
        cores: of one instance.
        instances: that share the quota.
    """
    if machine.quota_cores is None:
        return len(cores)
    return max(1, min(len(cores), math.ceil(machine.quota_cores / instances)))


def bind(cores: Sequence[int], machine: Machine) -> list[str]:
    """Return the prefix that keeps a process on some cores, and on their own memory on a machine with several nodes.

    Raises:
        RunFailed: with the status `unavailable`, if the program is not installed.
    """
    numa = machine.numa_nodes > 1 and shutil.which("numactl")
    program = "numactl" if numa else "taskset"
    found = shutil.which(program)
    if found is None:
        raise RunFailed(Status.unavailable, f"binding to cores needs {program}: run apt-get install util-linux")
    listed = ",".join(map(str, cores))
    return [found, f"--physcpubind={listed}", "--localalloc"] if numa else [found, "--cpu-list", listed]
