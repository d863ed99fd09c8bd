"""Every mistake in a composed configuration is reported in one line: field, received, allowed, remedy."""

from __future__ import annotations

import dataclasses

import pytest

from runner.config.checks import check
from runner.machine.facts import this_machine
from runner.machine.topology import flat_topology
from tests.config.conftest import composed

pytestmark = pytest.mark.usefixtures("hydra_context")


@pytest.mark.parametrize(
    ("overrides", "field", "message"),
    [
        (["batch_size=0"], "batch_size", "1 or more"),
        (["seed=-1"], "seed", "0 or more"),
        (["measure.replicates=1"], "measure.replicates", "2 or more"),
        (["measure.rounds=0"], "measure.rounds", "1 or more"),
        (["measure.warmup_s=400"], "measure.request_timeout_s", "more than 400"),
        (["data.evaluation_samples=9999"], "data.evaluation_samples", "at most 797"),
        (["data.calibration_samples=1001"], "data.calibration_samples", "at most 1000"),
        (["model=torchvision", "model.name=resnet5"], "model.name", "resnet50"),
        (["model=timm", "model.name=vit_bas_patch16_224"], "model.name", "vit_base_patch16_224"),
        (["backend.name=tensorrt"], "backend.name", "openvino, ort, torch"),
        (["+backend.options.speed=11"], "backend.options.speed", "compile, freezing"),
        (["weights=file"], "weights.path", "a file"),
        (["model.classes=0"], "model.classes", "1 or more"),
        (["model.preprocessing.crop=2"], "model.preprocessing.crop", "more than 0 and at most 1"),
        (["model.preprocessing.std=[1,1,0]"], "model.preprocessing.std", "3 numbers, more than 0"),
        (["model.preprocessing.mean=[1]"], "model.preprocessing.mean", "3 numbers, such as [0.5,0.5,0.5]"),
        (["model.preprocessing.interpolation=cubic"], "model.preprocessing.interpolation", "The nearest: bicubic"),
        (["precision=int8", "precision.calibration=max"], "precision.calibration", "minmax, percentile, entropy"),
        (["precision.ignore=[Conv]"], "precision.ignore", "only with precision=int8 or int8_accuracy"),
        (["weights=file", "weights.path=nowhere.pt"], "weights.path", "a file that exists"),
        (["weights.path=x.pt"], "weights.path", "only with weights=file"),
        (["data=image_folder"], "data.path", "by class in folders"),
        (["data=image_folder", "data.path=nowhere"], "data.path", "No such folder exists"),
        (["tracking.uri=not a uri"], "tracking.uri", "sqlite:///"),
        (["tracking.uri='http://host:port'"], "tracking.uri", "cannot be parsed"),
        (["tracking.uri=sqlite://"], "tracking.uri", "sqlite:///"),
        (["output_dir=/proc/outputs"], "output_dir", "a writable folder"),
        (["threading.threads=9999"], "threading.threads", "the cores of this machine"),
        (["backend=ort", "backend.options.inter_threads=x"], "backend.options.inter_threads", "int or None"),
        (
            ["model.task=text-generation", "data=passages"],
            "model.task",
            "image-classification, tensors or embedding with source=torchvision",
        ),
        (["model.task=tensors"], "weights", "random, pretrained or file with model.task=tensors"),
        (["model.path=mine.onnx"], "model.path", "only with model=file"),
        (["precision=as_is"], "precision", "with model=file only"),
        (["measure=check", "aa=10"], "measure", "a measurement, with aa"),
        (["measure=check", "ablate=true"], "measure", "a measurement, with ablate"),
        (["model=python", "model.name=nowhere"], "model.name", "a file NAME.py in a folder of RUNNER_MODELS"),
        (["scope=pipeline"], "scope", "source=transformers"),
        (["data=sentences"], "data", "digits, synthetic, image_folder, arrays for image-classification"),
        (
            ["model=distilbert", "model.task=image-classification", "data=digits"],
            "model.task",
            "distilbert does not support image-classification",
        ),
        (["model=distilbert", "model.architecture=distlbert"], "model.architecture", "The nearest: distilbert"),
        (["model=transformers"], "model.architecture", "weights=pretrained with model.id"),
        (["model=distilbert", "weights=pretrained", "model.id=null"], "model.id", "use weights=random"),
        (["model=distilbert", "weights=pretrained", "model.id=./nowhere"], "model.id", "use weights=random"),
        (["model=distilbert", "weights=pretrained", "model.id=a/b/c"], "model.id", "No such folder exists"),
        (["model=distilbert", "data=one_text", "data.text=' '"], "data.text", "a non-empty text"),
        (["model=distilbert", "data.text=fine"], "data.text", "only with data=one_text"),
        (["model=distilbert", "data=text_file"], "data.path", "with the columns text, label"),
        (["model=distilbert", "data=text_file", "data.path=nowhere.csv"], "data.path", "No such file exists"),
        (["model=distilbert", "data.evaluation_samples=801"], "data.evaluation_samples", "at most 800 with data=sent"),
        (["model=distilbert", "model.sequence_length=1"], "model.sequence_length", "2 or more, or null"),
        (["model=gpt2", "model.new_tokens=1"], "model.new_tokens", "Time per token needs two tokens"),
        (["model=distilbert", "pipeline_batch_size=2"], "pipeline_batch_size", "only with scope=pipeline"),
        (["model=distilbert", "scope=pipeline"], "model.sequence_length", "null with scope=pipeline"),
    ],
)
def test_mistakes_of_values(overrides, field, message, tmp_path, monkeypatch):
    """Each mistake names its field and the allowed values, in one line."""
    monkeypatch.chdir(tmp_path)
    [mistake] = check(composed(*overrides))
    assert mistake.field == field
    assert message in str(mistake)
    assert "\n" not in str(mistake)


def test_output_folder_that_is_a_file(tmp_path):
    """The remedy reports that the path is a file."""
    (tmp_path / "outputs").write_text("")
    [mistake] = check(composed(f"output_dir={tmp_path / 'outputs'}"))
    assert "not a folder" in str(mistake)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["instances=99"], "instances: received 99; allowed: 1 to "),
        (["instances=0"], "instances: received 0; allowed: 1 to "),
        (["instances=2", "scenario=async"], "scenario: received 'async'; allowed: sync with instances > 1"),
        (
            ["backend=openvino", "backend.options.shape=[4,3,224,224]"],
            "allowed: static, dynamic. static compiles for the batches' shape if all have the same",
        ),
        (
            ["backend=openvino", "backend.options.hint=fast"],
            "backend.options.hint: received 'fast'; allowed: latency, ",
        ),
        (["backend.options.compile=yes"], "backend.options.compile: received 'yes'; allowed: True, False"),
        (
            ["backend=ort", "+backend.options.level=all"],
            "backend.options.level: received 'all'; allowed: graph_optimiz",
        ),
        (["row.table=a/b"], "row.table: received 'a/b'; allowed: the name of a folder"),
    ],
)
def test_mistakes_of_options_and_instances(monkeypatch, overrides, message):
    """The allowed values of an option come from its annotation; each instance needs its own core."""
    two_cores = dataclasses.replace(this_machine(), cores=[0, 1], topology=flat_topology([0, 1]), quota_cores=None)
    monkeypatch.setattr("runner.config.checks.this_machine", lambda: two_cores)
    [mistake] = check(composed(*overrides))
    assert message in str(mistake)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "sentence,label\nfine,1\n", "Missing: text. Its columns: sentence, label"),
        ("a.jsonl", '{"text": "fine"}\n', "Missing: label. Its columns: text"),
        ("a.jsonl", "fine\n", "Line 1 is not JSON"),
        ("a.csv", "text,label\nfine,1\n", "It holds 1"),
        ("a.doc", "fine", "It ends in .doc"),
    ],
)
def test_unusable_text_file(tmp_path, name, content, message):
    """The columns and the number of records are checked before anything is launched."""
    (tmp_path / name).write_text(content)
    [mistake] = check(composed("model=distilbert", "data=text_file", f"data.path={tmp_path / name}"))
    assert mistake.field == "data.path"
    assert message in str(mistake)


def test_task_of_a_model_in_a_folder_is_checked(tmp_path):
    """The folder's config.json names the architecture."""
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    [mistake] = check(composed("model=transformers", "weights=pretrained", f"model.id={tmp_path}"))
    assert str(mistake) == (
        "model.task: received 'text-classification'; allowed: image-classification. "
        "vit does not support text-classification"
    )


def test_tracking_uri_of_the_environment_is_checked(monkeypatch):
    """A mistake in MLFLOW_TRACKING_URI is reported under its name."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "gopher://x")
    [mistake] = check(composed())
    assert mistake.field == "MLFLOW_TRACKING_URI"
