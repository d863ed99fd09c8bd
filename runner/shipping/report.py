"""REPORT.md: what was measured, where, what was proven, and what is not known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from runner.analysis.statistics import Estimate
from runner.results.result import Measurement, Result


def report(result: Result, sweep: str, flaws: Sequence[str], notes: Sequence[str], start: str) -> str:
    """Return REPORT.md.

    Args:
        result: of the row.
        sweep: name of its sweep.
        flaws: in spite of what it is shipped; the first lines say so.
        notes: what was found when the folder was written.
        start: the command that starts it.
    """
    assert result.measurement is not None
    lines = [
        *([f"**Shipped in spite of this: {'; '.join(flaws)}.**", ""] if flaws else []),
        f"# {result.label}",
        "",
        f"Measured on {_day(result)} on {_machine(result)}, in the sweep {sweep}.",
        "",
        "| what | measured |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in _numbers(result, result.measurement)),
        "",
        "Intervals are Student's t over fresh processes, with 95 % confidence. `runner ship --verify` measures this",
        "folder beside the measured process again.",
        "",
        "## Start",
        "",
        "```",
        "python -m venv venv && . venv/bin/activate && pip install -r requirements.txt",
        f". ./environment.sh && {start}",
        "```",
        "",
        "## What was proven in the measured process",
        "",
        "| setting | requested | observed | state |",
        "|---|---|---|---|",
        *(f"| {one.knob} | {one.asked} | {one.observed} | {one.state} |" for one in result.evidence),
        "",
        "## What is not known",
        "",
        *(f"- {line}" for line in _limits(result, notes)),
    ]
    return "\n".join(lines) + "\n"


def _day(result: Result) -> str:
    return f"{datetime.fromtimestamp(result.ended_at, UTC):%Y-%m-%d}"


def _machine(result: Result) -> str:
    return result.machine_class or result.machine


def _numbers(result: Result, measured: Measurement) -> Iterator[tuple[str, str]]:
    """Yield the numbers of a row."""
    yield "samples/s", _interval(measured.throughput)
    yield "over its baseline", f"{_interval(measured.speedup)} times, {measured.verdict}"
    late = (
        f"p99 {measured.latency_p99_ms:.2f}"
        if measured.latency_samples >= 1000
        else f"max {measured.latency_max_ms:.2f}"
    )
    yield "a batch, in ms", f"p50 {measured.latency_p50_ms:.2f}, p90 {measured.latency_p90_ms:.2f}, {late}"
    yield "batch", str(result.settings.get("batch_size"))
    if result.rss_peak_mib is not None:
        yield "peak memory", f"{result.rss_peak_mib:.0f} MiB"
    found = result.accuracy
    if found is None:
        return
    if found.delta_pp is not None and found.delta_low_pp is not None and found.delta_high_pp is not None:
        interval = f"{found.delta_pp:+.2f} ({found.delta_low_pp:+.2f} … {found.delta_high_pp:+.2f})"
        gate = f"{found.gate or 'no gate'}{'' if found.gate_certain else ', uncertain'}"
        yield "accuracy against fp32, in points", f"{interval}, {gate}, on {found.samples} samples"
    if found.agreement_top1 is not None:
        yield "answers of fp32", f"{found.agreement_top1:.1%}"
    if found.sqnr_db is not None:
        yield "SQNR of the outputs", f"{found.sqnr_db:.1f} dB"


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.4g} ({estimate.low:.4g} … {estimate.high:.4g})"


def _limits(result: Result, notes: Sequence[str]) -> Iterator[str]:
    """Yield what the numbers do not say."""
    yield f"The speed on another machine than {_machine(result)}, beside other work, or with another batch."
    if result.settings.get("data.name") in ("synthetic", "digits", "sentences", "questions"):
        yield f"The accuracy on your data: it was computed on data={result.settings['data.name']}."
    if result.accuracy_failure:
        yield f"The accuracy: {result.accuracy_failure}."
    elif result.accuracy is None or result.accuracy.delta_pp is None:
        yield "The accuracy on labels: the data had none, or the outputs are no classes."
    yield from result.notes
    yield from notes
