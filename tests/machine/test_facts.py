"""The description of this machine, as a table and as JSON."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

from runner.machine.facts import ISA_FLAGS, this_machine
from runner.paths import PROJECT
from runner.planning import inventory
from tests.conftest import FAKE, RunProgram


def named(machine, tmp_path) -> dict[str, inventory.Entry]:
    """Return the inventory by name."""
    return {entry.name: entry for entry in inventory.take(machine, tmp_path)}


def test_every_requirement_is_found_or_has_a_remedy(tmp_path):
    """Hardware, kernel, allocators, OpenMP runtimes, programs and packages."""
    entries = named(this_machine(), tmp_path)
    assert {
        "processor",
        "quota of the control group",
        "transparent huge pages",
        "tcmalloc",
        "jemalloc",
        "mimalloc",
    } <= set(entries)
    assert {"numactl", "OpenMP runtime libiomp5.so", "torch", "openvino", "backend=ipex", *ISA_FLAGS.values()} <= set(
        entries
    )
    assert all(entry.found or entry.remedy for entry in entries.values())


@pytest.mark.parametrize(
    ("change", "name", "remedy"),
    [
        ({"thp_mode": "never"}, "transparent huge pages", "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"),
        (
            {"quota_cores": 1.5, "cores": [0, 1]},
            "quota of the control group",
            "limits threads and instances to 2 cores",
        ),
        ({"fixed_layout": []}, "fixed address layout", "allow setarch"),
        ({"isa": []}, "AVX-512 VNNI", "not supported by this processor"),
    ],
)
def test_missing_capability_has_a_remedy(tmp_path, change, name, remedy):
    """On a machine that lacks the capability."""
    assert remedy in named(dataclasses.replace(this_machine(), **change), tmp_path)[name].remedy


def test_machine_command_without_measuring(tmp_path):
    """It prints JSON for programs and a table for people."""
    command = [sys.executable, "-m", "runner.machine", "--no-measure", "--output-dir", str(tmp_path)]
    done = subprocess.run([*command, "--json"], cwd=PROJECT, capture_output=True, text=True, check=True)
    content = json.loads(done.stdout)
    assert content["machine"]["cores"] == this_machine().cores
    assert content["inventory"][-1]["name"] == "at rest"
    assert content["peaks"] is None
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert "not calibrated" in done.stdout


def test_every_sweep_records_the_machine(run_program: RunProgram):
    """Including its inventory."""
    done = run_program(*FAKE)
    content = json.loads((done.run_folder().parent / "machine.json").read_text())
    assert {entry["name"] for entry in content["inventory"]} >= {"tcmalloc", "torch"}


def test_missing_headers_of_python_name_their_package(tmp_path, monkeypatch):
    """What torch.compile makes needs them."""
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    entry = named(this_machine(), tmp_path)["headers of Python"]
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-dev"
    assert (entry.found, entry.remedy) == (
        "",
        f"torch.compile needs the headers of Python: run apt-get install {package}",
    )
