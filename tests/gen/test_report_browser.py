"""The report's page in a browser: it works offline, by keyboard, in both themes, without scripts, and when narrow."""

import re
from pathlib import Path

import pytest
from chromium import NEEDS_CHROMIUM, Chromium
from report_documents import HOSTILE, document

from xnorweave.report import render_html
from xnorweave.report.theme import PALETTE

pytestmark = NEEDS_CHROMIUM

GROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture
def page(browser: Chromium, tmp_path: Path) -> Chromium:
    path = tmp_path / "report.html"
    path.write_text(render_html(document(3, name=HOSTILE, classes=(HOSTILE,))), "utf-8")
    browser.reset()
    browser.open(path)
    return browser


def rgb(name: str, theme: int) -> str:
    colour = PALETTE[name][theme]
    return f"rgb({', '.join(str(int(colour[place : place + 2], 16)) for place in (1, 3, 5))})"


def to_themes(page: Chromium) -> None:
    """From the top, past the link that skips to the verdict."""
    page.press("Tab")
    page.press("Tab")
    assert page.value("document.activeElement.id") == "theme-auto"


def test_the_page_is_silent_and_asks_for_nothing(page: Chromium) -> None:
    assert page.complaints == []
    assert [re.sub(r".*/", "", address) for address in page.requests] == ["report.html"]
    assert page.value("document.querySelectorAll('script').length") == 1
    assert page.value("document.querySelector('h1').textContent") == f"{HOSTILE} on icebreaker"


def test_the_policy_stops_what_is_not_the_pages_own(page: Chromium) -> None:
    page.value("document.body.append(Object.assign(document.createElement('img'), {src: 'https://example.invalid/x'}))")
    page.value(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = true'}))"
    )
    assert page.value("window.ran === undefined")
    assert len([each for each in page.complaints if "Content Security Policy" in each]) == 2
    assert page.blocked == ["csp"]


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_the_theme_follows_the_system_until_the_keyboard_sets_it(page: Chromium, scripts: bool) -> None:
    if not scripts:
        page.call("Emulation.setScriptExecutionDisabled", value=True)
        page.call("Page.reload")
        page.wait()
    assert page.value("document.querySelectorAll('.code button').length > 0") is scripts
    assert page.value(GROUND) == rgb("page", 0)
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert page.value(GROUND) == rgb("page", 1)
    to_themes(page)
    page.press("ArrowRight")
    assert page.value(GROUND) == rgb("page", 0)
    page.press("ArrowRight")
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    assert page.value(GROUND) == rgb("page", 1)


def test_kernels_open_and_close_by_keyboard(page: Chromium) -> None:
    opened = "document.querySelectorAll('.k[open]').length"
    page.value("document.querySelector('.k summary').focus()")
    page.press("Enter")
    assert page.value(opened) == 1
    assert page.value("document.querySelector('.k[open] p').textContent").startswith("filters ")
    page.press("Escape")
    assert page.value(opened) == 0
    assert page.value("document.activeElement === document.querySelector('.k summary')")


def test_focus_is_visible(page: Chromium) -> None:
    page.press("Tab")
    for _ in range(12):
        page.press("Tab")
        outline = "(e => getComputedStyle(e.closest('fieldset') || e).outlineStyle)(document.activeElement)"
        assert page.value(outline) == "solid", page.value("document.activeElement.outerHTML")


def test_a_filters_kernels_are_marked(page: Chromium) -> None:
    page.value("document.querySelector('.tools input').focus()")
    page.call("Input.insertText", text="3")
    marked = page.value("[...document.querySelectorAll('.k.hit p')].map(each => each.textContent)")
    assert len(marked) == 9  # one in each channel of each layer
    assert all("3" in re.findall(r"\d+", users) for users in marked)


@pytest.mark.parametrize("width", [320, 420, 800, 1600])
def test_no_width_makes_the_page_scroll_sideways(page: Chromium, width: int) -> None:
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=True)
    page.value("document.querySelectorAll('details').forEach(each => { each.open = true })")
    assert page.value("document.documentElement.scrollWidth") <= width
