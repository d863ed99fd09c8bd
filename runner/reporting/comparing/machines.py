"""What each kind of machine makes of each configuration, and what a million samples cost there."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from runner.analysis.statistics import Estimate
from runner.errors import ConfigurationError, Mistake
from runner.reporting.comparing.pairs import Side
from runner.results.metrics import DASH
from runner.results.result import Result

FIELD = "prices"
TITLES = ("configuration", "machine", "samples/s", "p99 ms", "share of peak")
COST = "per million samples"
SECONDS, MILLION = 3600, 10**6


def read_prices(path: Path) -> dict[str, float]:
    """Return the price of each kind of machine per hour, in any currency.

    Args:
        path: a YAML file, ``KIND OF MACHINE: PRICE`` on each line.

    Raises:
        ConfigurationError: it cannot be read, or a price is no positive number.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigurationError([Mistake(FIELD, str(path), "a YAML file that can be read", reason)]) from error
    if not isinstance(found, dict) or not found:
        raise ConfigurationError([Mistake(FIELD, str(path), "lines of KIND OF MACHINE: PRICE PER HOUR")])
    wrong = [(name, price) for name, price in found.items() if not _is_price(price)]
    if wrong:
        allowed = "a price per hour, more than 0"
        raise ConfigurationError([Mistake(f"{FIELD}: {name}", price, allowed, f"In {path}") for name, price in wrong])
    return {str(name): float(price) for name, price in found.items()}


def _is_price(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def cost_per_million(throughput: Estimate, price_per_hour: float) -> Estimate:
    """Return what a million samples cost: price per hour / 3600 / throughput × 10⁶.

    Args:
        throughput: in samples per second, with its interval.
        price_per_hour: of the machine.
    """
    value, high, low = (
        price_per_hour / SECONDS / one * MILLION for one in (throughput.value, throughput.low, throughput.high)
    )
    return Estimate(value, low, high)


def titles(prices: Mapping[str, float]) -> list[str]:
    """Return the headings of the table."""
    return [*TITLES, *([COST] if prices else [])]


def cells(sides: Sequence[Side], prices: Mapping[str, float]) -> list[list[str]]:
    """Return a line for each configuration on each kind of machine; those of one configuration stand together."""
    labels = dict.fromkeys(result.label for side in sides for result in side.results)
    return [
        [label, side.name, *_facts(result), *([_cost(result, prices.get(side.name))] if prices else [])]
        for label in labels
        for side in sides
        for result in side.results
        if result.label == label
    ]


def _facts(result: Result) -> list[str]:
    if result.shown is None:
        return [str(result.status), DASH, DASH]
    speed, p99 = result.shown.throughput, result.shown.latency_p99_ms
    share = DASH if result.peak_share is None else f"{result.peak_share:.0%}"
    return [f"{speed.value:.1f} ({speed.low:.1f} … {speed.high:.1f})", DASH if p99 is None else f"{p99:.1f}", share]


def _cost(result: Result, price: float | None) -> str:
    if result.shown is None or price is None:
        return DASH
    cost = cost_per_million(result.shown.throughput, price)
    return f"{cost.value:.3g} ({cost.low:.3g} … {cost.high:.3g})"


def remarks(sides: Sequence[Side], prices: Mapping[str, float]) -> list[str]:
    """Return which kinds of machines have no price, and which prices no machine has."""
    if not prices:
        return []
    names = [side.name for side in sides]
    lacking = [name for name in names if name not in prices]
    unused = [name for name in prices if name not in names]
    found = [f"no price for {', '.join(lacking)}"] if lacking else []
    for name in unused:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        found.append(f"the price of {name} is not used" + (f"; the nearest here: {near[0]}" if near else ""))
    return found
