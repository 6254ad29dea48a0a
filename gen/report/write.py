"""Write the report of a build into its folder."""

import hashlib
import json
from pathlib import Path
from typing import Any

from xnorweave import __version__
from xnorweave.build_folder import REPORT_FORMAT
from xnorweave.report.page import render_html

__all__ = ["file_digests", "write_report"]

_OWN_FILES = ("report.json", "report.html")


def write_report(folder: Path, report: dict[str, Any]) -> dict[str, Any]:
    """Write ``report.json`` and ``report.html`` into a build folder.

    Parameters
    ----------
    folder : Path
        Everything else that the build made is there already.
    report : dict
        Parts by name; those that are absent are left out of the page too.

    Returns
    -------
    dict
        What was written to ``report.json``: ``report`` with format, version and the files' digests.
    """
    whole = {"format": REPORT_FORMAT, "version": __version__} | report | {"files": file_digests(folder)}
    text = json.dumps(whole, indent=1, allow_nan=False)
    (folder / "report.json").write_text(text + "\n", "utf-8")
    (folder / "report.html").write_text(render_html(whole), "utf-8")
    return whole


def file_digests(folder: Path) -> list[dict[str, Any]]:
    """Name, size and SHA-256 of every file below ``folder`` but the report itself, in order of name."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in _OWN_FILES)
    return [
        {
            "name": path.relative_to(folder).as_posix(),
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in paths
    ]
