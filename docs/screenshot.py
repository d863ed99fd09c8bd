"""Take the README's picture of the MLflow UI: the runs of the latest sweep, or of the one named, compared.

Starts the UI on a free port of 127.0.0.1, opens its comparison page in headless Chromium, and stops it again.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from urllib.error import URLError

from runner.config.schema import TrackingConfig
from runner.paths import PROJECT
from runner.tracking.client import tracking_uri
from runner.tracking.links import comparison_view
from runner.tracking.reader import read_recorded

TARGET = PROJECT / "docs" / "mlflow.png"
START_S = 60
SIZE = (1800, 1130)
MAX_WAIT_S = 60
CHARTS = "^(speedup|throughput|accuracy_top1|sqnr_db|latency_p50_ms|agreement_top1)$"
"""The metrics in the picture."""
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def main() -> int:
    """Take the picture; return 1 where there is no browser."""
    if shutil.which("chromedriver") is None:
        print("there is no Chromium with its driver: run apt-get install chromium chromium-driver", file=sys.stderr)
        return 1
    uri = tracking_uri(TrackingConfig(), PROJECT / "outputs")
    chosen = sys.argv[1] if len(sys.argv) > 1 else None
    sweep, rows = read_recorded(uri, TrackingConfig().experiment, chosen)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", "127.0.0.1"]
    server = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(address)
        photograph(comparison_view(address, rows["experiment_id"].iloc[0], sweep))
    finally:
        server.terminate()
        server.wait()
    print(TARGET.relative_to(PROJECT))
    return 0


def photograph(page: str) -> None:
    """Save a picture of the comparison page, the sweep unfolded."""
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support import expected_conditions
    from selenium.webdriver.support.wait import WebDriverWait

    options = webdriver.ChromeOptions()
    for option in OPTIONS:
        options.add_argument(option)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        browser.set_window_size(*SIZE)
        browser.get(page)
        wait = WebDriverWait(browser, MAX_WAIT_S)
        parent = (By.XPATH, "//*[@role='gridcell']//button[contains(@data-component-id, 'runnamecell')]")
        wait.until(expected_conditions.element_to_be_clickable(parent)).click()
        for close in browser.find_elements(By.XPATH, "//*[@aria-label='Close']"):  # the assistant's pane
            close.click()
        search = browser.find_element(By.XPATH, "//input[contains(@placeholder, 'Search metric charts')]")
        search.send_keys(CHARTS)
        time.sleep(8)  # the charts are drawn one by one
        browser.save_screenshot(str(TARGET))
    finally:
        browser.quit()


def wait_for(address: str) -> None:
    """Return when the server answers.

    Raises:
        TimeoutError: it does not within a minute.
    """
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=2).close()
        except (URLError, ConnectionError, TimeoutError):  # not yet
            time.sleep(0.5)
        else:
            return
    raise TimeoutError(f"{address} did not answer within {START_S} s")


if __name__ == "__main__":
    sys.exit(main())
