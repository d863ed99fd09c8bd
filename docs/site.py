"""The site: gather all pages and what they link to, and build them without a warning.

python -m docs.site           builds the folder site
python -m docs.site serve     shows it at http://127.0.0.1:8000
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from runner.paths import PROJECT

PAGES = ("*.md", "docs/**/*.md", "experiments/*/*.md", "examples/**/*.md")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
"""A link to a file of the project."""


def gather(target: Path) -> None:
    """Copy every page, and every file that a page links to, to the same place below a folder."""
    shutil.rmtree(target, ignore_errors=True)
    pages = [page for pattern in PAGES for page in PROJECT.glob(pattern)]
    files = {page.parent / link for page in pages for link in LINK.findall(page.read_text(encoding="utf-8"))}
    for file in (*pages, *filter(Path.is_file, map(Path.resolve, files))):
        copy = target / file.relative_to(PROJECT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)


def main() -> int:
    """Build the site, or serve it, and return the exit code."""
    gather(PROJECT / ".docs")
    words = sys.argv[1:] or ["build", "--clean", "--strict"]
    return subprocess.run([sys.executable, "-m", "zensical", *words], cwd=PROJECT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
