"""Run the model of this folder: python run.py --help. It needs the packages of requirements.txt, and nothing else."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # python -I leaves it out

from preparation import Preparation  # type: ignore[import-not-found]  # noqa: E402 -- copied beside this file
from proof import bench, check  # type: ignore[import-not-found]  # noqa: E402 -- copied beside this file
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
        return int(check(model, facts["tolerance_db"]))
    if options.bench:
        print(json.dumps(bench(model, options.bench, facts["batch_size"])))
        return 0
    try:
        preparation = Preparation(HERE, facts)
        found = [run_padded(model, batch, facts["batch_size"]) for batch in preparation.batches(options.inputs)]
        outputs: dict[str, Any] = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
        if options.output:
            np.savez(options.output, **outputs)
        else:
            print("\n".join(preparation.describe(options.inputs, outputs)))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    except Exception as error:  # each reader and each runtime has exceptions of its own
        parser.error(f"{type(error).__name__}: {error}")
    return 0


def run_padded(model: Any, batch: dict[str, Any], size: int) -> dict[str, Any]:
    """Run up to `size` samples; what is missing is filled with the last one, and its outputs are dropped."""
    count = len(next(iter(batch.values())))
    full = {name: np.concatenate([one, np.repeat(one[-1:], size - count, axis=0)]) for name, one in batch.items()}
    return {name: values[:count] for name, values in model.run(full).items()}


if __name__ == "__main__":
    sys.exit(main())
