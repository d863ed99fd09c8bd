"""Why a row is slower than the row that it should beat: one line, from the evidence of both."""

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
"""What a row is expected to beat in each setting, if it differs in nothing else."""
PRECISIONS = {"fp32": 0, "bf16": 1, "int8_weights": 1, "int8_dynamic": 2, "int4_weights": 2, "int8": 3}
"""From slow to fast: those with one number are not expected to beat each other."""
HARDWARE = {
    "int8": ("AVX-512 VNNI", "AVX-VNNI", "AMX INT8"),
    "bf16": ("AVX-512 BF16", "AMX BF16"),
}
"""Instruction sets of x86 without which a precision is emulated."""
FEW_FAULTS = 50
"""Page faults a batch: with fewer, an allocator has hardly anything to spare (64 of 4 KiB are a quarter of a MiB)."""
MAX_QDQ_SHARE = 0.05
"""Share of the time that quantising and dequantising between operators may take."""
MIN_CORES_SHARE = 0.75
"""Share of the cores that a full machine uses."""
WITHOUT_EFFECT = ("allocator.name", "hugepages.name")
"""Settings for which "no effect" is explained as well: they usually had nothing to act on."""


def lines(plans: Sequence[Plan], results: Sequence[Result], machine: Machine) -> list[str]:
    """Return a line for every row that is slower than its baseline or than a row that it should beat."""
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
    """Yield the rows that differ from a run's in one setting only, in which they have the slower choice."""
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
    """Return whether two rows differ by no more than the noise floor, as far as their intervals show."""
    margin = 1 + one.noise_floor
    return other.speedup.low / margin <= one.speedup.low and one.speedup.high <= other.speedup.high * margin


def _differing(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Return which settings differ: a group's choice alone if its other values follow from it."""
    names = [
        name
        for name in ours.keys() | theirs.keys()
        if ours.get(name) != theirs.get(name) and not name.startswith(("row.", "tracking."))
    ]
    choices = {name.split(".")[0] for name in names if name.endswith(".name")}
    return [name for name in names if name.endswith(".name") or name.split(".")[0] not in choices]


def why(result: Result, rival: Measurement | None, machine: Machine) -> str:
    """Return the likeliest cause that the evidence of a slow run shows."""
    facts = {name: value for finding in result.evidence for name, value in finding.facts.items()}
    precision = str(result.settings["precision.name"])
    if facts.get("qdq_share", 0) > MAX_QDQ_SHARE:
        return (
            f"{facts['qdq']:.0f} quantise and dequantise nodes were left between the operators, "
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
    """Return why memory settings could do nothing, empty if they could or there are none."""
    asked = {name: str(result.settings[name]) for name in WITHOUT_EFFECT}
    pages = next((one for one in result.evidence if one.knob == "hugepages"), None)
    if asked["hugepages.name"] != "off" and pages is not None and pages.state == UNKNOWN:
        return f"hugepages={asked['hugepages.name']} had hardly anything to act on: {pages.observed}"
    if any(asked[name] != USUAL[name] for name in WITHOUT_EFFECT) and rival is not None:
        faults = rival.minor_faults_per_batch
        if faults < FEW_FAULTS:
            return (
                f"the runtime reuses its memory ({faults:.0f} page faults a batch without it): nothing is left to gain"
            )
    return ""
