"""The words of ``runner find``: goal, bounds, budget and space are taken off the line, the rest is for Hydra."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field

import yaml

from runner.config.durations import seconds_of
from runner.config.schema import RunConfig
from runner.errors import ConfigurationError, Mistake
from runner.results.vocabulary import METRICS
from runner.searching.bounds import GOALS, Bound, contradiction, is_bound, parse_bound

DEFAULT_BUDGET = "30m"
DEFAULT_SPACE = "small"
OWN = ("goal", "budget", "space", "bound", "confirm")
"""Fields of a search: what is not a setting of a run."""
CONFIRMATIONS = ("publish", "standard", "quick")
NOT_SEARCHED = {
    "aa": "Leave it out, or measure it without find",
    "ablate": "Leave it out: a search ends in an ablation of its winner",
    "fresh": "Leave it out: give the command again",
    "shard": "Leave it out: a search decides after each run what is next, so it cannot be cut",
}
"""Fields of a command that have no meaning in a search, and the remedy."""
NO_QUALITY = ("accuracy_drop", "accuracy_drop_pp")
"""Quantities that need right answers."""
OF_TEXT = ("tokens_per_s", "first_token_ms")


@dataclass(frozen=True)
class Request:
    """What is searched."""

    goal: str = "throughput"
    """Quantity to optimise, one of GOALS."""
    bounds: tuple[Bound, ...] = ()
    budget_s: float = 1800.0
    """Wall time for everything, in seconds."""
    space: str = DEFAULT_SPACE
    """A name in runner/searching/spaces, or a file."""
    confirm: str = "publish"
    """The preset of measure with which the winner is measured again."""
    overrides: tuple[str, ...] = field(default=())
    """What Hydra reads: settings that hold for all candidates, and those that narrow the space."""

    @property
    def maximises(self) -> bool:
        """Whether more of the goal is better."""
        return METRICS[self.goal].better == "higher"

    def words(self) -> list[str]:
        """Return the words that ask for this search again."""
        own = [f"goal={self.goal}", *map(str, self.bounds), f"budget={self.budget_s:g}s", f"space={self.space}"]
        return [*own, f"confirm={self.confirm}", *self.overrides]


def parse(words: Sequence[str]) -> Request:
    """Return the search that a command line asks for.

    Raises:
        ConfigurationError: it holds all mistakes in goal, bounds, budget and confirm.
    """
    mistakes: list[Mistake] = []
    values: dict[str, str] = {}
    bounds: list[Bound] = []
    others: list[str] = []
    for word in words:
        name, sign, value = word.partition("=")
        try:
            if is_bound(word):
                bounds.append(parse_bound(word))
            elif name == "bound" and sign:
                bounds += [parse_bound(one) for one in _listed(value)]
            elif name in OWN and sign:
                values[name] = value.strip("'\"")
            else:
                _refuse(word, name)
                others.append(word)
        except ConfigurationError as error:
            mistakes += error.mistakes
    goal, confirm = values.get("goal", "throughput"), values.get("confirm", CONFIRMATIONS[0])
    mistakes += _choice("goal", goal, GOALS) + _choice("confirm", confirm, CONFIRMATIONS)
    budget_s = seconds_of(values.get("budget", DEFAULT_BUDGET)) or 0.0
    if not budget_s:
        mistakes.append(Mistake("budget", values["budget"], "a duration such as 30m, 2h or 1h30m"))
    if both := contradiction(bounds):
        mistakes.append(Mistake("bounds", both, "bounds that one configuration can keep together"))
    if mistakes:
        raise ConfigurationError(mistakes)
    space = values.get("space", DEFAULT_SPACE)
    return Request(goal, tuple(dict.fromkeys(bounds)), budget_s, space, confirm, tuple(others))


def _refuse(word: str, name: str) -> None:
    """Refuse a word that has no meaning in a search.

    Raises:
        ConfigurationError: it has none.
    """
    if word == "measure=check":
        raise ConfigurationError([Mistake("measure", "check", "quick, standard or publish: a search measures")])
    if name in NOT_SEARCHED:
        raise ConfigurationError([Mistake(name, word, "settings of a run", NOT_SEARCHED[name])])


def check_for_model(request: Request, config: RunConfig) -> list[Mistake]:
    """Return the mistakes in goal and bounds that the model shows: quantities that it does not have."""
    named = [("goal", request.goal), *((f"bound {bound}", bound.name) for bound in request.bounds)]
    generates = str(config.model.task) == "text-generation"
    labelled = config.model.has_labels or config.data.name == "arrays"
    found = []
    for field_name, quantity in named:
        if quantity == "first_token_ms" and not generates:
            found.append(Mistake(field_name, quantity, "quantities of this model; only text generation has it"))
        if quantity == "tokens_per_s" and not config.model.is_transformers:
            found.append(Mistake(field_name, quantity, "quantities of this model; only models of text have it"))
        if quantity in NO_QUALITY and (not labelled or config.data.name == "synthetic"):
            remedy = "Take agreement_top1 or sqnr_db, or give data with labels"
            found.append(Mistake(field_name, quantity, "quantities that these data have; they have no labels", remedy))
    return found


def _listed(text: str) -> list[str]:
    read = yaml.safe_load(text)
    return [str(one) for one in (read if isinstance(read, list) else [read])]


def _choice(name: str, value: str, allowed: Sequence[str]) -> list[Mistake]:
    if value in allowed:
        return []
    [near] = difflib.get_close_matches(value, allowed, n=1, cutoff=0.0)
    return [Mistake(name, value, ", ".join(allowed), f"Did you mean {near}?")]
