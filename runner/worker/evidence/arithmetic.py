"""The executed precision of a network: shares of the work of its convolutions and matrix products."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from runner.protocol import AS_IS, CONTRADICTED, UNKNOWN, VERIFIED, Finding

REQUIRED_SHARE = {
    "fp32": 0.999,
    "bf16": 0.8,
    "int8": 0.8,
    "int8_accuracy": 0.8,
    "int8_dynamic": 0.8,
    "int8_weights": 0.8,
    "int4_weights": 0.8,
    AS_IS: 0.0,
}
"""Minimum share of the work of convolutions and matrix products in the requested precision. fp32 is the reference for
accuracy, so all of it must be fp32; a quantiser may skip operations that it does not support. A file as it is requests
nothing: what executed is shown."""
EXECUTED_AS = {"int8_dynamic": "int8", "int8_accuracy": "int8"}
"""Precisions that execute in the arithmetic of another one."""
MIN_OBSERVED_SHARE = 0.9
"""Minimum share of a network's known work that must be observed: libraries do not report every kernel."""
REMEDIES = {
    "fp32": "the runtime lowered the precision: set its precision hint",
    "bf16": "the runtime computed in fp32, this processor may lack bf16 arithmetic: take precision=fp32",
    **dict.fromkeys(
        ("int8", "int8_accuracy", "int8_dynamic", "int8_weights", "int4_weights"),
        "the quantiser skipped too many operations: see its log, or take precision=bf16",
    ),
}


@dataclass(frozen=True)
class Work:
    """One executed convolution or matrix product."""

    precision: str
    """Type of the inputs: fp32, bf16, fp16, int8, or a library's own name."""
    amount: float
    """Multiply-accumulates; for stored weights, their number."""
    kernel: str = ""
    """Name of the implementation that ran."""


def precision(
    requested: str,
    works: Iterable[Work],
    unit: str,
    source: str,
    *,
    expected: float,
    partial: bool = False,
    hidden: bool = False,
    facts: Mapping[str, float] | None = None,
) -> Finding:
    """Report the executed precision.

    Args:
        requested: a value of ``runner.config.schema.Precision``.
        works: all executed convolutions and matrix products.
        unit: unit of the amounts, for the message.
        source: source of the observation.
        expected: the model's total work in the same unit, counted apart from the runtime; 0 if unknown.
        partial: whether it was requested that a part remains in floating point: any share is then as requested.
        hidden: whether the model has bodies, of branches and loops, whose operations the source does not show.
        facts: additional numbers for the finding.

    Returns:
        Contradicted if less than ``REQUIRED_SHARE`` of the observed work has the requested precision; if less than
        ``MIN_OBSERVED_SHARE`` of the expected work was observed, only if that is so even with all other work in that
        precision. Unknown if nothing, or less than ``MIN_OBSERVED_SHARE``, was observed, or the expected work is not
        known.
    """
    works = list(works)
    total = sum(work.amount for work in works)
    if not total:
        return Finding("precision", requested, "no convolution or matrix product was observed", UNKNOWN, source)
    kinds = dict.fromkeys(work.precision for work in works)
    shares = {kind: sum(work.amount for work in works if work.precision == kind) / total for kind in kinds}
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    kernels = sorted({work.kernel for work in works if work.kernel and work.precision == ranked[0][0]})
    observed = ", ".join(f"{_percent(share)} {name}" for name, share in ranked)
    observed += f" of {unit}, {len(works)} operations" + (f" ({', '.join(kernels[:4])})" if kernels else "")
    unobserved = max(0.0, 1 - total / expected) if expected else 1.0
    share = shares.get(EXECUTED_AS.get(requested, requested), 0.0)
    enough = 1 - unobserved >= MIN_OBSERVED_SHARE
    possible = 1.0 if hidden and not expected else _with_unobserved(share, total, expected)
    judged = share if enough else possible
    if judged == 0.0 < REQUIRED_SHARE[requested] or (judged < REQUIRED_SHARE[requested] and not partial):
        state = CONTRADICTED
    else:
        state = VERIFIED if enough else UNKNOWN
    if not expected:
        observed += "; how much work the model has is not known" + (", some is in branches or loops" if hidden else "")
    elif unobserved > 1 - MIN_OBSERVED_SHARE:
        observed += f"; {_percent(unobserved)} of the network's work was not observed"
    return Finding(
        "precision",
        requested,
        observed,
        state,
        source,
        REMEDIES[requested] if state == CONTRADICTED else "",
        {**shares, **(facts or {})},
    )


def _with_unobserved(share: float, total: float, expected: float) -> float:
    """Return the share of the requested precision if all work that was not observed has it."""
    missing = max(0.0, expected - total)
    return (share * total + missing) / (total + missing)


def _percent(share: float) -> str:
    """Return a share in percent; only exact 100 % and 0 % are shown as such."""
    shown = f"{100 * share:.1f}"
    if share < 1 and shown == "100.0":
        shown = "> 99.9"
    elif share > 0 and shown == "0.0":
        shown = "< 0.1"
    return f"{shown} %"
