"""Which runs share a block."""

from __future__ import annotations

import pytest

from runner.errors import ConfigurationError
from runner.planning.blocks import group
from runner.planning.plans import make_plans

pytestmark = pytest.mark.usefixtures("hydra_context")


@pytest.mark.parametrize(
    ("jobs", "blocks"),
    [
        ([["backend=ort"], ["backend=openvino"], ["backend=torch", "precision=bf16"]], [[0, 1, 2]]),
        ([["model=resnet18"], ["model=resnet50"], ["model=resnet18", "backend=ort"]], [[0, 2], [1]]),
        ([["backend=ort"], ["backend=ort", "measure=quick"]], [[0], [1]]),
        ([["backend=ort"], ["backend=ort", 'baseline=["backend=openvino"]']], [[0], [1]]),
        ([["backend=ort", "aa=2"]], [[0], [1]]),  # the runs of a calibration are independent of one another
        ([["+experiments/rand2025=02_batch_8"], ["+experiments/rand2025=14_openvino_int8"]], [[0, 1]]),
    ],
)
def test_runs_of_one_model_and_one_baseline_share_a_block(jobs, blocks):
    """In the order of the first of each block; rows of a table differ in their names only."""
    plans = make_plans(jobs)
    waiting, found = list(range(len(plans))), []
    while waiting:
        found.append(group(plans, waiting))
        waiting = [number for number in waiting if number not in found[-1]]
    assert found == blocks


@pytest.mark.parametrize(
    "words", [["tracking=none", "tracking=mlflow"], ["budget=1h", "budget=2h"], ["wait=true", "wait=false"]]
)
def test_fields_of_the_session_have_one_value(words):
    """They would be taken from the first run, without a word."""
    with pytest.raises(ConfigurationError) as raised:
        make_plans([[word] for word in words])
    [mistake] = raised.value.mistakes
    assert mistake.field == words[0].partition("=")[0]
    assert mistake.allowed == "one value for the whole command"
