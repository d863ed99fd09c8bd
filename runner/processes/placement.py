"""Placement of a configuration's processes on cores."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence

from runner.machine.facts import Machine
from runner.results.status import RunFailed, Status


def share(machine: Machine, instances: int, instance: int, *, physical: bool = False) -> list[int]:
    """Return the CPUs of one instance, assigned by memory node, physical core and thread; no CPU is shared.

    Args:
        machine: the machine that runs the instances.
        instances: number of instances.
        instance: index of the instance, from 0.
        physical: use only one thread of each physical core.
    """
    own = machine.topology.share(instances, instance)
    return own.first_threads() if physical else own.cpus


def threads_of(machine: Machine, cores: Sequence[int], instances: int) -> int:
    """Return the number of compute threads that an instance can keep busy: its cores, limited by its quota share.

    Args:
        machine: the machine, with the quota of its control group.
        cores: the CPUs of the instance.
        instances: number of instances that share the quota.
    """
    if machine.quota_cores is None:
        return len(cores)
    return max(1, min(len(cores), math.ceil(machine.quota_cores / instances)))


def bind(cores: Sequence[int], machine: Machine) -> list[str]:
    """Return the command prefix that binds a process to cores and, on a machine with several nodes, to local memory.

    Raises:
        RunFailed: `unavailable` if the program is not installed.
    """
    numa = machine.numa_nodes > 1 and shutil.which("numactl")
    program = "numactl" if numa else "taskset"
    found = shutil.which(program)
    if found is None:
        raise RunFailed(Status.unavailable, f"binding to cores needs {program}: run apt-get install util-linux")
    listed = ",".join(map(str, cores))
    return [found, f"--physcpubind={listed}", "--localalloc"] if numa else [found, "--cpu-list", listed]
