"""runner find from the command line, with a runtime that sleeps."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import yaml

from runner.paths import PROJECT
from runner.results.status import Status
from tests.conftest import FAKE, TESTS, share_cache

SETTINGS = [word for word in FAKE if not word.startswith(("backend=", "baseline="))]
BASELINE = 'baseline=["backend=fake","backend.options.batch_s=0.02"]'


@pytest.fixture
def find(tmp_path, environment, artifacts):
    """Return a function that runs ``runner find``, its outputs in a temporary folder."""

    def run(*words: str, verb: str = "find") -> subprocess.CompletedProcess[str]:
        share_cache(tmp_path / "outputs", artifacts)
        return subprocess.run(
            [sys.executable, "-m", "runner", verb, *words],
            cwd=PROJECT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def space(folder, batch_s: list[float], **axes: list[object]) -> str:
    """Write a space of one backend with several speeds."""
    file = folder / "space.yaml"
    file.write_text(yaml.safe_dump({"axes": {"backend": ["fake"], "backend.options.batch_s": batch_s, **axes}}))
    return str(file)


def words(tmp_path, file: str, *others: str) -> list[str]:
    config = ["--config-dir", str(TESTS / "conf"), f"output_dir={tmp_path / 'outputs'}"]
    return [*config, f"space={file}", "confirm=quick", *SETTINGS, BASELINE, *others]


def test_the_fastest_is_found_confirmed_and_recorded(find, tmp_path):
    """Nine speeds; the best is named, the others are beaten, every number has its row."""
    speeds = [0.02, 0.018, 0.016, 0.014, 0.012, 0.01, 0.008, 0.006, 0.004]
    done = find(*words(tmp_path, space(tmp_path, speeds), "budget=5m", "latency_p50_ms<=50"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "search: 9 of 9 combinations seen" in done.stdout
    [answer] = [line for line in done.stdout.splitlines() if line.startswith("answer: ")]
    assert answer.startswith("answer: take batch_s=0.004: throughput ")
    assert "latency_p50_ms<=50ms is met" in answer
    [sweep] = (tmp_path / "outputs" / "sweeps").iterdir()
    facts = json.loads((sweep / "search.json").read_text())
    assert (facts["combinations"], facts["seen"], facts["winner"]["label"]) == (9, 9, "batch_s=0.004")
    assert facts["winner"]["bounds"] == {"latency_p50_ms<=50ms": "met"}
    results = [json.loads(path.read_text()) for path in sweep.glob("*/result.json")]
    dropped = [one for one in results if one["status"] == Status.dropped]
    assert len(dropped) >= 6
    assert all(re.search(r"times the throughput of batch_s=\S+, in a race", one["reason"]) for one in dropped)
    assert sum(one["label"].endswith(", confirmed") for one in results) == 2
    listed = json.loads((sweep / "plan.json").read_text())["runs"]
    assert {run["folder"] for run in listed} == {path.parent.name for path in sweep.glob("*/result.json")}


def test_nothing_keeps_the_bounds(find, tmp_path):
    """The nearest miss is named, and the bound that it breaks."""
    file = space(tmp_path, [0.02, 0.01])
    done = find(*words(tmp_path, file, "budget=2m", "latency_p50_ms<=1", "measure.slice_s=0.2"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "answer: none keeps all bounds; the nearest, batch_s=0.01, breaks latency_p50_ms<=1ms" in done.stdout


def test_a_dry_run_shows_the_space(find, tmp_path):
    file = space(tmp_path, [0.02, 0.01], precision=["fp32", "bf16"])
    done = find(*words(tmp_path, file, "--dry-run"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "space.yaml: 4 combinations\n" in done.stdout
    assert "backend.options.batch_s: 0.02, 0.01" in done.stdout
    assert not (tmp_path / "outputs" / "sweeps").exists()


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (["goal=tokens_per_s"], "goal: received 'tokens_per_s'; allowed: quantities of this model"),
        (["accuracy_drop<=1%", "data=synthetic"], "they have no labels. Take agreement_top1 or sqnr_db"),
        (["budget=3s"], "budget: received '3 s'; allowed: at least 10 s"),
        (["backend.options.batch_s=0.01"], "space: received '1 combination'; allowed: at least two"),
        (["throughput>=100", "throughput<=50"], "bounds that one configuration can keep together"),
        (["model.nam=x"], "model.nam"),
        (["resume=true"], "resume: received 'resume=true'; allowed: words of a new search. Take runner resume NAME"),
    ],
)
def test_mistakes_are_one_line_each(find, tmp_path, others, message):
    done = find(*words(tmp_path, space(tmp_path, [0.02, 0.01]), *others))
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "outputs" / "sweeps").exists()


def test_a_short_budget_ends_in_time_and_is_continued(find, tmp_path):
    """What was dropped stays dropped; the rest is raced."""
    speeds = [round(0.02 - 0.0015 * step, 4) for step in range(12)]
    begun = find(*words(tmp_path, space(tmp_path, speeds), "budget=20s"))
    assert begun.returncode == 0, begun.stdout + begun.stderr
    [sweep] = (tmp_path / "outputs" / "sweeps").iterdir()
    facts = json.loads((sweep / "search.json").read_text())
    assert facts["seen"] < 12
    assert facts["spent_s"] < 20 * 1.05 + 10  # other tests run beside it
    config = ["--config-dir", str(TESTS / "conf"), f"output_dir={tmp_path / 'outputs'}"]
    done = find(sweep.name, *config[2:], "budget=5m", verb="resume")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((sweep / "search.json").read_text())["seen"] == 12
    assert "answer: take batch_s=0.0035" in done.stdout
