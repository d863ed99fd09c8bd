"""A/A runs: the noise floor from them, its storage, and the verdicts that use it."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from scipy import stats

from runner.config.composition import compose_settings, typed
from runner.machine.facts import this_machine
from runner.results.noise_floor import MIN_FLOOR, calibrate, calibrations, floor, noise_floor
from tests.conftest import FAKE, RunProgram


def test_floor_bounds_the_next_run():
    """Two runs deviate by 0.02 in logarithms: t(0.975, 2) = 4.303 times their deviation from the known value 1."""
    found = floor([math.exp(0.02), math.exp(-0.02)])
    assert found == pytest.approx(math.exp(4.3027 * 0.02) - 1, rel=1e-4)
    assert stats.t.ppf(0.975, 2) == pytest.approx(4.3027, rel=1e-4)


def test_floor_is_at_least_one_per_cent():
    """Even if the runs agree better."""
    assert floor([1.0, 1.001, 0.999]) == MIN_FLOOR == 0.01


def test_a_calibration_applies_to_its_conditions_and_machine(hydra_context, tmp_path):
    """The largest matching one applies; it does not apply to another batch, model, measure, process or machine."""
    here = this_machine()
    config = typed(compose_settings([f"output_dir={tmp_path}", "measure=quick"]))
    int8 = typed(compose_settings([f"output_dir={tmp_path}", "measure=quick", "backend=ort", "precision=int8"]))
    batch = typed(compose_settings([f"output_dir={tmp_path}", "measure=quick", "batch_size=1"]))
    other = typed(compose_settings([f"output_dir={tmp_path}", "measure=quick", "model=resnet18"]))
    standard = typed(compose_settings([f"output_dir={tmp_path}"]))
    assert noise_floor(config, here) == config.measure.noise_floor == 0.02
    calibrate(config, here, [1.0, 1.0])
    assert noise_floor(config, here) == noise_floor(int8, here) == 0.02  # a calibration never lowers it
    larger = calibrate(int8, here, [1.01, 0.99]).noise_floor
    assert noise_floor(config, here) == larger > 0.04
    assert noise_floor(batch, here) == noise_floor(other, here) == 0.02
    assert noise_floor(standard, here) == 0.01
    for process in ("allocator=tcmalloc", "threading=one_thread", "hugepages=thp"):
        differing = typed(compose_settings([f"output_dir={tmp_path}", "measure=quick", process]))
        assert noise_floor(differing, here) == 0.02
        calibrate(differing, here, [1.0, 1.0])
    assert noise_floor(config, here) == larger  # what was found under other conditions replaces nothing
    elsewhere = dataclasses.replace(here, cpu="another")
    assert noise_floor(config, elsewhere) == 0.02


def test_an_unreadable_calibration_is_reported_and_skipped(hydra_context, tmp_path):
    """The other calibrations apply."""
    config = typed(compose_settings([f"output_dir={tmp_path}"]))
    calibrate(config, this_machine(), [1.0, 1.0])
    [file] = tmp_path.glob("cache/noise/*/*.json")
    (file.parent / "a.json").write_text("{")
    with pytest.warns(UserWarning, match=r"a\.json is not a calibration and is skipped: .*; delete the file"):
        assert len(calibrations(tmp_path / "cache", this_machine())) == 1


@pytest.mark.usefixtures("own_cache")  # it contains the noise floor, which other tests must not use
def test_aa_runs_calibrate_the_noise_floor(run_program: RunProgram):
    """Three runs of a 5 ms sleep against itself instead of its configured baseline, each with a new process pair."""
    sleeps = ("backend.options.batch_s=0.005", 'baseline=["backend=fake","backend.options.batch_s=0.02"]')
    done = run_program(*FAKE, *sleeps, "aa=3", "measure.slice_s=0.04")
    assert done.code == 0, done.err
    results = done.results()
    assert [result.label.rpartition("A/A")[2] for result in results] == [" 1 of 3", " 2 of 3", " 3 of 3"]
    assert all(0.9 < result.measurement.speedup.value < 1.1 for result in results)
    assert "3 A/A runs of resnet18 fake fp32" in done.out
    assert {str(result.settings["baseline"]) for result in results} == {"[]"}
    assert len({result.fingerprint for result in results}) == 3
    assert len(list(done.run_folder().parent.glob("*/baseline.log"))) == 3
    [file] = done.output_dir.glob("cache/noise/*/resnet18-quick-fake-fp32-*.json")
    stored = json.loads(file.read_text())
    assert stored["speedups"] == [result.measurement.speedup.value for result in results]
    [later] = run_program(*FAKE, *sleeps, "measure.slice_s=0.04").results()
    assert later.measurement.noise_floor == max(0.02, stored["noise_floor"])
    assert later.measurement.verdict == "faster"


def test_one_aa_run_is_refused(run_program: RunProgram):
    """One run has no spread."""
    done = run_program(*FAKE, "aa=1")
    assert done.code == 2
    assert "aa: received 1; allowed: 0, or 2 or more" in done.err
