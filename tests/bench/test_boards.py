"""The table of networks and boards: what is kept of its runs, and the page made of it."""

import importlib.util
import json
import sys
from types import ModuleType
from typing import Any

import pytest

PLAN = {
    "interval_cycles": 784, "slowest": "input", "luts": 2950, "luts_available": 5280, "block_rams": 28,
    "block_rams_available": 30, "clock_mhz": 12.0, "frames_per_second": 15306.1, "seconds": 1.8,
}  # fmt: skip
BUILD = {
    "luts": 2895, "luts_available": 5280, "block_rams": 27, "block_rams_available": 30, "fmax_mhz": 26.76,
    "clock_mhz": 12.0, "frames_per_second": 15000.0, "interval_cycles": 784, "interval_cycles_measured": 800,
    "images": 200, "mismatches": 0,
}  # fmt: skip


@pytest.fixture
def boards(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """bench/boards.py, which is in no package."""
    folder = request.config.rootpath / "bench"
    monkeypatch.syspath_prepend(folder)
    spec = importlib.util.spec_from_file_location("bench_boards", folder / "boards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_boards", module)
    spec.loader.exec_module(module)
    return module


def page(boards: ModuleType, *rows: dict[str, Any]) -> list[str]:
    return boards.table(list(rows)).splitlines()


def test_a_killed_run_keeps_what_was_finished(boards, tmp_path, monkeypatch):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    results = boards.Results(tmp_path / "boards.json")
    results.keep("fashion_mnist:ulx3s-85f", "build", BUILD)
    monkeypatch.setattr(boards, "plan", lambda *_: PLAN)
    monkeypatch.setattr(boards, "build", killed)
    with pytest.raises(KeyboardInterrupt):
        boards.measure(results, ["fashion_mnist:icebreaker"], ["fashion_mnist:icebreaker"])
    assert json.loads((tmp_path / "boards.json").read_text())["rows"] == [
        {"network": "fashion_mnist", "board": "icebreaker", "plan": PLAN},
        {"network": "fashion_mnist", "board": "ulx3s-85f", "build": BUILD},
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["boards.json"]


def test_rows_of_another_run_stay(boards, tmp_path):
    """Each change reads the file again, so that builds on several machines may go into one file in turn."""
    first, second = (boards.Results(tmp_path / "boards.json") for _ in range(2))
    second.keep("cnvW1A1_cifar10:ulx3s-85f", "plan", PLAN)
    first.keep("fashion_mnist:icebreaker", "plan", PLAN)
    assert [row["network"] for row in second.rows] == ["fashion_mnist", "cnvW1A1_cifar10"]


def test_a_failure_takes_the_place_of_no_result_but_a_refusal_does(boards, tmp_path):
    results = boards.Results(tmp_path / "boards.json")
    results.keep("fashion_mnist:icebreaker", "build", BUILD)
    results.keep("fashion_mnist:icebreaker", "build", {"failed": "exit code -9: "})
    assert results.rows[0]["build"] == BUILD
    results.keep("fashion_mnist:icebreaker", "build", {"refused": "icebreaker: too small"})
    assert results.rows[0]["build"] == {"refused": "icebreaker: too small"}


def test_error_lines_name_no_folder(boards):
    line = "/home/x/nets/T.onnx: not readable; logs: /tmp/xnorweave-logs-abc"
    assert boards.plain(line) == "T.onnx: not readable"
    assert boards.plain("it takes 9 LUTs (3/4); at most 2 frames/s") == "it takes 9 LUTs (3/4); at most 2 frames/s"


def test_a_pair_shows_plan_build_and_error(boards):
    assert boards.errors(PLAN, BUILD) == {"luts": 1.9, "block_rams": 3.7, "frames_per_second": 2.0}
    built = BUILD | {"planned": PLAN, "error_percent": boards.errors(PLAN, BUILD)}
    row = {"network": "fashion_mnist", "board": "icebreaker", "plan": PLAN | {"luts": 1}, "build": built}
    cells = next(line for line in page(boards, row) if line.startswith("| `icebreaker`")).split(" | ")
    assert cells[1:] == [
        "2,950 / 2,895 (+1.9 %) of 5,280",
        "28 / 27 (+3.7 %) of 30",
        "26.8 / 12",
        "15,306 / 15,000 (+2.0 %)",
        "200 images, 0 mismatches; 800 cycles a frame, 784 planned |",
    ]


def test_refusals_are_kept_in_their_words(boards):
    rows = [
        {
            "network": "cnvW1A1_cifar10",
            "board": "icebreaker",
            "plan": {"refused": "icebreaker: the network does not fit"},
        },
        {"network": "cnvW1A1_cifar10", "board": "ulx3s-85f", "plan": PLAN},
    ]
    lines = page(boards, *rows)
    assert "* `icebreaker`, plan refused: the network does not fit" in lines
    assert "| `icebreaker` | \u2013 / \u2013 | \u2013 / \u2013 | \u2013 | \u2013 / \u2013 | \u2013 |" in lines
    lines = sys.modules["boards_table"].beside_finn(rows).splitlines()
    assert "| FINN prototype, ZC706 | \u2013 | \u2013 | 21,906 | Umuroglu et al., FINN, FPGA 2017 |" in lines
    assert "| xnorweave, `ulx3s-85f` at 12 MHz, planned | 2,950 LUT4 | 28 of 18 kbit | 15,306 | here |" in lines


def test_the_page_is_that_of_the_results(boards):
    assert boards.table(boards.Results(boards.RESULT).rows) == boards.TABLE.read_text("utf-8")
