"""Cells of a page's tables: a text, and what its column is sorted by."""

from __future__ import annotations

from dataclasses import dataclass

UNITS = ("F1 ", "perplexity ")
"""Words before a number."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    value: float | str
    """What the column is sorted by: the number that the text begins with, else the text."""
    right: bool
    """Whether it is aligned to the right, as numbers are."""


def cell(text: str, *, right: bool) -> Cell:
    """Return a cell."""
    first = text
    for unit in UNITS:
        first = first.removeprefix(unit)
    first = first.split(" ")[0].removesuffix("/s").rstrip("×")
    try:
        return Cell(text, float(first), right)
    except ValueError:  # words
        return Cell(text, text, right)
