"""The expected time of remaining runs, and durations as text."""

from types import SimpleNamespace

import pytest

from runner.config.durations import in_words, seconds_of
from runner.planning.eta import Forecast


def plan(backend: str, precision: str):
    """Return a stand-in with the fields of a plan that a forecast reads."""
    named = {name: SimpleNamespace(name=value) for name, value in (("backend", backend), ("precision", precision))}
    return SimpleNamespace(config=SimpleNamespace(model=SimpleNamespace(name="resnet18"), **named))


def test_the_most_similar_runs_determine_the_forecast():
    """Runs of the same backend and precision, else of the same backend, else of the same model."""
    forecast = Forecast()
    assert forecast.expect(plan("ort", "int8")) is None
    assert forecast.expect_all([plan("ort", "int8")]) is None
    forecast.note(plan("ort", "int8"), 100)
    forecast.note(plan("ort", "int8"), 60)
    forecast.note(plan("ort", "fp32"), 20)
    assert forecast.expect(plan("ort", "int8")) == 80
    assert forecast.expect(plan("ort", "bf16")) == 60
    assert forecast.expect(plan("torch", "fp32")) == 60
    assert forecast.expect_all([plan("ort", "fp32"), plan("ort", "int8")]) == 100
    assert forecast.expect_all([]) == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("1h 30m", 5400), ("45s", 45), ("0.5h", 1800)]
    + [(text, None) for text in ("", "0s", "2", "h", "2 days", "-1h", "30m1h")],
)
def test_parsing_durations(text, seconds):
    """None for a text that is not a duration, or zero."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("seconds", "words"), [(12.3, "12 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (7500, "2 h 05 min")]
)
def test_formatting_durations(seconds, words):
    """Seconds below 90 s, minutes above."""
    assert in_words(seconds) == words
