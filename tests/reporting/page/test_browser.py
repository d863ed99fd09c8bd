"""Pages in a real browser: nothing is requested, nothing is in the console, charts are drawn, rows sort and unfold."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.reporting.comparing.formats import Comparison
from runner.reporting.comparing.pairs import Limits, Side, compare
from runner.reporting.page import comparison_page, sweep_page
from tests.reporting.page.browser import chromium, console, requests
from tests.reporting.page.sweeps import HOSTILE, written

pytestmark = pytest.mark.services

DRAWN_S = 30


def wait_for_charts(browser, count: int) -> None:
    """Wait until so many charts are drawn."""
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, DRAWN_S).until(lambda found: len(all_of(found, ".chart svg")) == count)


def all_of(browser, selector: str):
    return browser.find_elements("css selector", selector)


def labels(browser) -> list[str]:
    return [element.text for element in all_of(browser, "tbody th bdi")]


def check_silent(browser, page: Path) -> None:
    """Check that only the page itself was requested, and that the console is empty."""
    assert requests(browser) == [page.as_uri()]
    assert console(browser) == []


@pytest.mark.parametrize(
    ("rows", "failed", "charts"),
    [(28, False, 2), (1, False, 2), (3, True, 0), (400, False, 2)],
    ids=["28 rows", "one row", "all failed", "400 rows"],
)
@pytest.mark.parametrize("width", [1400, 390])
def test_a_page_of_any_size(tmp_path, rows, failed, charts, width):
    """It is as wide as the screen, and draws its charts without a request or an error."""
    page = sweep_page.write_page(written(tmp_path / "sweep", [f"row {one}" for one in range(rows)], failed=failed))
    with chromium(width) as browser:
        browser.get(page.as_uri())
        wait_for_charts(browser, charts)
        assert len(labels(browser)) == rows
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        check_silent(browser, page)


def test_hostile_names_are_texts(tmp_path):
    """In the table, in the charts, and in an unfolded row; no script of theirs runs."""
    page = sweep_page.write_page(written(tmp_path / "sweep", list(HOSTILE)))
    with chromium(390) as browser:
        browser.get(page.as_uri())
        wait_for_charts(browser, 2)
        assert labels(browser) == list(HOSTILE)
        for button in all_of(browser, "button.unfold"):
            browser.execute_script("arguments[0].click()", button)
        wait_for_charts(browser, 2 + 2 * len(HOSTILE))
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
        check_silent(browser, page)


def test_sorting_and_unfolding(tmp_path):
    """A heading sorts down, then up; a row shows what its folder holds, and hides it again."""
    page = sweep_page.write_page(written(tmp_path / "sweep", [f"row {one}" for one in range(12)]), logs=True)
    with chromium(1400) as browser:
        browser.get(page.as_uri())
        wait_for_charts(browser, 2)
        heading = next(one for one in all_of(browser, "thead th") if one.text.startswith("speedup"))
        speeds = []
        for _ in range(2):
            heading.find_element("css selector", "button").click()
            speeds.append([float(one.get_attribute("data-value")) for one in all_of(browser, "tbody td:nth-child(3)")])
        assert speeds[0] == sorted(speeds[0], reverse=True)
        assert speeds[1] == sorted(speeds[1])
        assert heading.get_attribute("aria-sort") == "ascending"
        button = all_of(browser, "button.unfold")[0]
        button.click()
        wait_for_charts(browser, 4)
        shown = [one.text for one in all_of(browser, "tr.details h3")]
        assert shown == [
            *("Replicates", "Rounds", "Batch times", "What took effect", "Seconds by phase", "To run it again"),
            *("The measured process", "Its environment", "The end of its log"),
        ]
        assert all_of(browser, "tr.details pre")[0].text.startswith("python -m runner backend=ort ")
        button.click()
        assert not any(one.is_displayed() for one in all_of(browser, "tr.details"))
        check_silent(browser, page)


def test_hovering_names_the_row(tmp_path):
    """The tooltip holds the label as text."""
    from selenium.webdriver.common.action_chains import ActionChains

    page = sweep_page.write_page(written(tmp_path / "sweep", [HOSTILE[0]]))
    with chromium(1400) as browser:
        browser.get(page.as_uri())
        wait_for_charts(browser, 2)
        point = all_of(browser, '[data-chart="accuracy"] .mark-symbol.role-mark path')[-1]
        ActionChains(browser).move_to_element(point).perform()
        tooltip = all_of(browser, "#vg-tooltip-element")[0]
        assert HOSTILE[0] in tooltip.text
        check_silent(browser, page)


@pytest.mark.parametrize("dark", [False, True])
def test_both_colour_schemes(tmp_path, dark):
    """Text stands out from the page: a contrast of at least 7, also in the charts; printing is always light."""
    page = sweep_page.write_page(written(tmp_path / "sweep", ["a", "b"]))
    with chromium(1400, dark=dark) as browser:
        browser.get(page.as_uri())
        wait_for_charts(browser, 2)
        back = colour(browser, "body", "backgroundColor")
        assert (luminance(back) < 0.2) is dark
        for selector, style in (("body", "color"), (".chart svg .role-axis-label text", "fill"), ("td", "color")):
            assert contrast(colour(browser, selector, style), back) >= 7
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        assert luminance(colour(browser, "body", "backgroundColor")) == pytest.approx(1)
        assert luminance(colour(browser, ".chart svg .role-axis-label text", "fill")) < 0.1


def test_a_comparison(tmp_path):
    """It has its chart, and requests nothing."""
    sides = [Side(name, written(tmp_path / name, ["a", HOSTILE[0]]).results) for name in ("one", "two")]
    found = Comparison([side.name for side in sides], compare(sides, Limits()), Limits())
    path = tmp_path / "comparison.html"
    path.write_text(comparison_page.page(found, tmp_path), encoding="utf-8")
    with chromium(390) as browser:
        browser.get(path.as_uri())
        wait_for_charts(browser, 1)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
        check_silent(browser, path)


def colour(browser, selector: str, style: str) -> tuple[float, float, float]:
    """Return a computed colour of the first element, as red, green and blue from 0 to 1."""
    script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    text = browser.execute_script(script, selector, style)
    red, green, blue = (float(part) / 255 for part in text[text.index("(") + 1 : text.index(")")].split(",")[:3])
    return red, green, blue


def luminance(found: tuple[float, float, float]) -> float:
    """Return the relative luminance (WCAG 2.2)."""
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in found]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """Return the contrast ratio of two colours (WCAG 2.2)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
