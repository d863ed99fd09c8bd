"""The part of a sweep that one machine of several measures: ``shard=2/8``, counted from 0.

Every machine composes the whole command and cuts it alike, so that nothing has to be agreed on. Rows of one model and
one baseline stay together where there are enough of them, because they share artifacts and the baseline's processes.
"""

from __future__ import annotations

import heapq
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from runner.errors import ConfigurationError, Mistake
from runner.planning.blocks import group
from runner.planning.resume import Command
from runner.results.plan import Plan

FIELD = "shard"
AUTO = "auto"
PATTERN = re.compile(rf"(\d+|{AUTO})/(\d+)")
ARRAYS = ("SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX")
"""Variables with the number of a job in its array: SLURM's and Kubernetes'."""


@dataclass(frozen=True)
class Shard:
    """One of several parts of a sweep."""

    index: int
    """From 0."""
    count: int

    def __str__(self) -> str:
        """Return it as the setting is written."""
        return f"{self.index}/{self.count}"


def parse(text: str, variables: Mapping[str, str]) -> Shard:
    """Return the shard that a setting names.

    Args:
        text: ``2/8``, or ``auto/8`` for the job's number in an array.
        variables: of the environment.

    Raises:
        ConfigurationError: it is none, or the environment does not say which.
    """
    found = PATTERN.fullmatch(text.strip())
    if found is None or int(found[2]) < 1:
        raise _mistake(text, "I/N with I from 0 to N - 1, such as 2/8; auto/N in the array of a scheduler")
    count = int(found[2])
    index = _array_index(text, variables) if found[1] == AUTO else int(found[1])
    if index >= count:
        raise _mistake(text, f"from 0/{count} to {count - 1}/{count}" + (f"; this job is {index}" * (found[1] == AUTO)))
    return Shard(index, count)


def _array_index(text: str, variables: Mapping[str, str]) -> int:
    """Return the job's number in its array.

    It is taken as it is, also if the array begins with another number than 0: a job that is submitted again alone must
    have the part that it had.

    Raises:
        ConfigurationError: this is no job of an array, or the numbers of a whole array are not those of the parts.
    """
    numbers = {name: int(value) for name, value in variables.items() if value.isdecimal()}
    count = int(text.rpartition("/")[2])
    if numbers.get("SLURM_ARRAY_TASK_COUNT") == count and numbers.get("SLURM_ARRAY_TASK_MAX") != count - 1:
        raise _mistake(text, f"in an array that is numbered from 0: sbatch --array=0-{count - 1}")
    for name in ARRAYS:
        if name in numbers:
            return numbers[name]
    raise _mistake(text, f"in a job that has {' or '.join(ARRAYS)}; elsewhere such as 0/8")


def _mistake(text: str, allowed: str) -> ConfigurationError:
    return ConfigurationError([Mistake(FIELD, text, allowed)])


def with_number(command: Command) -> Command:
    """Return a command whose shard has a number: that of ``auto`` is of this job, and a resumed sweep keeps it.

    Raises:
        ConfigurationError: its shard is none.
    """
    text = command.value(FIELD)
    return command if text in (None, "", "null") else command.with_value(FIELD, str(parse(str(text), os.environ)))


def cut(plans: Sequence[Plan], shard: Shard) -> list[Plan]:
    """Return the runs of a shard, each with its place in the whole sweep; none if there are more shards than runs.

    A piece is a block, or a part of one where blocks are larger than a shard's share. The longest pieces go first, each
    to the shard with the fewest runs.

    Args:
        plans: of all runs of the sweep, in order.
        shard: which part.
    """
    pieces = sorted(_pieces(plans, shard.count), key=lambda piece: (-len(piece), piece[0]))
    loads = [(0, index) for index in range(shard.count)]
    own: list[int] = []
    for piece in pieces:
        load, index = heapq.heappop(loads)
        heapq.heappush(loads, (load + len(piece), index))
        own += piece if index == shard.index else []
    return [replace(plans[number], place=number + 1) for number in sorted(own)]


def _pieces(plans: Sequence[Plan], count: int) -> Iterator[list[int]]:
    """Yield runs that are measured together, at most a shard's share of all runs."""
    share = -(-len(plans) // count)
    waiting = list(range(len(plans)))
    while waiting:
        block = group(plans, waiting)
        parts = -(-len(block) // share)
        for part in range(parts):
            yield block[part * len(block) // parts : (part + 1) * len(block) // parts]
        inside = set(block)
        waiting = [number for number in waiting if number not in inside]
