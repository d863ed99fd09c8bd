"""How a sweep is cut for several machines."""

from __future__ import annotations

import pytest

from runner.errors import ConfigurationError
from runner.fleet.shards import Shard, cut, parse, with_number
from runner.planning.plans import make_plans
from runner.planning.resume import Command

BLOCKS = [
    *(
        [f"model={model}", f"backend={one}"]
        for one in ("torch", "ort", "openvino")
        for model in ("resnet18", "resnet50")
    ),
    ["model=distilbert"],
]
"""Two blocks of three rows, one after the other in turn, and one of a single row."""


THREADING = ("default", "one_thread", "physical_cores")


@pytest.fixture
def plans(hydra_context):
    return make_plans(BLOCKS)


@pytest.mark.parametrize("count", range(1, 10))
def test_every_run_is_in_one_shard(plans, count):
    """Whatever the number of shards; their sizes differ by no more than a piece."""
    shards = [cut(plans, Shard(index, count)) for index in range(count)]
    assert sorted(plan.place for shard in shards for plan in shard) == list(range(1, 8))
    sizes = [len(shard) for shard in shards]
    assert max(sizes) <= -(-7 // count) + 1
    assert all(plan.label == plans[plan.place - 1].label for shard in shards for plan in shard)


def test_rows_of_a_block_stay_together(plans):
    """With as many shards as blocks, each has one; the longest come first."""
    shards = [cut(plans, Shard(index, 3)) for index in range(3)]
    assert [[plan.place for plan in shard] for shard in shards] == [[1, 3, 5], [2, 4, 6], [7]]


def test_a_single_block_is_cut(hydra_context):
    """Six rows of one baseline, on two and on eight machines; two of these have nothing to do."""
    plans = make_plans([[f"backend={one}", f"threading={two}"] for one in ("ort", "openvino") for two in THREADING])
    assert [len(cut(plans, Shard(index, 2))) for index in range(2)] == [3, 3]
    assert [len(cut(plans, Shard(index, 8))) for index in range(8)] == [1] * 6 + [0, 0]


SLURM = {"SLURM_ARRAY_TASK_ID": "3"}


@pytest.mark.parametrize(
    ("text", "variables", "index"),
    [
        ("2/8", {}, 2),
        ("auto/8", {"SLURM_ARRAY_TASK_ID": "3"}, 3),
        ("auto/8", {**SLURM, "SLURM_ARRAY_TASK_MAX": "7", "SLURM_ARRAY_TASK_COUNT": "8"}, 3),
        ("auto/8", {**SLURM, "SLURM_ARRAY_TASK_MAX": "3", "SLURM_ARRAY_TASK_COUNT": "1"}, 3),  # submitted again alone
        ("auto/8", {"JOB_COMPLETION_INDEX": "7"}, 7),
    ],
)
def test_which_shard(text, variables, index):
    """By its number, or by the job's number in its array."""
    assert parse(text, variables) == Shard(index, 8)


@pytest.mark.parametrize(
    ("text", "variables", "allowed"),
    [
        ("8/8", {}, "from 0/8 to 7/8"),
        ("3", {}, "I/N with I from 0 to N - 1"),
        ("0/0", {}, "I/N with I from 0 to N - 1"),
        ("-1/4", {}, "I/N with I from 0 to N - 1"),
        ("auto/8", {}, "in a job that has SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX"),
        ("auto/2", {"JOB_COMPLETION_INDEX": "2"}, "from 0/2 to 1/2; this job is 2"),
        ("auto/8", {**SLURM, "SLURM_ARRAY_TASK_MAX": "8", "SLURM_ARRAY_TASK_COUNT": "8"}, "sbatch --array=0-7"),
        ("auto/4", {**SLURM, "SLURM_ARRAY_TASK_MAX": "6", "SLURM_ARRAY_TASK_COUNT": "4"}, "sbatch --array=0-3"),
    ],
)
def test_no_shard(text, variables, allowed):
    """One line, with what is allowed."""
    with pytest.raises(ConfigurationError) as raised:
        parse(text, variables)
    [mistake] = raised.value.mistakes
    assert (mistake.field, mistake.received) == ("shard", text)
    assert allowed in mistake.allowed


def test_a_resumed_shard_is_that_of_its_job(monkeypatch):
    """`auto` becomes a number, so that a job resumes its own part and no other."""
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    one = with_number(Command(["backend=ort", "shard=auto/2"]))
    assert one.value("shard") == "1/2"
    assert not one.measures_as(with_number(Command(["backend=ort", "shard=0/2"])))
    assert with_number(Command(["backend=ort"])).value("shard") is None
