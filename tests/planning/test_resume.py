"""Going on with a sweep: what is stored, what is measured again, and which sweep is meant."""

from __future__ import annotations

import json

import pytest

from runner.errors import ConfigurationError
from runner.machine import environments
from runner.planning import fingerprint, plans
from runner.planning.resume import Command, resumed
from runner.protocol import BACKENDS_VARIABLE
from runner.results.files import RESULT_FILE
from runner.results.status import Status
from runner.results.store import PLAN_FILE
from tests.conftest import FAKE, Finished, RunProgram
from tests.faults.conftest import contents, faults

TWO = faults("batch_s: 0.001", "batch_s: 0.002")


def sweeps(done: Finished) -> list[str]:
    return sorted(path.name for path in (done.output_dir / "sweeps").iterdir())


def test_the_same_command_measures_nothing_twice(run_program: RunProgram):
    """With resume=true valid results are reused, and one row more is measured; fresh=true measures all."""
    first = run_program(*FAKE, TWO)
    before = contents(first.output_dir)
    again = run_program(*FAKE, TWO, "resume=true")
    assert again.code == 0, again.err
    assert "2 of 2 runs were already measured and are reused" in again.out
    assert (sweeps(again), contents(again.output_dir)) == (sweeps(first), before)
    fresh = run_program(*FAKE, TWO, "resume=true", "fresh=true")
    assert len(sweeps(fresh)) == 2
    assert [result.status for result in fresh.results()] == [Status.ok] * 2
    assert before.items() <= contents(fresh.output_dir).items()
    assert len(contents(fresh.output_dir)) == 4


def test_without_resume_a_command_measures_anew(run_program: RunProgram):
    """A number is what the machine did now, unless one requests what it did then."""
    run_program(*FAKE)
    assert len(sweeps(run_program(*FAKE))) == 2


def test_a_row_without_a_number_is_measured_again(run_program: RunProgram, tmp_path):
    """What failed may not fail again; what cannot exist is not tried, and the earlier attempt is put aside."""
    cases = faults("batch_s: 0.001", "fault: raise", "fault: unsupported")
    done = run_program(*FAKE, cases)
    sweep = done.output_dir / "sweeps" / sweeps(done)[0]
    before = contents(done.output_dir)
    again = run_program(f"resume={sweep.name}")
    assert again.code == 1
    assert [result.status for result in again.results()] == [Status.ok, Status.failed, Status.unsupported]
    changed = {name for name, content in contents(done.output_dir).items() if before[name] != content}
    assert [name[: len(sweep.name) + 4] for name in changed] == [f"{sweep.name}/002"]
    [earlier] = (sweep / "earlier").glob(f"002_*-1/{RESULT_FILE}")
    assert earlier.read_bytes() == before[f"{sweep.name}/{earlier.parent.name.removesuffix('-1')}"]


def test_a_changed_fingerprint_is_another_row(run_program: RunProgram):
    """As after a change of the code, the packages or the machine: nothing is merged, and nothing is lost."""
    done = run_program(*FAKE, TWO)
    [sweep] = (done.output_dir / "sweeps").iterdir()
    path = next(sweep.glob(f"001_*/{RESULT_FILE}"))
    result = json.loads(path.read_text())
    path.write_text(json.dumps(result | {"fingerprint": "0123456789abcdef"}))
    again = run_program(f"resume={sweep.name}")
    assert again.code == 0, again.err
    assert "1 finished run is of another configuration, code, packages or machine: stored, not merged" in again.out
    [earlier] = (sweep / "earlier").glob(f"001_*-1/{RESULT_FILE}")
    assert json.loads(earlier.read_text())["fingerprint"] == "0123456789abcdef"
    assert json.loads(path.read_text())["fingerprint"] == result["fingerprint"]


def test_a_stopped_resume_keeps_what_lies_behind(run_program: RunProgram):
    """The table has every row that is there, whatever number the one has at which it stopped."""
    done = run_program(*FAKE, faults("batch_s: 0.001", "fault: raise", "batch_s: 0.002"))
    again = run_program("resume=true", "budget=0.01s")
    assert [result.label for result in done.results() if result.status is Status.ok] == [
        line.split(" | ")[0].removeprefix("| ")
        for line in (max((done.output_dir / "sweeps").iterdir()) / "table.md").read_text().splitlines()[2:]
    ]
    assert "1 more was not started within the budget" in again.out


def test_a_file_that_changes_is_another_question(tmp_path, monkeypatch, hydra_context):
    """The fingerprint sees files by their contents, and the baseline by its settings."""
    weights = tmp_path / "w.pt"
    weights.write_bytes(b"1")
    monkeypatch.setattr(plans.NetworkChecks, "check", lambda *_: [])  # it is no file of weights
    words = ["weights=file", f"weights.path={weights}"]
    fingerprint._contents.cache_clear()
    [first] = plans.make_plans([words])
    [again] = plans.make_plans([[*words, "verbose=true", "budget=1h"]])
    weights.write_bytes(b"22")
    fingerprint._contents.cache_clear()
    [changed] = plans.make_plans([words])
    [other] = plans.make_plans([[*words, 'baseline=["backend=ort"]']])
    assert first.fingerprint == again.fingerprint
    assert len({first.fingerprint, changed.fingerprint, other.fingerprint}) == 3


def test_packages_of_another_environment_are_in_the_fingerprint(tmp_path, monkeypatch, hydra_context):
    """A backend may have an environment of its own, as IPEX has: its versions are read from its folder."""
    monkeypatch.setattr(environments, "environment_folder", lambda name: tmp_path)
    installed = tmp_path / "lib/python3.11/site-packages"
    (installed / "torch").mkdir(parents=True)
    found = []
    for version in ("2.7.0", "2.8.0", "2.8.0"):
        for earlier in installed.glob("*.dist-info"):
            earlier.rmdir()
        (installed / f"torch-{version}.dist-info").mkdir()
        [plan] = plans.make_plans([["backend=ipex"]])
        found.append(plan.fingerprint)
    assert found[0] != found[1] == found[2]


def test_a_baseline_depends_on_what_it_computes_with(monkeypatch, hydra_context):
    """An update of another runtime, or of a tool, leaves it; one of PyTorch does not."""
    versions = dict(environments.find_environment(None).versions)
    monkeypatch.setattr(environments, "_own_versions", lambda: dict(versions))

    def found() -> tuple[str, str]:
        [plan] = plans.make_plans([["backend=torch"]])
        return plan.fingerprint, plan.baseline_fingerprint

    before = found()
    versions.update({"onnxruntime": "0.0", "selenium": "0.0"})
    assert (found()[0] != before[0], found()[1] == before[1]) == (True, True)
    versions.update({"torch": "0.0"})
    assert found()[1] != before[1]


def test_code_of_a_backend_outside_is_in_the_fingerprint(tmp_path, monkeypatch):
    """Who writes one and resumes must not get what an earlier version of it was worth; compiled files do not count."""
    monkeypatch.setenv(BACKENDS_VARIABLE, str(tmp_path))
    found = []
    for content in ("speed = 1", "speed = 2", "speed = 2"):
        (tmp_path / "mine.py").write_text(content)
        (tmp_path / f"mine.{len(found)}.pyc").write_bytes(b"compiled")
        fingerprint.code_version.cache_clear()
        found.append(fingerprint.code_version())
    fingerprint.code_version.cache_clear()
    assert found[0] != found[1] == found[2]


def test_a_budget_ends_a_sweep_between_two_runs(run_program: RunProgram):
    """No run is started that would not end in time; the exit code is that of the rows, and one command continues."""
    done = run_program(*FAKE, faults("batch_s: 0.001", "batch_s: 0.002", "batch_s: 0.003"), "budget=0.1s")
    assert done.code == 0, done.err
    assert len(done.results()) <= 1
    assert "not started within the budget of 0.1s; to continue: runner resume " in done.out
    again = run_program("resume=true")
    assert [result.status for result in again.results()] == [Status.ok] * 3
    assert len(sweeps(again)) == 1


def plan(folder, name: str, *overrides: str, left_out: tuple[str, ...] = ()) -> None:
    """Write the plan of a sweep of one run, which has no result."""
    command = {"overrides": list(overrides), "config_dir": None, "left_out": list(left_out)}
    (folder / "sweeps" / name).mkdir(parents=True)
    runs = [{"folder": "001_x", "label": "x", "fingerprint": "f"}]
    (folder / "sweeps" / name / PLAN_FILE).write_text(json.dumps({"command": command, "runs": runs}))


def test_true_alone_is_the_newest_unfinished_sweep(tmp_path):
    """Its whole command, with what is said now about how to go about it."""
    plan(tmp_path, "2026-01-01", "backend=ort", "budget=1h")
    plan(tmp_path, "2026-01-02", "backend=torch,ort", "verbose=true", "tracking=none")
    outputs = f"output_dir={tmp_path}"
    found = resumed(Command(["resume=true", outputs, "verbose=false"]))
    assert found.overrides == [
        *("backend=torch,ort", "tracking=none"),
        *(outputs, "verbose=false", "resume=2026-01-02"),
    ]
    assert resumed(Command(["resume=2026-01-01", outputs])).overrides[-1] == "resume=2026-01-01"


def test_beside_settings_it_is_the_newest_sweep_of_this_command(tmp_path):
    """Another order of what is not measured does not matter; if there is none yet, it is started."""
    plan(tmp_path, "2026-01-01", "backend=ort", "verbose=true")
    plan(tmp_path, "2026-01-02", "backend=torch")
    outputs = f"output_dir={tmp_path}"
    assert resumed(Command(["backend=ort", outputs, "resume=true"])).value("resume") == "2026-01-01"
    assert resumed(Command(["backend=openvino", outputs, "resume=true"])).overrides == ["backend=openvino", outputs]
    assert resumed(Command(["backend=ort", outputs, "resume=true", "fresh=true"])).value("resume") is None


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["resume=true"], "resume: received 'true'; allowed: a command, or true if"),
        (["resume=../../etc"], "resume: received '../../etc'; allowed: last, or the folder, the name, a prefix"),
        (["resume=2026-01-09"], "The nearest: 2026-01-02, 2026-01-01"),
        (["resume=2026-01"], "It matches 2026-01-01, 2026-01-02"),
        (["resume=2026-01-01", "backend=torch"], "a sweep of this very command; 2026-01-01 was runner backend=ort"),
        (
            ["resume=2026-01-02"],
            "tracking.uri: received None; allowed: the value that the sweep was started with: it held a secret",
        ),
    ],
)
def test_mistakes_of_resuming(tmp_path, overrides, told):
    """One line each, with what is allowed."""
    if overrides != ["resume=true"]:
        plan(tmp_path, "2026-01-01", "backend=ort")
        plan(tmp_path, "2026-01-02", "backend=ort", left_out=("tracking.uri",))
    with pytest.raises(ConfigurationError) as error:
        resumed(Command([*overrides, f"output_dir={tmp_path}"]))
    assert told in str(error.value)


def test_a_secret_is_given_again(tmp_path):
    """Alone with the sweep's name, or with the whole command: the sweep continues."""
    plan(tmp_path, "2026-01-01", "backend=ort,torch", left_out=("backend.env.API_KEY",))
    outputs, secret = f"output_dir={tmp_path}", "+backend.env.API_KEY=abc"
    for words in (["resume=2026-01-01", secret], ["resume=true", "backend=ort,torch", secret]):
        found = resumed(Command([*words, outputs]))
        assert found.overrides == ["backend=ort,torch", secret, outputs, "resume=2026-01-01"]


def test_false_resumes_nothing(tmp_path):
    """As if it were not there."""
    plan(tmp_path, "2026-01-01", "backend=ort")
    assert resumed(Command(["backend=ort", "resume=false", f"output_dir={tmp_path}"])).value("resume") is None


def test_what_is_stored_of_a_command_holds_no_secret():
    """Such overrides are left out and named; those of one time only are not kept either."""
    words = ["backend=ort", "tracking.uri=http://me:pass@host:1", "+backend.env={API_KEY:abc}", "budget=2h"]
    assert Command(words).as_json() == {
        "overrides": ["backend=ort"],
        "config_dir": None,
        "left_out": ["tracking.uri", "backend.env"],
    }
