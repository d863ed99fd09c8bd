"""Explanations of rows that are slower than a row they should beat."""

from __future__ import annotations

import dataclasses

import pytest

from runner.machine.facts import this_machine
from runner.planning.plans import make_plans
from runner.protocol import UNKNOWN, VERIFIED, Finding
from runner.reporting.diagnosis import lines, why
from runner.results.result import Result
from tests.reporting.test_contributions import measured

MACHINE = dataclasses.replace(this_machine(), isa=["AVX2", "AVX-512 VNNI", "AVX-512 BF16"])
PLAIN = {"precision.name": "fp32", "allocator.name": "system", "hugepages.name": "off"}


def observed(**facts: float) -> list[Finding]:
    """Return evidence with the given facts."""
    return [Finding("any", "", "", VERIFIED, "", facts=facts)]


def slow(facts: dict[str, float], **settings: str) -> Result:
    """Return the result of a slow run with the given facts."""
    return dataclasses.replace(measured(0.5, **{**PLAIN, **settings}), evidence=observed(**facts))


@pytest.mark.parametrize(
    ("facts", "cause"),
    [
        ({"qdq": 40, "qdq_share": 0.3}, "40 quantise and dequantise nodes remain between the operators, 30% of"),
        ({"breaks": 2}, "2 graph breaks"),
        ({"busy": 4, "cores": 2}, "oversubscribed: 4 threads computed on 2 cores"),
        ({"busy": 1, "cores": 2, "cores_used": 1.0}, "it used 1.0 of 2 cores"),
        ({"busy": 2, "cores": 2, "cores_used": 1.9}, "the evidence shows no cause"),
    ],
)
def test_the_likeliest_cause_is_reported(facts, cause):
    """From the facts of the evidence."""
    assert cause in why(slow(facts), None, MACHINE)


def test_a_precision_that_the_processor_lacks():
    """int8 without VNNI or AMX is emulated."""
    old = dataclasses.replace(MACHINE, isa=["AVX2"])
    assert "none of AVX-512 VNNI" in why(slow({}, **{"precision.name": "int8"}), None, old)
    assert why(slow({}, **{"precision.name": "int8"}), None, MACHINE) == "the evidence shows no cause"


def test_a_row_is_compared_with_the_rows_it_should_beat(hydra_context):
    """int8 is slower than fp32, bf16 and its baseline; the faster bf16 gets no line."""
    plans = make_plans([["backend=openvino", f"precision={name}"] for name in ("fp32", "bf16", "int8")])
    values = {"fp32": 2.0, "bf16": 3.0, "int8": 0.5}
    results = [
        dataclasses.replace(measured(values[str(plan.config.precision.name)], label=plan.label), settings=plan.settings)
        for plan in plans
    ]
    results[2] = dataclasses.replace(results[2], evidence=observed(qdq=9, qdq_share=0.5))
    cause = "9 quantise and dequantise nodes remain between the operators, 50% of its time"
    assert lines(plans, results, MACHINE) == [
        f"int8: slower than its baseline: {cause}",
        f"int8: slower than fp32: {cause}",
        f"int8: slower than bf16: {cause}",
    ]


def test_memory_settings_without_effect_are_explained(hydra_context):
    """A runtime that reuses its memory gains nothing from an allocator, nor from huge pages for little memory."""
    plans = make_plans([["backend=openvino", *more] for more in ([], ["allocator=tcmalloc"], ["hugepages=glibc"])])
    results = [dataclasses.replace(measured(2.0, label=plan.label), settings=plan.settings) for plan in plans]
    pages = Finding("hugepages", "glibc", "2 of 400 MiB", UNKNOWN, "")
    results[2] = dataclasses.replace(results[2], evidence=[pages])
    rival = results[0].label
    reused = "the runtime reuses its memory (0 page faults per batch without it): nothing to gain"
    assert lines(plans, results, MACHINE) == [
        f"{plans[1].label}: no faster than {rival}: {reused}",
        f"{plans[2].label}: no faster than {rival}: hugepages=glibc applied to little memory: 2 of 400 MiB",
    ]
