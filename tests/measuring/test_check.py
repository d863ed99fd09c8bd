"""measure=check: what a row that is only checked has, and what it lacks."""

from __future__ import annotations

from runner.results.status import Status
from tests.conftest import FAKE, RunProgram

CHECK = (*(word for word in FAKE if not word.startswith("measure")), "measure=check", "measure.watch_s=0.05")


def test_a_checked_row_has_evidence_and_accuracy_and_no_speed(run_program: RunProgram):
    """One process starts for a row that is its own reference; nothing is timed."""
    done = run_program(*CHECK)
    assert done.code == 0, done.err
    [result] = done.results()
    assert (result.status, result.measurement) == (Status.ok, None)
    assert result.accuracy is not None
    assert result.evidence
    assert result.first_inference_s is not None
    assert not {"timed", "settle", "warm-up"} & result.phases.keys()
    assert not list(done.run_folder().glob("launch-baseline*.json"))
    [title] = [line for line in done.out.splitlines() if line.rstrip().endswith("· check")]
    assert "baseline" not in title
    [header] = [line for line in done.out.splitlines() if "configuration" in line]
    assert ("seconds" in header, "samples/s" in header, "p50" in header) == (True, False, False)


def test_a_failure_in_one_row_ends_no_other(run_program: RunProgram):
    """Each row has a status of its own; a setting that did not take effect is found without timing."""
    done = run_program("-m", *CHECK, "backend.options.fault=lie,none,raise")
    lies, works, raises = done.results()
    assert (lies.status, works.status, raises.status) == (Status.invalid, Status.ok, Status.failed)
    assert lies.reason.startswith("precision: requested int8"), lies.reason
    assert done.code == 1


def test_a_resumed_check_repeats_no_row(run_program: RunProgram):
    """As for a measurement: what has ended is reused."""
    run_program(*CHECK)
    done = run_program(*CHECK, "resume=true")
    assert "1 of 1 runs were already measured and are reused" in done.out
