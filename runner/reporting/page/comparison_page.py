"""A comparison as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runner.paths import default_cache
from runner.reporting.comparing.formats import Comparison
from runner.reporting.page import charts
from runner.reporting.page.cells import cell
from runner.reporting.page.document import render


def page(found: Comparison, output_dir: Path) -> str:
    """Return a comparison as HTML.

    Args:
        found: the comparison.
        output_dir: of the sweeps; it holds the cache.

    Raises:
        ImportError: a package that pages need is not installed.
    """
    ratios = charts.ratios(found.pairs)
    content: dict[str, Any] = {
        "title": " against ".join(reversed(found.sides)) if len(found.sides) == 2 else "Comparison of sweeps",
        "subtitle": f"before: {found.sides[0]}; after: {', '.join(found.sides[1:])}",
        "answer": [found.summary],
        "shown": ["ratios"] if ratios is not None else [],
        "columns": found.titles,
        "rows": [[cell(text, right=False) for text in found.cells(line)] for line in found.lines],
        "notes": found.remarks(),
    }
    return render(
        "comparison.html",
        content,
        {"charts": {"ratios": ratios} if ratios else {}, "details": []},
        default_cache(output_dir),
    )
