"""The cache seen by the host: what it holds, what may be removed, and what never is."""

from __future__ import annotations

import os

import pytest

from runner.commands import cache
from runner.machine.lock import LOCK_VARIABLE, measurement_lock
from runner.results.artifacts import GIB, Artifacts
from runner.worker.artifacts.cache import DIGEST_FILE, Cache, Recipe

SIZE = 1000
NOW = 1_800_000_000


def make(folder, name: str, used_at: float):
    """Make an artifact of SIZE bytes that no one holds, as if it had been used at a time; return its folder."""
    entry = Cache(folder).get(
        Recipe("thing", {"name": name}, lambda into: (into / "x").write_bytes(b"x" * SIZE) and None)
    )
    os.utime(entry / DIGEST_FILE, (used_at, used_at))
    return entry


def limit(count: int) -> float:
    """Return GiB in which so many artifacts have room, with their digests, and half a one besides."""
    return (count + 0.5) * 1.3 * SIZE / GIB


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    """Until the rest has room, and no further."""
    entries = [make(tmp_path, str(number), NOW + number) for number in (3, 1, 2, 4)]
    [told] = Artifacts(tmp_path).trim(limit(2))
    assert [entry.exists() for entry in entries] == [True, False, False, True]
    assert "the longest unused, were removed" in told
    assert Artifacts(tmp_path).trim(limit(2)) == []


def test_what_this_sweep_has_used_stays(tmp_path):
    """Made or only used since it began, whatever the clock says; that there is no room for it is reported."""
    unused, used = make(tmp_path, "unused", NOW), make(tmp_path, "used", NOW)
    artifacts = Artifacts(tmp_path)
    os.utime(used / DIGEST_FILE, (NOW - 7200, NOW - 7200))
    made = make(tmp_path, "made", NOW - 7200)
    told = artifacts.trim(0)
    assert [entry.exists() for entry in (unused, used, made)] == [False, True, True]
    assert "in use by this sweep, more than cache_limit_gib=0" in told[1]


def test_what_a_process_holds_stays(tmp_path):
    """Whatever its time says: here this process is the worker."""
    recipe = Recipe("thing", {}, lambda into: (into / "x").write_bytes(b"x") and None)
    holder = Cache(tmp_path)
    entry = holder.get(recipe)
    assert Artifacts(tmp_path).trim(0)[-1].startswith("cache: 0.0 GiB are in use")
    assert entry.exists()
    del holder
    Artifacts(tmp_path).trim(0)
    assert not entry.exists()
    assert Cache(tmp_path).find(recipe) is None


def test_use_is_seen_from_outside(tmp_path):
    """Finding an artifact sets its time, so that it is the last to go."""
    recipe = Recipe("thing", {}, lambda into: (into / "x").write_bytes(b"x") and None)
    entry = Cache(tmp_path).get(recipe)
    os.utime(entry / DIGEST_FILE, (1, 1))
    Cache(tmp_path).require(recipe)
    assert (entry / DIGEST_FILE).stat().st_mtime > NOW - 10**8


def test_clean_removes_all_but_the_noise_floors(tmp_path, capsys, monkeypatch):
    """And shows what each kind took; what makers and compilers left goes too."""
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


def test_clean_waits_for_no_sweep(tmp_path, capsys, monkeypatch):
    """A running sweep needs what lies there: nothing is removed, and it is reported."""
    monkeypatch.setenv(LOCK_VARIABLE, str(tmp_path / "lock"))
    entry = make(tmp_path / "cache", "a", NOW)
    with measurement_lock(wait=False, report=pytest.fail):
        assert cache.main(["clean", "--output-dir", str(tmp_path)]) == 2
    assert "nothing was removed: process" in capsys.readouterr().err
    assert entry.exists()


def test_a_cache_that_is_not_there_is_empty(tmp_path):
    """Before the first sweep."""
    assert Artifacts(tmp_path / "none").entries() == []
    assert Artifacts(tmp_path / "none").trim(1) == []
