"""What decides the frequency of the cores: the kernel's governor, turbo, and the processor's microcode."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from runner.machine.cgroup import lines


@dataclass(frozen=True)
class FrequencyPolicy:
    """How fast the cores may run. An empty text is unknown: a virtual machine often hides it."""

    governor: str = ""
    """Governors of the cores, separated by commas if they differ: https://docs.kernel.org/admin-guide/pm/cpufreq.html"""
    turbo: str = ""
    """on or off."""
    microcode: str = ""
    """Version of the first core's microcode."""


def read_frequency_policy(cores: Collection[int], root: Path = Path("/")) -> FrequencyPolicy:
    """Return the policy of some cores.

    Args:
        cores: their numbers.
        root: of the file system, for tests.
    """
    folder = root / "sys/devices/system/cpu"
    governors = {_first(folder / f"cpu{core}/cpufreq/scaling_governor") for core in cores} - {""}
    no_turbo, boost = _first(folder / "intel_pstate/no_turbo"), _first(folder / "cpufreq/boost")
    turbo = {"0": "on", "1": "off"}.get(no_turbo) or {"1": "on", "0": "off"}.get(boost, "")
    versions = (line.partition(":") for line in lines(root / "proc/cpuinfo") if line.startswith("microcode"))
    microcode = next((value.strip() for _, _, value in versions), "")
    return FrequencyPolicy(",".join(sorted(governors)), turbo, microcode)


def _first(file: Path) -> str:
    return next((line.strip() for line in lines(file)), "")
