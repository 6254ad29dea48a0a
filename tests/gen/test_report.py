"""The page of a build's report, and the same parts as tables for the terminal."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from xnorweave import tables
from xnorweave.report import render_html

SHARING = {
    "family": "ecp5",
    "luts_estimate_error_percent": 9,
    "layers": [
        {
            "name": "conv1",
            "inputs": 9,
            "outputs": 16,
            "engine": "spatial",
            "strategy": "graph",
            "kernel_evaluations_unshared": 16,
            "kernel_evaluations_repeated": 15,
            "kernel_evaluations_kernel": 12,
            "additions_unshared": 1000,
            "additions_kernel": 500,
            "additions_graph": 301,
            "additions_units": 402,
            "luts_unshared": 200,
            "luts_built": 50,
        },
        {
            "name": "fc1",
            "inputs": 20,
            "outputs": 3,
            "engine": "folded",
            "strategy": "units",
            "additions_unshared": 57,
            "additions_units": 19,
        },
    ],
    "totals": {"additions_unshared": 1057, "additions_units": 421},
    "notes": ["Builds fold fc1 <instead>."],
}
PLAN = {
    "interval_cycles": 784,
    "latency_cycles": 1234,
    "layers": [
        {"name": "conv1", "engine": "spatial", "interval_cycles": 784, "latency_cycles": 17},
        {"name": "fc1", "engine": "folded", "interval_cycles": 650, "pe": 5, "simd": 16},
    ],
}


def rows_of(page: str, heading: str) -> list[list[str]]:
    """Cells of a section's table, tags left out."""
    section = page.split(f"<h2>{heading}</h2>")[1].split("</section>")[0]
    rows = re.findall(r"<tr.*?</tr>", section, re.DOTALL)
    cells = [re.findall(r"<t[dh].*?</t[dh]>", row, re.DOTALL) for row in rows]
    return [[" ".join(re.sub(r"<[^>]*>", " ", cell).split()) for cell in row] for row in cells]


def shown(report: dict[str, Any]) -> list[str]:
    console = Console(width=120, record=True, file=io.StringIO())
    tables.show(report, console)
    return console.export_text().splitlines()


def test_page_shows_each_layers_strategy_and_every_form() -> None:
    page = render_html({"network": {"name": "n", "weights": 1, "macs": 1}, "strategy": "auto", "sharing": SHARING})
    header, conv, dense, total = rows_of(page, "Result sharing")[1:]
    assert header[2:] == [
        *("unshared", "distinct", "up to inversion", "units"),
        *("unshared", "kernel", "graph", "units"),
        *("unshared", "built"),
    ]
    assert conv[:2] == ["conv1 9 &rarr; 16", "graph"]
    assert conv[2:6] == ["16", "15 93.8&thinsp;%", "12 75.0&thinsp;%", "\u2013"]
    assert conv[6:10] == ["1,000", "500 50.0&thinsp;%", "301 30.1&thinsp;%", "402 40.2&thinsp;%"]
    assert conv[10:] == ["200", "50 25.0&thinsp;%"]
    assert dense[1:6] == ["units", *["\u2013"] * 4]
    assert dense[9] == "19 33.3&thinsp;%"
    assert total[9] == "421 39.8&thinsp;%"
    assert "Builds fold fc1 &lt;instead&gt;." in page


def test_page_shows_latencies() -> None:
    page = render_html({"network": {"name": "n", "weights": 1, "macs": 1}, "plan": PLAN})
    assert rows_of(page, "Plan") == [
        ["Layer", "Engine", "PE", "SIMD", "Interval, cycles", "Latency, cycles"],
        ["conv1", "spatial", "\u2013", "\u2013", "784", "17"],
        ["fc1", "folded", "5", "16", "650", "\u2013"],
    ]
    assert "its answer 1,234 cycles after its first pixel" in page
    assert "A layer's latency is from" in page


def test_columns_that_no_layer_has_are_left_out() -> None:
    plan = {"layers": [{"name": "conv1", "engine": "spatial", "interval_cycles": 784}]}
    page = render_html({"network": {"name": "n", "weights": 1, "macs": 1}, "plan": plan})
    assert rows_of(page, "Plan")[0] == ["Layer", "Engine", "Interval, cycles"]
    assert "A layer's latency" not in page


def test_terminal_shows_latencies() -> None:
    lines = [line.split() for line in shown({"plan": PLAN})]
    assert ["layer", "engine", "PE", "SIMD", "interval", "latency"] in lines
    assert ["conv1", "spatial", "\u2013", "\u2013", "784", "17"] in lines
    assert ["fc1", "folded", "5", "16", "650", "\u2013"] in lines


@pytest.mark.parametrize(
    "line",
    [
        ["conv1", "9x16", "evaluations", "16", "15", "94", "12", "75", "\u2013", "\u2013"],
        ["graph", "additions", "1,000", "\u2013", "500", "50", "301", "30", "402", "40"],
        ["fc1", "20x3", "additions", "57", "\u2013", "\u2013", "\u2013", "19", "33"],
        ["total", "additions", "1,057", "\u2013", "\u2013", "\u2013", "421", "40"],
    ],
    ids=" ".join,
)
def test_terminal_shows_what_a_form_has_and_a_dash_where_it_has_nothing(line: list[str]) -> None:
    assert line in [row.split() for row in shown({"sharing": SHARING})]


def test_terminal_shows_the_notes() -> None:
    assert "Below a layer's name the strategy chosen. Builds fold fc1 <instead>." in " ".join(
        shown({"sharing": SHARING})
    )
