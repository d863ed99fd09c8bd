"""The host's view of the cache: its contents, and which artifacts are removed or kept."""

from __future__ import annotations

import os

import pytest

from runner.commands import cache
from runner.machine.lock import LOCK_VARIABLE, measurement_lock
from runner.results.artifacts import GIB, Artifacts
from runner.worker.artifacts.cache import DIGEST_FILE, Cache, Recipe

HOST = {"host": "digest"}
SIZE = 1000
NOW = 1_800_000_000


def make(folder, name: str, used_at: float):
    """Make an unlocked artifact of SIZE bytes with a given time of last use; return its folder."""
    entry = Cache(folder, HOST).get(
        Recipe("thing", {"name": name}, lambda into: (into / "x").write_bytes(b"x" * SIZE) and None)
    )
    os.utime(entry / DIGEST_FILE, (used_at, used_at))
    return entry


def limit(count: int) -> float:
    """Return the GiB that hold a number of artifacts with their digests, and half an artifact more."""
    return (count + 0.5) * 1.3 * SIZE / GIB


def test_least_recently_used_is_removed_first(tmp_path):
    """Only until the rest is within the limit."""
    entries = [make(tmp_path, str(number), NOW + number) for number in (3, 1, 2, 4)]
    [message] = Artifacts(tmp_path).trim(limit(2))
    assert [entry.exists() for entry in entries] == [True, False, False, True]
    assert "MiB of the least recently used artifacts" in message
    assert Artifacts(tmp_path).trim(limit(2)) == []


def test_artifacts_of_this_sweep_are_kept(tmp_path):
    """Artifacts made or used since the start are kept, regardless of the clock; the exceeded limit is reported."""
    unused, used = make(tmp_path, "unused", NOW), make(tmp_path, "used", NOW)
    artifacts = Artifacts(tmp_path)
    os.utime(used / DIGEST_FILE, (NOW - 7200, NOW - 7200))
    made = make(tmp_path, "made", NOW - 7200)
    messages = artifacts.trim(0)
    assert [entry.exists() for entry in (unused, used, made)] == [False, True, True]
    assert "cache: this sweep uses 0.0 GiB, more than cache_limit_gib=0" in messages[1]


def test_artifacts_in_use_are_kept(tmp_path):
    """Regardless of their time; this process acts as the worker."""
    recipe = Recipe("thing", {}, lambda into: (into / "x").write_bytes(b"x") and None)
    holder = Cache(tmp_path, HOST)
    entry = holder.get(recipe)
    assert Artifacts(tmp_path).trim(0)[-1].startswith("cache: this sweep uses 0.0 GiB")
    assert entry.exists()
    del holder
    Artifacts(tmp_path).trim(0)
    assert not entry.exists()
    assert Cache(tmp_path, HOST).find(recipe) is None


def test_use_updates_the_time(tmp_path):
    """Finding an artifact makes it the most recently used."""
    recipe = Recipe("thing", {}, lambda into: (into / "x").write_bytes(b"x") and None)
    entry = Cache(tmp_path, HOST).get(recipe)
    os.utime(entry / DIGEST_FILE, (1, 1))
    Cache(tmp_path, HOST).require(recipe)
    assert (entry / DIGEST_FILE).stat().st_mtime > NOW - 10**8


def test_clean_removes_all_artifacts(tmp_path, capsys, monkeypatch):
    """It shows the size of each kind, and also removes incomplete artifacts and caches of compilers."""
    monkeypatch.setenv(LOCK_VARIABLE, str(tmp_path / "lock"))
    folder = tmp_path / "cache"
    make(folder, "a", NOW)
    for left in ("noise", "system", "import", "inductor", ".thing-abc-xyz"):
        (folder / left).mkdir()
        (folder / left / "file").write_bytes(b"x" * 2**20)
    assert cache.main(["--output-dir", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert cache.main(["clean", "--output-dir", str(tmp_path)]) == 0
    removed = capsys.readouterr().out
    for text in (shown, removed):
        assert [word in text for word in ("thing", "inductor", "2.0", "noise")] == [True, True, True, False]
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["import", "noise", "system"]


def test_clean_is_refused_during_a_sweep(tmp_path, capsys, monkeypatch):
    """Nothing is removed, and the reason is reported."""
    monkeypatch.setenv(LOCK_VARIABLE, str(tmp_path / "lock"))
    entry = make(tmp_path / "cache", "a", NOW)
    with measurement_lock(wait=False, report=pytest.fail):
        assert cache.main(["clean", "--output-dir", str(tmp_path)]) == 2
    assert "nothing was removed: process" in capsys.readouterr().err
    assert entry.exists()


def test_a_missing_cache_is_empty(tmp_path):
    """Before the first sweep."""
    assert Artifacts(tmp_path / "none").entries() == []
    assert Artifacts(tmp_path / "none").trim(1) == []
