"""Every mistake in a command line that Hydra cannot compose is reported, and every field outside the schema."""

from __future__ import annotations

import pytest

from runner.config import composition, diagnostics

pytestmark = pytest.mark.usefixtures("hydra_context")


@pytest.mark.parametrize("words", [["+precison=int8"], ["+backend.speed=1"], ["+model.config.dim=64"]])
def test_unknown_fields_are_mistakes(words):
    """Hydra lets ``+name=value`` add any field; only open dictionaries, such as model.config, accept unknown keys."""
    found = [mistake.field for mistake in diagnostics.unknown_fields(composition.compose_settings(words))]
    assert found == ([] if "config" in words[0] else [words[0].split("=")[0].lstrip("+")])


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        (["backend=tensorrt"], ["backend: received 'tensorrt'; allowed: ipex, openvino, ort, torch"]),
        (["batchsize=3"], ["the nearest: batch_size"]),
        (["backend.options.freezing_=true"], ["backend.options.freezing_: received True; allowed: compile, freezing"]),
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
    """Hydra's errors are reported in the program's form, all mistakes together."""
    error = diagnostics.diagnose(overrides, ValueError("not composed"))
    message = str(error)
    for line in lines:
        assert line in message
    assert all(len(line) < 400 for line in message.splitlines())


@pytest.mark.usefixtures("user_files")
def test_overrides_are_checked_together():
    """weights.path is valid with weights=file, model.name with model=timm: only the actual mistake is reported."""
    overrides = ["weights=file", "weights.path=weights.pt", "model=timm", "model.name=convnext_tiny", "batch_size=abc"]
    [mistake] = diagnostics.diagnose(overrides, ValueError("not composed")).mistakes
    assert mistake.field == "batch_size"


def test_option_of_the_chosen_backend_is_valid():
    """The option exists only with the choice, in either order."""
    overrides = ["backend.options.inter_threads=2", "backend=ort", "batch_size=abc"]
    [mistake] = diagnostics.diagnose(overrides, ValueError("not composed")).mistakes
    assert mistake.field == "batch_size"
