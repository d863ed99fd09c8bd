"""Parts of a sweep, put together."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from runner.errors import NothingLaunched
from runner.fleet.merge import merge
from runner.paths import PROJECT
from runner.results.files import load, save
from runner.results.status import Status
from runner.results.store import SweepStore
from runner.results.stored_sweep import read_sweep
from tests.conftest import FAKE, RunProgram
from tests.reporting.page.sweeps import written


def part(
    folder: Path, places: dict[int, str], *, command: tuple[str, ...] = ("backend=ort",), shard: str | None = None
) -> Path:
    """Write a part with some rows of a whole: by their places, their labels; the label is the fingerprint."""
    shard = shard or f"{'ab'.index(folder.name)}/2"
    written(folder, list(places.values()), log_lines=1)
    plan = json.loads((folder / "plan.json").read_text())
    plan |= {"sweep": folder.name, "command": {"overrides": [*command, f"shard={shard}"], "config_dir": None}}
    for run, (place, label) in zip(plan["runs"], places.items(), strict=True):
        own = folder / run["folder"]
        save(replace(load(own / "result.json"), fingerprint=label), own)
        own.rename(folder / f"{place:03d}_{label}")
        run |= {"folder": f"{place:03d}_{label}", "fingerprint": label}
    (folder / "plan.json").write_text(json.dumps(plan))
    return folder


def labels(sweep: Path) -> list[str]:
    return [run.result.label for run in read_sweep(sweep).runs]


def test_rows_are_in_the_order_of_the_whole(tmp_path):
    """Whatever part measured them."""
    parts = [part(tmp_path / "a", {1: "one", 4: "four"}), part(tmp_path / "b", {2: "two", 3: "three"})]
    found = merge(parts, tmp_path / "whole")
    assert (found.rows, found.missing, found.conflicts) == (4, 0, [])
    assert labels(tmp_path / "whole") == ["one", "two", "three", "four"]
    plan = SweepStore.read_plan(tmp_path / "whole")
    assert plan["command"]["overrides"] == ["backend=ort"]
    assert plan["merged"] == {"a": ["a", "0/2"], "b": ["b", "1/2"]}
    assert {file.name for file in (tmp_path / "whole" / "machines").iterdir()} == {"a.json", "b.json"}
    assert not [one for one in tmp_path.iterdir() if one.name.startswith(".")]


def test_merging_again_changes_nothing_and_a_late_part_is_added(tmp_path):
    """The identity of the sweep stays, so that its record does."""
    first, late = part(tmp_path / "a", {1: "one"}), part(tmp_path / "b", {2: "two"})
    whole = tmp_path / "whole"
    merge([first], whole)
    before = SweepStore.read_plan(whole)
    assert merge([first], whole).conflicts == []
    assert SweepStore.read_plan(whole) == before
    assert merge([late, first, whole], whole).rows == 2
    assert labels(whole) == ["one", "two"]
    assert SweepStore.read_plan(whole)["sweep"] == before["sweep"]


def test_a_row_that_was_measured_twice_is_named(tmp_path):
    """The first counts; one that failed gives way, and one that is missing is counted."""
    first, second = part(tmp_path / "a", {1: "one", 2: "two", 3: "three"}), part(tmp_path / "b", {1: "one", 2: "two"})
    changed = second / "001_one"
    save(replace(load(changed / "result.json"), wall_s=99.0), changed)
    failed = first / "002_two"
    save(replace(load(failed / "result.json"), status=Status.failed, reason="it broke"), failed)
    (first / "003_three" / "result.json").unlink()
    found = merge([first, second], tmp_path / "whole")
    assert found.conflicts == ["one: b measured it too; that of a is kept"]
    assert (found.rows, found.missing) == (2, 1)
    assert [run.result.status for run in read_sweep(tmp_path / "whole").runs] == [Status.ok, Status.ok]


def test_one_place_on_two_kinds_of_machines_is_two_rows(tmp_path):
    """Their fingerprints differ; their folders get names of their own."""
    parts = [part(tmp_path / "a", {1: "one"}), part(tmp_path / "b", {1: "one"})]
    plan = json.loads((parts[1] / "plan.json").read_text())
    plan["runs"][0]["fingerprint"] = "other machine"
    (parts[1] / "plan.json").write_text(json.dumps(plan))
    own = parts[1] / "001_one"
    save(replace(load(own / "result.json"), fingerprint="other machine"), own)
    merge(parts, tmp_path / "whole")
    assert [run.folder.name for run in read_sweep(tmp_path / "whole").runs] == ["001_one", "001_one-2"]


def test_a_row_that_a_command_asks_for_twice_stays_two_rows(tmp_path):
    """Their fingerprint is one; neither is a conflict with the other."""
    one = part(tmp_path / "a", {1: "one", 2: "two"})
    plan = json.loads((one / "plan.json").read_text())
    plan["runs"][1]["fingerprint"] = "one"
    (one / "plan.json").write_text(json.dumps(plan))
    save(replace(load(one / "002_two" / "result.json"), fingerprint="one"), one / "002_two")
    found = merge([one], tmp_path / "whole")
    assert (found.rows, found.conflicts) == (2, [])


def test_what_cannot_be_merged(tmp_path):
    """Sweeps of two commands, and a name that is taken; nothing is touched."""
    first, other = part(tmp_path / "a", {1: "one"}), part(tmp_path / "b", {1: "one"}, command=("backend=torch",))
    both = r"parts of one command.*: a is runner .*backend=ort; b is runner .*backend=torch"
    with pytest.raises(NothingLaunched, match=both):
        merge([first, other], tmp_path / "whole")
    with pytest.raises(NothingLaunched, match="exists and is no merged sweep"):
        merge([first], other)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a", "b"]


def test_what_is_not_there_is_named(tmp_path):
    """Shards that were not given, and a result that cannot be read."""
    parts = [part(tmp_path / "a", {1: "one", 5: "five"}, shard="0/4"), part(tmp_path / "b", {2: "two"}, shard="2/4")]
    (parts[0] / "005_five" / "result.json").write_text("{")
    found = merge(parts, tmp_path / "whole")
    assert (found.absent, found.rows, found.missing) == (["1/4", "3/4"], 2, 1)
    assert [str(parts[0] / "005_five" / "result.json") in line for line in found.unreadable] == [True]


def test_folders_of_configuration_may_lie_elsewhere(tmp_path):
    """As their machines have them: a row is the same if its fingerprint is."""
    parts = [part(tmp_path / "a", {1: "one"}), part(tmp_path / "b", {2: "two"})]
    plan = json.loads((parts[1] / "plan.json").read_text())
    plan["command"]["config_dir"] = "/home/of/another/conf"
    (parts[1] / "plan.json").write_text(json.dumps(plan))
    assert merge(parts, tmp_path / "whole").rows == 2


def test_a_merged_sweep_is_a_part_like_any_other(tmp_path):
    """It counts for the shards that it was made of."""
    first, second = part(tmp_path / "a", {1: "one"}), part(tmp_path / "b", {2: "two"})
    assert merge([first], tmp_path / "early").absent == ["1/2"]
    found = merge([tmp_path / "early", second], tmp_path / "whole")
    assert (found.absent, labels(tmp_path / "whole")) == ([], ["one", "two"])


def test_parts_of_two_divisions_are_refused(tmp_path):
    """Their rows overlap."""
    parts = [part(tmp_path / "a", {1: "one"}, shard="0/2"), part(tmp_path / "b", {1: "one"}, shard="1/3")]
    with pytest.raises(NothingLaunched, match="parts of one division can be merged; received 0/2, 1/3"):
        merge(parts, tmp_path / "whole")


@pytest.mark.slow
def test_two_shards_are_the_whole_sweep(run_program: RunProgram, environment):
    """Three rows by two commands, merged and reported; a shard without rows ends well."""
    words = (*FAKE, "batch_size=4,8,16")
    for shard, rows in (("0/2", 2), ("1/2", 1)):
        done = run_program(*words, f"shard={shard}")
        assert done.code == 0, done.out + done.err
        assert f"shard {shard}: {rows} of 3 runs" in done.err
    empty = run_program(*words, "shard=3/4")
    assert (empty.code, "shard 3/4: 0 of 3 runs" in empty.err) == (0, True)
    refused = run_program(*FAKE, "aa=2", "shard=0/2")
    assert (refused.code, "shard: received '0/2'" in refused.err) == (2, True), refused.err
    first, second = sorted((done.output_dir / "sweeps").iterdir())

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "runner", *arguments, "--output-dir", str(done.output_dir)]
        return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)

    merged = call("merge", first.name, second.name, "--to", "whole")
    assert merged.returncode == 0, merged.stderr
    assert "whole: 3 rows. runner report whole" in merged.stdout
    reported = call("report", "whole")
    assert reported.returncode == 0, reported.stderr
    assert [f"batch_size={size}" in reported.stdout for size in (4, 8, 16)] == [True] * 3
    assert "merged from 2 sweeps, on 1 kind of machines" in reported.stdout
    refused = run_program("resume=whole")
    assert (refused.code, "Resume the part that is unfinished" in refused.err) == (2, True), refused.err
    assert "whole" not in call("report", "last").stdout
    assert (done.output_dir / "sweeps" / "whole" / "report.html").exists()
