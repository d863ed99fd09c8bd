"""Headless Chromium, for pictures of pages and for the tests that open them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
REMEDY = "there is no Chromium with its driver, or no selenium: run make screenshot, or make test-services"


@contextmanager
def chromium(width: int, height: int = 1000, *, dark: bool = False) -> Iterator[Chrome]:
    """Yield a browser that logs its console and every request.

    Args:
        width: of the page, in CSS pixels.
        height: of the page, in CSS pixels.
        dark: whether the reader prefers a dark colour scheme.

    Raises:
        LookupError: there is no browser, or no selenium.
    """
    driver = shutil.which("chromedriver")
    try:
        from selenium import webdriver
    except ImportError as error:
        raise LookupError(REMEDY) from error
    if driver is None:
        raise LookupError(REMEDY)
    options = webdriver.ChromeOptions()
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        yield browser
    finally:
        browser.quit()
