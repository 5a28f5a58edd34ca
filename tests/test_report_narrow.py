"""The report's web page on a phone: nothing leaves the screen but what scrolls by itself, and figures can be read."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import report_cases
from tests.test_stage_report import run

if TYPE_CHECKING:
    from playwright.sync_api import Page

WIDTH = 390
LEAST_FIGURE = 600
"""CSS pixels that a figure is at least wide: at 7 inches, its smallest text of 7 points then has 8 pixels."""
OUTSIDE = """
width => [...document.querySelectorAll("body *")].filter(element => {
  const box = element.getBoundingClientRect();
  if (!box.width || (box.right <= width + 0.5 && box.left >= -0.5)) return false;
  for (let above = element.parentElement; above; above = above.parentElement) {
    const scrolls = ["auto", "scroll"].includes(getComputedStyle(above).overflowX);
    if (scrolls && above !== document.body && above !== document.documentElement) return false;
  }
  return true;
}).map(element => element.outerHTML.slice(0, 100))
"""
BESIDE = """
() => [...document.querySelectorAll("table, figure img, pre")].filter(element => {
  const box = element.closest(".table, figure, pre");
  return !box || (box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX !== "auto");
}).map(element => element.outerHTML.slice(0, 100))
"""


@pytest.fixture(scope="module", params=["scratch", "200 classes", "one probe"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Page"]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    top: Path = report_cases.write(tmp_path_factory.mktemp("report"), request.param)
    run(top)
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium, args=options) as browser:
        page = browser.new_page(viewport={"width": WIDTH, "height": 844})
        page.goto((top / "reports" / "report.html").as_uri())
        yield page


@pytest.mark.browser
def test_nothing_leaves_a_phone_but_what_scrolls_by_itself(page: "Page") -> None:
    assert page.locator("table").count() >= 2
    assert page.evaluate("document.documentElement.scrollWidth") == WIDTH
    assert page.evaluate(OUTSIDE, WIDTH) == []
    assert page.evaluate(BESIDE) == []


@pytest.mark.browser
def test_figures_are_wide_enough_to_be_read_and_can_be_scrolled_to_their_end(page: "Page") -> None:
    for image in page.locator("figure img").all():
        natural = image.evaluate("image => image.naturalWidth")
        assert image.evaluate("image => image.getBoundingClientRect().width") >= min(LEAST_FIGURE, natural)
        reached = image.evaluate(
            "image => { const box = image.closest('figure'); box.scrollLeft = 1e6;"
            " return image.getBoundingClientRect().right - box.getBoundingClientRect().right }"
        )
        assert reached <= 1
