"""Explain in one line why a row is slower than a row that it should beat, from the evidence of both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from runner.analysis.statistics import Verdict
from runner.machine.facts import Machine
from runner.protocol import UNKNOWN
from runner.results.plan import Plan
from runner.results.result import Measurement, Result

USUAL = {
    "backend.name": "torch",
    "allocator.name": "system",
    "hugepages.name": "off",
    "threading.name": "default",
    "memory_format": "contiguous",
    "instances": 1,
    "scenario": "sync",
}
"""Default option of each setting: a row should beat the row that differs only by having the default."""
PRECISIONS = {
    "fp32": 0,
    "bf16": 1,
    "int8_weights": 1,
    "int8_dynamic": 2,
    "int4_weights": 2,
    "int8": 3,
    "int8_accuracy": 3,
    "as_is": 0,
}
"""Expected order of speed, slow to fast; precisions with the same rank are not compared."""
HARDWARE = {
    "int8": ("AVX-512 VNNI", "AVX-VNNI", "AMX INT8"),
    "bf16": ("AVX-512 BF16", "AMX BF16"),
}
"""x86 instruction sets for each precision; without any of them the precision is emulated."""
FEW_FAULTS = 50
"""Page faults per batch below which an allocator can save little: 50 faults of 4 KiB are 0.2 MiB."""
MAX_QDQ_SHARE = 0.05
"""Maximum share of the time for quantise and dequantise nodes between operators."""
MIN_CORES_SHARE = 0.75
"""Minimum share of the cores that a run should use."""
WITHOUT_EFFECT = ("allocator.name", "hugepages.name")
"""Settings for which "no effect" is explained as well."""


def lines(plans: Sequence[Plan], results: Sequence[Result], machine: Machine) -> list[str]:
    """Return a line for every row that is slower than its baseline or than a row that it should beat.

    Args:
        plans: of the finished runs.
        results: of the same runs, in the same order.
        machine: the machine that measured.
    """
    found = []
    rows = [(plan, result) for plan, result in zip(plans, results, strict=False) if not plan.part]
    for plan, result in rows:
        measured = result.shown
        if measured is None or measured.verdict is Verdict.too_noisy:
            continue
        if measured.verdict is Verdict.slower:
            cause = why(result, None, machine)
            found.append(f"{plan.label}: slower than its baseline: {cause}")
        for setting, rival in _rivals(plan, rows):
            assert rival.shown is not None
            if measured.speedup.high < rival.shown.speedup.low:
                found.append(f"{plan.label}: slower than {rival.label}: {why(result, rival.shown, machine)}")
            elif setting in WITHOUT_EFFECT and _alike(measured, rival.shown):
                cause = _nothing_to_act_on(result, rival.shown)
                if cause:
                    found.append(f"{plan.label}: no faster than {rival.label}: {cause}")
    return found


def _rivals(plan: Plan, rows: Sequence[tuple[Plan, Result]]) -> Iterator[tuple[str, Result]]:
    """Yield the rows that differ in one setting only and have the slower option there, with that setting."""
    for other, result in rows:
        if result.shown is None or result.shown.verdict is Verdict.too_noisy:
            continue
        if other.baseline != plan.baseline or other is plan:
            continue
        differing = _differing(plan.settings, other.settings)
        if len(differing) != 1:
            continue
        [setting] = differing
        ours, theirs = plan.settings.get(setting), other.settings.get(setting)
        if setting == "precision.name":
            if PRECISIONS[str(ours)] > PRECISIONS[str(theirs)]:
                yield setting, result
        elif theirs == USUAL.get(setting, ours):
            yield setting, result


def _alike(one: Measurement, other: Measurement) -> bool:
    """Return whether one interval lies within the other, widened by the noise floor."""
    margin = 1 + one.noise_floor
    return other.speedup.low / margin <= one.speedup.low and one.speedup.high <= other.speedup.high * margin


def _differing(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Return the settings that differ; of a group whose option differs only its name."""
    names = [
        name
        for name in ours.keys() | theirs.keys()
        if ours.get(name) != theirs.get(name) and not name.startswith(("row.", "tracking."))
    ]
    choices = {name.split(".")[0] for name in names if name.endswith(".name")}
    return [name for name in names if name.endswith(".name") or name.split(".")[0] not in choices]


def why(result: Result, rival: Measurement | None, machine: Machine) -> str:
    """Return the likeliest cause that the evidence of a slow run shows.

    Args:
        result: of the slow run.
        rival: measurement of the row that it should beat; None for its baseline.
        machine: the machine that measured.
    """
    facts = {name: value for finding in result.evidence for name, value in finding.facts.items()}
    precision = str(result.settings["precision.name"])
    if facts.get("qdq_share", 0) > MAX_QDQ_SHARE:
        return (
            f"{facts['qdq']:.0f} quantise and dequantise nodes remain between the operators, "
            f"{facts['qdq_share']:.0%} of its time"
        )
    if machine.architecture == "x86_64" and not set(HARDWARE.get(precision, machine.isa)) & set(machine.isa):
        return f"this processor has none of {', '.join(HARDWARE[precision])}: {precision} products are emulated"
    if breaks := facts.get("breaks"):
        return f"{breaks:.0f} graph breaks: Python runs between the compiled parts"
    if facts.get("busy", 0) > facts.get("cores", 1):
        return f"oversubscribed: {facts['busy']:.0f} threads computed on {facts['cores']:.0f} cores"
    if nothing := _nothing_to_act_on(result, rival):
        return nothing
    if "cores_used" in facts and facts["cores_used"] < MIN_CORES_SHARE * facts["cores"]:
        return f"it used {facts['cores_used']:.1f} of {facts['cores']:.0f} cores"
    return "the evidence shows no cause"


def _nothing_to_act_on(result: Result, rival: Measurement | None) -> str:
    """Return why the memory settings had no effect; empty if they had one or are the defaults."""
    requested = {name: str(result.settings[name]) for name in WITHOUT_EFFECT}
    pages = next((one for one in result.evidence if one.knob == "hugepages"), None)
    if requested["hugepages.name"] != "off" and pages is not None and pages.state == UNKNOWN:
        return f"hugepages={requested['hugepages.name']} applied to little memory: {pages.observed}"
    if any(requested[name] != USUAL[name] for name in WITHOUT_EFFECT) and rival is not None:
        faults = rival.minor_faults_per_batch
        if faults < FEW_FAULTS:
            return f"the runtime reuses its memory ({faults:.0f} page faults per batch without it): nothing to gain"
    return ""
