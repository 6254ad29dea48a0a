"""The exploration's page in a browser: offline, by keyboard, in both themes, without scripts, and when narrow."""

import re
from pathlib import Path

import pytest
from chromium import NEEDS_CHROMIUM, Chromium
from explored_documents import HOSTILE, explored

from xnorweave.report.explored import render_explored

pytestmark = NEEDS_CHROMIUM

TIP = "getComputedStyle(document.activeElement.querySelector('.tip')).visibility"


@pytest.fixture
def page(browser: Chromium, tmp_path: Path) -> Chromium:
    path = tmp_path / "explore.html"
    path.write_text(render_explored(explored(name=HOSTILE)), "utf-8")
    browser.reset()
    browser.open(path)
    return browser


def test_the_page_is_silent_and_asks_for_nothing(page: Chromium) -> None:
    assert page.complaints == []
    assert [re.sub(r".*/", "", address) for address in page.requests] == ["explore.html"]
    assert page.value("document.querySelectorAll('script').length") == 1


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_a_design_of_the_front_tells_its_figures_by_keyboard_and_leads_to_its_row(
    page: Chromium, scripts: bool
) -> None:
    if not scripts:
        page.call("Emulation.setScriptExecutionDisabled", value=True)
        page.call("Page.reload")
        page.wait()
    assert page.value("getComputedStyle(document.querySelector('.tip')).visibility") == "hidden"
    for _ in range(40):
        page.press("Tab")
        if page.value("document.activeElement.matches('.pt.front')"):
            break
    assert page.value(TIP) == "visible"
    page.press("Enter")
    assert re.fullmatch(r"#d[0-9]+", page.value("location.hash"))
    assert page.value("document.querySelectorAll('tr:target').length") == 1


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_stands_out_at_any_width(page: Chromium, width: int) -> None:
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    assert page.value("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_marks_differ_from_their_ground(page: Chromium, theme: str) -> None:
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
    ground = page.value("getComputedStyle(document.querySelector('section')).backgroundColor")
    for mark, what in ((".pt.front rect", "fill"), (".pt.missed circle", "stroke")):
        assert page.value(f"getComputedStyle(document.querySelector('{mark}')).{what}") != ground
