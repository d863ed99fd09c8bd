"""Your own data and weights, from the command line: taken as they are on disk, or refused before a minute is spent."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image

from runner.paths import PROJECT
from runner.protocol import VERIFIED
from runner.results.status import Status
from runner.worker.subjects import torchvision
from tests.conftest import FAKE, RunProgram
from tests.test_model_files import BRIEF
from tests.worker.subjects.models import classifier

pytestmark = pytest.mark.slow
CHECKED = ("measure=check", "tracking=none", "data.evaluation_samples=8", "data.calibration_samples=8")
TINY = (
    *("model=distilbert", "model.config.n_layers=1", "model.config.dim=64", "model.config.hidden_dim=64"),
    *("model.config.n_heads=2", "model.config.vocab_size=2000"),
)


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Pictures of two classes in a folder whose name has a space, of which one is broken."""
    folder = tmp_path / "my pictures"
    generator = np.random.default_rng(0)
    for label in ("hund", "katze"):
        (folder / label).mkdir(parents=True)
        for number in range(10):
            values = generator.integers(0, 255, (40, 50, 3), np.uint8)
            Image.fromarray(values).save(folder / label / f"{number}.JPG")
    (folder / "katze" / "leer.png").touch()
    return folder


def test_pictures_and_a_wrapped_checkpoint(run_program: RunProgram, pictures, tmp_path):
    """The file decides the number of classes; what was unwrapped, prepared and left out is said below the table."""
    state = torchvision.build("resnet18", 64, 2).state_dict()
    torch.save({"state_dict": {f"module.{name}": one for name, one in state.items()}}, tmp_path / "last=1.ckpt")
    done = run_program(
        *("model=resnet18", "model.image_size=64", "weights=file", f'weights.path="{tmp_path / "last=1.ckpt"}"'),
        *("data=image_folder", f'data.path="{pictures}"', "data.max_broken=0.1", "backend=ort", *CHECKED),
        "data.evaluation_samples=12",
    )
    assert done.code == 0, done.out + done.err
    [result] = done.results()
    assert result.status is Status.ok, result.reason
    assert result.accuracy.top1 is not None
    notes = " ".join(result.notes)
    assert "the weights are those under state_dict of the file" in notes
    assert "the prefix module. was removed" in notes
    assert "prepared by torchvision's weights.transforms()" in notes
    assert "left out because they cannot be read, 1 in all: katze/leer.png" in notes


def test_weights_of_another_number_of_classes(run_program: RunProgram, tmp_path):
    """With data of other labels accuracy is agreement with fp32, and a note says why."""
    torch.save(torchvision.build("resnet18", 64, 7).state_dict(), tmp_path / "seven.pt")
    done = run_program(
        *("model=resnet18", "model.image_size=64", "weights=file", f"weights.path={tmp_path / 'seven.pt'}"),
        *("backend=ort", *CHECKED),
    )
    [result] = done.results()
    assert (result.status, result.accuracy.top1, result.accuracy.agreement_top1) == (Status.ok, None, 1.0)
    assert "accuracy is agreement with fp32: the data have 10 classes, and the model has 7" in result.notes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["model=resnet18", "weights=file", "weights.path={folder}/r34.pt"],
            "weights of resnet18 with 3 classes. layer1.2.conv1.weight is unknown; .* It fits resnet34",
        ),
        (
            ["model=torchvision", "model.name=vit_b_16", "model.image_size=100"],
            "model.image_size: received '100'; allowed: .* 224",
        ),
        (["model=timm", "model.name=resnet18.nowhere"], "model.name: .* The nearest: resnet18"),
        (["data=image_folder", "data.path={folder}/a=b"], "Quote it: 'data.path="),
    ],
)
def test_what_does_not_fit_is_a_mistake(run_program: RunProgram, tmp_path, words, message):
    """Nothing is launched, and the line has the remedy."""
    import re

    torch.save(torchvision.build("resnet34", 64, 3).state_dict(), tmp_path / "r34.pt")
    done = run_program(*(word.format(folder=tmp_path) for word in words), "backend=ort", *CHECKED)
    assert done.code == 2, done.out + done.err
    assert re.search(message, done.err), done.err
    assert not (done.output_dir / "sweeps").exists()


def test_texts_of_excel_with_words_as_labels(run_program: RunProgram, tmp_path):
    """Semicolons, Windows' encoding, other names of columns, and texts of every length: all of it is reported."""
    generator = np.random.default_rng(0)
    with (tmp_path / "Bewertungen.CSV").open("w", encoding="cp1252", newline="") as stream:
        writer = csv.writer(stream, delimiter=";")
        writer.writerow(["Bewertung", "Urteil"])
        for number in range(32):
            words = " wort" * int(generator.integers(1, 40))
            writer.writerow([f"schön, Nummer {number}\nund{words}", ("gut", "schlecht")[number % 2]])
    done = run_program(
        *(*TINY, "model.sequence_length=null", "data=text_file", f"data.path={tmp_path / 'Bewertungen.CSV'}"),
        *("data.columns={text: Bewertung, label: Urteil}", "backend=ort", "batch_size=4", *BRIEF),
        *("data.evaluation_samples=24", "data.calibration_samples=8"),
    )
    assert done.code == 0, done.out + done.err
    [result] = done.results()
    assert result.status is Status.ok, result.reason
    assert result.notes[:3] == [
        "the file is not UTF-8 (line 2) and was read as Windows-1252",
        "its fields are separated by a semicolon",
        "labels are classes in the order of the words: gut is 0, schlecht is 1",
    ]
    measured = result.measurement
    assert measured.latency_samples % 6 == 0  # all six batches equally often
    assert 20 < measured.tokens_per_sample < 120
    assert "tokens/s" in done.out


@pytest.fixture
def labelled(tmp_path) -> tuple[str, ...]:
    """A classifier in a file, and arrays with labels of which it is sure: the words of a command."""
    path = classifier(tmp_path / "mine.onnx")
    [weights] = [numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer if one.name == "weights"]
    values = np.random.default_rng(0).standard_normal((400, 12, 6))
    scores = (values @ weights).mean(1)
    sure = np.argsort(-np.abs(scores[:, 0] - scores[:, 1]))[:48]
    arrays = {"signal": values[sure], "labels": scores[sure].argmax(1), "extra": np.zeros(48)}
    np.savez(tmp_path / "val.npz", **arrays)
    return ("model=file", f"model.path={path}", "data=arrays", f"data.path={tmp_path / 'val.npz'}", *CHECKED)


def test_arrays_with_labels(run_program: RunProgram, labelled):
    """The output of classes is found and judged by the labels; extents that the file leaves open are the arrays'."""
    done = run_program(*labelled, "backend=ort,openvino", "precision=fp32,int8", "data.evaluation_samples=16")
    assert done.code == 0, done.out + done.err
    for result in done.results():
        assert result.status is Status.ok, result.reason
        assert result.accuracy.top1 is not None
        assert "extra is not an input: left out" in result.notes
        assert "calibrated on synthetic" not in " ".join(result.notes)
    assert " pp, pass" in done.out
    other = run_program(*labelled, "backend=ort", "data.logits=score")
    assert "data.logits: received score; allowed: scores" in other.out


def test_a_quantiser_is_steered(run_program: RunProgram, labelled):
    """A word that matches nothing is named with the nearest, and a setting without effect is refused."""
    words = (*labelled, "backend=ort,openvino", "precision=int8")
    for result in run_program(*words, "precision.ignore=[MatMull]").results():
        assert result.status is Status.failed
        assert "precision.ignore: received MatMull" in result.reason
        assert "the nearest: MatMul" in result.reason
    ort, openvino = run_program(*words, "precision.calibration=percentile", "precision.preset=mixed").results()
    assert (ort.status, openvino.status) == (Status.unsupported, Status.ok), openvino.reason
    assert "precision.preset has no effect on ONNX Runtime's quantiser" in ort.reason
    for result in run_program(*words, "precision.ignore=[MatMul]").results():  # all products, so that none is int8
        assert result.status in (Status.unsupported, Status.invalid), (result.status, result.reason)


def test_control_of_accuracy(run_program: RunProgram, labelled):
    """NNCF keeps in fp32 what costs too much; any share of int8 is then as requested."""
    [result] = run_program(*labelled, "backend=openvino", "precision=int8_accuracy").results()
    assert result.status is Status.ok, result.reason
    [proven] = [finding for finding in result.evidence if finding.knob == "precision"]
    assert proven.state == VERIFIED


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")  # MLflow's own use of SQLAlchemy
def test_a_moved_output_folder(run_program: RunProgram, tmp_path, environment):
    """Report, resume, sync and the artifacts in MLflow are those of the folder where it is now."""
    done = run_program(*FAKE, "tracking=mlflow", "batch_size=4,8")
    assert done.code == 0, done.out + done.err
    moved = tmp_path / "archive" / "moved"
    moved.parent.mkdir()
    (done.output_dir / "cache").unlink()  # a link to the tests' own
    shutil.move(done.output_dir, moved)

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "runner", *words],
            cwd=PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    assert "batch_size 8" in call("report", "--output-dir", str(moved)).stdout.replace("=", " ")
    assert "nothing is left" in call("resume", f"output_dir={moved}").stderr
    synced = call("sync", "--output-dir", str(moved))
    assert synced.returncode == 0, synced.stderr
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{moved / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("runner")
    assert experiment.artifact_location.startswith(moved.as_uri())
    runs = client.search_runs([experiment.experiment_id])
    assert any(client.list_artifacts(run.info.run_id) for run in runs)


@pytest.mark.slow
def test_a_probe_of_transformers_is_judged_as_well(run_program: RunProgram):
    """ViT of Transformers: its probe does not stand for trained weights in int8, and the row says so."""
    done = run_program(
        "model=vit_hub", "model.image_size=32", "model.config.num_hidden_layers=2", "model.config.hidden_size=48",
        "model.config.num_attention_heads=3", "model.config.intermediate_size=96", "backend=openvino",
        "precision=int8", "measure=check", "tracking=none", "data.evaluation_samples=32",
    )  # fmt: skip
    assert done.code == 0, done.out + done.err
    [result] = done.results()
    assert result.accuracy.gate is None
    assert "dB in any runtime, less than 12, and does not stand for trained weights" in done.out
