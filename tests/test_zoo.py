"""The architectures of the zoo: each composes, and six cells run here."""

from __future__ import annotations

import pytest
import yaml

from benchmarks.zoo import COMMON, LIST, arguments_of, cell, page
from runner.config import composition
from runner.config.checks import check
from runner.results.status import Status
from tests.conftest import RunProgram

ZOO = yaml.safe_load(LIST.read_text())


def test_the_zoo_has_forty_architectures():
    """Of three libraries."""
    assert len(ZOO) == 40
    assert {words[0] for words in ZOO.values()} >= {"model=torchvision", "model=timm", "model=transformers"}


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.usefixtures("hydra_context")
def test_every_architecture_composes(name):
    """Names, sizes and options are valid."""
    settings = composition.compose_settings(arguments_of(name, ZOO[name]))
    assert check(composition.typed(settings)) == []


@pytest.mark.slow
def test_six_cells(run_program: RunProgram):
    """ConvNeXt V2 once ended with a TypeError of ONNX Runtime's quantiser."""
    words = [word for word in COMMON if not word.startswith(("resume", "cache_dir"))]
    done = run_program(
        *arguments_of("convnextv2_atto", ZOO["convnextv2_atto"]),
        *words,
        "backend=ort,openvino",
        "precision=fp32,bf16,int8",
    )
    results = done.results()
    assert [result.status for result in results if result.status is not Status.unsupported] == [Status.ok] * (
        4 if results[4].status is Status.unsupported else 5  # a processor without bf16
    ), [result.reason for result in results]
    assert cell(results[1]) == "unsupported"
    assert all(cell(result).endswith("dB") for result in results if result.status is Status.ok)
    text = page({"convnextv2_atto": results})
    assert "convnextv2_atto ort bf16" in text
