"""The effective quota is the lowest on the way to the root, in both versions of control groups."""

from __future__ import annotations

import pytest

from runner.machine.cgroup import quota_cores


def write(root, files):
    """Write files below a root."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content + "\n")
    return root


V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/cpu"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),  # a kernel without control groups
        ({"proc/self/cgroup": "0::/"}, None),  # the root group has no cpu.max
        ({"proc/self/cgroup": "0::/", f"{V2}/cpu.max": "400000 100000"}, 4.0),  # a pod with its own namespace
        ({"proc/self/cgroup": "0::/job/step/task", f"{V2}/job/cpu.max": "100000 100000"}, 1.0),  # two levels up
        (
            {
                "proc/self/cgroup": "0::/job/step/task",
                f"{V2}/job/cpu.max": "400000 100000",
                f"{V2}/job/step/cpu.max": "150000 100000",
                f"{V2}/job/step/task/cpu.max": "max 100000",
            },
            1.5,
        ),
        ({"proc/self/cgroup": "0::/gone", f"{V2}/cpu.max": "50000 100000"}, 0.5),  # a path that is not mounted here
        (
            {
                "proc/self/cgroup": "4:memory:/a\n3:cpu,cpuacct:/a/b\n0::/",
                f"{V1}/cpu.cfs_quota_us": "-1",
                f"{V1}/cpu.cfs_period_us": "100000",
                f"{V1}/a/cpu.cfs_quota_us": "200000",
                f"{V1}/a/cpu.cfs_period_us": "100000",
                f"{V1}/a/b/cpu.cfs_quota_us": "-1",
                f"{V1}/a/b/cpu.cfs_period_us": "100000",
            },
            2.0,
        ),
    ],
)
def test_lowest_limit_applies(tmp_path, files, cores):
    """For nested groups of both versions, a limit of a distant ancestor, and no limit."""
    assert quota_cores(write(tmp_path, files)) == cores
