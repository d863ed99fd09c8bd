"""What a folder is made of: its script, its packages, its container, the verdict on its speed."""

from __future__ import annotations

import json
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.analysis.statistics import Estimate
from runner.config import composition
from runner.job import Job
from runner.paths import SHIPPED
from runner.processes.launch import WorkerLaunch
from runner.shipping import environment, packages
from runner.shipping.folder import _lowest_sqnr_db, _sqnr_db, digest_of_facts, digests
from runner.shipping.verify import State, check_files, check_outputs, judge
from runner.worker.data.preprocessing import Preprocessing

PYTHON = "/opt/venv/bin/python"


def launch(*prefix: str, **env: str) -> WorkerLaunch:
    """Return the launch of a worker."""
    return WorkerLaunch([*prefix, PYTHON, "-m", "runner.worker"], env, Job())


def settings(*words: str):
    return composition.typed(composition.compose_settings(list(words)))


def test_run_py_is_short_enough_to_read():
    """Under a hundred lines, so that one reads what one deploys."""
    assert len((SHIPPED / "run.py").read_text().splitlines()) < 100


def test_no_part_imports_the_program():
    """The folder runs without it."""
    for part in SHIPPED.rglob("*.py"):
        assert "import runner" not in part.read_text()
        assert "from runner" not in part.read_text()


def test_only_what_configures_the_process_is_exported(hydra_context):
    """Nothing of the user's shell, nothing of this program, no secret."""
    found = environment.script(
        launch(OMP_NUM_THREADS="2", PATH="/bin", HOME="/root", HF_TOKEN="x", PYTHONPATH="/src", KMP_AFFINITY="a,b c"),
        settings(),
    )
    assert [line for line in found.splitlines() if line.startswith("export")] == [
        "export KMP_AFFINITY='a,b c'",
        "export OMP_NUM_THREADS=2",
    ]


def test_the_script_finds_what_it_preloads(tmp_path, hydra_context):
    """In the folder that is named, else it says how to get it, and the shell goes no further."""
    script = tmp_path / "environment.sh"
    script.write_text(environment.script(launch(LD_PRELOAD="/x/libnone.so.4"), settings("allocator=tcmalloc")))
    command = ["/bin/sh", "-c", f". {script} && echo $LD_PRELOAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stderr == "environment.sh: libnone.so.4 is missing: apt-get install libtcmalloc-minimal4\n"
    (tmp_path / "libnone.so.4").write_bytes(b"")
    ambient = {environment.LIBRARIES_VARIABLE: str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ambient)
    assert done.stdout.strip() == f"{tmp_path}/libnone.so.4"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), []),
        (("/usr/bin/setarch", "--addr-no-randomize"), []),
        (("/usr/bin/setarch", "--addr-no-randomize", "taskset", "-c", "0,1"), ["taskset", "-c", "0,1"]),
        (("numactl", "-C", "0", "-m", "0"), ["numactl", "-C", "0", "-m", "0"]),
    ],
)
def test_the_words_that_bind_a_process(words, expected):
    """The fixed address layout is for measuring alone."""
    assert environment.prefix(launch(*words)) == expected


def test_requirements_are_all_that_is_needed_and_no_more():
    """With exact versions; no PyTorch for ONNX Runtime."""
    text = packages.requirements(packages.closure(["onnxruntime", "numpy"]))
    assert f"onnxruntime=={version('onnxruntime')}" in text.splitlines()
    assert f"protobuf=={version('protobuf')}" in text.splitlines()  # what it needs itself
    assert not [line for line in text.splitlines() if line.startswith(("torch", "transformers"))]
    assert "| numpy |" in packages.licences(packages.closure(["numpy"]))


@pytest.mark.parametrize(
    ("low", "high", "state"),
    [
        (0.97, 1.03, State.passed),
        (0.93, 1.02, State.undecided),
        (0.80, 0.90, State.failed),
        (1.06, 1.20, State.failed),
        (0.80, 1.30, State.undecided),
    ],
)
def test_the_verdict_on_the_speed(low, high, state):
    """The whole interval counts."""
    assert judge(Estimate((low + high) / 2, low, high), 5).state is state


def test_changed_files_are_noticed(tmp_path):
    """Also one that is gone."""
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    facts: dict[str, Any] = {"files": digests(tmp_path)}
    facts["digest"] = digest_of_facts(facts)
    assert check_files(tmp_path, facts).state is State.passed
    (tmp_path / "a").write_text("3")
    (tmp_path / "b").unlink()
    (tmp_path / "numpy.py").write_text("")  # it would be imported instead of the package
    assert check_files(tmp_path, facts).words == "changed, added or missing: a, b, numpy.py"
    facts["files"] = digests(tmp_path)
    facts["tolerance_db"] = 0
    assert check_files(tmp_path, facts).words == "changed, added or missing: model.json"


def test_answers_are_compared_with_the_record(tmp_path):
    """Equal ones are infinitely far above the noise; another shape is another model; words and labels are left out."""
    logits = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    kinds = {"same": logits, "close": logits * np.float32(1.001), "other": logits[:1]}
    for name, values in kinds.items():
        np.savez(tmp_path / f"{name}.npz", logits=values, labels=np.array([1, 2]), weights="digest")
    wanted = tmp_path / "same.npz"
    assert _lowest_sqnr_db(wanted, tmp_path / "same.npz") == float("inf")
    assert _lowest_sqnr_db(wanted, tmp_path / "close.npz") == pytest.approx(60, abs=0.1)
    assert _lowest_sqnr_db(wanted, tmp_path / "other.npz") == float("-inf")


def load_part(name: str) -> Any:
    """Import a file that is copied into a folder."""
    import importlib.util

    spec = importlib.util.spec_from_file_location(f"shipped_{Path(name).stem}", SHIPPED / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


VALUES = np.array([1.0, 2.0], np.float32)


@pytest.mark.parametrize(
    ("wanted", "given", "expected"),
    [
        (VALUES, VALUES, np.inf),
        (VALUES, VALUES * np.float32(1.1), 20.0),
        (VALUES, VALUES[:1], -np.inf),
        (VALUES, VALUES.astype(np.float64) + 1e-9, -np.inf),
        (VALUES, np.array([1.0, np.nan], np.float32), -np.inf),
        (np.array([1.0, np.nan], np.float32), np.array([1.0, np.nan], np.float32), np.inf),
        (VALUES * 0, VALUES, -np.inf),
        (np.array([500, 2]), np.array([501, 2]), -np.inf),
        (np.array([500, 2]), np.array([500, 2]), np.inf),
    ],
)
def test_when_outputs_are_the_same(wanted, given, expected):
    """The host and the folder judge alike; integers, NaN and types must be equal."""
    for found in (_sqnr_db(wanted, given), load_part("proof.py").sqnr_db(wanted, given)):
        assert found == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("factor", "state", "words"),
    [
        (1.0, State.passed, "bit for bit those of the measured process"),
        (1.01, State.passed, "SQNR 40.0"),
        (1.5, State.failed, "SQNR 6.0"),
    ],
)
def test_the_proof_of_a_folder_is_what_verify_reads(tmp_path, monkeypatch, capsys, factor, state, words):
    """What proof.py prints of a model whose outputs are off by a factor, as the command judges it."""
    proof = load_part("proof.py")
    monkeypatch.setattr(proof, "HERE", tmp_path)
    np.savez(tmp_path / "example.npz", **{"0:input:a": VALUES, "0:output:b": VALUES})

    class Model:
        def run(self, inputs):
            return {"b": inputs["a"] * np.float32(factor)}

    code = proof.check(Model(), 25.0)
    printed = json.loads(capsys.readouterr().out)

    class Printed:
        def run(self, *_arguments):
            return printed

    found = check_outputs(Printed())
    assert (found.state, code) == (state, int(state is State.failed))
    assert words in found.words


def test_a_container_serves_or_runs(hydra_context):
    """A server listens for all; what binds to cores is installed."""
    bound = launch("/usr/bin/numactl", "-C", "0")
    text = environment.dockerfile(settings("allocator=tcmalloc"), bound, compiles=True, server=False)
    assert "g++ numactl" in text
    assert "libgoogle-perftools4t64 ||" in text
    assert "exec /usr/bin/numactl -C 0 python run.py" in text
    served = environment.dockerfile(settings(), bound, compiles=False, server=True)
    assert "apt-get" not in served
    assert "exec python serve.py --host 0.0.0.0" in served


def pictures(folder: Path) -> list[Path]:
    """Write pictures of several modes and proportions."""
    from PIL import Image

    generator = np.random.default_rng(0)
    colours = generator.integers(0, 256, (61, 97, 3), np.uint8)
    made = {
        "wide.png": Image.fromarray(colours),
        "tall.png": Image.fromarray(colours.transpose(1, 0, 2).copy()),
        "grey.png": Image.fromarray(colours[:, :, 0].copy()),
        "alpha.png": Image.fromarray(np.dstack([colours, colours[:, :, :1]])),
        "deep.png": Image.fromarray(generator.integers(0, 65536, (50, 40), np.uint16)),
    }
    for name, picture in made.items():
        picture.save(folder / name)
    return [folder / name for name in made]


@pytest.mark.parametrize("squash", [False, True])
def test_pictures_are_prepared_as_they_were_measured(tmp_path, monkeypatch, squash):
    """Bit for bit, although the folder has code of its own."""
    from dataclasses import asdict

    from runner.data_files.pictures import open_picture

    how = Preprocessing(32, 40, squash=squash)
    module = load_part("preparations/pictures.py")
    facts = {"pictures": asdict(how), "inputs": [{"name": "images"}], "batch_size": 2, "logits": None, "labels": None}
    files = pictures(tmp_path)
    batches = list(module.Preparation(tmp_path, facts).batches(list(map(str, files))))
    assert [len(one["images"]) for one in batches] == [2, 2, 1]
    found = np.concatenate([one["images"] for one in batches])
    assert np.array_equal(found, np.stack([how.apply(open_picture(file)) for file in files]))
