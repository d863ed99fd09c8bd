"""runner ship from the command line: rows of every runtime, shipped, run without the program, and compared."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runner.paths import PROJECT
from runner.shipping.folder import digest_of_facts
from tests.conftest import Finished, RunProgram
from tests.test_model_files import BRIEF, SHAPES
from tests.worker.subjects.models import two_inputs

SMALL = ("model=resnet18", "model.image_size=64", "data.evaluation_samples=32", "data.calibration_samples=16", *BRIEF)
ALLOW = ("--allow-untrained", "--allow-uncertain-gate", "--allow-failed-gate", "--allow-noisy")

Ship = Callable[..., Finished]


@pytest.fixture
def ship(tmp_path, environment) -> Ship:
    """Return a function that runs ``runner ship`` on the outputs of `run_program`."""

    def run(*words: str, file_limit: int = resource.RLIM_INFINITY) -> Finished:
        command = [sys.executable, "-m", "runner", "ship", *words, "--output-dir", str(tmp_path / "outputs")]
        found = subprocess.run(
            command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit)),
        )  # fmt: skip
        return Finished(found.returncode, found.stdout, found.stderr, tmp_path / "outputs")

    return run


def run_shipped(folder: Path, *words: str, cwd: Path) -> Finished:
    """Run a folder's run.py from an empty folder, with the packages of this environment and without the program."""
    command = f'. {folder}/environment.sh && exec {sys.executable} -I {folder}/run.py "$@"'
    cwd.mkdir(exist_ok=True)
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RUNNER"))}
    done = subprocess.run(
        ["/bin/sh", "-c", command, "run", *words], cwd=cwd, env=variables, capture_output=True, text=True, check=False
    )
    return Finished(done.returncode, done.stdout, done.stderr, cwd)


def assert_runs(folder: Path, cwd: Path) -> None:
    """Check that a folder has all its files, and answers as it was measured."""
    names = {
        "model",
        "model.json",
        "run.py",
        "proof.py",
        "runtime.py",
        "preparation.py",
        "environment.sh",
        "requirements.txt",
    }
    assert names | {"REPORT.md", "LICENCES.md", "Dockerfile", "example.npz"} <= {one.name for one in folder.iterdir()}
    done = run_shipped(folder, "--check", cwd=cwd)
    assert done.code == 0, done.out + done.err
    assert json.loads(done.out)["identical"], done.out
    done = run_shipped(folder, "--bench", "0.2", cwd=cwd)
    timed = json.loads(done.out)
    assert timed["nanoseconds"] >= 2e8
    assert timed["batches"] >= 1
    assert list(cwd.iterdir()) == []


@pytest.mark.services
@pytest.mark.parametrize(
    "words",
    [
        ("backend=ort", "precision=fp32"),
        ("backend=openvino", "precision=int8"),
        ("backend=torch", "precision=bf16", "memory_format=channels_last"),
    ],
    ids=lambda words: words[0],
)
def test_an_image_network(run_program: RunProgram, ship: Ship, tmp_path, words):
    """Its folder answers bit for bit as the measured process did, and takes arrays of any number of samples."""
    done = run_program(*words, *SMALL)
    assert done.code == 0, done.out + done.err
    folder = tmp_path / "build"
    done = ship("last/1", "--to", str(folder), *ALLOW)
    assert done.code == 0, done.out + done.err
    assert_runs(folder, tmp_path / "empty")
    images = np.random.default_rng(0).standard_normal((11, 3, 64, 64), np.float32)
    np.save(tmp_path / "images.npy", images)
    done = run_shipped(
        folder, str(tmp_path / "images.npy"), "--output", str(tmp_path / "o.npz"), cwd=tmp_path / "empty"
    )
    assert done.code == 0, done.err
    with np.load(tmp_path / "o.npz") as outputs:
        assert outputs["logits"].shape == (11, 10)
    assert (folder / "REPORT.md").read_text().startswith("**Shipped in spite of this: its weights are weights=probe")
    assert "have changed" not in (folder / "REPORT.md").read_text()  # it is the very plan that was measured
    required = (folder / "requirements.txt").read_text()
    assert ("torch==" in required) == (words[0] == "backend=torch")


@pytest.mark.services
def test_a_file_with_two_inputs(run_program: RunProgram, ship: Ship, tmp_path):
    """Its arrays are checked: a wrong name or shape is one line."""
    path = two_inputs(tmp_path / "mine.onnx")
    done = run_program("model=file", f"model.path={path}", SHAPES, "backend=ort", *BRIEF)
    assert done.code == 0, done.out + done.err
    folder, empty = tmp_path / "build", tmp_path / "empty"
    done = ship("last/1", "--to", str(folder), "--allow-noisy")
    assert done.code == 0, done.out + done.err
    assert_runs(folder, empty)
    np.savez(tmp_path / "wrong.npz", ids=np.zeros((2, 16), np.int64))
    done = run_shipped(folder, str(tmp_path / "wrong.npz"), cwd=empty)
    assert (done.code, done.err.splitlines()[-1]) == (
        2,
        "run.py: error: there is no array 'mask'; received ids",
    )


@pytest.mark.services
def test_texts(run_program: RunProgram, ship: Ship, tmp_path):
    """A folder of Transformers has its tokenizer, and needs neither PyTorch nor Transformers."""
    done = run_program(
        "model=distilbert", "model.config.n_layers=1", "model.config.dim=64", "model.config.hidden_dim=64",
        "model.config.n_heads=2", "model.sequence_length=16", "backend=ort", "weights=random",
        "data.evaluation_samples=16", "data.calibration_samples=8", *BRIEF,
    )  # fmt: skip
    assert done.code == 0, done.out + done.err
    folder = tmp_path / "build"
    done = ship("--to", str(folder), *ALLOW)
    assert done.code == 0, done.out + done.err
    assert_runs(folder, tmp_path / "empty")
    done = run_shipped(folder, "a fine film", "a dull one", cwd=tmp_path / "empty")
    assert done.code == 0, done.err
    assert [line.partition(": ")[2] for line in done.out.splitlines()] == ["a fine film", "a dull one"]
    required = (folder / "requirements.txt").read_text()
    assert "tokenizers==" in required
    assert "torch==" not in required
    assert "transformers==" not in required


@pytest.mark.services
@pytest.mark.alone  # two threads of a shipped folder on one core take twice as long
def test_generation(run_program: RunProgram, ship: Ship, tmp_path):
    """The loop is that of Transformers in each runtime: the same tokens as measured, and a text that goes on."""
    config = {"n_layer": 1, "n_embd": 64, "n_head": 2, "vocab_size": 2000, "n_positions": 64}
    done = run_program(
        "model=gpt2", *(f"++model.config.{name}={value}" for name, value in config.items()), "weights=random",
        *("model.sequence_length=null", "model.new_tokens=5", "backend=torch,ort,openvino", "batch_size=2"),
        *("data.evaluation_samples=8", "data.calibration_samples=4", *BRIEF),
    )  # fmt: skip
    assert done.code == 0, done.out + done.err
    for number, backend in enumerate(("torch", "ort", "openvino"), 1):
        folder, empty = tmp_path / backend, tmp_path / "empty"
        done = ship(f"last/{number}", "--to", str(folder), *ALLOW, "--allow-unknown-evidence")
        assert done.code == 0, done.out + done.err
        assert_runs(folder, empty)
        done = run_shipped(folder, "the film was", "we", "nobody", cwd=empty)
        assert done.code == 0, done.err
        assert done.out.startswith("the film was"), done.out
        assert "\nwe" in done.out, done.out
        assert "\nnobody" in done.out, done.out
        assert len(done.out) > len("the film was\nwe\nnobody\n"), done.out
        assert "the measured loop" in (folder / "REPORT.md").read_text()


@pytest.mark.services
def test_what_is_not_shipped(run_program: RunProgram, ship: Ship, tmp_path):
    """One line each, exit code 2, and nothing is left behind."""
    done = run_program("backend=ort,torch", "precision=int8_dynamic", "weights=random", *SMALL)
    folder = tmp_path / "build"
    done = ship("last/1", "--to", str(folder))
    assert done.code == 2
    assert "never trained" in done.err
    assert done.err.count("\n") == 1
    done = ship("last/2", "--to", str(folder), *ALLOW)
    assert (done.code, "is unsupported, there is nothing to ship" in done.err) == (2, True)
    done = ship("--to", str(folder), "--verify", str(folder))
    assert done.code == 2
    done = ship("last/1", "--to", str(folder), *ALLOW, file_limit=1_000_000)  # as on a disk that becomes full
    assert (done.code, done.err.count("\n"), "File too large" in done.err) == (1, 1, True), done.err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    done = ship("last/1", "--to", str(tmp_path / "mine"), *ALLOW)
    assert done.code == 2
    assert done.err.strip().endswith(
        "has files of another origin (thesis.tex); allowed: a new folder, or one shipped before"
    )
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"
    assert not folder.exists()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["mine", "outputs"]


def assert_mlflow_answers(model: Path, folder: Path) -> None:
    """Load MLflow's form of a folder in a process of its own, as MLflow does, and compare its answers."""
    program = (
        "import sys, numpy, mlflow.pyfunc; model = mlflow.pyfunc.load_model(sys.argv[1]); "
        "example = numpy.load(sys.argv[2]); found = model.predict(example['0:input:images'][:3]); "
        "assert numpy.array_equal(found['logits'], example['0:output:logits'][:3])"
    )
    command = [sys.executable, "-I", "-c", program, str(model), str(folder / "example.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.services
def test_artifacts_that_were_removed_are_made_again(run_program: RunProgram, ship: Ship, tmp_path, own_cache):
    """And a folder that was shipped before is replaced; a record of other weights is refused."""
    assert run_program("backend=ort", "weights=random", *SMALL).code == 0
    folder = tmp_path / "build"
    assert ship("last/1", "--to", str(folder), *ALLOW).code == 0
    first = json.loads((folder / "model.json").read_text())
    shutil.rmtree(own_cache)
    (folder / "notes.txt").write_text("mine")
    done = ship("last/1", "--to", str(folder), *ALLOW)
    assert (done.code, "has files of another origin (notes.txt)" in done.err) == (2, True)
    (folder / "notes.txt").unlink()
    done = ship("last/1", "--to", str(folder), "--mlflow", str(tmp_path / "mlflow"), *ALLOW)
    assert done.code == 0, done.err
    assert_mlflow_answers(tmp_path / "mlflow", folder)
    done = ship("last/1", "--to", str(folder), "--mlflow", str(folder / "inside"), *ALLOW)
    assert (done.code, "allowed: with --to, a new folder beside it" in done.err) == (2, True)
    assert json.loads((folder / "model.json").read_text())["files"]["example.npz"] == first["files"]["example.npz"]
    [result] = (tmp_path / "outputs" / "sweeps").glob("*/001_*/result.json")
    result.write_text(result.read_text().replace(first["record"]["weights"], "0" * 64))
    done = ship("last/1", "--to", str(folder), *ALLOW)
    assert (done.code, "the weights have changed since they were measured" in done.err) == (2, True)
    assert (folder / "run.py").exists()


@pytest.mark.services
def test_a_registered_model(run_program: RunProgram, ship: Ship, tmp_path):
    """It is an artifact of its row's run, and a version of a model in the registry; a sweep not recorded is refused."""
    words = ("backend=ort", *(word for word in SMALL if word != "tracking=none"))
    assert run_program(*words).code == 0
    register = ("--mlflow", str(tmp_path / "model"), "--register", "mine", *ALLOW)
    uri = f"sqlite:///{tmp_path / 'outputs' / 'mlflow.db'}"
    for version in (1, 2):
        done = ship("last/1", "--to", str(tmp_path / "build"), *register)
        assert done.code == 0, done.err
        assert f"models:/mine/{version} is registered" in done.out
    program = (
        "import sys, numpy, mlflow; mlflow.set_tracking_uri(sys.argv[1]); "
        "model = mlflow.pyfunc.load_model('models:/mine/2'); "
        "assert model.predict(numpy.zeros((2, 3, 64, 64), numpy.float32))['logits'].shape == (2, 10)"
    )
    loaded = subprocess.run([sys.executable, "-I", "-c", program, uri], capture_output=True, text=True, check=False)
    assert loaded.returncode == 0, loaded.stderr
    other = f"sqlite:///{tmp_path / 'other.db'}"
    done = ship("last/1", "--to", str(tmp_path / "build"), *register, "--uri", other)
    assert (done.code, "does not hold the row: run runner sync first" in done.err) == (1, True)


@pytest.mark.services
@pytest.mark.parametrize(
    "words", [("backend=ort",), ("backend=openvino", "precision=int8")], ids=lambda words: words[0]
)
def test_a_folder_is_proven_in_an_environment_of_its_own(run_program: RunProgram, ship: Ship, tmp_path, words):
    """Its packages come from the index; a file that was changed is noticed."""
    assert run_program(*words, "allocator=tcmalloc", *SMALL).code == 0
    folder = tmp_path / "build"
    assert ship("last/1", "--to", str(folder), *ALLOW).code == 0
    done = ship("--verify", str(folder), "--pairs", "2", "--seconds", "0.5")
    assert "bit for bit those of the measured process" in " ".join(done.out.replace("│", " ").split())
    assert "over 2 fresh pairs" in " ".join(done.out.replace("│", " ").split())
    if words[0] == "backend=ort":  # once is enough: it installs the packages again
        facts = json.loads((folder / "model.json").read_text())
        facts["record"]["weights"] = "0" * 64
        facts["digest"] = digest_of_facts(facts)
        (folder / "model.json").write_text(json.dumps(facts))
        done = ship("--verify", str(folder), "--pairs", "2")
        assert "its weights are not those that were shipped" in " ".join(done.out.replace("│", " ").split())
    with (folder / "run.py").open("a") as stream:
        stream.write("# changed\n")
    done = ship("--verify", str(folder), "--pairs", "0")
    assert (done.code, "changed, added or missing: run.py" in done.out) == (1, True)
