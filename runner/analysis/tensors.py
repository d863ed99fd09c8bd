"""Outputs of no known meaning, compared with those of fp32, output by output. Pure numpy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.analysis.accuracy import Accuracy, InvalidOutput, sqnr_db
from runner.protocol import OUTPUT_PREFIX


def compare_tensors(own: Mapping[str, NDArray[Any]], reference: Mapping[str, NDArray[Any]]) -> Accuracy:
    """Compare all outputs with the fp32 reference on the same inputs.

    Args:
        own: arrays ``output:NAME``, batches × values, and ``differing`` (whether the inputs differ from each other).
        reference: the same arrays of fp32.

    Returns:
        The lowest SQNR of a floating-point output in dB, and among the scores for each output ``cosine NAME`` (cosine
        similarity), ``max_error NAME`` (largest absolute difference), or for integers ``equal NAME`` (share of equal
        values).

    Raises:
        InvalidOutput: an output is missing, has another shape, is NaN or infinite, or is the same for all inputs; where
            fp32 is too, it says so.
    """
    names = [name.removeprefix(OUTPUT_PREFIX) for name in reference if name.startswith(OUTPUT_PREFIX)]
    scores: dict[str, float] = {}
    noises: list[float] = []
    for name in names:
        truth = reference[OUTPUT_PREFIX + name]
        found = own.get(OUTPUT_PREFIX + name)
        if found is None or found.shape != truth.shape:
            shape = "missing" if found is None else f"of the shape {found.shape}"
            raise InvalidOutput(f"the output {name} is {shape}, in fp32 of the shape {truth.shape}")
        if truth.dtype.kind != "f":
            scores[f"equal {name}"] = float((found == truth).mean())
            continue
        _check(name, found, truth, differing=bool(own["differing"]))
        noise = sqnr_db(found, truth)
        if noise is not None:
            noises.append(noise)
        scores[f"cosine {name}"] = _cosine(found, truth)
        scores[f"max_error {name}"] = float(np.abs(found - truth).max())
    return Accuracy(
        samples=len(next(iter(reference.values()))),
        top1=None,
        reference_top1=None,
        delta_pp=None,
        delta_low_pp=None,
        delta_high_pp=None,
        agreement_top1=None,
        flips=0,
        sqnr_db=min(noises, default=None),
        kl=None,
        gate=None,
        gate_certain=False,
        gate_samples=None,
        scores=scores,
    )


def _check(name: str, found: NDArray[Any], truth: NDArray[Any], *, differing: bool) -> None:
    for array, where in ((truth, " in fp32"), (found, "")):
        wrong = int((~np.isfinite(array)).sum())
        if wrong:
            raise InvalidOutput(f"{wrong} of {array.size} values of the output {name} are NaN or infinite{where}")
    if differing and len(truth) > 1 and np.ptp(found, axis=0).max() == 0 and np.ptp(truth, axis=0).max() > 0:
        raise InvalidOutput(f"the output {name} is the same for all inputs, in fp32 it is not")


def _cosine(found: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the cosine similarity; 1 for two arrays of zeros."""
    one, other = found.astype(np.float64).ravel(), truth.astype(np.float64).ravel()
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length else float(np.array_equal(one, other))
