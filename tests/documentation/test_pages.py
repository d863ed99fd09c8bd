"""The documentation: its links exist, its commands too, and its example of a backend runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs import generate
from runner.__main__ import verbs
from runner.paths import PROJECT
from tests.conftest import FAKE, RunProgram

PAGES = sorted(
    file
    for pattern in ("*.md", "docs/**/*.md", "experiments/*/README.md", "examples/**/*.md")
    for file in PROJECT.glob(pattern)
)  # fmt: skip
PAGES_OF_CODE = generate.pages()
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"\brunner ([a-z]+)\b(?![=./])")
"""A word behind the program's name that is no override."""


def code(page: Path) -> str:
    """Return what a page shows as code, in blocks and in lines."""
    text = page.read_text(encoding="utf-8")
    blocks = "\n".join(block for _, block in FENCED.findall(text))
    return blocks + "\n" + "\n".join(re.findall(r"`([^`\n]+)`", FENCED.sub("", text)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_link_exists(page):
    """Those to files of the project."""
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_command_exists(page):
    """Targets of make, and verbs."""
    shown = code(page)
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z][a-z0-9-]*)(?![\w+])", shown)) - targets == set()
    assert set(COMMAND.findall(shown)) - set(verbs()) == set()


def test_every_decision_is_in_the_index():
    """A page that is not there is not found."""
    folder = PROJECT / "docs" / "decisions"
    linked = LINK.findall((folder / "README.md").read_text(encoding="utf-8"))
    assert sorted(linked) == sorted(file.name for file in folder.glob("*.md") if file.name != "README.md")


@pytest.mark.parametrize(("file", "text"), PAGES_OF_CODE.items(), ids=lambda value: getattr(value, "name", ""))
def test_every_reference_page_is_current(file, text):
    """Make them again: python -m docs.generate."""
    assert file.read_text(encoding="utf-8") == text


def test_every_test_that_answers_a_review_exists():
    """Each is named by its file and its function; there are many."""
    named = re.findall(
        r"(tests/[\w/]+\.py)::(\w+)", (PROJECT / "docs/decisions/reviews.md").read_text(encoding="utf-8")
    )
    assert len(named) > 20
    missing = [f"{file}::{test}" for file, test in named if f"def {test}(" not in (PROJECT / file).read_text()]
    assert missing == []


def test_the_example_of_a_backend_runs(run_program: RunProgram, tmp_path):
    """Copied from the page as it stands."""
    blocks = FENCED.findall((PROJECT / "docs/how-to/extending.md").read_text(encoding="utf-8"))
    [module] = [block for language, block in blocks if language == "python"]
    [yaml] = [block for language, block in blocks if language == "yaml"]
    (tmp_path / "conf" / "backend").mkdir(parents=True)
    (tmp_path / "conf" / "backend" / "sleepy.yaml").write_text(yaml)
    (tmp_path / "backends").mkdir()
    (tmp_path / "backends" / "sleepy.py").write_text(module)
    fake = [word.replace("backend=fake", "backend=sleepy") for word in FAKE]
    done = run_program(*fake, config_dir=tmp_path / "conf", RUNNER_BACKENDS=str(tmp_path / "backends"))
    [result] = done.results()
    assert done.code == 0, done.out + done.err
    assert (result.status, result.evidence[-1].observed) == ("ok", "nothing is computed")


def test_every_page_is_on_the_site():
    """Decisions are reached by their index."""
    listed = set(re.findall(r": (\S+\.md)$", (PROJECT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    pages = {str(page.relative_to(PROJECT)) for page in PAGES}
    assert {page for page in pages - listed if not page.startswith("docs/decisions/")} == set()
    assert listed - pages == set()


@pytest.mark.services
def test_the_site_builds_without_a_warning():
    """Links and anchors are checked; `make test-services` installs what builds it."""
    done = subprocess.run([sys.executable, "-m", "docs.site"], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout + done.stderr
    assert (PROJECT / "site" / "index.html").exists()
