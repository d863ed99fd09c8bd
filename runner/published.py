"""A published number against the measured one: does the row hold here? Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from runner.statistics import Estimate

WIDENING = 0.05
"""Relative width by which the measured interval is widened on both sides before a published ratio must lie in it."""
FAR = 0.25
"""A measured ratio that differs from the published one by more than this, relative, deserves a word."""


class RowVerdict(StrEnum):
    """What may be said of a published row on this machine."""

    reproduced = "reproduced"
    same_direction = "same direction"
    not_reproduced = "not reproduced"
    not_comparable = "not comparable"
    """This machine lacks the instruction set that the published number rests on."""
    unpublished = "no published number"


@dataclass(frozen=True)
class Comparison:
    """A published speedup and what became of it."""

    verdict: RowVerdict
    reason: str
    """One line where the two differ, else empty."""


def compare(published: float | None, speedup: Estimate, noise_floor: float, missing: Sequence[str]) -> Comparison:
    """Return what may be said of a row.

    Args:
        published: speedup over the table's baseline, None where none was published for this model.
        speedup: the measured one, over the same baseline.
        noise_floor: δ; within ±δ a ratio has no direction.
        missing: instruction sets that the published number rests on and this machine lacks.
    """
    if published is None:
        return Comparison(RowVerdict.unpublished, "")
    held = speedup.low / (1 + WIDENING) <= published <= speedup.high * (1 + WIDENING)
    ratio = speedup.value / published
    told = f"{ratio:.2f} of the published {published:.2f}×"
    if missing:
        lacks = " and ".join(missing)
        return Comparison(RowVerdict.not_comparable, f"this machine lacks {lacks}; measured {told}")
    if held:
        return Comparison(RowVerdict.reproduced, "")
    if direction(published, noise_floor) == direction(speedup.value, noise_floor):
        return Comparison(RowVerdict.same_direction, f"measured {told}" if abs(ratio - 1) > FAR else "")
    return Comparison(RowVerdict.not_reproduced, f"measured {told}")


def direction(ratio: float, noise_floor: float) -> int:
    """Return 1 for faster, -1 for slower, 0 for neither."""
    if ratio > 1 + noise_floor:
        return 1
    return -1 if ratio < 1 / (1 + noise_floor) else 0


def missing_isa(needs: Sequence[str], isa: Sequence[str]) -> list[str]:
    """Return what a row needs and a machine lacks, in the row's order."""
    return [name for name in needs if name not in isa]
