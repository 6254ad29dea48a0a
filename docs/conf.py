"""How Sphinx makes the site: `make docs`, or ``python -m sphinx -W --keep-going -n docs build/docs``."""

import subprocess
import sys
from pathlib import Path

from sphinx.application import Sphinx

import xnorweave

project = "xnorweave"
author = "the authors of xnorweave"
copyright = "the authors of xnorweave, Apache-2.0"
version = release = xnorweave.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_generated"]
html_theme = "furo"
html_title = f"xnorweave {release}"
html_copy_source = False
html_show_sourcelink = False

# Links between pages are to headings as GitHub names them, so that they work there too.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
# Marks of blocks, which tests/docs reads, are comments; Pygments knows no prompt of ours but `$`.
highlight_language = "none"
suppress_warnings = ["myst.strikethrough"]

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings have them, with units and ranges
autodoc_default_options = {"members": True}
napoleon_google_docstring = False
napoleon_custom_sections = [("Members", "params_style")]
napoleon_use_rtype = False
default_role = "py:obj"
# Types of other packages, and those that docstrings write in words.
nitpick_ignore_regex = [(r"py:.*", r"(?!xnorweave\.).*"), (r"py:obj", r"xnorweave\..*")]

GENERATED = Path(__file__).parent / "_generated"


def write_command_line(_app: Sphinx) -> None:
    """Write the commands and their options as Typer tells them."""
    done = subprocess.run(
        [sys.executable, "-m", "typer", "xnorweave.cli", "utils", "docs", "--name", "xnorweave"],
        check=True,
        capture_output=True,
        text=True,
    )
    GENERATED.mkdir(exist_ok=True)
    _, _, commands = done.stdout.partition("\n## ")
    page = GENERATED / "commands.md"
    text = f"## {commands}"
    if not page.is_file() or page.read_text("utf-8") != text:
        page.write_text(text, "utf-8")


def setup(app: Sphinx) -> None:
    """Sphinx' entry."""
    app.connect("builder-inited", write_command_line)
