"""Take the pictures of the latest sweep, or of the one named: its report, and its rows compared in the MLflow UI.

Starts the UI on a free port of 127.0.0.1, opens its comparison page in headless Chromium, and stops it again.
"""

from __future__ import annotations

import base64
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

from docs.browser import chromium
from runner.config.schema import TrackingConfig
from runner.paths import PROJECT
from runner.results.store import PAGE_FILE
from runner.tracking.client import tracking_uri
from runner.tracking.links import comparison_view
from runner.tracking.reader import read_recorded

MLFLOW, REPORT = PROJECT / "docs" / "mlflow.png", PROJECT / "docs" / "report.png"
START_S = 60
MLFLOW_SIZE, REPORT_WIDTH = (1800, 1130), 1100
MAX_WAIT_S = 60
CHARTS = "^(speedup|throughput|accuracy_top1|sqnr_db|latency_p50_ms|agreement_top1)$"
"""The metrics in the picture."""


def main() -> int:
    """Take the pictures; return 1 where there is no browser."""
    uri = tracking_uri(TrackingConfig(), PROJECT / "outputs")
    chosen = sys.argv[1] if len(sys.argv) > 1 else None
    sweep, rows = read_recorded(uri, TrackingConfig().experiment, chosen)
    try:
        photograph_report(PROJECT / "outputs" / "sweeps" / sweep / PAGE_FILE)
        photograph_mlflow(uri, str(rows["experiment_id"].iloc[0]), sweep)
    except LookupError as missing:
        print(missing.args[0], file=sys.stderr)
        return 1
    return 0


def photograph_report(page: Path) -> None:
    """Save a picture of a report: everything above its table.

    Raises:
        LookupError: there is no browser.
    """
    with chromium(REPORT_WIDTH) as browser:
        browser.get(page.as_uri())
        time.sleep(2)  # the charts are drawn
        height = browser.execute_script("return document.querySelector('section').getBoundingClientRect().top")
        clip = {"x": 0, "y": 0, "width": REPORT_WIDTH, "height": height, "scale": 1}
        taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    REPORT.write_bytes(base64.b64decode(taken["data"]))
    print(REPORT.relative_to(PROJECT))


def photograph_mlflow(uri: str, experiment: str, sweep: str) -> None:
    """Save a picture of the rows of a sweep, compared in charts.

    Raises:
        LookupError: there is no browser.
        TimeoutError: the server does not answer.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", "127.0.0.1"]
    server = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(address)
        _photograph(comparison_view(address, experiment, sweep))
    finally:
        server.terminate()
        server.wait()
    print(MLFLOW.relative_to(PROJECT))


def _photograph(address: str) -> None:
    """Save a picture of the comparison view, the sweep unfolded."""
    with chromium(*MLFLOW_SIZE) as browser:
        from selenium.webdriver.common.by import By
        from selenium.webdriver.support import expected_conditions
        from selenium.webdriver.support.wait import WebDriverWait

        browser.get(address)
        wait = WebDriverWait(browser, MAX_WAIT_S)
        parent = (By.XPATH, "//*[@role='gridcell']//button[contains(@data-component-id, 'runnamecell')]")
        wait.until(expected_conditions.element_to_be_clickable(parent)).click()
        for close in browser.find_elements(By.XPATH, "//*[@aria-label='Close']"):  # the assistant's pane
            close.click()
        search = browser.find_element(By.XPATH, "//input[contains(@placeholder, 'Search metric charts')]")
        search.send_keys(CHARTS)
        time.sleep(8)  # the charts are drawn one by one
        browser.save_screenshot(str(MLFLOW))


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
