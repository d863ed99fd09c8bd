"""Damaged artifacts in the cache are made again, and the result of the run is unaffected."""

from __future__ import annotations

import os
from pathlib import Path

from runner.results.status import Status
from runner.worker.artifacts.cache import DIGEST_FILE
from tests.conftest import RunProgram
from tests.faults.conftest import BRIEF


def truncate(entry: Path) -> None:
    """Cut every file of an artifact in half."""
    for file in entry.rglob("*"):
        if file.is_file() and file.name != DIGEST_FILE:
            os.truncate(file, file.stat().st_size // 2)


def alter(entry: Path) -> None:
    """Change one byte of every file of an artifact; its size is unchanged."""
    for file in entry.rglob("*"):
        if file.is_file() and file.name != DIGEST_FILE and file.stat().st_size:
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            file.write_bytes(content)


def forget(entry: Path) -> None:
    """Remove the digest, as in a cache of another version of this program."""
    (entry / DIGEST_FILE).unlink()


def test_a_damaged_artifact_is_made_again(run_program: RunProgram, own_cache: Path):
    """With the same weights; the log reports it if the artifact had a digest."""
    first = run_program(*BRIEF)
    entries = [path.parent for path in own_cache.glob(f"*/{DIGEST_FILE}")]
    assert entries
    for damage in (truncate, alter, forget):
        for entry in entries:
            damage(entry)
        again = run_program(*BRIEF)
        assert again.code == 0, again.err
        [result] = again.results()
        assert (result.status, result.digests) == (Status.ok, first.results()[0].digests), damage
        assert result.rebuilt, damage
        log = (again.run_folder() / "candidate.log").read_text()
        assert ("making it again" in log) == (damage is not forget), damage
        assert all((entry / DIGEST_FILE).exists() for entry in entries), damage
