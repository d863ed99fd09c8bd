"""Goals and bounds: how they are written, and whether a configuration meets them by its intervals."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from enum import StrEnum

from runner.analysis.statistics import Estimate
from runner.errors import ConfigurationError, Mistake
from runner.results.vocabulary import METRICS

QUANTITIES = {name: metric for name, metric in METRICS.items() if metric.better}
"""What a goal or a bound can name."""
GOALS = (
    *("throughput", "latency_p50_ms", "latency_p90_ms", "latency_p99_ms", "tokens_per_s", "first_token_ms"),
    *("rss_peak_mib", "artifact_mib", "load_s"),
)
"""What can be a goal: what is measured of every row, and differs by more than noise."""
OPERATORS = ("<=", ">=")
_COMPARISON = re.compile(r"(?P<name>[^<>=!]*)(?P<operator>[<>=!]{1,3})(?P<value>.*)", re.DOTALL)
_VALUE = re.compile(r"(?P<number>[+-]?\d+(?:\.\d*)?(?:e[+-]?\d+)?)\s*(?P<unit>\S*)", re.IGNORECASE)


class Met(StrEnum):
    """What an interval says about a bound."""

    met = "met"
    """The whole interval is on the right side."""
    broken = "broken"
    """The whole interval is on the wrong side."""
    uncertain = "uncertain"
    """The interval holds the bound."""
    unknown = "unknown"
    """The quantity was not measured."""


@dataclass(frozen=True)
class Bound:
    """What a configuration must keep."""

    name: str
    """Of the quantity."""
    operator: str
    """<= or >=."""
    limit: float
    """In the unit of the metric."""

    def __str__(self) -> str:
        """Return the bound as it is written."""
        metric = QUANTITIES[self.name]
        return f"{self.name}{self.operator}{self.limit / metric.scale:g}{metric.shown_unit}"

    def judge(self, found: Estimate | None) -> Met:
        """Return what an interval says about the bound."""
        if found is None:
            return Met.unknown
        below = self.operator == "<="
        if found.high <= self.limit if below else found.low >= self.limit:
            return Met.met
        if found.low > self.limit if below else found.high < self.limit:
            return Met.broken
        return Met.uncertain

    def excess(self, found: Estimate) -> float:
        """Return by how much a value misses the bound, relative to the limit; 0 or less if it does not."""
        gap = found.value - self.limit if self.operator == "<=" else self.limit - found.value
        return gap / max(abs(self.limit), 1e-9)


def is_bound(word: str) -> bool:
    """Return whether a word of the command line is meant as a bound: it has < or >, or two equals signs."""
    name = re.match(r"[\w.]*", word)
    rest = word[name.end() :].lstrip() if name else word
    return rest.startswith(("<", ">", "==", "=<", "=>", "!="))


def parse_bound(word: str) -> Bound:
    """Return a bound, such as ``latency_p99_ms<=60`` or ``accuracy_drop<=1%``.

    Raises:
        ConfigurationError: the quantity, the operator or the unit does not exist, or the number is none.
    """
    found = _COMPARISON.fullmatch(word.strip())
    if found is None:
        raise _mistake(word, "METRIC<=NUMBER or METRIC>=NUMBER, such as latency_p99_ms<=60")
    name, operator, text = found["name"].strip(), found["operator"], found["value"].strip()
    if operator not in OPERATORS:
        near = ">=" if ">" in operator else "<="
        raise _mistake(word, "<= and >=: an interval never equals a number", f"Write '{name}{near}{text}'")
    if name not in QUANTITIES:
        [near] = difflib.get_close_matches(name, QUANTITIES, n=1, cutoff=0.0)
        raise _mistake(word, ", ".join(QUANTITIES), f"Did you mean {near}?")
    metric, value = QUANTITIES[name], _VALUE.fullmatch(text)
    if value is None:
        raise _mistake(word, f"a number behind {operator}, such as {name}{operator}1{metric.shown_unit}")
    units = {"": metric.scale, metric.shown_unit: metric.scale, **metric.other_units}
    if value["unit"] not in units:
        allowed = ", ".join(unit for unit in units if unit) or "a number without a unit"
        raise _mistake(word, allowed)
    return Bound(name, operator, float(value["number"]) * units[value["unit"]])


def contradiction(bounds: list[Bound]) -> str:
    """Return the two bounds that nothing can keep at once; empty if there are none."""
    for low in (one for one in bounds if one.operator == ">="):
        for high in (one for one in bounds if one.operator == "<=" and one.name == low.name):
            if low.limit > high.limit:
                return f"{low} and {high}"
    return ""


def _mistake(word: str, allowed: str, remedy: str = "") -> ConfigurationError:
    return ConfigurationError([Mistake("bound", word, allowed, remedy)])
