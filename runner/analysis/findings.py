"""Evidence, read by the host: what contradicts, how much is verified, and the list for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from runner.protocol import CONTRADICTED, UNKNOWN, VERIFIED, Finding

MARKS = {VERIFIED: "✓", UNKNOWN: "?", CONTRADICTED: "✗"}


def distinct(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings without those that say in all parts what another has said."""
    different: list[Finding] = []
    for finding in findings:
        if finding not in different:
            different.append(finding)
    return different


def contradictions(findings: Iterable[Finding]) -> list[str]:
    """Return in one line each what did not take effect, and what to do."""
    return [
        f"{one.knob}: asked {one.asked}, observed {one.observed}" + (f": {one.remedy}" if one.remedy else "")
        for one in findings
        if one.state == CONTRADICTED
    ]


def summary(findings: Sequence[Finding]) -> str:
    """Return how many settings are verified, of how many: ``6/6 ✓``, ``5/6 ?``, ``5/6 ✗``; empty without any.

    A setting that several processes or instances report differently counts once, by its worst state.
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
    """Return the whole list, a line each."""
    return [
        f"{MARKS[one.state]} {one.knob}: asked {one.asked}; observed {one.observed} ({one.source})"
        + (f"; {one.remedy}" if one.remedy else "")
        for one in findings
    ]
