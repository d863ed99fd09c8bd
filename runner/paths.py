"""Where the program's own files are."""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
"""The checkout: ``conf/`` and ``experiments/`` are found from here."""
