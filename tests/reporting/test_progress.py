"""What a batch job's log shows: one plain line per finished run."""

from __future__ import annotations

import io

from rich.console import Console

from runner.analysis.statistics import Estimate, Verdict
from runner.reporting.progress import Progress
from runner.results.result import Measurement, Result
from runner.results.status import Status

MEASURED = Measurement(
    throughput=Estimate(181.26, 180.4, 182.1),
    baseline_throughput=Estimate(27.6, 27.0, 28.0),
    speedup=Estimate(6.571, 6.46, 6.68),
    verdict=Verdict.faster,
    rounds=8,
    latency_p50_ms=43.7,
    latency_p90_ms=45.0,
    latency_p99_ms=51.8,
    latency_samples=88,
    round_throughput=[],
    noise_floor=0.02,
)


def result(label: str, status: Status = Status.ok, reason: str = "", measurement: Measurement | None = None) -> Result:
    """Return a result of which only these parts matter."""
    return Result(label=label, status=status, reason=reason, fingerprint="", settings={}, measurement=measurement)


def shown(*ends: tuple[Result, bool, float | None]) -> list[str]:
    """Return the lines of a sweep of three runs on a console that is no terminal."""
    console = Console(file=io.StringIO(), width=80)
    with Progress(console, 3) as progress:
        for number, (one, reused, left_s) in enumerate(ends):
            progress.begin([number], [one.label], left_s)
            progress.phase("warm up")
            progress.round(1, 5, 1, 2)
            progress.end(number, one, reused=reused, left_s=left_s)
    return console.file.getvalue().splitlines()


def test_a_line_per_finished_run():
    """Number, label, status, speedup with interval, verdict and time left; a reason instead of numbers."""
    assert shown(
        (result("ort int8", measurement=MEASURED), False, 250.0),
        (result("ort bf16", Status.unsupported, "no bf16 arithmetic on x86"), False, 125.0),
        (result("torch fp32", measurement=MEASURED), True, 125.0),
    ) == [
        "[1/3] ort int8: ok, 181.3 samples/s, 6.57× (6.46 … 6.68) the baseline, faster, about 4 min left",
        "[2/3] ort bf16: unsupported, no bf16 arithmetic on x86, about 2 min left",
        "[3/3] torch fp32: ok, reused, 181.3 samples/s, 6.57× (6.46 … 6.68) the baseline, faster",
    ]


def test_a_label_is_not_markup_and_is_never_folded():
    """However long it is, whatever brackets it holds."""
    label = "ViT [/int8] [red]" + "x" * 200
    assert shown((result(label, measurement=MEASURED), False, None))[0].startswith(f"[1/3] {label}: ok, ")


def test_a_full_disk_behind_standard_output_ends_only_the_progress(capsys):
    """It is reported once, on standard error."""

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    with Progress(Console(file=Full()), 2) as progress:
        for number in range(2):
            progress.end(number, result("one"), reused=False, left_s=None)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("no further progress is shown: ")


def test_provisional_speedups_are_marked_and_end_with_their_block():
    """On a terminal, after each replicate, without an interval; a run without a number has no line."""
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    with Progress(console, 3) as progress:
        progress.begin([0, 1], ["ort fp32", "ort int8"], None)
        progress.provisional([("ort fp32", 1.876), ("ort int8", None)])
        progress.round(2, 5, 1, 2)
        drawn = console.file.getvalue()
        assert "replicate 2 of 5, round 1 of 2\n  provisional, without an interval:\n  ort fp32: 1.88×" in drawn
        assert "ort int8: " not in drawn
        console.file.truncate(0)
        progress.begin([2], ["torch fp32"], None)
        assert "provisional" not in console.file.getvalue()
