"""The figure of a table: labels of crowded points stay apart."""

from __future__ import annotations

import itertools

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from runner.reporting.figure import _label


@pytest.mark.parametrize("spread", [0.0, 0.5, 3.0])
def test_labels_of_crowded_points_stay_apart(spread):
    """Sixteen points at one height, some at one place: no label covers another, and all are inside."""
    mpl.use("agg")
    figure = Figure(figsize=(9, 4))
    renderer = FigureCanvasAgg(figure).get_renderer()
    axes = figure.subplots()
    points = [(50 + spread * number, 100.0) for number in range(16)]
    axes.set(xlim=(0, 200), ylim=(90, 101))
    figure.draw_without_rendering()
    _label(axes, points, [f"{number:02d}" for number in range(16)], renderer)
    boxes = [Text.get_window_extent(text, renderer) for text in axes.texts]
    assert len(boxes) == 16
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    inside = axes.get_window_extent()
    assert all(inside.contains(*box.min) and inside.contains(*box.max) for box in boxes)
