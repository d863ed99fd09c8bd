"""Artifacts: made once, complete or not at all, and made again if they do not match their digest."""

import json
import os
import threading

import pytest

from runner.worker.artifacts.cache import Cache, Missing, Recipe


def opened(folder, host="1", here="host"):
    """Return a cache as a process of one of two environments opens it; `host` is the digest of the host's."""
    return Cache(folder, {"host": host, "other": "2"}, here)


def recipe(calls, key=None, content="made"):
    """Return a recipe that counts how often it is built."""

    def build(folder):
        calls.append(1)
        (folder / "file.txt").write_text(content)

    return Recipe("thing", key or {"a": 1}, build)


def test_made_once(tmp_path):
    """The second request finds the artifact, through another Cache object too."""
    calls = []
    first = opened(tmp_path).get(recipe(calls))
    second = opened(tmp_path).get(recipe(calls))
    assert first == second
    assert (first / "file.txt").read_text() == "made"
    assert len(calls) == 1


def test_each_key_has_its_own_artifact(tmp_path):
    """A different key gives a different entry."""
    calls = []
    cache = opened(tmp_path)
    assert cache.get(recipe(calls, {"version": "1"})) != cache.get(recipe(calls, {"version": "2"}))
    assert len(calls) == 2


def test_a_changed_version_in_the_environment_makes_another_artifact(tmp_path):
    """Of the environment that makes it, whichever process asks."""
    calls = []
    first = opened(tmp_path).get(recipe(calls))
    assert opened(tmp_path, here="other").require(recipe(calls)) == first
    assert opened(tmp_path, host="1b").get(recipe(calls)) != first
    assert len(calls) == 2


def test_another_environment_makes_nothing(tmp_path):
    """It reports which one has to."""
    calls = []
    with pytest.raises(Missing) as missing:
        opened(tmp_path, here="other").get(recipe(calls))
    assert (missing.value.environment, calls) == ("host", [])


def test_require_never_makes(tmp_path):
    """A measured process gets the exception Missing."""
    calls = []
    with pytest.raises(Missing):
        opened(tmp_path).require(recipe(calls))
    assert not calls


@pytest.mark.parametrize("damage", ["altered", "truncated", "gone", "no digest", "broken digest"])
def test_damaged_entry_is_made_again(tmp_path, damage):
    """An entry that does not match its digest is never returned."""
    calls = []
    entry = opened(tmp_path).get(recipe(calls))
    if damage == "altered":
        (entry / "file.txt").write_text("MADE")
    elif damage == "truncated":
        os.truncate(entry / "file.txt", 2)
    elif damage == "gone":
        (entry / "file.txt").unlink()
    elif damage == "no digest":
        (entry / "digest.json").unlink()
    else:
        (entry / "digest.json").write_text("{")
    again = opened(tmp_path).get(recipe(calls))
    assert (again / "file.txt").read_text() == "made"
    assert len(calls) == 2


def test_failed_build_leaves_nothing(tmp_path):
    """The exception propagates, and no incomplete entry is found."""

    def build(folder):
        (folder / "half").write_text("x")
        raise OSError("no space left on device")

    cache = opened(tmp_path)
    broken = Recipe("thing", {}, build)
    with pytest.raises(OSError, match="no space"):
        cache.get(broken)
    assert cache.find(broken) is None
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_two_makers_build_once(tmp_path):
    """The second waits for the first and uses its entry."""
    calls = []
    barrier = threading.Barrier(2)

    def make():
        barrier.wait()
        opened(tmp_path).get(recipe(calls))

    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_entry_records_its_key(tmp_path):
    """In a file that a person can read."""
    entry = opened(tmp_path).get(recipe([], {"precision": "int8"}))
    assert json.loads((entry / "digest.json").read_text())["key"] == {"precision": "int8", "environment": "1"}
