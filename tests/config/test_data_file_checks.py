"""Files of data are checked before a launch: each awkward one is taken, or refused in one line with a remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runner.config.checks import check
from runner.config.data_file_checks import broken_pictures
from tests.config.conftest import composed

pytestmark = pytest.mark.usefixtures("hydra_context")
FEW = ("data.evaluation_samples=6", "data.calibration_samples=4")


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder of two classes with six pictures each, of which one is empty."""
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(6):
            Image.new("RGB", (8, 8)).save(tmp_path / label / f"{number}.png")
    (tmp_path / "b" / "5.png").write_bytes(b"")
    return tmp_path


def test_one_broken_picture_of_a_hundred_is_left_out(pictures):
    """Up to the share that the configuration allows; the run gets the names."""
    config = composed("data=image_folder", f"data.path={pictures}", "data.max_broken=0.2", *FEW)
    assert check(config) == []
    assert broken_pictures(config) in ([], ["b/5.png"])  # the order of the samples may not reach it
    all_of_them = composed("data=image_folder", f"data.path={pictures}", "data.max_broken=0.2", FEW[0],
                           "data.calibration_samples=5")  # fmt: skip
    assert check(all_of_them) == []
    assert broken_pictures(all_of_them) == ["b/5.png"]


def test_too_many_broken_pictures(pictures):
    """They are named, with what is wrong, and the remedy."""
    words = ("data=image_folder", f"data.path={pictures}", "data.evaluation_samples=7", "data.calibration_samples=4")
    [mistake] = check(composed(*words))
    assert "1 of 12 cannot: b/5.png is empty. Repair or remove them, or raise data.max_broken" in str(mistake)
    assert "at most 1.0% of the pictures" in str(mistake)


def test_too_few_pictures(pictures):
    """The message has numbers of samples that fit."""
    [mistake] = check(composed("data=image_folder", f"data.path={pictures}"))
    assert "It holds 12: add data.evaluation_samples=9 data.calibration_samples=3" in str(mistake)


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (["data.labels=x.csv"], "data.labels"),
        (["data.columns={text: a}"], "data.columns"),
        (["data.logits=a"], "data.logits"),
        (["data.max_broken=1"], "data.max_broken"),
        (["data.path=x"], "data.path"),
    ],
)
def test_settings_of_other_data(words, field):
    """They are mistakes, not ignored."""
    [mistake] = check(composed(*words))
    assert mistake.field == field


def test_unknown_names_of_columns(tmp_path):
    """The allowed ones are listed."""
    (tmp_path / "a.csv").write_text("text,label\n" + "fine,1\n" * 10)
    words = ("model=distilbert", "data=text_file", f"data.path={tmp_path / 'a.csv'}", "data.columns={txt: text}", *FEW)
    [mistake] = check(composed(*words))
    assert str(mistake).startswith("data.columns: received 'txt'; allowed: names among text, label")


def test_arrays(tmp_path):
    """Enough samples are needed; a file of objects is refused."""
    np.savez(tmp_path / "a.npz", x=np.zeros((9, 2)))
    words = ("model=file", "data=arrays", f"data.path={tmp_path / 'a.npz'}")
    [mistake] = check(composed(*words, *FEW))
    assert "at least 10 samples" in str(mistake)
    np.savez(tmp_path / "a.npz", x=np.array([{}], dtype=object))
    [mistake] = check(composed(*words, *FEW))
    assert "holds Python objects" in str(mistake)
