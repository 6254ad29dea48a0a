"""The shipped network on one board of each kind that people have: placed, routed, timing met, a bitstream."""

import json

import pytest

from xnorweave.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.pnr]

BOARDS = (
    "icebreaker",
    "ice40-hx8k-b-evn",
    "icesugar",
    "tinyfpga-bx",
    "ulx3s-25f",
    "ulx3s-45f",
    "ulx3s-85f",
    "orangecrab-r0-2-25f",
    "colorlight-5a75b-r7-0",
    "ecp5-5g-evn",
    "icesugar-pro",
)


@pytest.mark.parametrize("name", BOARDS)
def test_the_shipped_network_is_built(name, tmp_path):
    folder = tmp_path / name
    assert main(["synth", "fashion_mnist", "--board", name, "-o", str(folder)]) == 0
    report = json.loads((folder / "report.json").read_text("utf-8"))
    synthesis = report["synthesis"]
    assert synthesis["board"] == name
    assert synthesis["fmax_mhz"] >= synthesis["clock_mhz"]
    assert synthesis["luts"] <= synthesis["luts_available"]
    assert synthesis["block_rams"] <= synthesis["block_rams_available"]
    # The smallest: an iCE40 UP5K's stream of bits is 104 kB, whatever is on it.
    assert (folder / synthesis["bitstream"]).stat().st_size > 50_000
