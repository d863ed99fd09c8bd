"""Evidence as the host shows it: contradictions, a summary, and the full list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from runner.protocol import CONTRADICTED, UNKNOWN, VERIFIED, Finding

MARKS = {VERIFIED: "✓", UNKNOWN: "?", CONTRADICTED: "✗"}


def distinct(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings without duplicates, in order."""
    different: list[Finding] = []
    for finding in findings:
        if finding not in different:
            different.append(finding)
    return different


def contradictions(findings: Iterable[Finding]) -> list[str]:
    """Return one line per setting that did not take effect, with its remedy."""
    return [
        f"{one.knob}: requested {one.asked}, observed {one.observed}" + (f": {one.remedy}" if one.remedy else "")
        for one in findings
        if one.state == CONTRADICTED
    ]


def is_partly_quantised(findings: Iterable[Finding]) -> bool:
    """Return whether the only contradiction is that a quantiser left a part of the model in floating point.

    Then no setting was ignored: quantiser and runtime cannot do more of this model.
    """
    wrong = [one for one in findings if one.state == CONTRADICTED]
    return bool(wrong) and all(one.knob == "precision" and _quantised_share(one) > 0 for one in wrong)


def _quantised_share(finding: Finding) -> float:
    """Return the share of the work in the requested integers; 0 for a precision in floating point.

    Dynamically and statically quantised operations execute in the same arithmetic.
    """
    executed = finding.asked.removesuffix("_dynamic").removesuffix("_accuracy")
    return finding.facts.get(executed, 0.0) if finding.asked.startswith("int") else 0.0


def summary(findings: Sequence[Finding]) -> str:
    """Return how many of the settings are verified: ``6/6 ✓``, ``5/6 ?``, ``5/6 ✗``; empty without findings.

    A setting that several processes or instances report differently counts once, with its worst state.
    """
    worst: dict[str, str] = {}
    for finding in findings:
        states = (finding.state, worst.get(finding.knob, VERIFIED))
        worst[finding.knob] = max(states, key=list(MARKS).index)
    if not worst:
        return ""
    verified = sum(state == VERIFIED for state in worst.values())
    return f"{verified}/{len(worst)} {MARKS[max(worst.values(), key=list(MARKS).index)]}"


def lines(findings: Iterable[Finding]) -> list[str]:
    """Return one line per finding."""
    return [
        f"{MARKS[one.state]} {one.knob}: requested {one.asked}; observed {one.observed} ({one.source})"
        + (f"; {one.remedy}" if one.remedy else "")
        for one in findings
    ]
