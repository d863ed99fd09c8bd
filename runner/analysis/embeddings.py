"""Vectors of samples, compared with those of fp32. Pure numpy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.analysis.accuracy import Accuracy, check_logits, sqnr_db
from runner.protocol import EMBEDDING


def compare_embeddings(own: Mapping[str, NDArray[Any]], reference: Mapping[str, NDArray[Any]]) -> Accuracy:
    """Compare vectors with the fp32 reference on the same samples.

    Args:
        own: ``embedding``, samples × width, and ``differing`` (whether the samples differ from each other).
        reference: the same arrays of fp32.

    Returns:
        `agreement_top1`: the share of samples whose nearest neighbour among the others, by cosine similarity, is that
        of fp32. Scores: ``cosine`` and ``cosine_min``, mean and lowest similarity of a vector with that of fp32.

    Raises:
        InvalidOutput: a value is NaN or infinite, or all samples have the same vector.
    """
    for one in (own, reference):
        check_logits(one[EMBEDDING], differing=bool(own["differing"]))
    found, truth = (one[EMBEDDING].astype(np.float64) for one in (own, reference))
    similarity = (_unit(found) * _unit(truth)).sum(axis=1)
    same = _nearest(found) == _nearest(truth)
    return Accuracy(
        samples=len(truth),
        top1=None,
        reference_top1=None,
        delta_pp=None,
        delta_low_pp=None,
        delta_high_pp=None,
        agreement_top1=float(same.mean()) if len(same) else None,
        flips=int((~same).sum()),
        sqnr_db=sqnr_db(own[EMBEDDING], reference[EMBEDDING]),
        kl=None,
        gate=None,
        gate_certain=False,
        gate_samples=None,
        scores={"cosine": float(similarity.mean()), "cosine_min": float(similarity.min())},
    )


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return vectors of length 1; one of zeros remains."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def _nearest(vectors: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return for each vector the index of the most similar other one; nothing for a single vector."""
    if len(vectors) < 2:
        return np.empty(0, np.intp)
    similarity = _unit(vectors) @ _unit(vectors).T
    np.fill_diagonal(similarity, -np.inf)
    nearest: NDArray[np.intp] = similarity.argmax(axis=1)
    return nearest
