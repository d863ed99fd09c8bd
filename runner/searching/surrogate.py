"""What the combinations that were seen say about the others: which to race next, and whether a better one was missed.

A Gaussian process (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, chapter 2) is fitted to the
logarithm of the goal over the settings; the unseen ones are drawn from it together.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.searching.search import Search

MIN_SEEN = 8
"""Fewer points say nothing about the shape of the space."""
DRAWS = 2000


def probability(search: Search, unseen: Sequence[int], factor: float) -> float | None:
    """Return the probability that one of the unseen is better than the best seen by a factor; None if it is not known.

    Args:
        search: after its races.
        unseen: numbers of its candidates.
        factor: of the goal, such as 1.03.
    """
    merits = search.progression.feasible
    if len(merits) < MIN_SEEN:
        return None
    open_ones = [number for number in unseen if search.race.variant_of(search.plan(number)) not in search.race.broken]
    if not open_ones:
        return 0.0
    seen = list(merits)
    features = encode([search.plan(number).overrides for number in (*seen, *open_ones)])
    draws = _draw(features[: len(seen)], np.array([merits[number] for number in seen]), features[len(seen) :])
    best = max(merits.values()) + math.log(factor)
    return float((draws.max(axis=0) > best).mean())


def promising(search: Search, waiting: Sequence[int], count: int) -> list[int]:
    """Return the candidates that are the best of the unseen in most draws: Thompson sampling, for a whole race at once.

    Args:
        search: between two races.
        waiting: candidates, in an order that holds as long as too few were seen.
        count: of the candidates to return.
    """
    merits = search.progression.feasible
    if len(merits) < MIN_SEEN or len(waiting) <= count:
        return list(waiting)[:count]
    seen = list(merits)
    features = encode([search.plan(number).overrides for number in (*seen, *waiting)])
    draws = _draw(features[: len(seen)], np.array([merits[number] for number in seen]), features[len(seen) :])
    wins = np.bincount(draws.argmax(axis=0), minlength=len(waiting))
    return [waiting[place] for place in np.lexsort((-draws.mean(axis=1), -wins))[:count]]


def encode(words: Sequence[Sequence[str]]) -> np.ndarray:
    """Return a row for each combination, with a 1 for each of its words that not all have: combinations × words."""
    known = sorted({word for one in words for word in one})
    return np.array([[float(word in one) for word in known] for one in map(set, words)])


def _draw(seen: np.ndarray, values: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """Return draws of the unseen values: unseen × draws."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    kernel = ConstantKernel(1.0) * RBF(1.0, (0.3, 30.0)) + WhiteKernel(1e-3, (1e-5, 1e-1))
    model = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0, n_restarts_optimizer=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound is an answer, too
        model.fit(seen, values)
    return np.asarray(model.sample_y(unseen, DRAWS, random_state=0))
