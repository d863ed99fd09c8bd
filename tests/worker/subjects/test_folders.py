"""Folders in Transformers' format: what their configuration and the headers of their weights say."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from runner.worker.failures import Refused
from runner.worker.subjects.files.formats import inspect, open_file


def folder(tmp_path, *, config=None, weights=True):
    path = tmp_path / "model"
    path.mkdir()
    own = {"architectures": ["BertForSequenceClassification"], "model_type": "bert", "transformers_version": "4.57"}
    (path / "config.json").write_text(json.dumps(own if config is None else config))
    if weights:
        save_file({"a": torch.zeros(3, 4), "b": torch.zeros(5)}, path / "model.safetensors")
    return path


def test_inspection_of_a_folder(tmp_path):
    """Task, parameters and precision without loading a weight."""
    found = inspect(folder(tmp_path), [])
    assert (found.kind, found.task, found.parameters, found.precision) == (
        "checkpoint",
        "text-classification",
        17,
        "fp32",
    )
    assert "bert" in found.title


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("GPT2LMHeadModel", "text-generation"),
        ("LlamaForCausalLM", "text-generation"),
        ("ViTForImageClassification", "image-classification"),
        ("RobertaForQuestionAnswering", "question-answering"),
    ],
)
def test_the_architecture_names_the_task(tmp_path, architecture, task):
    """By the suffix of its class."""
    assert inspect(folder(tmp_path, config={"architectures": [architecture]}), []).task == task


def test_a_model_of_texts_without_a_head_is_an_embedding(tmp_path):
    """A tokenizer beside it tells that it takes texts."""
    path = folder(tmp_path, config={"architectures": ["MPNetModel"], "model_type": "mpnet"})
    (path / "tokenizer.json").write_text("{}")
    assert inspect(path, []).task == "embedding"


@pytest.mark.parametrize(
    ("config", "weights", "reason"),
    [
        ({"architectures": ["ViTModel"]}, True, "names the architecture ViTModel"),
        ({}, True, "names the architecture nothing"),
        (None, False, "weights as .safetensors in the folder"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path, config, weights, reason):
    """One line with the folder and the remedy."""
    with pytest.raises(Refused, match=reason) as caught:
        open_file(folder(tmp_path, config=config, weights=weights))
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_configuration(tmp_path):
    """The file in it was meant, or another folder."""
    with pytest.raises(Refused, match=r"a folder in Transformers' format, with config\.json"):
        open_file(tmp_path)


def test_damaged_files_in_a_folder(tmp_path):
    """They are named."""
    path = folder(tmp_path)
    (path / "model.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(Refused, match=r"model\.safetensors.*truncated"):
        open_file(path)
    (path / "config.json").write_text("{")
    with pytest.raises(Refused, match=r"config\.json cannot be read"):
        open_file(path)
