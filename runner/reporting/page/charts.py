"""The charts of a page, as Vega-Lite specifications (https://vega.github.io/vega-lite/docs/spec.html).

They are plain dictionaries: a page is written after every sweep, and importing a library that makes them would take
longer than everything else. Colours are variables of the page's style, which has a light and a dark scheme.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.analysis.accuracy import GATE
from runner.analysis.statistics import Verdict
from runner.reporting.comparing.pairs import Pair
from runner.reporting.figure import pareto_front
from runner.results.metrics import published
from runner.results.result import Result

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
"""Names the version of the language; nothing loads it."""
ROW_HEIGHT, CHART_HEIGHT, SMALL_HEIGHT = 22, 340, 180
"""Of a row of a chart, of a chart, and of one inside a row, in pixels."""
MEASURED, PUBLISHED, FRONT, GATE_COLOUR = "var(--c1)", "var(--c0)", "var(--c2)", "var(--good)"
LINE, DIM = "var(--line)", "var(--dim)"
LABEL_LIMIT = 260
"""Longest label of an axis, in pixels; the page shortens it on a narrow screen."""
ROWS = "rows"
"""Name of the data of a chart inside a row, which the page's script provides."""
BELOW = {"orient": "bottom", "title": None}

Spec = dict[str, Any]
Values = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Quantity:
    """What a chart shows as accuracy."""

    title: str
    values: list[float | None]
    """One for each row."""
    gate: float | None = None
    """The lowest value that passes the gate; None if there is none, or each row has a threshold of its own."""
    is_gated: bool = False
    """Whether rows have a gate."""


def accuracy_of(results: Sequence[Result]) -> Quantity | None:
    """Return the accuracy that most rows have: against labels, as answers shared with fp32, or as noise."""
    found = [one.accuracy for one in results]
    known = [one for one in found if one is not None and one.delta_pp is not None]
    if known:
        of_tokens = any("perplexity" in one.scores for one in known)
        references = [1.0 if of_tokens else one.reference_top1 or one.scores.get("reference_f1") for one in known]
        lowest = [-(1 - GATE) * 100 * value for value in references if value is not None]
        same = lowest and max(lowest) - min(lowest) < 1e-9
        unit = "% of the likelihood per token" if of_tokens else "percentage points"
        deltas = [one.delta_pp if one else None for one in found]
        return Quantity(f"accuracy against fp32, {unit}", deltas, lowest[0] if same else None, is_gated=bool(lowest))
    shares = [100 * one.agreement_top1 if one and one.agreement_top1 is not None else None for one in found]
    if any(value is not None for value in shares):
        return Quantity("samples with the answer of fp32, %", shares)
    noises = [one.sqnr_db if one else None for one in found]
    return Quantity("signal to noise of the outputs, dB", noises) if any(noises) else None


def speed_and_accuracy(results: Sequence[Result], quantity: Quantity | None, chosen: Result | None) -> Spec | None:
    """Return a point per measured row, the gate's region and the Pareto front; None if no row has both numbers.

    Args:
        results: of all rows.
        quantity: their accuracy.
        chosen: the row of the answer.
    """
    points: list[dict[str, Any]] = [
        {
            "configuration": result.label,
            "samples/s": result.shown.throughput.value,
            "low": result.shown.throughput.low,
            "high": result.shown.throughput.high,
            "speedup": result.shown.speedup.value,
            "accuracy": value,
            "backend": str(result.settings.get("backend.name", "")),
            "gate": str(result.accuracy.gate or "none") if result.accuracy else "none",
            "answer": result is chosen,
            "verdict": str(result.shown.verdict),
        }
        for result, value in zip(results, quantity.values if quantity else [None] * len(results), strict=True)
        if result.shown is not None and value is not None
    ]
    if quantity is None or not points:
        return None
    heights = [float(point["accuracy"]) for point in points]
    margin = 0.15 * max(max(heights) - min(heights), 0.5)
    lowest, highest = min(heights) - margin, max(heights) + margin
    if quantity.gate is not None:
        lowest, highest = min(lowest, quantity.gate - margin), max(highest, quantity.gate + margin)
    speed = "samples per second"
    x = _number("samples/s", speed, zero=True)
    y = _number("accuracy", quantity.title, domain=[lowest, highest], nice=False, zero=False)
    colour = {"field": "backend", "type": "nominal", "legend": BELOW}
    shown = [
        _word("configuration"),
        *(_word(name, form) for name, form in (("samples/s", ".4~g"), ("speedup", ".3~f"))),
        {"field": "accuracy", "type": "quantitative", "format": "+.2f", "title": quantity.title},
        *map(_word, ("gate", "verdict")),
    ]
    sure = [one for one in points if one["verdict"] != Verdict.too_noisy]
    front = [sure[index] for index in pareto_front([(one["samples/s"], one["accuracy"]) for one in sure])]
    layers = [
        _layer(front, {"type": "line", "color": FRONT, "strokeDash": [4, 3]}, x=x, y=y),
        _layer(points, "rule", x=_number("low", speed), x2={"field": "high"}, y=y, color=colour),
        _layer(points, _dot(size=90), x=x, y=y, color=colour, tooltip=shown),
        _layer(
            [one for one in points if one["answer"]],
            {"type": "point", "size": 320, "color": FRONT, "strokeWidth": 2},
            x=x,
            y=y,
            tooltip=shown,
        ),
    ]
    if quantity.gate is not None:
        region = {"type": "rect", "color": GATE_COLOUR, "opacity": 0.13}
        edges = [{"low": quantity.gate, "high": highest}]
        layers.insert(0, _layer(edges, region, y=_number("low", quantity.title), y2={"field": "high"}))
    return _spec({"layer": layers}, CHART_HEIGHT)


def speedups(results: Sequence[Result]) -> Spec | None:
    """Return the speedup of each row with its interval, published ones beside them; None if no row was measured."""
    measured, printed, missing = [], [], []
    for result in results:
        name = {"configuration": result.label}
        if (found := result.shown) is not None:
            numbers = {"speedup": found.speedup.value, "low": found.speedup.low, "high": found.speedup.high}
            measured.append({**name, **numbers, "verdict": str(found.verdict)})
        else:
            missing.append({**name, "status": str(result.status), "speedup": 0})
        value = published(result, "speedup")
        if value is not None:
            printed.append({**name, "published": value, "high": published(result, "speedup_high") or value})
    if not measured:
        return None
    y = _configurations([result.label for result in results])
    times = "times the baseline"
    x = _number("speedup", times, zero=True)
    shown = [_word("configuration"), *(_word(name, ".3~f") for name in ("speedup", "low", "high")), _word("verdict")]
    layers = [_at_one()]
    if printed:
        beside = [_word("configuration"), _word("published", ".3~f")]
        bar = {"type": "rule", "color": PUBLISHED, "strokeWidth": 5}
        layers += [
            _layer(printed, bar, x=_number("published", times), x2={"field": "high"}, y=y),
            _layer(
                printed,
                _dot(size=110, color=PUBLISHED, shape="diamond"),
                x=_number("published", times),
                y=y,
                tooltip=beside,
            ),
        ]
    bar = {"type": "rule", "color": MEASURED, "strokeWidth": 2}
    layers += [
        _layer(measured, bar, x=_number("low", times), x2={"field": "high"}, y=y),
        _layer(measured, _dot(size=70, color=MEASURED), x=x, y=y, tooltip=shown),
    ]
    if missing:
        words = {"type": "text", "align": "left", "dx": 4, "color": DIM}
        layers.append(_layer(missing, words, x=x, y=y, text={"field": "status"}))
    return _spec({"layer": layers}, ROW_HEIGHT * len(results))


def ratios(pairs: Sequence[Pair]) -> Spec | None:
    """Return the ratio of each pair with its interval, in a colour for each later side; None if there is none."""
    points = [
        {"configuration": pair.label, "ratio": ratio.value, "low": ratio.low, "high": ratio.high}
        | {"verdict": pair.verdict, "side": pair.sides[1]}
        for pair in pairs
        if (ratio := pair.ratio) is not None
    ]
    if not points:
        return None
    order = list(dict.fromkeys(str(point["configuration"]) for point in points))
    several = len({point["side"] for point in points}) > 1
    change = "speed after ÷ speed before"
    x = _number("ratio", change, zero=False)
    colour = {"field": "side", "type": "nominal", "legend": BELOW if several else None}
    place = {"y": _configurations(order), "yOffset": {"field": "side", "type": "nominal"}, "color": colour}
    numbers = (_word(name, ".4~f") for name in ("ratio", "low", "high"))
    shown = [_word("configuration"), *numbers, _word("verdict"), _word("side")]
    layers = [
        _at_one(),
        _layer(points, {"type": "rule", "strokeWidth": 2}, x=_number("low", change), x2={"field": "high"}, **place),
        _layer(points, _dot(size=70), x=x, tooltip=shown, **place),
    ]
    return _spec({"layer": layers}, ROW_HEIGHT * max(len(order), len(points)))


def rounds() -> Spec:
    """Return the speedup in each round of one row, of the data named `ROWS`."""
    state = {"calculate": "datum.contaminated ? 'contaminated' : 'clean'", "as": "state"}
    encoding = {
        "x": _number("round", "round", zero=False) | {"axis": {"tickMinStep": 1}},
        "y": _number("ratio", "speedup", zero=False),
        "color": {"field": "replicate", "type": "nominal", "legend": {"orient": "bottom"}},
        "shape": {"field": "state", "type": "nominal", "legend": BELOW},
        "tooltip": [_word("round"), _word("replicate"), _word("ratio", ".4~f"), _word("contaminated")],
    }
    return _spec(
        {"data": {"name": ROWS}, "transform": [state], "mark": _dot(size=60), "encoding": encoding}, SMALL_HEIGHT
    )


def batch_times() -> Spec:
    """Return the distribution of the batch times of one row, of the data named `ROWS`."""
    encoding = {
        "x": _number("from", "milliseconds per batch", zero=False) | {"bin": "binned"},
        "x2": {"field": "to"},
        "y": _number("batches", "batches"),
        "tooltip": [_word("from", ".3~f"), _word("to", ".3~f"), _word("batches", "d")],
    }
    mark = {"type": "bar", "color": MEASURED}
    return _spec({"data": {"name": ROWS}, "mark": mark, "encoding": encoding}, SMALL_HEIGHT)


def _number(field: str, title: str, **scale: Any) -> Spec:
    """Return a position by a number. Layers that share an axis give it the same title, and one of them its scale."""
    return {"field": field, "type": "quantitative", "title": title} | ({"scale": scale} if scale else {})


def _word(field: str, form: str | None = None) -> Spec:
    """Return a line of a tooltip."""
    return {"field": field, "type": "quantitative", "format": form} if form else {"field": field, "type": "nominal"}


def _configurations(order: Sequence[str]) -> Spec:
    """Return a position by configuration, in the order of the rows."""
    scale, axis = {"domain": list(order)}, {"labelLimit": LABEL_LIMIT, "title": None}
    return {"field": "configuration", "type": "nominal", "sort": list(order), "scale": scale, "axis": axis}


def _dot(**style: Any) -> Spec:
    return {"type": "point", "filled": True, "opacity": 1, **style}


def _at_one() -> Spec:
    """Return the line at 1, where nothing changes."""
    return {"data": {"values": [{}]}, "mark": {"type": "rule", "color": LINE}, "encoding": {"x": {"datum": 1}}}


def _layer(values: Values, mark: Spec | str, **encoding: Any) -> Spec:
    return {"data": {"values": list(values)}, "mark": mark, "encoding": encoding}


def _spec(content: Spec, height: int) -> Spec:
    """Return a chart as wide as its place."""
    size = {"width": "container", "height": height, "autosize": {"type": "fit-x", "contains": "padding"}}
    return {"$schema": SCHEMA, **size, **content}
