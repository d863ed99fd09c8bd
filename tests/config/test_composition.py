"""Every option of conf/ composes, and the baseline and the reference derive from a run's configuration."""

from __future__ import annotations

import itertools
import re

import pytest

from runner.config import composition
from runner.config.checks import check
from runner.paths import PROJECT
from tests.config.conftest import OPTIONS

pytestmark = pytest.mark.usefixtures("hydra_context")

NEEDS = {
    "model=torchvision": ["model.name=resnet18"],
    "model=timm": ["model.name=vit_tiny_patch16_224"],
    "weights=file": ["weights.path=weights.pt"],
    "weights=own": ["model=file"],
    "precision=as_is": ["model=file"],
    "model=python": ["model.name=three_outputs"],
    "data=image_folder": ["data.path=images"],
    "model=transformers": ["model.architecture=bert"],
    "data=sentences": ["model=distilbert"],
    "data=questions": ["model=roberta_squad2"],
    "data=passages": ["model=gpt2"],
    "data=one_text": ["model=distilbert", "data.text=fine"],
    "data=arrays": ["model=file", "data.path=arrays.npz"],
    "data=text_file": ["model=distilbert", "data.path=texts.csv"],
}
"""Overrides that an option requires."""


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.usefixtures("user_files")
def test_every_option_composes_without_mistakes(option):
    """Each file of conf/ gives a valid configuration, baseline and reference."""
    overrides = [option, *NEEDS.get(option, [])]
    settings = composition.compose_settings(overrides)
    config = composition.typed(settings)
    assert check(config) == []
    for words in (config.baseline, config.reference):
        derived = composition.typed(composition.derive(settings, words))
        assert check(derived) == []
        assert derived.backend.name == ("ort" if config.model.is_file else "torch")
        assert str(derived.precision.name) == "fp32"


def test_keys_of_open_dictionaries_need_no_plus_sign():
    """A new key of model.config or backend.options is added, one by one or all at once."""
    one = composition.compose_settings(["model=distilbert", "model.config.n_layers=2", "backend.options.new=1"])
    assert (one.model.config, one.backend.options.new) == ({"n_layers": 2}, 1)
    all_at_once = composition.compose_settings(["model=distilbert", "model.config={n_layers:2,dim:64}"])
    assert all_at_once.model.config == {"n_layers": 2, "dim": 64}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_file_starts_with_its_command(option):
    """The first lines of a file are a comment that shows the command."""
    group, name = option.split("=")
    text = (PROJECT / "conf" / group / f"{name}.yaml").read_text()
    comment = "\n".join(itertools.takewhile(lambda line: line.startswith("#"), text.splitlines()))
    assert re.search(r"\brunner [a-z'+-]", comment)


def test_baseline_drops_the_options_of_the_runs_own_backend():
    """A group that the baseline names is replaced as a whole; all other settings are the run's own."""
    settings = composition.compose_settings(["backend=ort", "+backend.options.anything=1", "batch_size=3"])
    baseline = composition.typed(composition.derive(settings, ["backend=torch"]))
    assert (baseline.backend.name, baseline.backend.options, baseline.batch_size) == (
        "torch",
        {"compile": False, "freezing": True},
        3,
    )
