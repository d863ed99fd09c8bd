"""Every configuration composes, and every mistake is reported in one line: field, received, allowed, remedy."""

from __future__ import annotations

import itertools
import pickle
import re
from pathlib import Path

import pytest

from runner.config import backend_registry, composition, diagnostics, model_catalog
from runner.config.checks import check
from runner.config.schema import RunConfig
from runner.machine.facts import this_machine
from runner.paths import PROJECT
from runner.processes.launch import build_launch
from runner.results.status import RunFailed

pytestmark = pytest.mark.usefixtures("hydra_context")

OPTIONS = sorted(
    f"{file.parent.name}={file.stem}" for file in (PROJECT / "conf").glob("*/*.yaml") if file.parent.name != "hydra"
)
NEEDS = {
    "model=torchvision": ["model.name=resnet18"],
    "model=timm": ["model.name=vit_tiny_patch16_224"],
    "weights=file": ["weights.path=weights.pt"],
    "data=image_folder": ["data.path=images"],
    "model=transformers": ["model.architecture=bert"],
    "data=sentences": ["model=distilbert"],
    "data=questions": ["model=roberta_squad2"],
    "data=passages": ["model=gpt2"],
    "data=one_text": ["model=distilbert", "data.text=fine"],
    "data=text_file": ["model=distilbert", "data.path=texts.csv"],
}
"""What an option needs beside itself."""


@pytest.fixture
def user_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with weights and images, as a user would."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pt").write_bytes(b"weights")
    (tmp_path / "texts.csv").write_text("text,label\n" + "a text,1\n" * 600)
    for label, number in itertools.product("ab", range(300)):
        (tmp_path / "images" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / label / f"{number}.png").write_bytes(b"image")
    return tmp_path


def composed(*overrides: str) -> RunConfig:
    """Return a typed configuration."""
    return composition.typed(composition.compose_settings(overrides))


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.usefixtures("user_files")
def test_every_option_composes_and_is_without_mistakes(option):
    """Each file of conf/ gives a valid configuration, its baseline and its reference too."""
    overrides = [option, *NEEDS.get(option, [])]
    settings = composition.compose_settings(overrides)
    config = composition.typed(settings)
    assert check(config) == []
    for words in (config.baseline, config.reference):
        derived = composition.typed(composition.derive(settings, words))
        assert check(derived) == []
        assert derived.backend.name == "torch"
        assert str(derived.precision.name) == "fp32"


@pytest.mark.parametrize("option", OPTIONS)
def test_every_file_says_when_to_use_it_and_how(option):
    """The first lines of a file are a comment with the command."""
    group, name = option.split("=")
    text = (PROJECT / "conf" / group / f"{name}.yaml").read_text()
    comment = "\n".join(itertools.takewhile(lambda line: line.startswith("#"), text.splitlines()))
    assert re.search(r"\brunner [a-z'+-]", comment)


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.startswith("backend=")])
def test_backend_options_are_keywords_of_its_constructor(option):
    """A backend's file lists exactly the options that its constructor takes."""
    config = composed(option)
    known = backend_registry.backend_options()[config.backend.name]
    assert config.backend.options == {name: option.default for name, option in known.items()}


def test_baseline_drops_the_options_of_the_runs_own_backend():
    """What the baseline names is taken whole; everything else is the run's own."""
    settings = composition.compose_settings(["backend=ort", "+backend.options.anything=1", "batch_size=3"])
    baseline = composition.typed(composition.derive(settings, ["backend=torch"]))
    assert (baseline.backend.name, baseline.backend.options, baseline.batch_size) == (
        "torch",
        {"compile": False, "freezing": True},
        3,
    )


def test_model_names_are_those_of_the_libraries():
    """The names read from the sources are those that the libraries register."""
    from runner.worker.subjects.models import declare_torchvision_operators

    declare_torchvision_operators()
    import timm
    from torchvision import models

    assert set(timm.list_models()) <= model_catalog.model_names("timm")
    assert set(models.list_models(module=models)) <= model_catalog.model_names("torchvision")


@pytest.mark.parametrize(
    ("overrides", "field", "said"),
    [
        (["batch_size=0"], "batch_size", "1 or more"),
        (["seed=-1"], "seed", "0 or more"),
        (["measure.goal=0"], "measure.goal", "more than 0"),
        (["measure.rounds_min=9", "measure.rounds_max=8"], "measure.rounds_max", "9 or more"),
        (["data.evaluation_samples=9999"], "data.evaluation_samples", "at most 797"),
        (["data.calibration_samples=1001"], "data.calibration_samples", "at most 1000"),
        (["model=torchvision", "model.name=resnet5"], "model.name", "resnet50"),
        (["model=timm", "model.name=vit_bas_patch16_224"], "model.name", "vit_base_patch16_224"),
        (["backend.name=tensorrt"], "backend.name", "openvino, ort, torch"),
        (["+backend.options.speed=11"], "backend.options.speed", "compile, freezing"),
        (["weights=file"], "weights.path", "a file"),
        (["weights=file", "weights.path=nowhere.pt"], "weights.path", "a file that exists"),
        (["weights.path=x.pt"], "weights.path", "only with weights=file"),
        (["data=image_folder"], "data.path", "one folder per class"),
        (["data=image_folder", "data.path=nowhere"], "data.path", "a folder that exists"),
        (["tracking.uri=not a uri"], "tracking.uri", "sqlite:///"),
        (["tracking.uri='http://host:port'"], "tracking.uri", "does not parse"),
        (["tracking.uri=sqlite://"], "tracking.uri", "sqlite:///"),
        (["output_dir=/proc/outputs"], "output_dir", "a folder that can be written"),
        (["threading.threads=9999"], "threading.threads", "the cores of this machine"),
        (["backend=ort", "backend.options.inter_threads=x"], "backend.options.inter_threads", "int or None"),
        (["model.task=text-generation", "data=passages"], "model.task", "image-classification with source=torchvision"),
        (["scope=pipeline"], "scope", "source=transformers"),
        (["data=sentences"], "data", "digits, synthetic, image_folder for image-classification"),
        (
            ["model=distilbert", "model.task=image-classification", "data=digits"],
            "model.task",
            "distilbert has no other",
        ),
        (["model=distilbert", "model.architecture=distlbert"], "model.architecture", "The nearest: distilbert"),
        (["model=transformers"], "model.architecture", "weights=pretrained with model.id"),
        (["model=distilbert", "weights=pretrained", "model.id=null"], "model.id", "take weights=random"),
        (["model=distilbert", "weights=pretrained", "model.id=./nowhere"], "model.id", "take weights=random"),
        (["model=distilbert", "weights=pretrained", "model.id=a/b/c"], "model.id", "There is no such folder"),
        (["model=distilbert", "data=one_text", "data.text=' '"], "data.text", "a text that is not empty"),
        (["model=distilbert", "data.text=fine"], "data.text", "only with data=one_text"),
        (["model=distilbert", "data=text_file"], "data.path", ".csv or .jsonl file with the columns text, label"),
        (["model=distilbert", "data=text_file", "data.path=nowhere.csv"], "data.path", "Check the path"),
        (["model=distilbert", "data.evaluation_samples=801"], "data.evaluation_samples", "at most 800 with data=sent"),
        (["model=distilbert", "model.sequence_length=1"], "model.sequence_length", "2 or more, or null"),
        (["model=gpt2", "model.new_tokens=1"], "model.new_tokens", "no time per token"),
        (["model=distilbert", "pipeline_batch_size=2"], "pipeline_batch_size", "only with scope=pipeline"),
        (["model=distilbert", "scope=pipeline"], "model.sequence_length", "null with scope=pipeline"),
    ],
)
def test_mistakes_of_values(overrides, field, said, tmp_path, monkeypatch):
    """Each mistake names its field and what is allowed."""
    monkeypatch.chdir(tmp_path)
    [mistake] = check(composed(*overrides))
    assert mistake.field == field
    assert said in str(mistake)
    assert "\n" not in str(mistake)


def test_output_folder_that_is_a_file(tmp_path):
    """A file stands where the folder should be."""
    (tmp_path / "outputs").write_text("")
    [mistake] = check(composed(f"output_dir={tmp_path / 'outputs'}"))
    assert "not a folder" in str(mistake)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["instances=99"], "instances: received 99; allowed: 1 to "),
        (["instances=0"], "instances: received 0; allowed: 1 to "),
        (["instances=2", "scenario=async"], "scenario: received 'async'; allowed: sync with instances > 1"),
        (
            ["backend=openvino", "backend.options.shape=[4,3,224,224]"],
            "allowed: static, dynamic. A static shape is that",
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
def test_options_and_instances(overrides, told):
    """What an option allows is read from its annotation; instances need cores of their own."""
    [mistake] = check(composed(*overrides))
    assert told in str(mistake)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", "sentence,label\nfine,1\n", "It has no column text: sentence, label"),
        ("a.jsonl", '{"text": "fine"}\n', "It has no column label: text"),
        ("a.jsonl", "fine\n", "Its first line cannot be read"),
        ("a.csv", "text,label\nfine,1\n", "It holds 1: lower data.evaluation_samples"),
        ("a.txt", "fine", ".csv or .jsonl"),
    ],
)
def test_file_of_texts_that_cannot_be_used(tmp_path, name, content, told):
    """Its columns and the number of its records are looked at before anything is launched."""
    (tmp_path / name).write_text(content)
    [mistake] = check(composed("model=distilbert", "data=text_file", f"data.path={tmp_path / name}"))
    assert mistake.field == "data.path"
    assert told in str(mistake)


def test_task_of_a_model_in_a_folder_is_checked(tmp_path):
    """Its config.json says what it is."""
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    [mistake] = check(composed("model=transformers", "weights=pretrained", f"model.id={tmp_path}"))
    assert str(mistake).startswith("model.task: received 'text-classification'; allowed: image-classification. vit has")


@pytest.mark.parametrize("words", [["+precison=int8"], ["+backend.speed=1"], ["+model.config.dim=64"]])
def test_a_field_that_nothing_reads_is_a_mistake(words):
    """Hydra lets a plus sign add anything; only the open dictionaries take what they do not know."""
    found = [mistake.field for mistake in diagnostics.unknown_fields(composition.compose_settings(words))]
    assert found == ([] if "config" in words[0] else [words[0].split("=")[0].lstrip("+")])


@pytest.mark.parametrize("content", ["nothing", "files without classes", "too few"])
def test_image_folder_without_enough_images(tmp_path, content):
    """An empty folder, one without classes, one with too few images."""
    if content == "files without classes":
        (tmp_path / "a.png").write_bytes(b"")
    if content == "too few":
        (tmp_path / "class").mkdir()
        (tmp_path / "class" / "a.png").write_bytes(b"")
    [mistake] = check(composed("data=image_folder", f"data.path={tmp_path}"))
    assert mistake.field == "data.path"
    assert ("It holds 1" if content == "too few" else "It holds no such image") in str(mistake)


def test_tracking_uri_of_the_environment_is_checked_too(monkeypatch):
    """MLFLOW_TRACKING_URI may be mistaken as well; the line names it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "gopher://x")
    [mistake] = check(composed())
    assert mistake.field == "MLFLOW_TRACKING_URI"


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        (["backend=tensorrt"], ["backend: received 'tensorrt'; allowed: ipex, openvino, ort, torch"]),
        (["batchsize=3"], ["the nearest: batch_size"]),
        (["backend.options.freezing_=true"], ["Write +backend.options.freezing_=true to add it"]),
        (["batch_size=many"], ["batch_size: received 'many'; allowed: a whole number"]),
        (["precision.name=int4"], ["precision.name: received 'int4'; allowed: fp32, bf16, int8"]),
        (["memory_format=nhwc"], ["allowed: contiguous, channels_last"]),
        (
            ["model.task=poetry"],
            ["model.task: received 'poetry'; allowed: image-classification, text-classification, q"],
        ),
        (["backend=ort,tensorrt", "batch_size=0,many", "nothing=1"], ["tensorrt", "'many'", "1 or more", "nothing"]),
        (["batch_size=[1"], ["batch_size"]),
        (["model=timm"], ["model.name: received None; allowed: a value. Add model.name=…"]),
    ],
)
def test_mistakes_of_composing(overrides, lines):
    """What Hydra refuses is reported in our own lines, all mistakes together."""
    error = diagnostics.diagnose(overrides, ValueError("not composed"))
    told = str(error)
    for line in lines:
        assert line in told
    assert all(len(line) < 400 for line in told.splitlines())


@pytest.mark.usefixtures("user_files")
def test_what_is_right_in_company_is_no_mistake():
    """weights.path goes with weights=file, model.name with model=timm: only the real mistake is reported."""
    overrides = ["weights=file", "weights.path=weights.pt", "model=timm", "model.name=convnext_tiny", "batch_size=abc"]
    [mistake] = diagnostics.diagnose(overrides, ValueError("not composed")).mistakes
    assert mistake.field == "batch_size"


@pytest.mark.usefixtures("hydra_context")
def test_an_option_of_the_chosen_backend_is_no_mistake():
    """It exists only beside the choice, which may stand behind it."""
    overrides = ["backend.options.inter_threads=2", "backend=ort", "batch_size=abc"]
    [mistake] = diagnostics.diagnose(overrides, ValueError("not composed")).mistakes
    assert mistake.field == "batch_size"


def test_allocator_that_is_not_installed():
    """Its row is `unavailable`, with the command that installs it."""
    config = composed("allocator=tcmalloc", "allocator.libraries=[libnowhere.so]")
    with pytest.raises(RunFailed, match=r"allocator=tcmalloc is not installed.*make system") as caught:
        build_launch(config, this_machine(), {})
    assert caught.value.status == "unavailable"


def test_weights_that_carry_code_are_never_executed(tmp_path):
    """A pickle with code is refused, and the code does not run."""
    import torch

    from runner.worker.failures import BadInput
    from runner.worker.subjects.weights import read_state

    class Malicious:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"weight": Malicious()}, tmp_path / "weights.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Malicious()))
    for name in ("weights.pt", "plain.pt"):
        with pytest.raises(BadInput, match="not a state_dict of tensors"):
            read_state(tmp_path / name)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_truncated_weights(tmp_path, suffix):
    """A file cut short is refused in one line."""
    import torch
    from safetensors.torch import save_file

    from runner.worker.failures import BadInput
    from runner.worker.subjects.weights import read_state

    path = tmp_path / f"weights{suffix}"
    state = {"weight": torch.ones(100, 100)}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    assert torch.equal(read_state(path)["weight"], state["weight"])
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(BadInput, match=f"weights.path={path}") as caught:
        read_state(path)
    assert "\n" not in str(caught.value)
