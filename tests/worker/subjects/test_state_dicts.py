"""Files of weights as training leaves them."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from runner.job import Subject
from runner.worker.failures import BadInput
from runner.worker.subjects import timm, torchvision
from runner.worker.subjects.state_dicts import read_state, shapes_of
from runner.worker.subjects.weights import read_weights

SIZE, CLASSES = 32, 7


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """ResNet-18 with seven classes."""
    return torchvision.build("resnet18", SIZE, CLASSES)


def prefixed(state: dict[str, torch.Tensor], prefix: str) -> OrderedDict[str, torch.Tensor]:
    """Return a state_dict whose names start with a prefix."""
    return OrderedDict((prefix + name, value) for name, value in state.items())


WRAPPED = {
    "plain.pt": lambda state: state,
    "wrapped.pth": lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}},
    "wrapped.tar": lambda state: {"model_state_dict": state, "best": np.float64(0.7), "args": argparse.Namespace(a=1)},
    "parallel.bin": lambda state: {"model": prefixed(state, "module.")},
    "compiled.pt": lambda state: prefixed(state, "_orig_mod."),
    "lightning.ckpt": lambda state: {
        "state_dict": {**prefixed(state, "model."), "criterion.weight": torch.ones(7)},
        "hyper_parameters": {"path": Path("/data"), "lr": 0.1},
        "callbacks": {},
    },
    "deep.pt": lambda state: {"checkpoint": {"model": prefixed(state, "module.net.")}},
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrappers_and_prefixes_are_removed(tmp_path, network, name):
    """All weights arrive under the network's names, with the file's number of classes."""
    torch.save(WRAPPED[name](network.state_dict()), tmp_path / name)
    subject = Subject(name="resnet18", image_size=SIZE, weights="file", weights_path=str(tmp_path / name))
    state, classes = read_weights(torchvision, subject)
    assert classes == CLASSES
    assert all(torch.equal(state.tensors[key], value) for key, value in network.state_dict().items())


def test_what_was_removed_is_reported(tmp_path, network):
    """In words for the note below the table."""
    torch.save(WRAPPED["lightning.ckpt"](network.state_dict()), tmp_path / "a.ckpt")
    state = read_state(tmp_path / "a.ckpt", None, shapes_of(network))
    assert state.notes == (
        "the weights are those under state_dict of the file",
        "the prefix model. was removed from their names",
        "1 tensors of the file without it were left out: criterion.weight",
    )


def test_half_precision_and_another_suffix(tmp_path, network):
    """.SAFETENSORS is read as such; 16-bit weights are reported."""
    from safetensors.torch import save_file

    halved = {name: one.half() if one.is_floating_point() else one for name, one in network.state_dict().items()}
    save_file(halved, tmp_path / "a.SAFETENSORS")
    state = read_state(tmp_path / "a.SAFETENSORS", None, shapes_of(network))
    assert state.notes == ("the weights are stored as float16, and computed with in fp32",)


def test_weights_by_their_key(tmp_path, network):
    """The moving average beside the weights; a key that does not exist is named with those that do."""
    average = {name: torch.zeros_like(one) for name, one in network.state_dict().items()}
    torch.save({"model": network.state_dict(), "ema": {"shadow": average}}, tmp_path / "a.pt")
    wanted = shapes_of(network)
    assert read_state(tmp_path / "a.pt", None, wanted).tensors["fc.weight"].any()
    assert not read_state(tmp_path / "a.pt", "ema.shadow", wanted).tensors["fc.weight"].any()
    assert not read_state(tmp_path / "a.pt", "ema", wanted).tensors["fc.weight"].any()
    with pytest.raises(BadInput, match=r"weights.key: received avg; .* It holds model, ema"):
        read_state(tmp_path / "a.pt", "avg", wanted)


def test_the_architecture_that_fits_is_named(tmp_path):
    """Beside the first three keys that differ."""
    torch.save(torchvision.build("resnet34", SIZE, 10).state_dict(), tmp_path / "a.pt")
    subject = Subject(name="resnet18", image_size=SIZE, weights="file", weights_path=str(tmp_path / "a.pt"))
    with pytest.raises(BadInput) as caught:
        read_weights(torchvision, subject)
    text = str(caught.value)
    assert "allowed: weights of resnet18 with 10 classes. layer1.2.conv1.weight is unknown; " in text
    assert text.endswith("It fits resnet34: take model.name=resnet34")
    assert text.count(";") == 3


def test_classes_can_be_requested(tmp_path, network):
    """Then the file must have so many."""
    torch.save(network.state_dict(), tmp_path / "a.pt")
    subject = Subject(name="resnet18", image_size=SIZE, weights_path=str(tmp_path / "a.pt"), classes=5)
    with pytest.raises(BadInput, match=r"with 5 classes. fc.weight is \[7, 512\] instead of \[5, 512\]"):
        read_weights(torchvision, subject)


def test_a_network_of_timm_with_two_heads(tmp_path):
    """The number of classes is that of both."""
    name = "deit_tiny_distilled_patch16_224"
    torch.save({"model": timm.build(name, 224, 3).state_dict()}, tmp_path / "a.pth")
    subject = Subject(source="timm", name=name, weights_path=str(tmp_path / "a.pth"))
    assert read_weights(timm, subject)[1] == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3}, "It holds epoch: save model.state_dict.., not the model"),
        ([torch.ones(2)], "It holds a list: save model.state_dict"),
        (torch.nn.Linear(2, 2), "It is damaged, or not a state_dict of tensors .*torch.nn.modules.linear.Linear"),
    ],
)
def test_no_weights(tmp_path, content, message):
    """A whole module is code, and is not read."""
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(BadInput, match=message):
        read_state(tmp_path / "a.pt", None, {})


def test_a_file_of_another_kind(tmp_path):
    """PyTorch would fail with the number of a letter."""
    (tmp_path / "a.pt").write_text("hello")
    with pytest.raises(BadInput, match=r"It is of another kind: torch\.save has not written it"):
        read_state(tmp_path / "a.pt", None, {})


def test_an_empty_file(tmp_path):
    """As a full disk leaves it."""
    (tmp_path / "a.pt").touch()
    with pytest.raises(BadInput, match="It is empty"):
        read_state(tmp_path / "a.pt", None, {})
