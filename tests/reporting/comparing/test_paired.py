"""Two sweeps that differ in settings, measured again side by side."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

from runner.paths import PROJECT
from runner.planning.resume import Command, stored_command
from tests.conftest import FAKE, RunProgram
from tests.faults.conftest import faults


def test_rows_of_both_are_measured_in_one_block(run_program: RunProgram, environment):
    """The ratio is that of one sweep; that sweep can be resumed by its name alone."""
    done = run_program(*FAKE, faults("batch_s: 0.002"))
    run_program(*FAKE, faults("batch_s: 0.004"))
    sweeps = done.output_dir / "sweeps"
    old, new = sorted(path.name for path in sweeps.iterdir())
    words = ["compare", old, new, "--paired", "--format", "csv", "--output", str(done.output_dir / "out.csv")]
    compared = subprocess.run(
        [sys.executable, "-m", "runner", *words, "--output-dir", str(done.output_dir)],
        cwd=PROJECT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert compared.returncode == 0, compared.stdout + compared.stderr
    [row] = csv.DictReader(io.StringIO((done.output_dir / "out.csv").read_text()))
    assert (row["quantity"], row["verdict"], row["before"], row["after"]) == ("side by side", "slower", old, new)
    assert 0.4 < float(row["ratio"]) < 0.6
    [made] = {path.name for path in sweeps.iterdir()} - {old, new}
    assert len(json.loads((sweeps / made / "plan.json").read_text())["command"]["jobs"]) == 2
    command, _ = stored_command(sweeps / made)
    assert len(command.jobs) == 2
    again = run_program(f"resume={made}")
    assert again.code == 0, again.err
    assert "2 of 2 runs were already measured and are reused" in again.out


def test_jobs_are_part_of_a_command():
    """Another list of jobs is another command; a session field changes none."""
    command = Command(["tracking=none"], None, [["backend=ort"], ["backend=torch"]])
    assert Command(**{name: value for name, value in command.as_json().items() if name != "left_out"}) == command
    assert command.measures_as(Command([], None, command.jobs))
    assert not command.measures_as(Command([], None, command.jobs[:1]))
    assert command.with_value("tracking", None).jobs == command.jobs
