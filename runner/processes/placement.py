"""Which cores each process of a configuration runs on."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from runner.machine.facts import Machine
from runner.results.status import RunFailed, Status


def share(cores: Sequence[int], instances: int, instance: int) -> list[int]:
    """Return the cores of one of several instances: all have equally many, none is shared."""
    each = len(cores) // instances
    return list(cores[instance * each : (instance + 1) * each])


def bind(cores: Sequence[int], machine: Machine) -> list[str]:
    """Return the prefix that keeps a process on some cores, and on their own memory where a machine has several nodes.

    Raises:
        RunFailed: with the status `unavailable`, where the program is not there.
    """
    numa = machine.numa_nodes > 1 and shutil.which("numactl")
    program = "numactl" if numa else "taskset"
    found = shutil.which(program)
    if found is None:
        raise RunFailed(Status.unavailable, f"instances > 1 needs {program}: run apt-get install util-linux")
    listed = ",".join(map(str, cores))
    return [found, f"--physcpubind={listed}", "--localalloc"] if numa else [found, "--cpu-list", listed]
