"""The words of runner find."""

from __future__ import annotations

import pytest

from runner.errors import ConfigurationError
from runner.searching.words import parse


def test_goal_bounds_and_budget_are_taken_off_the_line():
    words = [
        "model=resnet50",
        "goal=latency_p50_ms",
        "rss_peak_mib<=2000",
        "budget=2h",
        "space=wide",
        "backend=ort,torch",
    ]
    request = parse(words)
    assert (request.goal, request.budget_s, request.space) == ("latency_p50_ms", 7200, "wide")
    assert [str(bound) for bound in request.bounds] == ["rss_peak_mib<=2000MiB"]
    assert request.overrides == ("model=resnet50", "backend=ort,torch")
    assert not request.maximises


def test_bounds_as_a_list():
    """As a file has them: Hydra cannot read a bare one."""
    request = parse(["bound=['latency_p99_ms<=40', 'accuracy_drop<=1%']"])
    assert [str(bound) for bound in request.bounds] == ["latency_p99_ms<=40ms", "accuracy_drop<=1%"]


def test_the_words_of_a_request_ask_for_it_again():
    request = parse(["goal=load_s", "throughput>=10", "budget=90s", "confirm=quick", "model=resnet18"])
    assert parse(request.words()) == request


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("goal=thruput", "Did you mean throughput?"),
        ("budget=soon", "a duration such as 30m"),
        ("budget=0s", "a duration such as 30m"),
        ("confirm=publsh", "Did you mean publish?"),
        ("goal=accuracy_drop", "goal: received 'accuracy_drop'"),
        ("ablate=true", "a search ends in an ablation of its winner"),
        ("measure=check", "a search measures"),
    ],
)
def test_mistakes(word, message):
    with pytest.raises(ConfigurationError, match=message.replace("?", r"\?")):
        parse([word])


def test_all_mistakes_are_reported_together():
    with pytest.raises(ConfigurationError) as raised:
        parse(["goal=x", "latency<=3", "budget=y", "throughput>=2", "throughput<=1"])
    assert [mistake.field for mistake in raised.value.mistakes] == ["bound", "goal", "budget", "bounds"]
