"""The site builds without a warning, and its figures and pages are all reached."""

import importlib.util
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from documentation import package_path

import xnorweave

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module", name="site")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The HTML, built afresh."""
    for package in ("sphinx", "myst_parser", "furo"):
        if importlib.util.find_spec(package) is None:
            assert os.environ.get("CI") != "true", f"{package} is missing"
            pytest.skip(f"{package} is not installed; `pip install xnorweave[docs]`")
    target = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html", DOCS, target],
        env=os.environ | {"PYTHONPATH": package_path()},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return target


def test_every_command_and_option_is_in_the_reference(site: Path) -> None:
    from typer.main import get_command

    from xnorweave.cli import app

    page = (site / "reference" / "command_line.html").read_text("utf-8")
    text = re.sub(r"<[^>]+>", "", page)
    for word, command in get_command(app).commands.items():
        assert f"xnorweave {word}" in text
        for option in (option for parameter in command.params for option in parameter.opts if option[:2] == "--"):
            assert option in text, f"{word} {option}"


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    page = (site / "reference" / "python.html").read_text("utf-8")
    for name in xnorweave.__all__:
        if not name.startswith("__"):
            assert re.search(rf'id="xnorweave\.(\w+\.)*{name}"', page), name


def test_no_address_is_asked_for(site: Path) -> None:
    """Scripts, styles and images are the site's own."""
    for page in site.rglob("*.html"):
        found = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text("utf-8"))
        assert [address for address in found if "canonical" not in address] == [], page.name


@pytest.mark.parametrize("figure", sorted((DOCS / "figures").glob("*.svg")), ids=lambda path: path.name)
def test_a_figure_is_used_says_what_it_is_and_has_dark_colours(figure: Path) -> None:
    tree = ET.parse(figure).getroot()
    names = {child.tag.rpartition("}")[2] for child in tree}
    assert {"title", "style"} <= names
    assert "prefers-color-scheme: dark" in figure.read_text("utf-8")
    assert any(f"figures/{figure.name}" in page.read_text("utf-8") for page in DOCS.rglob("*.md"))
