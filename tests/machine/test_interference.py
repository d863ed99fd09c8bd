"""Noise guards: the counters, the limits of interference, and the reaction of a run."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner.analysis.statistics import Verdict
from runner.machine.interference import TICKS, Noise, Reading, Watch, worst
from runner.measuring.slices import is_too_noisy
from runner.protocol import Slice
from runner.results.files import load
from runner.results.status import Status
from tests.conftest import FAKE, start_program
from tests.measuring.test_pairing import MEASURE, pair

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
    assert len(noise.disturbances()) == 6
    assert noise.disturbances()[0] == "other processes used 20% of the cores' time"
    assert worst([noise, Noise(foreign=0.4)]) == Noise(*map(pytest.approx, (0.025, 0.4, 0.025, 0.25, 0.2, 25)))


def test_differences_of_a_few_ticks_are_ignored():
    """Counters that are not read at the same instant differ by a few ticks."""
    before, after = Reading(0, 0, 0, 0, 0, 0, 0), Reading(0.05, 0, 0.04, 0.03, 0, 0, 0)
    assert Watch([0]).between(before, after).disturbances() == []


def test_a_contaminated_round_is_measured_again():
    """The candidate slice of the second round is contaminated, so three of four rounds count."""
    noises = [Noise()] * 2 + [Noise(foreign=0.5), Noise()] + [Noise()] * 4
    progress = []
    rounds = list(pair([100] * 9, [200] * 9, noises=noises).run_rounds(0, lambda *counts: progress.append(counts[:2])))
    assert [one.clean for one in rounds] == [True, False, True, True]
    assert progress == [(1, 0), (1, 1), (2, 1), (3, 1)]


def test_without_guards_every_round_counts():
    """Its interference is still recorded."""
    measure = dataclasses.replace(MEASURE, guards=False)
    rounds = list(
        pair([100] * 9, [200] * 9, noises=[Noise(steal=0.5)] * 18, measure=measure).run_rounds(0, lambda *_: None)
    )
    assert len(rounds) == MEASURE.rounds_min
    assert all(one.clean and one.noise.steal == 0.5 for one in rounds)


def test_too_noisy_if_most_rounds_are_contaminated():
    """More rounds are contaminated than clean, and more than `rounds_min`."""
    too_noisy = [is_too_noisy(*counts, MEASURE) for counts in ((3, 3), (3, 4), (4, 4), (4, 5), (0, 3), (0, 4))]
    assert too_noisy == [False, True, False, True, False, True]


def test_rounds_stop_on_a_machine_that_stays_noisy():
    """After one contaminated round more than `rounds_min`."""
    rounds = list(pair([100] * 20, [200] * 20, noises=[Noise(steal=0.5)] * 40).run_rounds(0, lambda *_: None))
    assert len(rounds) == MEASURE.rounds_min + 1


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


def test_permanent_hog_gives_too_noisy(environment, tmp_path):
    """It starts in the middle of a run; the result describes the interference."""
    measured = hogged(environment, tmp_path, "measure.rounds_min=20", "measure.rounds_max=40",
                      "measure.goal=0.0001", seconds=100)  # fmt: skip
    assert measured.verdict is Verdict.too_noisy
    assert measured.rounds_contaminated > 20
    assert measured.disturbances[0].startswith("other processes used ")


def test_rounds_during_a_temporary_hog_are_measured_again(environment, tmp_path):
    """Its rounds are recorded and do not count."""
    measured = hogged(environment, tmp_path, "measure.rounds_min=30", "measure.rounds_max=30", seconds=3)
    assert measured.rounds == 30
    assert measured.rounds_contaminated >= 2
    assert measured.verdict is not Verdict.too_noisy
    [table] = tmp_path.glob("sweeps/*/*/rounds.csv")
    rounds = table.read_text().splitlines()[1:]
    assert len(rounds) == measured.rounds + measured.rounds_contaminated
    assert sum("other processes used" in line for line in rounds) == measured.rounds_contaminated
