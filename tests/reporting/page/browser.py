"""What a page did in a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from docs import browser as installed

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


@contextmanager
def chromium(width: int, *, dark: bool = False) -> Iterator[Chrome]:
    """Yield a browser; the test is skipped if there is none."""
    opened = installed.chromium(width, dark=dark)
    try:
        browser = opened.__enter__()
    except LookupError as missing:
        pytest.skip(str(missing))
    try:
        yield browser
    finally:
        opened.__exit__(None, None, None)


def console(browser: Chrome) -> list[str]:
    """Return what the page wrote to the console since the last call, violations of its policy included."""
    return [entry["message"] for entry in browser.get_log("browser")]


def requests(browser: Chrome) -> list[str]:
    """Return the addresses that were requested since the last call."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
