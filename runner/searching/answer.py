"""What a search found, in sentences and as JSON: the winner, its bounds, what was seen, what may have been missed."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runner.analysis.statistics import Estimate, Verdict, geometric_mean, judge
from runner.config.durations import in_words
from runner.reporting.answer import paired_logs
from runner.results.result import Result
from runner.results.status import Status
from runner.searching import surrogate
from runner.searching.bounds import QUANTITIES, Bound, Met
from runner.searching.quantities import PERCENTILES, binomial_interval, estimate
from runner.searching.quantities import judge as judge_bound
from runner.searching.race import UNDECIDED
from runner.searching.race import in_words as with_unit
from runner.searching.search import Search

FILE = "search.json"
STAMPS = "stamps_ns.npz"
NEAR = 1.03
"""What counts as clearly better: 3 %."""
MAX_FRONT = 5
"""Rows of the Pareto front that are named."""


def lines(search: Search, made: dict[int, Result], folder: Path, spent_s: float) -> list[str]:
    """Return the answer in a few lines, and write search.json into the folder.

    Args:
        search: after it has run.
        made: results by the numbers of their plans.
        folder: of the sweep.
        spent_s: wall time so far, in seconds.
    """
    facts: dict[str, Any] = _facts(search, made, spent_s)
    found = [*_seen(search, made, spent_s)]
    confirmed = _confirmed(search, made)
    batches = {number: stored_batches_ms(search.folder_of(number)) for number in confirmed}
    judged = {number: _bounds(search.request.bounds, made[number], batches[number]) for number in confirmed}
    facts["confirmed"] = [_row(search, made[number], judged[number]) for number in confirmed]
    keeping = [number for number in confirmed if Met.broken not in judged[number].values()]
    if keeping:
        facts["winner"] = _row(search, made[keeping[0]], judged[keeping[0]])
        found += [*_front(search, made), *_parts(search, made), *_sure(search, facts)]
        found.append("answer: " + "; ".join(_winner(search, keeping, made, judged[keeping[0]], batches[keeping[0]])))
    elif (survivors := search.ranked()) and not confirmed:
        best = made[survivors[0]]
        found.append(
            f"answer: {best.label} leads the races so far, at {_times(best)} the baseline; it was not confirmed within "
            "the budget: runner resume continues"
        )
    else:
        found.append("answer: " + _nearest_miss(search, made))
    try:
        (folder / FILE).write_text(json.dumps(facts, indent=2), encoding="utf-8")
    except OSError as error:  # a full disk: the sentences are printed in any case
        found.append(f"{FILE} could not be written: {error}")
    return found


def _confirmed(search: Search, made: dict[int, Result]) -> list[int]:
    """Return the confirmed rows that were measured, the best by the goal first."""
    numbers = [one for one in search.progression.confirmed if one in made and made[one].shown is not None]
    request = search.request

    def merit(number: int) -> float:
        found = estimate(request.goal, made[number])
        value = found.value if found else -math.inf
        return value if request.maximises else -value

    return sorted(numbers, key=merit, reverse=True)


def _winner(
    search: Search, keeping: Sequence[int], made: dict[int, Result], judged: dict[Bound, Met], batches: Sequence[float]
) -> Iterator[str]:
    """Yield what to take, what it shows for each bound, by how much it beats the runner-up, and what is not known.

    Args:
        search: after it has run.
        keeping: confirmed rows that break no bound, the best first.
        made: results by the numbers of their plans.
        judged: what the best shows for each bound.
        batches: milliseconds of each batch of the best.
    """
    request, best = search.request, keeping[0]
    metric, value = QUANTITIES[request.goal], estimate(request.goal, made[best])
    label = made[best].label.removesuffix(", confirmed")
    assert value is not None
    name = request.goal.removesuffix("_" + metric.unit.lower()).replace("_", " ")
    yield f"take {label}: {name} {with_unit(value, metric.scale, metric.shown_unit)}, {_times(made[best])} the baseline"
    for bound, state in judged.items():
        shown = _shown_bound(bound, made[best], batches)
        more = _would_decide(bound, made[best], batches) if state is Met.uncertain else ""
        yield f"{bound} is {state} ({shown}){more}"
    if search.progression.preset != request.confirm:
        yield f"confirmed with measure={search.progression.preset}: {request.confirm} would have exceeded the budget"
    if len(keeping) > 1:
        yield _against(request.goal, made[best], made[keeping[1]])
    if made[best].settings.get("weights.name") in ("probe", "random"):
        yield f"not known: what it costs trained weights (these are weights={made[best].settings['weights.name']})"


def _against(goal: str, best: Result, other: Result) -> str:
    """Return by how much the winner beats the runner-up, paired within the replicates of the confirmation."""
    label = other.label.removesuffix(", confirmed")
    mine, others = best.shown, other.shown
    logs = paired_logs(mine, others) if mine and others else None
    if logs is None or goal not in ("throughput", "tokens_per_s"):
        return f"the runner-up is {label}"
    ratio = geometric_mean([one - two for one, two in zip(*logs, strict=True)])
    words = f"{ratio.value:.2f}× ({ratio.low:.2f} … {ratio.high:.2f}), side by side"
    floor = max(mine.noise_floor, others.noise_floor) if mine and others else 0.0
    if judge(ratio, floor) is Verdict.faster:
        return f"it beats the runner-up, {label}, by {words}"
    return f"it cannot be told apart from the runner-up, {label}: {words}"


def _bounds(bounds: Sequence[Bound], result: Result, batches: Sequence[float]) -> dict[Bound, Met]:
    return {bound: judge_bound(bound, result, batches) for bound in bounds}


def _shown_bound(bound: Bound, result: Result, batches: Sequence[float]) -> str:
    if bound.name in PERCENTILES:
        late = sum(one > bound.limit for one in batches)
        low, high = binomial_interval(late, len(batches)) if len(batches) else (0.0, 1.0)
        return f"{late} of {len(batches)} batches are later: {100 * low:.3g} to {100 * high:.3g} %"
    found, metric = estimate(bound.name, result), QUANTITIES[bound.name]
    return "not measured" if found is None else with_unit(found, metric.scale, metric.shown_unit)


def _would_decide(bound: Bound, result: Result, batches: Sequence[float]) -> str:
    """Return what would decide an uncertain bound."""
    interval = QUANTITIES[bound.name].interval
    if interval == "samples" and result.accuracy is not None:
        return f"; more than {result.accuracy.samples} samples would decide it: data.evaluation_samples=…"
    if interval == "batches":
        return f"; more than {len(batches)} batches would decide it: confirm=publish, or a smaller batch_size"
    return "; more replicates would decide it: confirm=publish"


def _seen(search: Search, made: dict[int, Result], spent_s: float) -> Iterator[str]:
    seen = search.progression.seen
    reasons = Counter(_kind(made[number]) for number in seen if number in made)
    counted = ", ".join(f"{count} {kind}" for kind, count in reasons.most_common())
    drawn = f" drawn from {search.drawn_from}" if search.drawn_from else ""
    within = f"in {in_words(spent_s)} of {in_words(search.request.budget_s)}"
    yield f"search: {len(seen)} of {len(search.candidates)} combinations{drawn} seen ({counted or 'none'}), {within}"


def _kind(result: Result) -> str:
    if result.status is Status.ok:
        return "not beaten"
    if result.status is not Status.dropped or UNDECIDED in result.reason:
        return str(result.status) if result.status is not Status.dropped else UNDECIDED
    return "break a bound" if "breaks" in result.reason else "beaten"


def _front(search: Search, made: dict[int, Result]) -> Iterator[str]:
    """Yield the rows that nothing beats in both the goal and the accuracy."""
    points = []
    for number in search.progression.seen:
        result = made.get(number)
        merit = search.progression.feasible.get(number)
        lost = estimate("accuracy_drop", result) if result else None
        if result is not None and merit is not None and lost is not None:
            points.append((merit, -lost.value, result.label))
    front = [
        one for one in points if not any(two[0] >= one[0] and two[1] >= one[1] and two[:2] != one[:2] for two in points)
    ]
    if len(front) > 1:
        named = sorted(front, reverse=True)[:MAX_FRONT]
        yield "between speed and accuracy: " + ", ".join(
            f"{label} ({math.exp(merit):.2f}×, {loss:+.2f} %)" for merit, loss, label in named
        )


def _parts(search: Search, made: dict[int, Result]) -> Iterator[str]:
    """Yield what each setting of the winner contributes."""
    shown = [
        f"{made[number].label.removeprefix('winner, ').removesuffix(' alone')} {_times(made[number])}"
        for number in search.progression.parts
        if number in made and made[number].shown is not None
    ]
    if shown:
        yield "each setting of the winner, over the winner without it: " + "; ".join(shown)


def _sure(search: Search, facts: dict[str, Any]) -> Iterator[str]:
    """Yield how sure it is that nothing clearly better was missed."""
    unseen = [number for number in search.candidates if number not in search.progression.seen]
    beaten = [ratio.high for ratio in search.race.behind.values()]
    if not unseen:
        most = max(beaten, default=0.0)
        rest = f"; the nearest of the beaten is at most {100 * most:.0f} % of its leader" if beaten else ""
        facts["probability_missed"] = 0.0 if all(one < NEAR for one in beaten) else None
        yield f"every combination was seen{rest}"
        return
    chance = surrogate.probability(search, unseen, NEAR)
    facts["probability_missed"] = chance
    if chance is None:
        yield f"{len(unseen)} combinations were not seen, and too few were to say what they would show"
    else:
        yield (
            f"{len(unseen)} combinations were not seen; that one of them is more than {100 * (NEAR - 1):.0f} % better "
            f"has a probability of about {100 * chance:.0f} %, by a model fitted to those that were"
        )


def _nearest_miss(search: Search, made: dict[int, Result]) -> str:
    """Return which candidate comes nearest to the bounds, and the bound that it breaks."""
    if not search.progression.seen:
        return "none: the budget ended before anything was measured"
    misses = []
    for number in (*search.progression.seen, *search.progression.confirmed):
        result = made.get(number)
        if result is None:
            continue
        for bound in search.request.bounds:
            found = _value(bound.name, result, search.folder_of(number))
            excess = bound.excess(found) if found else math.inf
            if 0 < excess < math.inf:
                misses.append((excess, result.label.removesuffix(", confirmed"), bound, found))
    if not misses:
        reasons = {made[number].reason for number in search.progression.seen if number in made}
        return f"none: no combination could be measured: {min(reasons, default='nothing was tried')}"
    excess, label, bound, found = min(misses, key=lambda one: one[0])
    metric = QUANTITIES[bound.name]
    shown = with_unit(found, metric.scale, metric.shown_unit) if found else "–"
    return f"none keeps all bounds; the nearest, {label}, breaks {bound}: {shown}"


def _value(name: str, result: Result, folder: Path) -> Estimate | None:
    """Return what a row shows for a quantity, also one that left a race after its first replicate."""
    if name in PERCENTILES and (batches := stored_batches_ms(folder)):
        value = float(np.percentile(batches, 100 * PERCENTILES[name]))
        return Estimate(value, value, value)
    return estimate(name, result)


def _times(result: Result) -> str:
    speed = result.measurement.speedup if result.measurement else Estimate(math.nan, math.nan, math.nan)
    return f"{speed.value:.2f}× ({speed.low:.2f} … {speed.high:.2f})"


def stored_batches_ms(folder: Path) -> list[float]:
    """Return the milliseconds of every timed batch of a run, from its folder; empty if there are none."""
    try:
        with np.load(folder / STAMPS, allow_pickle=False) as stamps:
            lanes = [stamps[name] for name in stamps.files if name.startswith("candidate")]
    except (OSError, ValueError):
        return []
    return [float(one) / 1e6 for lane in lanes for one in np.diff(lane)]


def _facts(search: Search, made: dict[int, Result], spent_s: float) -> dict[str, Any]:
    request = search.request
    return {
        "goal": request.goal,
        "bounds": [str(bound) for bound in request.bounds],
        "budget_s": request.budget_s,
        "spent_s": round(spent_s, 1),
        "space": request.space,
        "combinations": len(search.candidates),
        "seen": len(search.progression.seen),
        "dropped": {
            made[number].label: made[number].reason
            for number in search.progression.seen
            if number in made and made[number].status is not Status.ok
        },
        "winner": None,
    }


def _row(search: Search, result: Result, judged: dict[Bound, Met]) -> dict[str, Any]:
    found = estimate(search.request.goal, result)
    speed = result.measurement.speedup if result.measurement else None
    return {
        "label": result.label.removesuffix(", confirmed"),
        "goal": [found.value, found.low, found.high] if found else None,
        "speedup": [speed.value, speed.low, speed.high] if speed else None,
        "bounds": {str(bound): str(state) for bound, state in judged.items()},
    }
