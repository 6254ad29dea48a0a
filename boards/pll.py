"""Clocks other than the board's own, from the chip's PLL."""

# Amaranth's members and contexts carry no types.
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportArgumentType=false, reportIndexIssue=false

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from amaranth.hdl import ClockSignal, Const, Elaboratable, Instance, Module, Signal, Value
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from xnorweave.boards.catalogue import Board, Platform
from xnorweave.errors import DeviceError

__all__ = ["ClockGenerator", "Pll", "find_pll"]

_TOLERANCE = 0.05
# Phase detector and oscillator limits in MHz: iCE40 PLL usage guide (FPGA-TN-02052), ECP5 datasheet (FPGA-DS-02012).
_ICE40_DETECTOR, _ICE40_OSCILLATOR, _ICE40_OUTPUT = (10.0, 133.0), (533.0, 1066.0), (16.0, 275.0)
_ECP5_DETECTOR, _ECP5_OSCILLATOR, _ECP5_OUTPUT = (3.125, 400.0), (400.0, 800.0), (3.125, 400.0)
# A clock pin that is a PLL's own pad cannot feed logic, and any other cannot feed the PLL directly.
_ICE40_PLL_PADS = {"SG48": ("35",)}
_ICE40_FILTER_LIMITS_MHZ = (17.0, 26.0, 44.0, 66.0, 101.0, 133.0)


@dataclass(frozen=True, kw_only=True)
class Pll:
    """Settings of one PLL.

    iCE40: ``output = input / reference * feedback / 2**post``; ECP5: ``output = input / reference * feedback``,
    with an oscillator ``post`` times as fast.

    Parameters
    ----------
    reference, feedback, post : int
        Dividers of the input and of the feedback, and what lies between the oscillator and the output.
    output_mhz : float
        The frequency that comes of them.
    """

    reference: int
    feedback: int
    post: int
    output_mhz: float


def find_pll(board: Board, clock_mhz: float) -> Pll:
    """Dividers for the clock nearest to ``clock_mhz`` that the board's chip can make of the board's clock.

    Raises
    ------
    DeviceError
        If that is more than 5 % off.
    """
    every = _ice40(board.clock_mhz) if board.family == "ice40" else _ecp5(board.clock_mhz)
    candidates = every if math.isfinite(clock_mhz) else ()
    best = min(candidates, key=lambda pll: abs(pll.output_mhz - clock_mhz), default=None)
    if best is None or abs(best.output_mhz - clock_mhz) > _TOLERANCE * clock_mhz:
        low, high = _ICE40_OUTPUT if board.family == "ice40" else _ECP5_OUTPUT
        nearest = "" if best is None else f"; nearest: {best.output_mhz:.3f}"
        raise DeviceError(
            f"{board.name}: no {clock_mhz:g} MHz clock from the board's {board.clock_mhz:g} MHz; "
            f"ask for {low:g} to {high:g} MHz{nearest}"
        )
    return best


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _ice40(input_mhz: float) -> Iterator[Pll]:
    for reference in range(1, 17):
        if not _within(input_mhz / reference, _ICE40_DETECTOR):
            continue
        for feedback, log_post in itertools.product(range(1, 129), range(1, 7)):
            oscillator_mhz = input_mhz / reference * feedback
            output_mhz = oscillator_mhz / 2**log_post
            if _within(oscillator_mhz, _ICE40_OSCILLATOR) and _within(output_mhz, _ICE40_OUTPUT):
                yield Pll(reference=reference, feedback=feedback, post=log_post, output_mhz=output_mhz)


def _ecp5(input_mhz: float) -> Iterator[Pll]:
    for reference in range(1, 129):
        if not _within(input_mhz / reference, _ECP5_DETECTOR):
            continue
        for feedback in range(1, 81):
            output_mhz = input_mhz / reference * feedback
            if not _within(output_mhz, _ECP5_OUTPUT):
                continue
            post = max(1, round(sum(_ECP5_OSCILLATOR) / 2 / output_mhz))
            if post <= 128 and _within(output_mhz * post, _ECP5_OSCILLATOR):
                yield Pll(reference=reference, feedback=feedback, post=post, output_mhz=output_mhz)


class ClockGenerator(Elaboratable):
    """Drive the enclosing module's ``sync`` domain from the chip's PLL; its reset holds until that has locked.

    Parameters
    ----------
    board : Board
        Whose clock pin and chip.
    pll : Pll
        The dividers, from `find_pll`.
    """

    def __init__(self, board: Board, pll: Pll) -> None:
        self._board = board
        self._pll = pll

    def elaborate(self, platform: Platform) -> Module:
        """The chip's PLL, and a reset from its lock and the board's reset button, if any."""
        m = Module()
        locked, reset = Signal(), Signal()
        clock_pin = platform.request(platform.default_clk, dir="-")
        m.d.comb += reset.eq(~locked)
        if platform.default_rst is not None:
            m.submodules.reset_pin = button = io.Buffer("i", platform.request(platform.default_rst, dir="-"))
            m.d.comb += reset.eq(~locked | button.i)
        pads = _ICE40_PLL_PADS.get(platform.package, ()) if self._board.family == "ice40" else ()
        if pads and clock_pin.io.metadata[0].name in pads:
            m.submodules.pll = self._ice40_pll("SB_PLL40_PAD", locked, i_PACKAGEPIN=clock_pin.io)
        else:
            m.submodules.clock_pin = clock_buffer = io.Buffer("i", clock_pin)
            if self._board.family == "ice40":
                m.submodules.pll = self._ice40_pll("SB_PLL40_CORE", locked, i_REFERENCECLK=clock_buffer.i)
            else:
                m.submodules.pll = self._ecp5_pll(clock_buffer.i, locked)
        m.submodules.reset = ResetSynchronizer(reset, domain="sync")
        return m

    def _ice40_pll(self, cell: str, locked: Signal, **clock: object) -> Instance:
        detector_mhz = self._board.clock_mhz / self._pll.reference
        return Instance(
            cell,
            p_FEEDBACK_PATH="SIMPLE",
            p_DIVR=Const(self._pll.reference - 1, 4),
            p_DIVF=Const(self._pll.feedback - 1, 7),
            p_DIVQ=Const(self._pll.post, 3),
            p_FILTER_RANGE=Const(1 + sum(detector_mhz >= limit for limit in _ICE40_FILTER_LIMITS_MHZ), 3),
            i_RESETB=Const(1),
            i_BYPASS=Const(0),
            o_PLLOUTGLOBAL=ClockSignal("sync"),
            o_LOCK=locked,
            **clock,
        )

    def _ecp5_pll(self, clock: Value, locked: Signal) -> Instance:
        """The PLL with its feedback from the output; the attributes are the usual loop filter."""
        output = ClockSignal("sync")
        return Instance(
            "EHXPLLL",
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_CLKI_DIV=self._pll.reference,
            p_CLKFB_DIV=self._pll.feedback,
            p_CLKOP_DIV=self._pll.post,
            p_CLKOP_CPHASE=self._pll.post // 2,
            p_CLKOP_FPHASE=0,
            p_CLKOP_ENABLE="ENABLED",
            p_FEEDBK_PATH="CLKOP",
            i_CLKI=clock,
            i_CLKFB=output,
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_ENCLKOP=Const(0),
            i_PLLWAKESYNC=Const(0),
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(1),
            i_PHASESTEP=Const(1),
            i_PHASELOADREG=Const(1),
            o_CLKOP=output,
            o_LOCK=locked,
        )
