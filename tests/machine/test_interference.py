"""Noise guards: the counters, the limits of interference, and the reaction of a run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner.analysis.statistics import Verdict
from runner.machine.interference import TICKS, Noise, Reading, Watch, worst
from runner.protocol import Slice
from runner.results.files import load
from runner.results.status import Status
from tests.conftest import FAKE, start_program

HOG = "while True: pass"


def machine(root: Path, *, version: int = 2) -> Path:
    """Write the counters of a machine with two cores, of which the process may use the first, and return the root."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/stat").write_text(
        "cpu  999 0 999 0 0 0 0 99 0 0\ncpu0 300 10 90 500 0 5 5 20 0 0\ncpu1 600 0 900 0 0 0 0 70 0 0\n"
    )
    for pid, ticks in ((os.getpid(), 50), (4711, 250)):
        (root / f"proc/{pid}").mkdir()
        (root / f"proc/{pid}/stat").write_text(f"{pid} (a ) name) S {'0 ' * 10}{ticks} 10 0 0\n")
    (root / "proc/pressure").mkdir()
    (root / "proc/pressure/memory").write_text("some avg10=0 total=2000000\nfull avg10=0 total=1000000\n")
    (root / "proc/pressure/io").write_text("some avg10=0 total=9000000\nfull avg10=0 total=500000\n")
    if version == 2:
        (root / "proc/self/cgroup").write_text("0::/mine/own\n")
        (root / "sys/fs/cgroup/mine/own").mkdir(parents=True)
        (root / "sys/fs/cgroup/mine/cpu.stat").write_text("usage_usec 1\nnr_throttled 3\nthrottled_usec 1000000\n")
        (root / "sys/fs/cgroup/mine/own/cpu.stat").write_text("nr_throttled 0\nthrottled_usec 500000\n")
    else:
        (root / "proc/self/cgroup").write_text("9:memory:/other\n2:cpu,cpuacct:/mine\n")
        (root / "sys/fs/cgroup/cpu/mine").mkdir(parents=True)
        (root / "sys/fs/cgroup/cpu/mine/cpu.stat").write_text("nr_throttled 3\nthrottled_time 1500000000\n")
    return root


@pytest.mark.parametrize("version", [1, 2])
def test_counters_of_allowed_cores_and_own_processes(tmp_path, version):
    """Only core 0 counts, and throttling by the quota of an ancestor group counts in both versions."""
    reading = Watch([0], [4711, 4712], machine(tmp_path, version=version)).read()
    assert reading.busy == 400 / TICKS
    assert reading.steal == 20 / TICKS
    assert reading.own == 320 / TICKS  # the third process has ended
    assert (reading.throttled, reading.stalled) == (1.5, 2.5)


def test_a_kernel_without_counters_sees_no_noise(tmp_path):
    """Missing files are read as zero counters."""
    watch = Watch([0, 1], root=tmp_path)
    assert watch.between(watch.read(), watch.read()).disturbances() == []


def test_shares_are_of_the_cores_time():
    """On two cores for two seconds, 0.8 s of other processes are 20 % and 0.1 s of steal are 2.5 %."""
    before = Reading(10, 1000, 5, 1, 0, 0, 4)
    after = Reading(12, 1000.2, 9.3, 1.1, 0.1, 0.5, 7.5)
    noise = Watch([0, 1]).between(before, after, [Slice([[0, 1]], 12), Slice([[0, 1]], 13)])
    assert noise == Noise(*map(pytest.approx, (0.025, 0.2, 0.025, 0.25, 0.2, 25)))
    assert len(noise.disturbances()) == 4
    assert len(noise.own_costs()) == 2  # throttling and page faults
    assert noise.disturbances()[0] == "other processes used 20% of the cores' time"
    assert worst([noise, Noise(foreign=0.4)]) == Noise(*map(pytest.approx, (0.025, 0.4, 0.025, 0.25, 0.2, 25)))


def test_what_a_process_causes_itself_is_no_disturbance():
    """The kernel's work for its memory, stalls of its own group, and what its children used."""
    before = Reading(10, 1000, 5, 1, 0, 0, 4)
    after = Reading(11, 1000, 6.9, 1, 0, 0, 5, kernel=0.9, own_stalled=0.3)
    noise = Watch([0, 1]).between(before, after)
    assert noise.disturbances() == []
    assert noise.own_costs() == [
        "its control group stalled on memory or disk for 30% of the time",
        "the kernel used 45% of the cores' time to reclaim and compact memory",
    ]


def test_the_resolution_of_the_counters_is_60_ms():
    """What is below counts as nothing, whatever share of a short slice it is: see docs/explanation."""
    before, watch = Reading(0, 0, 0, 0, 0, 0, 0), Watch([0])
    assert watch.between(before, Reading(0.5, 0, 0.05, 0.06, 0, 0, 0)) == Noise()
    noise = watch.between(before, Reading(0.5, 0, 0.07, 0.07, 0, 0, 0))
    assert (noise.foreign, noise.steal) == (pytest.approx(0.14), pytest.approx(0.14))


def test_others_may_use_what_a_quota_leaves():
    """With a quota of one core of two, one second of others in a second takes nothing away; 1.5 s take half a core."""
    watch, before = Watch([0, 1], usable_cores=1.0), Reading(0, 0, 0, 0, 0, 0, 0)
    assert watch.between(before, Reading(1, 0, 2.0, 0, 0, 0, 1.0)).foreign == 0
    assert watch.between(before, Reading(1, 0, 2.5, 0, 0, 0, 1.0)).foreign == pytest.approx(0.5)


def test_stalls_are_those_of_others(tmp_path):
    """The control group's own are subtracted from the machine's; without a group of its own all are others'."""
    root = machine(tmp_path)
    assert Watch([0], root=root).read().stalled == 2.5
    for name, line in (("memory", "some avg10=0 total=1500000"), ("io", "full avg10=0 total=200000")):
        (root / f"sys/fs/cgroup/mine/own/{name}.pressure").write_text(line + "\n")
    reading = Watch([0], root=root).read()
    assert (reading.stalled, reading.own_stalled) == pytest.approx((0.8, 1.7))


def test_children_and_kernel_threads_are_told_apart(tmp_path):
    """What a worker starts counts as its own; kswapd is the kernel's."""
    root = machine(tmp_path)
    (root / "proc/4711/task/4711").mkdir(parents=True)
    (root / "proc/4711/task/4711/children").write_text("5000 ")
    for pid, name, ticks in ((5000, "child", 30), (77, "kswapd0", 40)):
        (root / f"proc/{pid}").mkdir()
        (root / f"proc/{pid}/comm").write_text(f"{name}\n")
        (root / f"proc/{pid}/stat").write_text(f"{pid} ({name}) S {'0 ' * 10}{ticks} 0 0 0\n")
    reading = Watch([0], [4711], root).read()
    assert (reading.own, reading.kernel) == pytest.approx(((320 + 30) / TICKS, 40 / TICKS))


def test_differences_of_a_few_ticks_are_ignored():
    """Counters that are not read at the same instant differ by a few ticks."""
    before, after = Reading(0, 0, 0, 0, 0, 0, 0), Reading(0.05, 0, 0.04, 0.03, 0, 0, 0)
    assert Watch([0]).between(before, after).disturbances() == []


def hogged(environment, tmp_path, *overrides: str, seconds: float):
    """Return the measurement of a run during which hogs occupy all cores for some seconds."""
    arguments = [*FAKE, "measure.guards=true", "measure.slice_s=0.2", *overrides, f"output_dir={tmp_path}"]
    process = start_program(environment, *arguments)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("sweeps/*/*/baseline.log")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(3)  # both workers are warm, and rounds are measured
    hogs = [subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(os.cpu_count() or 1)]
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        pass
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    process.wait(120)
    [result] = [load(path) for path in tmp_path.glob("sweeps/*/*/result.json")]
    assert result.status is Status.ok, result.reason
    assert result.measurement is not None
    return result.measurement


@pytest.mark.alone
def test_permanent_hog_gives_too_noisy(environment, tmp_path):
    """It starts in the middle of a run; the result describes the interference."""
    measured = hogged(environment, tmp_path, "measure.rounds=6", seconds=100)
    assert measured.verdict is Verdict.too_noisy
    assert measured.rounds_contaminated > 10
    assert measured.disturbances[0].startswith("other processes used ")


@pytest.mark.alone
def test_rounds_during_a_temporary_hog_are_measured_again(environment, tmp_path):
    """Its rounds are recorded and do not count."""
    measured = hogged(environment, tmp_path, "measure.rounds=8", seconds=3)
    assert measured.rounds == 16
    assert measured.rounds_contaminated >= 2
    assert measured.verdict is not Verdict.too_noisy
    [table] = tmp_path.glob("sweeps/*/*/rounds.csv")
    rounds = table.read_text().splitlines()[1:]
    assert len(rounds) == measured.rounds + measured.rounds_contaminated
    assert sum("other processes used" in line for line in rounds) == measured.rounds_contaminated
