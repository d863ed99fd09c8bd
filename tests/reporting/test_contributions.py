"""The contribution of each setting, and interactions between settings."""

from __future__ import annotations

import dataclasses
import math

import pytest

from runner.analysis.statistics import Estimate, Verdict
from runner.errors import ConfigurationError
from runner.planning.plans import make_plans
from runner.reporting.contributions import lines, multiply
from runner.results.plan import WHOLE
from runner.results.result import Measurement, Result
from runner.results.status import Status
from tests.conftest import FAKE, RunProgram


def measured(value: float, *, error: float = 0.01, label: str = "x", **settings: object) -> Result:
    """Return a result with a speedup, its interval ± `error`."""
    speedup = Estimate(value, value / (1 + error), value * (1 + error))
    numbers = Measurement(
        throughput=speedup,
        baseline_throughput=speedup,
        speedup=speedup,
        verdict=Verdict.faster if value > 1 else Verdict.slower,
        rounds=8,
        latency_p50_ms=1,
        latency_p90_ms=1,
        latency_p99_ms=1,
        latency_samples=100,
        round_throughput=[],
        noise_floor=0.02,
    )
    return Result(label, Status.ok, "", "", dict(settings), measurement=numbers)


def test_contributions_multiply_with_their_errors():
    """2 × 3 = 6, and errors of 3 and 4 % in logarithms combine to 5 %."""
    parts = [Estimate(2, 2 * math.exp(-0.03), 2 * math.exp(0.03)), Estimate(3, 3 * math.exp(-0.04), 3 * math.exp(0.04))]
    product = multiply(parts)
    assert product.value == pytest.approx(6)
    assert math.log(product.high / product.value) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("whole", "ending"),
    [
        (6.0, "these intervals show no interaction"),
        (4.0, "each contributes more in combination than alone"),
        (9.0, "their effects overlap"),
    ],
)
def test_parts_are_compared_with_the_whole(hydra_context, whole, ending):
    """For parts of 2× and 3×, a whole of 6× is their product."""
    plans = make_plans([["backend=openvino", "precision=bf16", "ablate=true"]])
    assert [plan.part for plan in plans] == [WHOLE, "backend=openvino", "precision=bf16"]
    found = lines(plans, [measured(whole), measured(2.0), measured(3.0)])
    assert found[1:3] == [
        "  backend=openvino: 2.00× (1.98 … 2.02), faster",
        "  precision=bf16: 3.00× (2.97 … 3.03), faster",
    ]
    assert found[3].startswith("  all of them multiplied: 6.00× (5.92 … 6.09), the whole: ")
    assert found[3].endswith(ending)


def test_an_interrupted_ablation_lists_its_finished_parts(hydra_context):
    """Without the product of the parts."""
    plans = make_plans([["backend=openvino", "precision=bf16", "ablate=true"]])
    assert len(lines(plans, [measured(6.0), measured(2.0)])) == 2
    assert lines(plans, []) == []


def test_no_product_if_a_part_was_not_started(hydra_context):
    """Whichever part is missing; and parts are assigned to their own whole."""
    words = ["backend=openvino", "precision=bf16", "allocator=tcmalloc", "ablate=true"]
    plans = make_plans([words, [*words, "batch_size=1"]])
    results = [measured(6.0), measured(2.0), None, measured(3.0), None, measured(2.0), measured(3.0), measured(1.0)]
    found = lines(plans, results)
    assert len(found) == 3
    assert not any("multiplied" in line for line in found)
    assert lines(plans, results[:2]) == found[:2]


def test_each_part_reverts_one_setting_of_the_whole(hydra_context):
    """The candidate is always the whole; the baseline reverts one of its settings."""
    overrides = ["backend=torch", "precision=bf16", "allocator=tcmalloc", "memory_format=channels_last", "ablate=true"]
    plans = make_plans([overrides])
    assert len({repr(dataclasses.replace(plan.config, baseline=[])) for plan in plans}) == 1
    parts = {plan.part: plan.baseline for plan in plans[1:]}
    assert list(parts) == ["precision=bf16", "memory_format=channels_last", "allocator=tcmalloc"]
    reverted = parts["allocator=tcmalloc"]
    assert (reverted.allocator.name, reverted.precision.name, reverted.memory_format) == (
        "system",
        "bf16",
        "channels_last",
    )


def test_only_the_whole_is_a_row_of_a_published_table(hydra_context):
    """The parts of an ablation were not published."""
    whole, *parts = make_plans([["+experiments/rand2025=05_tcmalloc", "ablate=true"]])
    assert whole.settings["row.table"] == "rand2025"
    assert len(parts) == 3
    assert [part.settings["row.table"] for part in parts] == ["", "", ""]
    assert [part.settings["baseline"] for part in parts] == [
        ["precision=fp32"],
        ["memory_format=contiguous"],
        ["allocator=system"],
    ]
    assert len({plan.fingerprint for plan in (whole, *parts)}) == 4


def test_an_ablation_of_the_baseline_is_a_mistake(hydra_context):
    """The baseline has no settings to revert."""
    with pytest.raises(ConfigurationError, match="ablate: received True; allowed: a configuration that differs"):
        make_plans([["ablate=true"]])


def test_an_ablation_end_to_end(run_program: RunProgram):
    """Of two settings one has no effect, and one makes a batch of 5 ms four times as fast."""
    done = run_program(
        *FAKE,
        "backend.options.batch_s=0.005",
        "precision=bf16",
        "ablate=true",
        'reference=["precision=fp32","backend=fake"]',
        'baseline=["precision=fp32","backend=fake","backend.options.batch_s=0.02"]',
        "measure.slice_s=0.1",
    )
    whole, words, speed = done.results()
    assert whole.measurement.speedup.value == pytest.approx(4, rel=0.1), done.out
    assert speed.measurement.speedup.value == pytest.approx(4, rel=0.1)
    assert words.label.endswith(": precision=bf16 over fp32")
    assert speed.label.endswith(": backend=fake over fake")
    assert "  precision=bf16: " in done.out
    assert "  all of them multiplied: " in done.out
