"""The figure of a table: published and measured speedups side by side, and throughput versus accuracy."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.results.metrics import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase

Row = Mapping[str, Any]
PUBLISHED, MEASURED, FRONT = "#b0b7c3", "#2f6db5", "#d1495b"
WIDTH_INCHES, ROW_INCHES = 9.0, 0.4
"""Of the figure, and of a row of its bars: at the width of a README its text has the size of the text around it."""
POINT_PIXELS = 4.0
"""Half of the width of a point, at the resolution in which labels are placed."""
LABEL_GAP_PIXELS = 2.0
"""Between two labels."""
NAME_WIDTH = 44
"""Longest line of a row's name, in characters."""
OFFSETS = [
    (distance * math.cos(math.radians(angle)), distance * math.sin(math.radians(angle)))
    for distance in range(11, 90, 6)
    for angle in (45, 135, -45, -135, 0, 90, 180, -90)
]
"""Places of a label around its point, in typographic points, the nearest first."""


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
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    if not any(number(row, "speedup") is not None for row in rows):
        return []
    bars_high, cloud_high = ROW_INCHES * len(rows) + 1.2, 4.2
    # Deterministic files with searchable text.
    with mpl.rc_context({"svg.hashsalt": "runner", "svg.fonttype": "none", "font.size": 10}):
        figure, (bars, cloud) = plt.subplots(
            2,
            1,
            figsize=(WIDTH_INCHES, bars_high + cloud_high),
            height_ratios=[bars_high, cloud_high],
            layout="constrained",
        )
        figure.suptitle(textwrap.fill(title, 90))
        _draw_speedups(bars, rows)
        points, marks = _draw_accuracy(cloud, rows)
        figure.draw_without_rendering()  # places the axes, which the labels need
        figure.set_layout_engine("none")
        _label(cloud, points, marks, FigureCanvasAgg(figure).get_renderer())  # type: ignore[no-untyped-call]  # it has no types
        files = [folder / "figure.png", folder / "figure.svg"]
        figure.savefig(files[0], dpi=150, metadata={"Software": None})
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
    axes.set_yticks(range(len(rows)), [textwrap.fill(_name(row, place), NAME_WIDTH) for place, row in enumerate(rows)])
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("speedup over the baseline (whiskers: 95 % interval)")
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    axes.set_xlim(right=1.08 * axes.get_xlim()[1])
    axes.legend(unique.values(), unique.keys(), loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)


def _draw_accuracy(axes: Axes, rows: Sequence[Row]) -> tuple[list[tuple[float, float]], list[str]]:
    """Draw a point per measured row, and connect the Pareto front; return the points and the rows' numbers."""
    accuracy = "accuracy_top1" if any(number(row, "accuracy_top1") is not None for row in rows) else "agreement_top1"
    marks, points = [], []
    for place, row in enumerate(rows):
        speed, quality = number(row, "throughput"), number(row, accuracy)
        if speed is not None and quality is not None:
            marks.append(_name(row, place).split()[0])
            points.append((speed, 100 * quality))
    front = pareto_front(points)
    axes.scatter(*zip(*points, strict=True), color=MEASURED, zorder=3) if points else None
    best = zip(*(points[index] for index in front), strict=True)
    axes.plot(*best, color=FRONT, marker="o", markerfacecolor="none", markersize=11, label="Pareto front")
    axes.margins(0.08)
    axes.set_ylim(top=min(axes.get_ylim()[1], 100 + 0.08 * (100 - axes.get_ylim()[0])))
    axes.set_xlabel("throughput, samples/s (numbers: rows)")
    axes.set_ylabel("top-1, %" if accuracy == "accuracy_top1" else "agreement with fp32, %")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    return points, marks


def _label(axes: Axes, points: Sequence[tuple[float, float]], marks: Sequence[str], renderer: RendererBase) -> None:
    """Write each mark beside its point, at the nearest place where it covers no other mark and no point.

    Args:
        axes: with the points, in their final place.
        points: in data coordinates.
        marks: one for each point.
        renderer: that measures texts.
    """
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    where = [tuple(map(float, axes.transData.transform(point))) for point in points]
    taken = [Bbox.from_bounds(x - POINT_PIXELS, y - POINT_PIXELS, 2 * POINT_PIXELS, 2 * POINT_PIXELS) for x, y in where]
    inside = axes.get_window_extent()
    for point, mark in zip(points, marks, strict=True):
        text = axes.annotate(
            mark,
            point,
            textcoords="offset points",
            xytext=(0, 0),
            fontsize=9,
            ha="center",
            va="center",
            arrowprops={"arrowstyle": "-", "linewidth": 0.6, "color": "#7a828c", "shrinkA": 0, "shrinkB": 3},
        )
        box = inside
        for offset in OFFSETS:
            text.set_position(offset)
            text.update_positions(renderer)
            box = Text.get_window_extent(text, renderer)  # without its line to the point
            fits = all((inside.contains(*box.min), inside.contains(*box.max)))
            if fits and not any(box.overlaps(other) for other in taken):
                break
        taken.append(box.padded(LABEL_GAP_PIXELS))


def _name(row: Row, place: int) -> str:
    """Return a row's label, with its number in front if it does not start with one."""
    name = str(row.get("tags.label"))
    return name if name[:1].isdigit() else f"{place + 1} {name}"
