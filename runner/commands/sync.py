"""``python -m runner.tracking sync``: record sweeps from their folders in any store."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from runner.config.redaction import hide_in_text
from runner.config.schema import TrackingConfig
from runner.errors import NothingLaunched
from runner.machine.lock import measurement_lock
from runner.results.store import SweepStore
from runner.tracking.client import tracking_uri
from runner.tracking.sync import sync

EXIT_OK, EXIT_FAILED = 0, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Record what a tracking store does not hold yet; a second time nothing is left to do."""
    parser = argparse.ArgumentParser(prog="python -m runner.tracking", description=main.__doc__)
    parser.add_argument("action", choices=["sync"])
    parser.add_argument(
        "--sweep", action="append", help="its name, a folder in OUTPUT_DIR/sweeps; all of them by default"
    )
    parser.add_argument("--wait", action="store_true", help="wait for a measurement to end instead of refusing")
    parser.add_argument("--uri", help="tracking URI; MLFLOW_TRACKING_URI or the store in --output-dir by default")
    parser.add_argument("--experiment", default="runner", help="name of the MLflow experiment (default: %(default)s)")
    parser.add_argument("--output-dir", default="outputs", type=Path, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    uri = tracking_uri(TrackingConfig(uri=options.uri), options.output_dir)
    sweeps = options.output_dir / "sweeps"
    there = [folder.name for folder in sorted(sweeps.glob("*")) if SweepStore.holds_plan(folder)]
    missing = [name for name in options.sweep or [] if name not in there]
    if missing or not there:
        print(f"sync: {sweeps} holds no sweep {', '.join(missing)}".rstrip(), file=sys.stderr)
        return EXIT_FAILED
    code = EXIT_OK
    try:
        with measurement_lock(wait=options.wait, tell=print, remedy="add --wait"):  # it would be the other's noise
            for name in options.sweep or there:
                try:
                    print(sync(uri, options.experiment, options.output_dir, sweeps / name))
                except Exception as error:  # MLflow's, its client's or its database's: in one line, and the next
                    reason = hide_in_text(f"{type(error).__name__}: {error}").splitlines()[0][:300]
                    print(f"sync: {name}: {hide_in_text(uri)}: {reason}", file=sys.stderr)
                    code = EXIT_FAILED
    except NothingLaunched as error:
        print(f"sync: {error}", file=sys.stderr)
        code = EXIT_FAILED
    return code


if __name__ == "__main__":
    sys.exit(main())
