"""The page of a build's report, and the same parts as tables for the terminal."""

import io
import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from report_documents import HOSTILE, document, sharing_row
from rich.console import Console

from xnorweave import tables
from xnorweave.report import render_html
from xnorweave.report.theme import PALETTE

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


def text_of(markup: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def section(page: str, key: str) -> str:
    return page.split(f'<section id="{key}"')[1].split("</section>")[0]


def rows_of(page: str, key: str) -> list[list[str]]:
    """Cells of the tables of a section, tags left out."""
    rows = re.findall(r"<tr.*?</tr>", section(page, key), re.DOTALL)
    cells = [re.findall(r"<t[dh][ >].*?</t[dh]>", row, re.DOTALL) for row in rows]
    return [[text_of(cell) for cell in row] for row in cells]


def shown(report: dict[str, Any]) -> list[str]:
    console = Console(width=120, record=True, file=io.StringIO())
    tables.show(report, console)
    return console.export_text().splitlines()


def test_page_shows_each_layers_strategy_and_every_form() -> None:
    page = render_html({"network": {"name": "n", "weights": 1, "macs": 1}, "strategy": "auto", "sharing": SHARING})
    header, conv, dense, total = rows_of(page, "sharing")[1:]
    assert header[2:] == [
        *("naive", "repeated", "+ inverse", "units"),
        *("naive", "kernel", "graph", "units"),
        *("naive", "graph", "units"),
        *("naive", "built"),
    ]
    assert conv[:2] == ["conv1 9 \u2192 16", "graph"]
    assert conv[2:6] == ["16", "15 93.8 %", "12 75.0 %", "\u2013"]
    assert conv[6:10] == ["1,000", "500 50.0 %", "301 30.1 %", "402 40.2 %"]
    assert conv[13:] == ["200", "50 25.0 %"]
    assert dense[1:6] == ["units", *["\u2013"] * 4]
    assert dense[9] == "19 33.3 %"
    assert total[9] == "421 39.8 %"
    assert "Builds fold fc1 &lt;instead&gt;." in page


def test_page_shows_folds_idle_shares_and_latencies() -> None:
    page = render_html({"network": {"name": "n", "weights": 1, "macs": 1}, "plan": PLAN})
    assert rows_of(page, "layers") == [
        ["Layer", "Engine", "Fold", "Interval, cycles", "Works", "Latency, cycles"],
        ["conv1", "spatial", "", "784", "idle 0.0 %", "17"],
        ["fc1", "folded", "5 PE \u00d7 16 SIMD", "650", "idle 17.1 %", "\u2013"],
    ]
    assert "its answer 1,234 cycles after its first pixel" in page
    assert "A layer's latency is from" in page


def test_columns_that_no_layer_has_are_left_out() -> None:
    plan = {"layers": [{"name": "conv1", "engine": "spatial", "interval_cycles": 784}]}
    page = render_html({"network": {"name": "n", "weights": 1, "macs": 1}, "plan": plan})
    assert rows_of(page, "layers")[0] == ["Layer", "Engine", "Interval, cycles", "Works"]
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


def test_terminal_shows_the_critical_path_in_one_line() -> None:
    lines = [" ".join(line.split()) for line in shown({"synthesis": document()["synthesis"]})]
    assert "critical path conv0: 36.9 ns, 64 % on wires" in lines


def test_terminal_shows_the_notes() -> None:
    assert "Below a layer's name the strategy chosen. Builds fold fc1 <instead>." in " ".join(
        shown({"sharing": SHARING})
    )


# The page as a whole ---------------------------------------------------------------------------------------------------

EVERY_SECTION = {
    *("verdict", "board", "sharing", "kernels", "layers"),
    *("timeline", "accuracy", "timing", "use", "made", "files"),
}
_VOID = {"meta", "link", "input", "br", "img", "hr"}


class Checked(HTMLParser):
    """Complains of what is not nested, given twice, or left open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._take(tag, attrs)
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._take(tag, attrs)

    def _take(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}>: {names}"
        assert not [name for name in names if name.startswith("on") or name == "style"], f"<{tag}>: {names}"
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.targets |= {value[1:] for name, value in attrs if name == "href" and value and value.startswith("#")}

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> ends nothing"
        assert self.open.pop() == tag

    @classmethod
    def of(cls, page: str) -> "Checked":
        checked = cls()
        checked.feed(page)
        checked.close()
        assert checked.open == []
        assert len(checked.ids) == len(set(checked.ids))
        assert checked.targets <= set(checked.ids)
        return checked


def sections_of(page: str) -> set[str]:
    return set(re.findall(r'<section id="(\w+)"', page))


@pytest.mark.parametrize("layers", [1, 2, 20])
def test_pages_of_any_number_of_layers_are_well_formed_and_small(layers: int) -> None:
    page = render_html(document(layers))
    Checked.of(page)
    assert sections_of(page) == EVERY_SECTION
    assert len(page) < 400_000
    assert len(re.findall(r"<td>conv\d+", section(page, "layers"))) == layers
    assert section(page, "timeline").count("busy with the first frame") == layers + 1


def test_a_page_asks_for_nothing() -> None:
    page = render_html(document())
    assert re.findall(r"(?:https?:)?//[a-z]", page) == []
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


@pytest.mark.parametrize(
    ("left_out", "gone"),
    [
        (("synthesis", "estimate"), {"board", "timing"}),
        (("sharing",), {"sharing"}),
        (("kernel_atlas",), {"kernels"}),
        (("plan",), {"layers", "timeline"}),
        (("layers", "synthesis"), {"board", "timing", "timeline"}),
        (("accuracy", "compression"), {"accuracy"}),
        (("usage",), {"use"}),
        (("files",), {"files"}),
    ],
    ids=lambda names: ",".join(sorted(names)),
)
def test_sections_are_absent_with_their_parts(left_out: tuple[str, ...], gone: set[str]) -> None:
    report = document()
    for name in left_out:
        del report[name]
    page = render_html(report)
    Checked.of(page)
    assert sections_of(page) == EVERY_SECTION - gone
    assert set(re.findall(r'<a href="#(\w+)">', page.split("<nav")[1].split("</nav>")[0])) == EVERY_SECTION - gone


def test_a_network_without_wired_layers_has_no_section_of_sharing() -> None:
    report = document()
    report["sharing"] = {"family": "ice40", "luts_estimate_error_percent": 9, "layers": [], "totals": {}, "notes": []}
    page = render_html(report)
    Checked.of(page)
    assert sections_of(page) == EVERY_SECTION - {"sharing"}


@pytest.mark.parametrize("name", sorted(document()))
def test_any_part_may_be_absent_or_alone(name: str) -> None:
    report = document()
    alone = {name: report.pop(name)}
    Checked.of(render_html(report))
    Checked.of(render_html(alone))


def test_free_text_is_escaped_everywhere() -> None:
    report = document(name=HOSTILE, classes=(HOSTILE, "<img src=x>"))
    report["build"] |= {"command": f"xnorweave build {HOSTILE}", "history": [f"compressed for {HOSTILE}"]}
    report["sharing"]["notes"] = [HOSTILE]
    report["synthesis"] |= {"board": HOSTILE, "message": HOSTILE}
    report["synthesis"]["critical_path"] |= {"layer": HOSTILE, "from": HOSTILE, "to": HOSTILE}
    report["plan"]["layers"][0]["name"] = report["layers"][0]["name"] = HOSTILE
    report["kernel_atlas"]["layers"][0]["name"] = HOSTILE
    report["simulation"]["simulator"] = report["usage"]["load"] = HOSTILE
    page = render_html(report)
    Checked.of(page)
    assert page.count("<script>") == 1
    assert "<img" not in page
    assert page.count("&lt;script&gt;alert(&#39;x&#39;)") > 10


# Verdict ---------------------------------------------------------------------------------------------------------------


def test_the_verdict_has_every_number() -> None:
    said = text_of(section(render_html(document(name="tiny net")), "verdict"))
    for fact in (
        *("tiny net fits icebreaker and meets its clock", "bit-exact on 1,050 images", "89.0 % of 2,000 images right"),
        *("15,306 frames per second in the core", "128 over the serial link"),
        *("3,133 of 5,280 LUT places, 23 of 30 block RAMs", "27.1 MHz reached, 12 MHz used; 46.4 ns to spare"),
        *("1,050 frames in verilator 5.48, 0 differ", "1 adder graph proven: all 2,448 coefficients"),
        "a frame every 784 cycles, as planned",
        "xnorweave build net --board icebreaker --output demo --strategy auto --seed 7",
    ):
        assert fact in said
    assert "verdict good" in render_html(document())


def test_provenance_has_digests_tools_and_seed() -> None:
    said = text_of(section(render_html(document()), "made"))
    for fact in ("SHA-256, network " + "a" * 64, "SHA-256, design.v " + "d" * 64, "SHA-256, top.bin " + "b" * 64):
        assert fact in said
    for fact in ("yosys 0.70", "nextpnr-ice40 0.11.1", "xnorweave 9.8.7", "verilator 5.48", "Seed of placement 7"):
        assert fact in said


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("simulation", {"mismatches": 3}, "\u2717 Differs 1,050 frames in verilator 5.48, 3 differ"),
        ("synthesis", {"fmax_mhz": 11.0}, "\u2717 Timing 11.0 MHz reached, 12 MHz used; 7.6 ns short"),
        ("synthesis", {"luts": 6_000}, "\u2717 Fit 6,000 of 5,280 LUT places"),
        ("plan", {"slower_than_planned": True, "interval_cycles_measured": 800}, "\u2717 Rate slower than planned"),
    ],
    ids=["mismatch", "clock", "size", "rate"],
)
def test_what_does_not_hold_is_marked(part: str, change: dict[str, Any], said: str) -> None:
    report = document()
    report[part] |= change
    page = render_html(report)
    assert 'class="verdict bad"' in page
    assert said in text_of(section(page, "verdict"))


def test_a_plan_is_told_from_a_build() -> None:
    report = document()
    synthesis = {"estimated": True, "fits": False, "message": "too large"}
    del report["synthesis"]["fmax_mhz"], report["synthesis"]["critical_path"], report["simulation"]
    report["synthesis"] |= synthesis
    page = render_html(report)
    assert "net does not fit icebreaker, by estimates" in page
    assert "placed and routed" not in page
    assert "too large" in page


def test_next_steps_name_the_limits() -> None:
    said = text_of(section(render_html(document(3)), "verdict"))
    for fact in (
        "The serial link limits a bench to 127.6 frames/s, 0.8 % of what the core does",
        "conv1 and 1 more set the interval of 784 cycles: a wider fold raises the rate",
        "The next faster plan, by estimates: 17,143 frames/s (+12 %) for +5,861 LUTs and +7 block RAMs; it does not fit.",
        "The next slower plan, by estimates: 12,000 frames/s (\u221222 %) for \u221292 LUTs and as many block RAMs.",
        "would run at 27.1 MHz and gets 12",
        "The slowest path is in conv0: 36.9 ns, 64 % of it on wires.",
    ):
        assert fact in said


# Sections --------------------------------------------------------------------------------------------------------------


def test_estimates_stand_beside_what_was_taken() -> None:
    board = section(render_html(document()), "board")
    said = text_of(board)
    assert "3,133 of 5,280 \u00b7 59.3 % estimated 3,140 (+0.2 %)" in said
    assert "23 of 30 \u00b7 76.7 % estimated 24 (+4.3 %)" in said
    assert f'width="{100 * 3133 / 5280:.2f}%"' in board
    assert f'class="tick" x1="{100 * 3140 / 5280:.2f}%"' in board
    assert f'class="limit" x1="{100 * 4752 / 5280:.2f}%"' in board


def test_the_waterfall_has_every_form_of_every_unit_beside_random_weights() -> None:
    said = text_of(section(render_html(document()), "sharing"))
    assert "Kernel evaluations naive 256 repeated kernels once 192 \u00b7 75.0 % random 59.9 %" in said
    assert "+ inverse kernels 144 \u00b7 56.2 % random 45.0 % + similar kernels 115 \u00b7 44.9 % units" in said
    assert "the forms up to inverse kernels are those of the network before that" in said
    assert "Additions naive 2,416" in said
    assert "+ partial sums 1,498 \u00b7 20.0 %" in said
    assert "units, fewest LUTs 946 \u00b7 25.0 %" in said
    assert "The network\u2019s kernels were made similar before: compressed for luts, 9 to 8 luts." in said
    assert "trained" not in said


def test_the_waterfall_of_a_network_that_was_not_compressed() -> None:
    report = document()
    for row in (report["sharing"]["totals"], *report["sharing"]["layers"]):
        del row["before"]
    said = text_of(section(render_html(report), "sharing"))
    assert "Kernel evaluations naive 256 repeated kernels once 154 \u00b7 60.2 % random 59.9 %" in said
    assert "+ inverse kernels 115 \u00b7 44.9 % random 45.0 % units" in said
    assert "similar kernels" not in said
    assert "before that" not in said


def test_units_that_nobody_counted_before_have_no_similar_kernels() -> None:
    report = document() | {"strategy": "kernel"}
    report["sharing"]["totals"]["before"] = {"additions_kernel": 1_300}
    said = text_of(section(render_html(report), "sharing"))
    assert "+ inverse kernels 1,300 \u00b7 53.8 % random 45.0 % + similar kernels 1,087 \u00b7 45.0 % + partial" in said
    assert said.count("+ similar kernels") == 1


def test_without_one_strategy_the_waterfall_ends_in_what_was_built() -> None:
    report = document() | {"strategy": "auto"}
    report["sharing"]["totals"] = sharing_row(None) | {"luts_built": 700}
    assert "as built, the best of each layer 700 \u00b7 18.5 %" in text_of(section(render_html(report), "sharing"))


def test_layers_mark_what_limits_and_show_the_next_plans() -> None:
    rows = rows_of(render_html(document(2)), "layers")
    assert rows[1][:5] == ["conv0", "spatial", "", "676", "idle 13.8 %"]
    assert rows[2][:5] == ["conv1 bottleneck", "folded weights in block", "13 PE \u00d7 8 SIMD", "784", "idle 0.0 %"]
    assert rows[4] == ["next slower", "1,000", "12,000", "3,048", "24"]
    assert rows[6] == ["next faster does not fit", "700", "17,142.9", "9,001", "31"]


def test_the_critical_path_is_told_in_logic_and_wires() -> None:
    said = text_of(section(render_html(document()), "timing"))
    assert "in conv0 : 36.9 ns over 13 nets" in said
    assert "logic 13.3 ns wires 23.6 ns period at 12 MHz, 83.3 ns" in said
    assert "core.layer_conv0.window_LC" in said


def test_accuracy_is_shown_against_cost_with_the_network_kept() -> None:
    shown = section(render_html(document()), "accuracy")
    assert "1,780 of 2,000 images right, 89.00" in shown
    assert shown.count('<circle class="point"') == 4
    assert shown.count('<rect class="chosen"') == 1
    report = document()
    del report["compression"]
    assert "<svg" not in section(render_html(report), "accuracy")


def test_usage_has_pins_commands_and_classes() -> None:
    said = text_of(section(render_html(document(classes=("cat", "dog"))), "use"))
    for fact in ("iceprog top.bin", "serial in (rx) 6", "import numpy, serial print(1)", "0 cat 1 dog", "784 bytes"):
        assert fact in said


# Style -----------------------------------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_and_marks_stand_out_in_both_themes(theme: int) -> None:
    style = render_html(document()).split("<style>")[1].split("</style>")[0]
    pairs = dict(re.findall(r"--([a-z]+): light-dark\((#\w{6}, #\w{6})\)", style))
    colours = {name: pair.split(", ")[theme] for name, pair in pairs.items()}
    assert colours.keys() == PALETTE.keys()
    for ground in ("page", "card"):
        for name in ("ink", "soft", "mark", "estimate", "other", "good", "bad", "focus"):
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)


def test_every_picture_has_a_label() -> None:
    page = render_html(document())
    pictures = re.findall(r"<svg[^>]*>", page)
    assert len(pictures) > 30
    assert [each for each in pictures if not re.search(r"aria-label=|aria-hidden=|overflow=", each)] == []
