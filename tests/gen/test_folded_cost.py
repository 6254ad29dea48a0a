import json
from pathlib import Path

import pytest

from xnorweave import folded_cost
from xnorweave.folded_cost import block_rams, memory, rom_luts

FOLDER = Path(__file__).parents[2] / "bench" / "results"
RESULTS = json.loads((FOLDER / "folded_cost.json").read_text("utf-8"))
CODEBOOK = json.loads((FOLDER / "codebook.json").read_text("utf-8"))


# What Yosys 0.70 gives memories of these shapes.
@pytest.mark.parametrize(
    ("family", "width", "depth", "blocks"),
    [
        ("ice40", 16, 256, 1),
        ("ice40", 17, 256, 2),
        ("ice40", 2, 2048, 1),
        ("ice40", 80, 650, 15),
        ("ice40", 36, 16, 3),
        ("ecp5", 36, 512, 1),
        ("ecp5", 37, 512, 2),
        ("ecp5", 18, 1024, 1),
        ("ecp5", 1, 16384, 1),
        ("ecp5", 80, 650, 5),
    ],
)
def test_block_rams_of_a_shape(family, width, depth, blocks):
    assert block_rams(width, depth, family) == blocks


@pytest.mark.parametrize(
    ("family", "width", "depth", "in_block_ram"),
    [
        ("ice40", 8, 8, False),
        ("ice40", 9, 8, True),
        ("ice40", 128, 2, False),
        ("ecp5", 36, 32, False),
        ("ecp5", 36, 48, True),
        ("ecp5", 16, 64, False),
        ("ecp5", 16, 96, True),
        ("ecp5", 128, 32, False),
        ("ecp5", 1, 256, False),
        ("ecp5", 1, 512, True),
    ],
)
def test_small_memories_are_not_block_ram(family, width, depth, in_block_ram):
    cost = memory(width, depth, family)
    assert (cost.block_rams > 0) == in_block_ram
    assert (cost.luts == 0) == in_block_ram


def test_a_constant_is_no_memory():
    assert rom_luts(64, 1) == 0
    assert rom_luts(64, 16) == 64
    assert rom_luts(64, 17) > 64
    assert rom_luts(1000, 4) == 16  # there are no more different columns


def test_factors_and_errors_are_those_measured():
    assert RESULTS["factors"] == folded_cost.FACTORS
    for family, error in RESULTS["error_percent"].items():
        assert error <= folded_cost.ERROR_PERCENT[family] < error + 1


def test_layers_that_were_not_fitted_are_within_15_percent():
    rows = [row for row in RESULTS["rows"] if not row["fitted"]]
    assert len(rows) >= 12
    for row in rows:
        assert abs(row["error_percent"]) <= 15, row["layer"]
        assert abs(row["estimated"]["block_rams"] - row["measured"]["block_rams"]) <= 1, row["layer"]


def test_kernel_indices_are_estimated_as_measured():
    assert CODEBOOK["decoder_factors"] == folded_cost.DECODER_FACTORS
    for row in CODEBOOK["rows"]:
        measured, estimated = (row[what]["codebook"] for what in ("measured", "estimated"))
        assert abs(row["error_percent"]["codebook"]) <= 15, row["layer"]
        assert abs(estimated["block_rams"] - measured["block_rams"]) <= 1, row["layer"]
