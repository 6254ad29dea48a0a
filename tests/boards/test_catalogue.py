import dataclasses
import re
from pathlib import Path

import amaranth_boards
import pytest

from xnorweave.boards.catalogue import SPI_RESOURCE, board, boards, boards_that_fit
from xnorweave.boards.pll import find_pll
from xnorweave.errors import DeviceError

CHIPS = [
    # board, family, device, LUTs, block RAMs, bits of one, MHz
    ("icebreaker", "ice40", "UP5K", 5280, 30, 4096, 12.0),
    ("icesugar", "ice40", "UP5K", 5280, 30, 4096, 12.0),
    ("icestick", "ice40", "HX1K", 1280, 16, 4096, 12.0),
    ("icesugar-nano", "ice40", "LP1K", 1280, 16, 4096, 12.0),
    ("ice40-hx8k-b-evn", "ice40", "HX8K", 7680, 32, 4096, 12.0),
    ("blackice", "ice40", "HX4K", 7680, 32, 4096, 100.0),
    ("ulx3s-12f", "ecp5", "LFE5U-12F", 24288, 56, 18432, 25.0),
    ("ulx3s-25f", "ecp5", "LFE5U-25F", 24288, 56, 18432, 25.0),
    ("ulx3s-45f", "ecp5", "LFE5U-45F", 43848, 108, 18432, 25.0),
    ("ulx3s-85f", "ecp5", "LFE5U-85F", 83640, 208, 18432, 25.0),
    ("ecp5-5g-evn", "ecp5", "LFE5UM5G-85F", 83640, 208, 18432, 12.0),
    ("colorlight-5a75b-r7-0", "ecp5", "LFE5U-25F", 24288, 56, 18432, 25.0),
]


@pytest.mark.parametrize(("name", "family", "device", "luts", "block_rams", "bits", "mhz"), CHIPS)
def test_limits(name, family, device, luts, block_rams, bits, mhz):
    found = board(name)
    assert (found.name, found.family, found.device) == (name, family, device)
    assert (found.luts, found.block_rams, found.block_ram_bits) == (luts, block_rams, bits)
    assert found.clock_mhz == mhz
    assert found.link


def test_every_board_has_a_fresh_platform_with_its_chip():
    for each in boards():
        first, second = each.platform(), each.platform()
        assert first is not second
        assert first.device.removeprefix("iCE40") == each.device
        assert first.package == each.package
        assert (("uart", 0) in first.resources) == bool(each.link)


def test_every_ice40_and_ecp5_board_with_a_clock_is_there():
    """Read again, in another way: from the texts of amaranth-boards."""
    folder = Path(amaranth_boards.__file__).parent
    defined = {
        path.stem.strip("_").replace("_", "-")
        for path in folder.glob("*.py")
        if re.search(r"^class \w+\(Lattice(ICE40|ECP5)Platform\)", text := path.read_text("utf-8"), re.MULTILINE)
        and re.search(r"device\s*=\s*\"(iCE40|LFE5U)", text)
    }
    assert len(defined) > 25
    missing = {name for name in defined if not any(each.name.startswith(name) for each in boards())}
    assert missing == {"supercon19badge"}  # whose class cannot be built with options


@pytest.mark.parametrize(
    ("name", "link"),
    [
        ("icebreaker", "uart"),
        ("tinyfpga-bx", "gpio 0: rx 1, tx 2"),
        ("orangecrab-r0-2-25f", "io 0: rx 0, tx 1"),
        ("fomu-hacker", "pin 0: rx 1, pin 1: tx 1"),
        ("fomu-pvt", ""),  # no connector
        ("upduino-v3", ""),  # the chip's own oscillator
        ("butterstick", ""),  # connectors of another voltage
    ],
)
def test_what_the_link_is_on(name, link):
    assert board(name).link == link


@pytest.mark.parametrize(
    ("name", "spi"),
    [
        ("icebreaker", "pmod 0: sck 1, mosi 2, miso 3, cs_n 4"),
        ("tinyfpga-bx", "gpio 0: sck 3, mosi 4, miso 5, cs_n 6"),  # behind its serial port
        ("ice40-up5k-b-evn", "pmod 0: sck 9, mosi 10, j 1: miso 8, cs_n 10"),  # two of whose pins are one
        ("fomu-hacker", ""),  # two pins left
        ("upduino-v3", ""),  # the chip's own oscillator
    ],
)
def test_what_spi_is_on(name, spi):
    assert board(name).spi == spi


def pins_of(resource):
    """Read in another way than the catalogue does: from the text that shows a resource."""
    groups = re.findall(r"\((?:pins(?:-n)? \w+|p|n) ([^()]+)\)", repr(resource))
    return {pin for group in groups for pin in group.split()}


def test_ports_take_no_pin_that_the_board_uses():
    ours = {("uart", 0): ("rx", "tx"), (SPI_RESOURCE, 0): ("sck", "mosi", "miso", "cs_n")}
    connected = [each for each in boards() if each.link not in ("", "uart") or each.spi]
    assert len(connected) > 30
    for each in connected:
        platform = each.platform()
        pins = []
        for place, lines in ours.items():
            if place in platform.resources and not (place == ("uart", 0) and each.link == "uart"):
                port = platform.request(*place, dir="-")
                pins += [getattr(port, line).io.metadata[0].name for line in lines]
        assert len(pins) == len(set(pins)) == 2 * (each.link != "uart") + 4 * bool(each.spi)
        for place, resource in platform.resources.items():
            added = place == (SPI_RESOURCE, 0) or (place == ("uart", 0) and each.link != "uart")
            assert added or not set(pins) & pins_of(resource)


def test_names_are_sorted_unique_and_lower_case():
    names = [each.name for each in boards()]
    assert names == sorted(set(names))
    assert all(name == name.lower() and "_" not in name for name in names)


def test_boards_are_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        board("icebreaker").luts = 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("icebraker", r"unknown board 'icebraker'; did you mean icebreaker"),
        ("ULX3S_85F", r"unknown board 'ULX3S_85F'; did you mean ulx3s-85f"),
        ("", r"unknown board ''; boards: blackice, .*ulx3s-85f"),
        ("zzzzzzzz", r"unknown board 'zzzzzzzz'; boards: blackice"),
    ],
)
def test_unknown_board(name, message):
    with pytest.raises(DeviceError, match=message):
        board(name)


def test_boards_that_fit_are_the_smallest_first():
    assert [each.name for each in boards_that_fit(luts=4700, block_ram_bits=0)][:2] == ["icebreaker", "icesugar"]
    assert {each.luts for each in boards_that_fit(luts=60000, block_ram_bits=0)} == {83640}
    assert all(each.link for each in boards_that_fit(luts=1, block_ram_bits=0))


def test_block_ram_decides_too():
    found = boards_that_fit(luts=100, block_ram_bits=30 * 4096 + 1)
    assert "icebreaker" not in {each.name for each in found}
    assert "ice40-hx8k-b-evn" in {each.name for each in found}


def test_nothing_fits():
    assert boards_that_fit(luts=200_000, block_ram_bits=0) == ()


@pytest.mark.parametrize("mhz", [16, 18, 24, 30, 48, 60, 100])
@pytest.mark.parametrize("name", ["icebreaker", "ice40-hx8k-b-evn", "blackice", "ulx3s-85f", "ecp5-5g-evn"])
def test_pll_dividers_give_the_clock_within_the_chips_limits(name, mhz):
    found = board(name)
    pll = find_pll(found, mhz)
    detector_mhz = found.clock_mhz / pll.reference
    if found.family == "ice40":
        oscillator_mhz = detector_mhz * pll.feedback
        output_mhz = oscillator_mhz / 2**pll.post
        assert 10 <= detector_mhz <= 133
        assert 533 <= oscillator_mhz <= 1066
    else:
        output_mhz = detector_mhz * pll.feedback
        assert 3.125 <= detector_mhz <= 400
        assert 400 <= output_mhz * pll.post <= 800
    assert pll.output_mhz == pytest.approx(output_mhz)
    assert pll.output_mhz == pytest.approx(mhz, rel=0.05)


@pytest.mark.parametrize(
    ("name", "mhz", "message"),
    [
        ("icebreaker", 5, r"icebreaker: no 5 MHz clock from the board's 12 MHz; ask for 16 to 275 MHz; nearest: 16\."),
        ("ulx3s-85f", 900, r"ulx3s-85f: no 900 MHz clock .* ask for 3\.125 to 400 MHz; nearest: 400\.000"),
        ("icebreaker", float("nan"), r"icebreaker: no nan MHz clock .*; ask for 16 to 275 MHz$"),
        ("ulx3s-85f", float("inf"), r"ulx3s-85f: no inf MHz clock .*; ask for 3\.125 to 400 MHz$"),
        ("icebreaker", 0, r"icebreaker: no 0 MHz clock .*; ask for 16 to 275 MHz; nearest: 16\."),
        ("icebreaker", -12, r"icebreaker: no -12 MHz clock .*; ask for 16 to 275 MHz; nearest: 16\."),
    ],
)
def test_pll_cannot_make_the_clock(name, mhz, message):
    with pytest.raises(DeviceError, match=message):
        find_pll(board(name), mhz)
