"""Artifacts: made once, whole or not at all, remade where they do not match their digest."""

import json
import os
import threading

import pytest

from runner.worker.artifacts.cache import Cache, Missing, Recipe


def recipe(calls, key=None, content="made"):
    """Return a recipe that counts how often it is built."""

    def build(folder):
        calls.append(1)
        (folder / "file.txt").write_text(content)

    return Recipe("thing", key or {"a": 1}, build)


def test_made_once(tmp_path):
    """The second request finds what the first made, also through another object."""
    calls = []
    first = Cache(tmp_path).get(recipe(calls))
    second = Cache(tmp_path).get(recipe(calls))
    assert first == second
    assert (first / "file.txt").read_text() == "made"
    assert len(calls) == 1


def test_another_key_is_another_artifact(tmp_path):
    """Everything that the artifact depends on is in its key."""
    calls = []
    cache = Cache(tmp_path)
    assert cache.get(recipe(calls, {"version": "1"})) != cache.get(recipe(calls, {"version": "2"}))
    assert len(calls) == 2


def test_require_never_makes(tmp_path):
    """A measured process raises that something is missing."""
    calls = []
    with pytest.raises(Missing):
        Cache(tmp_path).require(recipe(calls))
    assert not calls


@pytest.mark.parametrize("harm", ["altered", "truncated", "gone", "no digest", "broken digest"])
def test_a_harmed_entry_is_made_again(tmp_path, harm):
    """An entry that does not match its digest is never used."""
    calls = []
    entry = Cache(tmp_path).get(recipe(calls))
    if harm == "altered":
        (entry / "file.txt").write_text("MADE")
    elif harm == "truncated":
        os.truncate(entry / "file.txt", 2)
    elif harm == "gone":
        (entry / "file.txt").unlink()
    elif harm == "no digest":
        (entry / "digest.json").unlink()
    else:
        (entry / "digest.json").write_text("{")
    again = Cache(tmp_path).get(recipe(calls))
    assert (again / "file.txt").read_text() == "made"
    assert len(calls) == 2


def test_a_failed_build_leaves_nothing(tmp_path):
    """The exception is raised and no half-made entry is found."""

    def build(folder):
        (folder / "half").write_text("x")
        raise OSError("no space left on device")

    cache = Cache(tmp_path)
    broken = Recipe("thing", {}, build)
    with pytest.raises(OSError, match="no space"):
        cache.get(broken)
    assert cache.find(broken) is None
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_two_makers_build_once(tmp_path):
    """The second waits for the first and takes what it made."""
    calls = []
    barrier = threading.Barrier(2)

    def make():
        barrier.wait()
        Cache(tmp_path).get(recipe(calls))

    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_the_key_stands_beside_the_artifact(tmp_path):
    """A person can read what an entry is."""
    entry = Cache(tmp_path).get(recipe([], {"precision": "int8"}))
    assert json.loads((entry / "digest.json").read_text())["key"] == {"precision": "int8"}
