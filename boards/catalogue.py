"""The boards that designs are built for: chips, limits and clocks, with the pins of amaranth-boards."""

import difflib
import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from amaranth.vendor import LatticeECP5Platform, LatticeICE40Platform

from xnorweave.errors import DeviceError

__all__ = ["Board", "Family", "Platform", "board", "boards", "boards_that_fit"]

Family = Literal["ice40", "ecp5"]
Platform = LatticeICE40Platform | LatticeECP5Platform

_ICE40_BLOCK_RAM_BITS = 4096
_ECP5_BLOCK_RAM_BITS = 18432
# LUTs and block RAMs as nextpnr offers them: HX4K and LP4K are 8K dies, the 12F is a 25F die.
_ICE40_CHIPS = {
    "LP1K": (1280, 16),
    "HX1K": (1280, 16),
    "LP4K": (7680, 32),
    "HX4K": (7680, 32),
    "LP8K": (7680, 32),
    "HX8K": (7680, 32),
    "UP5K": (5280, 30),
}
_ECP5_CHIPS = {"12F": (24288, 56), "25F": (24288, 56), "45F": (43848, 108), "85F": (83640, 208)}
# Module and class in amaranth-boards, and the board's name for people.
_ENTRIES = {
    "blackice": ("blackice.BlackIcePlatform", "BlackIce"),
    "blackice-ii": ("blackice_ii.BlackIceIIPlatform", "BlackIce II"),
    "colorlight-5a75b-r7-0": ("colorlight_5a75b_r7_0.Colorlight_5A75B_R70Platform", "Colorlight 5A-75B R7.0"),
    "ecp5-5g-evn": ("ecp5_5g_evn.ECP55GEVNPlatform", "Lattice ECP5-5G Evaluation Board"),
    "ecpix5-45": ("ecpix5.ECPIX545Platform", "LambdaConcept ECPIX-5 45F"),
    "ecpix5-85": ("ecpix5.ECPIX585Platform", "LambdaConcept ECPIX-5 85F"),
    "ice40-hx8k-b-evn": ("ice40_hx8k_b_evn.ICE40HX8KBEVNPlatform", "Lattice iCE40-HX8K Breakout Board"),
    "icebreaker": ("icebreaker.ICEBreakerPlatform", "1BitSquared iCEBreaker"),
    "icepi-zero": ("icepi_zero.IcepiZero1_3Platform", "Icepi Zero"),
    "icestick": ("icestick.ICEStickPlatform", "Lattice iCEstick"),
    "icesugar": ("icesugar.ICESugarPlatform", "MuseLab iCESugar"),
    "icesugar-nano": ("icesugar_nano.ICESugarNanoPlatform", "MuseLab iCESugar-nano"),
    "icesugar-pro": ("icesugar_pro.ICESugarProPlatform", "MuseLab iCESugar-Pro"),
    "nandland-go": ("nandland_go.NandlandGoPlatform", "Nandland Go"),
    "orangecrab-r0-2-25f": ("orangecrab_r0_2.OrangeCrabR0_2_25FPlatform", "OrangeCrab r0.2 25F"),
    "orangecrab-r0-2-85f": ("orangecrab_r0_2.OrangeCrabR0_2_85FPlatform", "OrangeCrab r0.2 85F"),
    "tinyfpga-bx": ("tinyfpga_bx.TinyFPGABXPlatform", "TinyFPGA BX"),
    "ulx3s-12f": ("ulx3s.ULX3S_12F_Platform", "Radiona ULX3S 12F"),
    "ulx3s-25f": ("ulx3s.ULX3S_25F_Platform", "Radiona ULX3S 25F"),
    "ulx3s-45f": ("ulx3s.ULX3S_45F_Platform", "Radiona ULX3S 45F"),
    "ulx3s-85f": ("ulx3s.ULX3S_85F_Platform", "Radiona ULX3S 85F"),
    "versa-ecp5": ("versa_ecp5.VersaECP5Platform", "Lattice ECP5 Versa"),
    "versa-ecp5-5g": ("versa_ecp5_5g.VersaECP55GPlatform", "Lattice ECP5-5G Versa"),
}


@dataclass(frozen=True, kw_only=True)
class Board:
    """One board and the limits of its chip.

    Parameters
    ----------
    name : str
        As in amaranth-boards, lower case with hyphens, e.g. ``ulx3s-85f``.
    title : str
        For people.
    family : {"ice40", "ecp5"}
        What Yosys and nextpnr call the chip's family.
    device, package : str
        Chip, e.g. ``UP5K`` or ``LFE5U-85F``, and its package.
    luts : int
        Four-input LUTs, each with a flip-flop.
    block_rams, block_ram_bits : int
        Block RAMs of the chip, and bits in each of them.
    clock_mhz : float
        The board's own clock.
    has_uart : bool
        Whether a serial port is wired; `xnorweave.boards.toolchain.synthesize` needs one.
    platform : callable
        Makes a new amaranth-boards platform; one serves one build.
    """

    name: str
    title: str
    family: Family
    device: str
    package: str
    luts: int
    block_rams: int
    block_ram_bits: int
    clock_mhz: float
    has_uart: bool
    platform: Callable[[], Platform]


@functools.cache
def boards() -> tuple[Board, ...]:
    """All boards, in order of their names."""
    return tuple(_board_of(name) for name in sorted(_ENTRIES))


def board(name: str) -> Board:
    """The board of that name.

    Raises
    ------
    DeviceError
        If there is none; tells the nearest names.
    """
    if name in _ENTRIES:
        return _board_of(name)
    near = difflib.get_close_matches(name.lower().replace("_", "-"), _ENTRIES, n=3, cutoff=0.5)
    remedy = f"did you mean {' or '.join(near)}?" if near else f"boards: {', '.join(sorted(_ENTRIES))}"
    raise DeviceError(f"unknown board {name!r}; {remedy}")


def boards_that_fit(*, luts: int, block_ram_bits: int, headroom: float = 1.1) -> tuple[Board, ...]:
    """Boards with a serial port that hold so much, smallest first.

    Parameters
    ----------
    luts, block_ram_bits : int
        What the design takes; block RAM in whole blocks' bits.
    headroom : float
        Factor on ``luts``: place and route fails on a chip that is full.
    """
    fitting = [
        each
        for each in boards()
        if each.has_uart and each.luts >= luts * headroom and each.block_rams * each.block_ram_bits >= block_ram_bits
    ]
    return tuple(sorted(fitting, key=lambda each: (each.luts, each.name)))


@functools.cache
def _board_of(name: str) -> Board:
    path, title = _ENTRIES[name]
    module_name, class_name = path.split(".")
    factory: Callable[[], Platform] = getattr(importlib.import_module(f"amaranth_boards.{module_name}"), class_name)
    # `device` is an abstract property that the boards' classes give as a plain string, which no type checker follows.
    platform: Any = factory()
    if issubclass(type(platform), LatticeICE40Platform):
        family, device, ram_bits = "ice40", str(platform.device).removeprefix("iCE40"), _ICE40_BLOCK_RAM_BITS
        luts, block_rams = _ICE40_CHIPS[device]
    else:
        family, device, ram_bits = "ecp5", platform.device, _ECP5_BLOCK_RAM_BITS
        luts, block_rams = _ECP5_CHIPS[device.rpartition("-")[2]]
    return Board(
        name=name,
        title=title,
        family=family,
        device=device,
        package=platform.package,
        luts=luts,
        block_rams=block_rams,
        block_ram_bits=ram_bits,
        clock_mhz=platform.default_clk_frequency / 1e6,
        has_uart=("uart", 0) in platform.resources,
        platform=factory,
    )
