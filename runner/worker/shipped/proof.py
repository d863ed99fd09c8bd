"""Is this folder what was measured? Its outputs for the measured batches, and its speed."""

from __future__ import annotations

import gc
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent


def examples() -> list[dict[str, dict[str, Any]]]:
    """Return the measured batches: ``input`` and ``output``, each by name."""
    found: dict[int, dict[str, dict[str, Any]]] = {}
    with np.load(HERE / "example.npz") as stored:
        for key, values in stored.items():
            number, side, name = key.split(":", 2)
            found.setdefault(int(number), {"input": {}, "output": {}})[side][name] = values
    return [found[number] for number in sorted(found)]


def check(model: Any, tolerance_db: float) -> int:
    """Print how far the outputs are from the measured ones; return 1 if that is beyond the tolerance."""
    pairs = [(batch["output"], model.run(batch["input"])) for batch in examples()]
    lowest = min(sqnr_db(values, given[name]) for wanted, given in pairs for name, values in wanted.items())
    passed = lowest >= tolerance_db
    found = {"passed": passed, "identical": lowest == math.inf, "sqnr_db": str(round(lowest, 1))}
    print(json.dumps({**found, "tolerance_db": tolerance_db}))
    return 0 if passed else 1


def sqnr_db(wanted: Any, given: Any) -> float:
    """Return the SQNR in dB: infinite if all is equal, minus infinite if shape, type, integers or NaN differ."""
    is_float = wanted.dtype.kind == "f"
    if wanted.shape == given.shape and np.array_equal(wanted, given, equal_nan=is_float):
        return math.inf
    if wanted.shape != given.shape or wanted.dtype != given.dtype or not is_float:
        return -math.inf
    signal, noise = (float(np.square(one.astype(np.float64)).sum()) for one in (wanted, wanted - given))
    return 10 * math.log10(signal / noise) if math.isfinite(noise) and signal > 0 < noise else -math.inf


def bench(model: Any, seconds: float, size: int) -> dict[str, Any]:
    """Return the number of batches and the nanoseconds that they took, after the first of each and a warm-up."""
    steps = [model.bind(batch["input"]) for batch in examples()]
    gc.disable()
    for limit in (0.0, 2.0, seconds):
        turns, begin, end = 0, time.monotonic_ns(), 0
        while end - begin < limit * 1e9:
            for step in steps:  # whole turns: batches of texts differ in length
                step()
            turns, end = turns + 1, time.monotonic_ns()
    batches, taken = turns * len(steps), end - begin
    return {"batches": batches, "nanoseconds": taken, "samples_per_s": batches * size / taken * 1e9}
