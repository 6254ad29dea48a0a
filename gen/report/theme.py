"""What all pages have in common: colours, style, script, and how their templates are filled in."""

import base64
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from xnorweave.report import charts, facts

__all__ = ["PALETTE", "render_fragment", "render_page"]

# Light and dark: text and marks have a contrast of 4.5 and more on both grounds, and blue, orange and grey stay apart
# for eyes that do not tell red from green. Nothing is told by colour alone.
PALETTE = {
    "page": ("#f5f6f8", "#10151b"),
    "card": ("#ffffff", "#181f27"),
    "ink": ("#18212b", "#e5eaf0"),
    "soft": ("#55616f", "#9fadbc"),
    "line": ("#dfe4e9", "#2b3641"),
    "track": ("#e8ecf0", "#27323d"),
    "mark": ("#0b5fa5", "#6fb1ee"),
    "estimate": ("#9a4f00", "#f0a85c"),
    "other": ("#5f6975", "#97a4b2"),
    "good": ("#1b6e53", "#5cc5a1"),
    "bad": ("#a8321f", "#ff8d7a"),
    "focus": ("#0b5fa5", "#8cc4f7"),
}


def render_page(template: str, context: Mapping[str, Any], *, styles: Sequence[str] = ()) -> str:
    """A page of a template that extends ``base.html.j2``: one file that needs nothing from anywhere else.

    Parameters
    ----------
    template : str
        Its name in this package.
    context : dict
        What it shows.
    styles : sequence of str
        Templates of style sheets for this page alone.
    """
    environment = _environment()
    sheets = ("style.css.j2", *styles)
    style = "".join(environment.get_template(name).render(palette=PALETTE) for name in sheets)
    script = environment.get_template("script.js").render()
    shared = {
        "palette": PALETTE,
        "style": Markup(style),
        "style_hash": _hash(style),
        "script": Markup(script),
        "script_hash": _hash(script),
    }
    return environment.get_template(template).render({**context, **shared})


def render_fragment(template: str, context: Mapping[str, Any]) -> str:
    """HTML of a template that is shown within another page, such as a notebook: no style sheet, no script.

    Parameters
    ----------
    template : str
        Its name in this package.
    context : dict
        What it shows.
    """
    return _environment().get_template(template).render(context)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("xnorweave.report", "."),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": facts.count, "size": facts.size, "percent": _percent}
    environment.globals |= {"charts": charts}
    return environment


def _hash(text: str) -> str:
    """What a page's security policy calls the text of a style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _percent(share: float) -> str:
    return f"{share:.1f}\u2009%" if share < 99.95 or share == 100 else f"{share:.0f}\u2009%"
