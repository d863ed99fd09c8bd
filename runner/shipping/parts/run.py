"""Run the model of this folder: python run.py --help. It needs the packages of requirements.txt, and nothing else."""

from __future__ import annotations

import argparse
import gc
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # PYTHONSAFEPATH, which environment.sh sets, leaves it out

from preparation import Preparation  # type: ignore[import-not-found]  # noqa: E402 -- copied beside this file
from runtime import Model  # type: ignore[import-not-found]  # noqa: E402 -- copied beside this file


def main() -> int:
    """Answer the inputs, compare with what was measured, or time batches."""
    facts: dict[str, Any] = json.loads((HERE / "model.json").read_text())
    parser = argparse.ArgumentParser(description=f"{facts['label']}: {main.__doc__}")
    parser.add_argument("inputs", nargs="*", help=Preparation.__doc__)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the outputs to an .npz instead of printing")
    parser.add_argument("--check", action="store_true", help="compare with the measured outputs; code 1 if they differ")
    parser.add_argument("--bench", type=float, metavar="SECONDS", help="time batches for so long, and print JSON")
    options = parser.parse_args()
    if not (options.check or options.bench or options.inputs):
        parser.error("received nothing; allowed: inputs, --check or --bench SECONDS")
    model = Model(HERE / "model", facts["runtime"])
    if options.check:
        return check(model, facts["tolerance_db"])
    if options.bench:
        print(json.dumps(bench(model, options.bench, facts["batch_size"])))
        return 0
    preparation = Preparation(HERE, facts)
    try:
        found = [run_padded(model, batch, facts["batch_size"]) for batch in preparation.batches(options.inputs)]
    except (OSError, ValueError) as error:
        parser.error(str(error))
    outputs: dict[str, Any] = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
    if options.output:
        np.savez(options.output, **outputs)
    else:
        print("\n".join(preparation.describe(options.inputs, outputs)))
    return 0


def run_padded(model: Any, batch: dict[str, Any], size: int) -> dict[str, Any]:
    """Run up to `size` samples; what is missing is filled with the last one, and its outputs are dropped."""
    count = len(next(iter(batch.values())))
    full = {name: np.concatenate([one, np.repeat(one[-1:], size - count, axis=0)]) for name, one in batch.items()}
    return {name: values[:count] for name, values in model.run(full).items()}


def examples() -> list[dict[str, dict[str, Any]]]:
    """Return the measured batches: ``input`` and ``output``, each by name."""
    found: dict[int, dict[str, dict[str, Any]]] = {}
    with np.load(HERE / "example.npz") as stored:
        for key, values in stored.items():
            number, side, name = key.split(":", 2)
            found.setdefault(int(number), {"input": {}, "output": {}})[side][name] = values
    return [found[number] for number in sorted(found)]


def check(model: Any, tolerance_db: float) -> int:
    """Print for each output its difference from the measured one; return 1 if it is beyond the tolerance."""
    lowest, differences = math.inf, {}
    for number, batch in enumerate(examples()):
        outputs = model.run(batch["input"])
        for name, wanted in batch["output"].items():
            noise = float(np.square(wanted.astype(np.float64) - outputs[name]).sum())
            sqnr_db = 10 * math.log10(float(np.square(wanted.astype(np.float64)).sum()) / noise) if noise else math.inf
            differences[f"{number}:{name}"] = None if noise == 0 else round(sqnr_db, 2)
            lowest = min(lowest, sqnr_db if math.isfinite(noise) else -math.inf)
    print(json.dumps({"identical": lowest == math.inf, "sqnr_db": differences, "tolerance_db": tolerance_db}))
    return 0 if lowest >= tolerance_db else 1


def bench(model: Any, seconds: float, size: int) -> dict[str, Any]:
    """Return the number of batches and the nanoseconds that they took, after a warm-up."""
    steps = [model.bind(batch["input"]) for batch in examples()]
    gc.disable()
    for limit in (2.0, seconds):  # the first time to warm up
        turns, begin, end = 0, time.monotonic_ns(), 0
        while end - begin < limit * 1e9:
            for step in steps:  # whole turns: batches of texts differ in length
                step()
            turns, end = turns + 1, time.monotonic_ns()
    batches, taken = turns * len(steps), end - begin
    return {"batches": batches, "nanoseconds": taken, "samples_per_s": batches * size / taken * 1e9}


if __name__ == "__main__":
    sys.exit(main())
