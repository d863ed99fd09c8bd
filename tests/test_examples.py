"""Every example runs as its own text says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from runner.commands.compare import main as compare
from runner.paths import PROJECT
from tests.conftest import RunProgram
from tests.documentation.commands import PROGRAM
from tests.test_model_files import BRIEF, CHECKED

EXAMPLES = PROJECT / "examples"


def run_script(script: str, *arguments: str, cwd: Path) -> str:
    """Run an example's script in a folder and return what it prints."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_in_the_index():
    index = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert [folder.name for folder in EXAMPLES.iterdir() if folder.is_dir() and f"[{folder.name}](" not in index] == []


def test_a_file_with_two_inputs_and_its_data_as_a_data_frame(run_program: RunProgram, tmp_path):
    """own-onnx and pandas: the file is made, measured, and its sweep read."""
    assert run_script("own-onnx/make_model.py", cwd=tmp_path).endswith("ranker.onnx and ranker.npz\n")
    words = ("model=file", "model.path=ranker.onnx", "data=arrays", "data.path=ranker.npz", "backend=ort,openvino")
    done = run_program(*words, "precision=fp32,int8", *BRIEF, cwd=tmp_path)
    assert done.code == 0, done.out + done.err
    top1 = [result.accuracy.top1 or 0.0 for result in done.results() if result.accuracy is not None]
    assert len(top1) == 4
    assert min(top1) > 0.9  # the labels are what fp32 says
    [sweep] = (done.output_dir / "sweeps").iterdir()
    printed = run_script("pandas/read_sweep.py", str(sweep), cwd=tmp_path)
    assert printed.split()[:2] == ["params.backend", "params.precision"]
    assert len(printed.splitlines()) == 5


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        pytest.param(
            "own-settings",
            ("model=small_convnext", "threading=two_threads", "measure=nightly", "backend=ort"),
            marks=pytest.mark.alone,  # it needs two cores
        ),
        ("own-table", ("+experiments/my_table=glob(*)", "model=resnet18", "model.image_size=64", "weights=random")),
    ],
)
def test_a_folder_with_options_of_your_own(run_program: RunProgram, folder, words):
    """Checked, not timed; nightly takes its other values from standard."""
    checked = [word for word in CHECKED if word != "measure=check"] + ["measure.check=true"]
    done = run_program(*words, *checked, "weights=random", config_dir=EXAMPLES / folder)
    assert done.code == 0, done.out + done.err
    results = done.results()
    assert {str(result.status) for result in results} <= {"ok", "unsupported"}
    if folder == "own-settings":
        [result] = results
        assert (result.settings["measure.replicates"], result.settings["threading.threads"]) == (6, 2)
        assert result.settings["model.image_size"] == 160
    else:
        assert [result.settings["row.name"] for result in results][1:] == ["2 ONNX Runtime", "3 ONNX Runtime int8"]


def test_a_python_module_of_your_own(run_program: RunProgram):
    words = ("model=python", "model.name=two_towers", "backend=torch,ort,openvino")
    done = run_program(*words, *CHECKED, RUNNER_MODELS=str(EXAMPLES / "own-model/my_models"))
    assert done.code == 0, done.out + done.err
    assert [str(result.status) for result in done.results()] == ["ok", "ok", "ok"]


def test_the_commands_of_the_workflow_are_true(capsys):
    """Its steps are shell; the options of compare are those that exist."""
    workflow = yaml.safe_load((EXAMPLES / "github-actions/compare.yml").read_text(encoding="utf-8"))
    scripts = [step["run"] for step in workflow["jobs"]["compare"]["steps"] if "run" in step]
    [command] = [line for line in "\n".join(scripts).replace("\\\n", " ").splitlines() if "runner compare" in line]
    found = PROGRAM.search(command[command.index("runner") :])
    assert found is not None
    with pytest.raises(SystemExit):
        compare(["--help"])
    known = capsys.readouterr().out
    options = [word for word in str(found["words"]).split() if word.startswith("--")]
    assert len(options) == 4
    assert all(option in known for option in options)
