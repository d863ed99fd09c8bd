"""Where the program's own files are."""

from __future__ import annotations

import os
from pathlib import Path

from runner.protocol import BACKENDS_VARIABLE

PROJECT = Path(__file__).resolve().parent.parent
"""The checkout: ``conf/`` and ``experiments/`` are found from here."""
BACKENDS = PROJECT / "runner" / "worker" / "backends"
"""The backends of this package, one module each."""


def extra_backend_folders() -> list[Path]:
    """Return the folders of backend modules outside this package, as ``RUNNER_BACKENDS`` names them."""
    return [Path(folder) for folder in os.environ.get(BACKENDS_VARIABLE, "").split(os.pathsep) if folder]
