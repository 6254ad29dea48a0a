import dataclasses
import hashlib

import pytest

from xnorweave.boards.catalogue import board, boards
from xnorweave.boards.link import Link
from xnorweave.boards.top import BoardPlan, BoardTop, link_baud, plan_board
from xnorweave.design import Design
from xnorweave.errors import DeviceError

# Boards that are refused are never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


@pytest.mark.parametrize(
    ("name", "clock_mhz", "baud"),
    [("icebreaker", None, 1_000_000), ("ulx3s-85f", None, 1_000_000), ("icebreaker", 3.3, 115_200)],
)
def test_baud_rate(name, clock_mhz, baud):
    assert link_baud(board(name), clock_mhz) == baud


@pytest.mark.parametrize(
    ("name", "clock_mhz", "divisor", "error"),
    [("icebreaker", None, 12, 0.0), ("icebreaker", 3.3, 29, -1.221), ("ulx3s-85f", 50.0, 50, 0.0)],
)
def test_baud_rate_and_its_error(name, clock_mhz, divisor, error):
    plan = BoardPlan(board=board(name), pll=None, clock_mhz=clock_mhz or 12.0, baud=link_baud(board(name), clock_mhz))
    assert plan.divisor == divisor
    assert plan.baud_error_percent == pytest.approx(error, abs=0.001)


def test_every_board_has_a_fast_and_near_rate():
    """A megabaud, but where the clock is too slow for it; the host's clock may add its own error."""
    for each in boards():
        if each.link:
            plan = plan_board(each)
            assert abs(plan.baud_error_percent) <= 2
            assert plan.baud == 1_000_000 or each.clock_mhz < 8


def test_board_tells_which_network_and_build_it_has(monkeypatch):
    made = []

    class Seen(Link):
        def __init__(self, **options):
            made.append(options)
            super().__init__(**options)

    monkeypatch.setattr("xnorweave.boards.top.Link", Seen)
    design = Design(
        verilog="some text",
        input_bits=24,
        output_bits=4,
        input_words=4,
        output_words=1,
        taps=(),
        network_sha256="0123456789abcdef" * 4,
    )
    board("icebreaker").platform().prepare(BoardTop(design, plan_board(board("icebreaker"))), "top", emit_src=False)
    (options,) = made
    assert options["identity"].network.hex() == "0123456789abcdef"
    assert options["identity"].build == hashlib.sha256(b"some text").digest()[:8]
    assert options["identity"].clock_hz == 12_000_000
    assert (options["input_bits"], options["output_bits"], options["input_words"]) == (24, 4, 4)


def test_baud_rate_needs_a_clock():
    with pytest.raises(DeviceError, match=r"icebreaker: no baud rate divides the clock of 0\.01 MHz; use a faster"):
        link_baud(board("icebreaker"), 0.01)


def test_board_without_serial_port():
    with pytest.raises(DeviceError, match=r"upduino-v3: its clock is the chip's own .* port; .* one: .*icebreaker"):
        plan_board(board("upduino-v3"))
    bare = dataclasses.replace(board("icebreaker"), link="")
    with pytest.raises(DeviceError, match=r"icebreaker: no serial port, and no connector .* one: .*icebreaker"):
        plan_board(bare)


@pytest.mark.parametrize(("clock_mhz", "rate"), [(None, 2_000_000), (30.0, 5_000_000)])
def test_spi_goes_at_a_sixth_of_the_clock(clock_mhz, rate):
    plan = plan_board(board("icebreaker"), clock_mhz, "spi")
    assert (plan.link, plan.baud, plan.baud_error_percent) == ("spi", rate, 0.0)


@pytest.mark.parametrize(
    ("name", "lacking"),
    [("fomu-hacker", "no connector with four free pins"), ("upduino-v3", "its clock is the chip's own oscillator")],
)
def test_a_board_without_pins_for_spi(name, lacking):
    with pytest.raises(DeviceError, match=rf"{name}: {lacking}.*; .*them: .*icebreaker"):
        plan_board(board(name), None, "spi")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["icebreaker", "ulx3s-85f", "tinyfpga-bx"])
def test_the_top_over_spi(name):
    design = Design(verilog="", input_bits=8, output_bits=4, input_words=4, output_words=1, taps=())
    top = BoardTop(design, plan_board(board(name), None, "spi"))
    files = board(name).platform().prepare(top, "top", emit_src=False).files
    constraints = "".join(text for file, text in files.items() if file.endswith((".pcf", ".lpf")))
    assert all(f"spi_link_0__{line}" in constraints for line in ("sck", "mosi", "miso", "cs_n"))
    assert "uart_0" not in constraints


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("clock_mhz", [None, 50.0])
@pytest.mark.parametrize("name", [each.name for each in boards() if each.link])
def test_every_board_takes_the_top(name, clock_mhz):
    design = Design(verilog="", input_bits=24, output_bits=4, input_words=4, output_words=1, taps=())
    if name == "ice40-hx1k-blink-evn" and clock_mhz is not None:
        with pytest.raises(DeviceError, match=r"no 50 MHz clock from the board's 3\.3 MHz"):  # its PLL wants 10
            plan_board(board(name), clock_mhz)
        return
    top = BoardTop(design, plan_board(board(name), clock_mhz))
    files = board(name).platform().prepare(top, "top", emit_src=False).files
    assert r"cell \xnorweave_core" in files["top.il"]
    assert any(file.endswith((".pcf", ".lpf")) for file in files)
