"""Fixtures and helpers that the tests of the configuration share."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runner.config import composition
from runner.config.schema import RunConfig
from runner.paths import PROJECT
from runner.protocol import MODELS_VARIABLE

OPTIONS = sorted(
    f"{file.parent.name}={file.stem}" for file in (PROJECT / "conf").glob("*/*.yaml") if file.parent.name != "hydra"
)
"""All options of all groups, for example backend=ort."""


@pytest.fixture
def user_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with weights, texts and images, and return it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(MODELS_VARIABLE, str(PROJECT / "tests" / "models"))
    (tmp_path / "weights.pt").write_bytes(b"weights")
    (tmp_path / "texts.csv").write_text("text,label\n" + "a text,1\n" * 600)
    np.savez(tmp_path / "arrays.npz", x=np.zeros((600, 3), np.float32))
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    for label, number in itertools.product("ab", range(300)):
        (tmp_path / "images" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / label / f"{number}.png").hardlink_to(tmp_path / "one.png")
    return tmp_path


def composed(*overrides: str) -> RunConfig:
    """Return the typed configuration of a command line."""
    return composition.typed(composition.compose_settings(overrides))
