"""The figure of a table: published and measured speedups side by side, and throughput versus accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.results.metrics import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]
PUBLISHED, MEASURED, FRONT = "#b0b7c3", "#2f6db5", "#d1495b"


def draw(rows: Sequence[Row], title: str, folder: Path) -> list[Path]:
    """Draw a table's rows into figure.png and figure.svg.

    Args:
        rows: as :func:`runner.results.metrics.row` returns them.
        title: of the figure.
        folder: for the files.

    Returns:
        The paths of both files; empty if no row was measured.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    if not any(number(row, "speedup") is not None for row in rows):
        return []
    # Deterministic files with searchable text.
    with mpl.rc_context({"svg.hashsalt": "runner", "svg.fonttype": "none"}):
        figure, (bars, cloud) = plt.subplots(1, 2, figsize=(15, 0.42 * len(rows) + 2.4), layout="constrained")
        _draw_speedups(bars, rows)
        _draw_accuracy(cloud, rows)
        figure.suptitle(title)
        files = [folder / "figure.png", folder / "figure.svg"]
        figure.savefig(files[0], dpi=110, metadata={"Software": None})
        figure.savefig(files[1], metadata={"Date": None})
        plt.close(figure)
    return files


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the Pareto-optimal points.

    No other point is better in one coordinate and at least equal in the other.

    Args:
        points: pairs of which both coordinates are to be large.

    Returns:
        Indices, in descending order of the first coordinate.
    """
    order = sorted(range(len(points)), key=lambda index: (-points[index][0], -points[index][1]))
    front: list[int] = []
    best = -math.inf
    for index in order:
        if points[index][1] > best:
            front.append(index)
            best = points[index][1]
    return front


def _draw_speedups(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw a pair of bars per row; a row without a number shows its status instead."""
    for place, row in enumerate(rows):
        published, measured = number(row, "published_speedup"), number(row, "speedup")
        if published is not None:
            axes.barh(place - 0.2, published, 0.38, color=PUBLISHED, label="published")
            width = (number(row, "published_speedup_high") or published) - published
            axes.barh(place - 0.2, width, 0.38, left=published, color=PUBLISHED, alpha=0.5)
        if measured is None:
            axes.text(0.05, place + 0.2, str(row.get("tags.status")), va="center", fontsize=8, color=FRONT)
            continue
        low, high = number(row, "speedup_ci_low"), number(row, "speedup_ci_high")
        assert low is not None
        assert high is not None
        whiskers = [[measured - low], [high - measured]]
        axes.barh(place + 0.2, measured, 0.38, color=MEASURED, label="measured", xerr=whiskers, ecolor="black")
        axes.text(high + 0.1, place + 0.2, f"{measured:.2f}×", va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [_name(row, place) for place, row in enumerate(rows)])
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("speedup over the baseline (whiskers: 95 % interval)")
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    axes.legend(unique.values(), unique.keys(), loc="upper right")


def _draw_accuracy(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw a point per measured row, and connect the Pareto front."""
    accuracy = "accuracy_top1" if any(number(row, "accuracy_top1") is not None for row in rows) else "agreement_top1"
    marks, points = [], []
    for place, row in enumerate(rows):
        speed, quality = number(row, "throughput"), number(row, accuracy)
        if speed is not None and quality is not None:
            marks.append(_name(row, place).split()[0])
            points.append((speed, 100 * quality))
    front = pareto_front(points)
    axes.scatter(*zip(*points, strict=True), color=MEASURED, zorder=3) if points else None
    for point, mark in zip(points, marks, strict=True):
        axes.annotate(mark, point, textcoords="offset points", xytext=(4, 4), fontsize=8)
    best = zip(*(points[index] for index in front), strict=True)
    axes.plot(*best, color=FRONT, marker="o", markerfacecolor="none", markersize=11, label="Pareto front")
    axes.set_xlabel("throughput, samples/s")
    axes.set_ylabel("top-1, %" if accuracy == "accuracy_top1" else "agreement with fp32, %")
    axes.set_ylim(top=min(axes.get_ylim()[1], 100.5))
    axes.legend(loc="lower left")


def _name(row: Row, place: int) -> str:
    """Return a row's label, with its number in front if it does not start with one."""
    name = str(row.get("tags.label"))
    return name if name[:1].isdigit() else f"{place + 1} {name}"
