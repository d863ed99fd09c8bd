"""How much memory a new process can use."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.machine.memory import available_mib

MIB = 2**20


def machine(root: Path, groups: dict[str, dict[str, object]], cgroup: str) -> Path:
    """Write the kernel's files of a machine with 1,000 MiB available, and return the root."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal: 4096000 kB\nMemAvailable: 1024000 kB\n")
    (root / "proc/self/cgroup").write_text(cgroup)
    for path, files in groups.items():
        folder = root / "sys/fs/cgroup" / path
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_text(f"{content}\n")
    return root


@pytest.mark.parametrize(
    ("groups", "cgroup", "expected"),
    [
        ({}, "0::/\n", 1000),
        ({"pod": {"memory.max": 500 * MIB, "memory.current": 100 * MIB}}, "0::/pod/own\n", 400),
        (
            {
                "pod": {
                    "memory.max": 500 * MIB,
                    "memory.current": 450 * MIB,
                    "memory.stat": f"anon 5\ninactive_file {200 * MIB}",
                }
            },
            "0::/pod\n",
            250,  # the page cache is dropped first
        ),
        ({"pod": {"memory.max": "max", "memory.current": 100 * MIB}}, "0::/pod\n", 1000),
        (
            {"memory/job": {"memory.limit_in_bytes": 300 * MIB, "memory.usage_in_bytes": 100 * MIB}},
            "4:memory:/job\n",
            200,
        ),
        ({"memory/job": {"memory.limit_in_bytes": 2**63 - 4096, "memory.usage_in_bytes": 1}}, "4:memory:/job\n", 1000),
    ],
)
def test_the_least_limit_counts(tmp_path, groups, cgroup, expected):
    """The machine's estimate, and what each control group on the way to the root has left, in both versions."""
    assert available_mib(machine(tmp_path, groups, cgroup)) == expected


def test_a_kernel_that_reports_nothing(tmp_path):
    """Nothing is known."""
    assert available_mib(tmp_path) is None
