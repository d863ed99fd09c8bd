"""In which precision a network's arithmetic was executed: the share of its convolutions and matrix products."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from runner.protocol import CONTRADICTED, UNKNOWN, VERIFIED, Finding

REQUIRED_SHARE = {
    "fp32": 0.999,
    "bf16": 0.8,
    "int8": 0.8,
    "int8_dynamic": 0.8,
    "int8_weights": 0.8,
    "int4_weights": 0.5,
}
"""Of the convolutions' and matrix products' work that must be of the requested precision. fp32 is the truth that the
others are compared with, so it must be whole; a quantiser may leave out what it cannot quantise. With int4 NNCF keeps
the last layer in 8 bits, which is a third of GPT-2's weights."""
EXECUTED_AS = {"int8_dynamic": "int8"}
"""Precisions whose arithmetic has another's name."""
MIN_SEEN_SHARE = 0.9
"""Of the work that a network is known to be, which must have been seen: a library may print nothing of its kernels."""
REMEDIES = {
    "fp32": "the runtime lowered the precision by itself: set its precision hint",
    "bf16": "the runtime stayed in fp32: this processor may have no bf16 arithmetic",
    **dict.fromkeys(
        ("int8", "int8_dynamic", "int8_weights", "int4_weights"),
        "the quantiser left too much out: look at its log, or take precision=bf16",
    ),
}


@dataclass(frozen=True)
class Work:
    """One executed convolution or matrix product."""

    precision: str
    """fp32, bf16, fp16, int8 or another word for the type of its inputs."""
    amount: float
    """Multiply-accumulates, or seconds where these cannot be counted."""
    kernel: str = ""
    """The implementation that ran."""


def precision(
    asked: str,
    works: Iterable[Work],
    unit: str,
    source: str,
    *,
    expected: float = 0.0,
    facts: Mapping[str, float] | None = None,
) -> Finding:
    """Report in which precision the work was done.

    Args:
        asked: a word of ``runner.config.schema.Precision``.
        works: everything that was executed.
        unit: of the amounts, in words.
        source: of the observation.
        expected: the sum of all works, in the same unit; 0 if that is not known.
        facts: further numbers for the finding.
    """
    works = list(works)
    total = sum(work.amount for work in works)
    if not total:
        return Finding("precision", asked, "no convolution and no matrix product was seen", UNKNOWN, source)
    kinds = dict.fromkeys(work.precision for work in works)
    shares = {kind: sum(work.amount for work in works if work.precision == kind) / total for kind in kinds}
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    kernels = sorted({work.kernel for work in works if work.kernel and work.precision == ranked[0][0]})
    observed = ", ".join(f"{_percent(share)} {name}" for name, share in ranked)
    observed += f" of {unit}, {len(works)} operations" + (f" ({', '.join(kernels[:4])})" if kernels else "")
    unseen = max(0.0, 1 - total / expected) if expected else 0.0
    if shares.get(EXECUTED_AS.get(asked, asked), 0.0) < REQUIRED_SHARE[asked]:
        state = CONTRADICTED
    else:
        state = VERIFIED if 1 - unseen >= MIN_SEEN_SHARE else UNKNOWN
    observed += f"; {_percent(unseen)} of the network's work was not seen" if unseen > 1 - MIN_SEEN_SHARE else ""
    return Finding(
        "precision",
        asked,
        observed,
        state,
        source,
        REMEDIES[asked] if state == CONTRADICTED else "",
        {**shares, **(facts or {})},
    )


def _percent(share: float) -> str:
    """Return a share in percent, never rounded up to 100 nor down to 0."""
    shown = f"{100 * share:.1f}"
    if share < 1 and shown == "100.0":
        shown = "> 99.9"
    elif share > 0 and shown == "0.0":
        shown = "< 0.1"
    return f"{shown} %"
