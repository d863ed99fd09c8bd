"""A/A runs: the noise floor they give, where it is stored, and which verdicts use it."""

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


def test_the_floor_is_the_bound_of_the_next_run():
    """Two runs 3 % off in logarithms: t(0.975, 2) = 4.303 times their deviation from the known truth."""
    found = floor([math.exp(0.03), math.exp(-0.03)])
    assert found == pytest.approx(math.exp(4.3027 * 0.03) - 1, rel=1e-4)
    assert stats.t.ppf(0.975, 2) == pytest.approx(4.3027, rel=1e-4)


def test_the_floor_is_never_under_one_per_cent():
    """However well the runs agree."""
    assert floor([1.0, 1.001, 0.999]) == MIN_FLOOR == 0.01


def test_a_calibration_holds_for_its_model_measure_and_machine(hydra_context, tmp_path):
    """The largest of those that fit; another batch, another model, another effort or another machine has none."""
    here = this_machine()
    config = typed(compose_settings([f"output_dir={tmp_path}", "measure=quick"]))
    int8 = typed(compose_settings([f"output_dir={tmp_path}", "measure=quick", "backend=ort", "precision=int8"]))
    batch = typed(compose_settings([f"output_dir={tmp_path}", "measure=quick", "batch_size=1"]))
    other = typed(compose_settings([f"output_dir={tmp_path}", "measure=quick", "model=resnet18"]))
    standard = typed(compose_settings([f"output_dir={tmp_path}"]))
    assert noise_floor(config, here) == config.measure.noise_floor == 0.03
    calibrate(config, here, [1.0, 1.0])
    assert noise_floor(config, here) == noise_floor(int8, here) == 0.03  # a calibration never lowers it
    larger = calibrate(int8, here, [1.01, 0.99]).noise_floor
    assert noise_floor(config, here) == larger > 0.04
    assert noise_floor(batch, here) == noise_floor(other, here) == 0.03
    assert noise_floor(standard, here) == 0.02
    elsewhere = dataclasses.replace(here, cpu="another")
    assert noise_floor(config, elsewhere) == 0.03


def test_a_broken_file_is_told_and_passed_over(hydra_context, tmp_path):
    """The other calibrations count."""
    config = typed(compose_settings([f"output_dir={tmp_path}"]))
    calibrate(config, this_machine(), [1.0, 1.0])
    [file] = tmp_path.glob("cache/noise/*/*.json")
    (file.parent / "a.json").write_text("{")
    with pytest.warns(UserWarning, match=r"a\.json is no calibration, remove it"):
        assert len(calibrations(tmp_path / "cache", this_machine())) == 1


@pytest.mark.usefixtures("own_cache")  # the noise floor lies there, and is for this test alone
def test_aa_measures_a_configuration_against_itself_and_keeps_what_it_finds(run_program: RunProgram):
    """Three runs of a 5 ms sleep against itself, though its baseline is another, each a fresh pair."""
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
    kept = json.loads(file.read_text())
    assert kept["speedups"] == [result.measurement.speedup.value for result in results]
    [later] = run_program(*FAKE, *sleeps, "measure.slice_s=0.04").results()
    assert later.measurement.noise_floor == max(0.03, kept["noise_floor"])
    assert later.measurement.verdict == "faster"


def test_one_aa_run_is_refused(run_program: RunProgram):
    """It says nothing of the spread."""
    done = run_program(*FAKE, "aa=1")
    assert done.code == 2
    assert "aa: received 1; allowed: 0, or 2 or more" in done.err
