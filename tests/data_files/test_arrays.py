"""Files of arrays: described by their headers, and refused where they hold objects or do not fit together."""

from __future__ import annotations

import numpy as np
import pytest

from runner.data_files.arrays import ArraySpec, describe_arrays, read_array
from runner.data_files.errors import UnreadableData


def test_inputs_and_labels(tmp_path):
    """By their names; labels are no input."""
    ids = np.arange(12, dtype=np.int64).reshape(4, 3)
    np.savez_compressed(tmp_path / "a.npz", ids=ids, Labels=np.array(["a", "b", "a", "b"]))
    found = describe_arrays(tmp_path / "a.npz")
    assert found.inputs == (ArraySpec("ids", (4, 3), "int64"),)
    assert found.labels == ArraySpec("Labels", (4,), "str")
    assert found.samples == 4
    np.testing.assert_array_equal(read_array(tmp_path / "a.npz", "ids"), ids)


def test_a_single_array_fits_a_single_input(tmp_path):
    """Whatever their names; with two inputs the names must agree."""
    np.save(tmp_path / "a.npy", np.zeros((4, 3), np.float32))
    found = describe_arrays(tmp_path / "a.npy")
    assert found.find("images", 1).shape == (4, 3)
    with pytest.raises(UnreadableData, match="It has no array images, which the model takes"):
        found.find("images", 2)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.array([{}], dtype=object)}, "holds Python objects, which may run code"),
        ({"x": np.zeros(4), "y": np.zeros(4)}, "labels are one whole number or word for each sample"),
        ({"x": np.zeros((4, 2)), "labels": np.zeros(3, int)}, "x has 4, labels has 3"),
        ({"x": np.float32(1)}, "is a single number"),
        ({"labels": np.zeros(3, int)}, "It holds no array for an input"),
    ],
)
def test_what_does_not_fit(tmp_path, arrays, message):
    """One line says what and why."""
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UnreadableData, match=message):
        describe_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
def test_another_file(tmp_path, name):
    """A text, and a file that is cut off."""
    (tmp_path / name).write_text("hello")
    with pytest.raises(UnreadableData, match="It is not a file of NumPy"):
        describe_arrays(tmp_path / name)
