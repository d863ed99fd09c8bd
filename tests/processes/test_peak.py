"""A row's share of the machine's peak."""

from __future__ import annotations

import pytest

from runner.processes.peak import peak_share
from runner.protocol import Peaks
from tests.reporting.test_contributions import measured

PEAKS = Peaks({"fp32_1": 100.0, "fp32_2": 200.0, "int8_2": 800.0}, 2, gops_per_sample=8.0)


@pytest.mark.parametrize(
    ("precision", "share"),
    [("fp32", 0.4), ("int8", 0.1), ("int8_dynamic", 0.1), ("bf16", None), ("int8_weights", None)],
)
def test_a_row_has_a_share_of_the_peak_of_its_own_precision(precision, share):
    """Of all cores; 10 samples/s of 8 · 10⁹ operations. There is none if the processor does not compute in it."""
    assert peak_share(PEAKS, measured(10.0).measurement, precision) == share


def test_no_share_if_the_operations_are_not_known():
    assert peak_share(Peaks({"fp32_2": 200.0}, 2, 0.0), measured(10.0).measurement, "fp32") is None
