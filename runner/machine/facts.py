"""Description of this machine: processor, instruction sets, cores, memory, kernel and huge-page mode."""

from __future__ import annotations

import dataclasses
import math
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from runner.machine.cgroup import quota_cores
from runner.machine.frequency import FrequencyPolicy, read_frequency_policy
from runner.machine.topology import Topology, flat_topology, read_topology

ISA_FLAGS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX-VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "avx512_fp16": "AVX-512 FP16",
    "amx_bf16": "AMX BF16",
    "amx_int8": "AMX INT8",
}
"""Flags of /proc/cpuinfo that decide which kernels a runtime can choose, and their common names."""

THP_MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@dataclass(frozen=True)
class Machine:
    """The properties of a machine that affect a measurement."""

    cpu: str
    architecture: str
    cores: list[int]
    """Numbers of the cores that this process may use."""
    quota_cores: float | None
    """CPU time that control groups allow, in cores: the lowest limit on the way to the root; None without a limit."""
    memory_gib: float
    isa: list[str]
    thp_mode: str
    """always, madvise, never, or unknown."""
    kernel: str
    c_library: str
    numa_nodes: int = 1
    fixed_layout: list[str] = field(default_factory=list)
    """Command prefix that disables address-space randomisation; empty if this machine does not permit that."""

    topology: Topology = field(default_factory=lambda: flat_topology([]))
    """The physical cores of `cores`."""
    frequency: FrequencyPolicy = field(default_factory=FrequencyPolicy)
    """Governor, turbo and microcode."""

    def __post_init__(self) -> None:
        """Treat each CPU as its own core if no topology is given."""
        if not self.topology.cores:
            object.__setattr__(self, "topology", flat_topology(self.cores))

    @property
    def usable_cores(self) -> int:
        """Number of CPUs that can be kept busy: the control group's quota, rounded up, limits it."""
        limit = len(self.cores) if self.quota_cores is None else math.ceil(self.quota_cores)
        return max(1, min(len(self.cores), limit))

    @property
    def machine_class(self) -> str:
        """What results depend on: processor, physical and logical cores, quota and instruction sets."""
        physical = len(self.topology.cores)
        quota = "" if self.quota_cores is None else f", quota {self.quota_cores:g}"
        isa = " ".join(self.isa) or "no known ISA"
        return f"{self.cpu}, {physical} cores, {len(self.cores)} threads{quota}, {isa}"

    @property
    def name(self) -> str:
        """Short name for tags: processor and number of cores."""
        return f"{self.cpu}, {len(self.cores)} cores"


@cache
def this_machine() -> Machine:
    """Return the description of this machine, read once from /proc and /sys."""
    flags, model = _cpuinfo()
    cores = sorted(os.sched_getaffinity(0))
    return Machine(
        cpu=model,
        architecture=platform.machine(),
        cores=cores,
        quota_cores=quota_cores(),
        topology=read_topology(cores),
        memory_gib=round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        isa=[name for flag, name in ISA_FLAGS.items() if flag in flags],
        thp_mode=_thp_mode(),
        kernel=platform.release(),
        c_library=" ".join(platform.libc_ver()),
        numa_nodes=max(1, len(list(Path("/sys/devices/system/node").glob("node[0-9]*")))),
        fixed_layout=_fixed_layout(),
        frequency=read_frequency_policy(cores),
    )


def as_dict(machine: Machine) -> dict[str, object]:
    """Return the machine as plain JSON values."""
    return dataclasses.asdict(machine)


def _cpuinfo() -> tuple[frozenset[str], str]:
    flags: frozenset[str] = frozenset()
    model, arm = platform.processor() or platform.machine(), dict[str, str]()
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            model = value.strip()
        elif name.strip() in ("CPU implementer", "CPU part"):  # ARM names no model
            arm[name.strip()] = value.strip()
        elif name.strip() in ("flags", "Features"):
            flags = frozenset(value.split())
    if len(arm) == 2:
        model = f"{platform.machine()} implementer {arm['CPU implementer']} part {arm['CPU part']}"
    return flags, model


def _thp_mode() -> str:
    try:
        text = THP_MODE.read_text()
    except OSError:  # a kernel without transparent huge pages
        return "unknown"
    return text[text.index("[") + 1 : text.index("]")]


def _fixed_layout() -> list[str]:
    """Return the prefix; empty if setarch is missing or forbidden, for example by Docker's default seccomp profile."""
    program = shutil.which("setarch")
    if program is None:
        return []
    prefix = [program, "--addr-no-randomize"]
    tried = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    return prefix if tried.returncode == 0 else []
