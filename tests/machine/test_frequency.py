"""Governor, turbo and microcode, from the files of Intel's and of other drivers, and from a machine that hides them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from runner.config.schema import RunConfig
from runner.machine.facts import this_machine
from runner.machine.frequency import FrequencyPolicy, read_frequency_policy
from runner.planning.fingerprint import fingerprint


def write(root: Path, name: str, text: str) -> None:
    """Write a file of a machine."""
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(
    ("name", "text", "turbo"),
    [("intel_pstate/no_turbo", "0", "on"), ("intel_pstate/no_turbo", "1", "off"), ("cpufreq/boost", "1", "on"),
     ("cpufreq/boost", "0", "off")],
)  # fmt: skip
def test_each_driver_says_turbo_its_own_way(tmp_path, name, text, turbo):
    """no_turbo of intel_pstate is the opposite of boost."""
    write(tmp_path, f"sys/devices/system/cpu/{name}", f"{text}\n")
    assert read_frequency_policy([0], tmp_path) == FrequencyPolicy(turbo=turbo)


def test_the_governors_of_the_cores_in_use(tmp_path):
    """Those of other cores do not count; microcode is the first that is listed."""
    for core, governor in ((0, "performance"), (1, "powersave"), (2, "ondemand")):
        write(tmp_path, f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor", f"{governor}\n")
    write(tmp_path, "proc/cpuinfo", "processor\t: 0\nmicrocode\t: 0x2b000603\nprocessor\t: 1\nmicrocode\t: 0x1\n")
    found = read_frequency_policy([0, 1], tmp_path)
    assert found == FrequencyPolicy("performance,powersave", "", "0x2b000603")


def test_a_machine_that_hides_it(tmp_path):
    """Nothing is known, and nothing fails."""
    assert read_frequency_policy([0, 1], tmp_path) == FrequencyPolicy()


def test_another_governor_is_another_question():
    """A row that was measured with turbo is not kept by a sweep without."""
    machine = this_machine()
    slower = dataclasses.replace(machine, frequency=FrequencyPolicy("powersave", "off", "0x1"))
    assert fingerprint([RunConfig()], machine) != fingerprint([RunConfig()], slower)
