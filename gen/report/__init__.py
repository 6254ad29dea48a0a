"""The report of a build: ``report.json`` for programs, ``report.html`` for people."""

from typing import TYPE_CHECKING

from xnorweave.build_folder import REPORT_FORMAT
from xnorweave.late import late_names

if TYPE_CHECKING:
    from xnorweave.report.atlas import kernel_atlas
    from xnorweave.report.facts import slowness, verdict
    from xnorweave.report.page import render_html
    from xnorweave.report.write import file_digests, write_report

__all__ = ["REPORT_FORMAT", "file_digests", "kernel_atlas", "render_html", "slowness", "verdict", "write_report"]

__getattr__ = late_names(
    __name__,
    {
        "atlas": ("kernel_atlas",),
        "facts": ("slowness", "verdict"),
        "page": ("render_html",),
        "write": ("file_digests", "write_report"),
    },
)
