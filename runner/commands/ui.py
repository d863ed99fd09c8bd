"""``runner ui``: the MLflow UI over the runs of an output folder."""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from runner import exit_codes
from runner.config.schema import RunConfig
from runner.tracking.links import newest_comparison
from runner.tracking.relocation import relocate

PORT = 5000
"""MLflow's own default."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Show the recorded runs in a browser: start the MLflow UI, which ends with Ctrl-C."""
    parser = argparse.ArgumentParser(prog="runner ui", description=main.__doc__)
    parser.add_argument("--output-dir", default=RunConfig.output_dir, type=Path, help="(default: %(default)s)")
    parser.add_argument("--port", default=PORT, type=int, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    database = options.output_dir.absolute() / "mlflow.db"
    if not database.is_file():
        print(f"ui: {database} does not exist: measure something with tracking=mlflow first", file=sys.stderr)
        return exit_codes.MISTAKE
    try:
        relocate(database)
        view = newest_comparison(f"http://127.0.0.1:{options.port}", database)
    except sqlite3.Error as error:
        print(f"ui: {database}: {error}", file=sys.stderr)
        return exit_codes.MISTAKE
    if view:
        print(f"the latest sweep, its rows compared: {view}", flush=True)
    words = ["mlflow", "ui", "--backend-store-uri", f"sqlite:///{database}", "--host", "127.0.0.1"]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    try:
        return subprocess.run(
            [sys.executable, "-m", *words, "--port", str(options.port)], env=environment, check=False
        ).returncode
    except KeyboardInterrupt:
        return exit_codes.OK
