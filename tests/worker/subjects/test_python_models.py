"""Models that a user's Python module builds."""

from __future__ import annotations

import numpy as np
import pytest

from runner.worker.failures import BadInput
from runner.worker.subjects import python
from runner.worker.subjects.subject import BATCH, Port
from tests.conftest import TESTS

FILE = str(TESTS / "models" / "three_outputs.py")


def test_the_signature_is_that_of_the_inputs():
    """The extent that changes with the number of samples is the batch."""
    plugin = python.load_plugin("three_outputs", FILE)
    assert python._ports(plugin) == (
        Port("ids", "int64", (BATCH, 12)),
        Port("wave", "float32", (BATCH, 1, 50)),
        Port("mask", "bool", (BATCH, 12)),
    )


def test_each_sample_has_a_seed_of_its_own():
    """The same index gives the same values in any batch."""
    source = python.PluginSamples(python.load_plugin("three_outputs", FILE), 10, seed=3)
    several, one = source.batch([4, 7]), source.batch([7])
    for name in ("ids", "wave", "mask"):
        np.testing.assert_array_equal(several[name][1:], one[name])
    assert not np.array_equal(several["wave"][0], several["wave"][1])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import nothing_of_this_name", "cannot be imported: ModuleNotFoundError"),
        ("def build():\n    return None", "has no function inputs"),
        ("def build(): ...\ndef inputs(batch):\n    return 1 / 0", r"inputs\(2\) of mine fails: ZeroDivisionError"),
        ("def build(): ...\ndef inputs(batch):\n    return {'x': 1}", "must return named tensors: x is no tensor"),
        (
            "import torch\ndef build(): ...\ndef inputs(batch):\n    return {'x': torch.zeros(1)}",
            "the same shapes for two and three samples",
        ),
    ],
)
def test_modules_that_cannot_be_used(tmp_path, text, reason):
    """One line with the name and the cause."""
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(BadInput, match=reason) as caught:
        python._ports(python.load_plugin("mine", str(tmp_path / "mine.py")))
    assert "\n" not in str(caught.value)
