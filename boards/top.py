"""A whole board: the core, its link, its clock and its LEDs."""

# Amaranth's members and contexts carry no types.
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportArgumentType=false

import math
from dataclasses import dataclass

from amaranth.build import ResourceError
from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Instance, Module, ResetSignal
from amaranth.lib import io
from amaranth.lib.wiring import connect

from xnorweave.boards.catalogue import SPI_RESOURCE, Board, Platform, boards, boards_that_fit
from xnorweave.boards.link import Link
from xnorweave.boards.link_format import DIGEST_BYTES, Identity, LinkKind
from xnorweave.boards.pll import ClockGenerator, Pll, find_pll
from xnorweave.design import TOP_MODULE, Design
from xnorweave.errors import DeviceError
from xnorweave.hw.spi import CYCLES_PER_BIT, SpiDevice
from xnorweave.hw.uart import UartReceiver, UartTransmitter

__all__ = ["BoardPlan", "BoardTop", "link_baud", "plan_board"]


_CORE_RESET_S = 8e-6
_BAUD_RATES = (1_000_000, 921_600, 460_800, 230_400, 115_200, 57_600, 38_400, 19_200, 9_600)
_BAUD_TOLERANCE = 0.02
_MINIMUM_DIVISOR = 8


def link_baud(board: Board, clock_mhz: float | None = None) -> int:
    """Baud rate of the serial link: 1 Mbaud, or the highest standard rate below that the clock divides to within 2 %.

    Parameters
    ----------
    board : Board
        Whose clock.
    clock_mhz : float, optional
        Clock of the core, where it is not the board's own.

    Raises
    ------
    DeviceError
        If no rate is near enough.
    """
    clock_hz = (board.clock_mhz if clock_mhz is None else clock_mhz) * 1e6
    for baud in _BAUD_RATES:
        divisor = round(clock_hz / baud)
        if divisor >= _MINIMUM_DIVISOR and abs(clock_hz / divisor - baud) <= _BAUD_TOLERANCE * baud:
            return baud
    raise DeviceError(f"{board.name}: no baud rate divides the clock of {clock_hz / 1e6:g} MHz; use a faster clock")


@dataclass(frozen=True, kw_only=True)
class BoardPlan:
    """Clock and link of a board.

    Parameters
    ----------
    board : Board
        Which.
    pll : Pll or None
        What makes the clock; None for the board's own.
    clock_mhz : float
        The clock that the core really gets.
    baud : int
        Bits a second of the link: as the host sets them for a UART, at most for SPI.
    link : {"uart", "spi"}
        What carries its bytes.
    """

    board: Board
    pll: Pll | None
    clock_mhz: float
    baud: int
    link: LinkKind = "uart"

    @property
    def divisor(self) -> int:
        """Clock cycles per bit."""
        return round(self.clock_mhz * 1e6 / self.baud)

    @property
    def baud_error_percent(self) -> float:
        """How much faster the board's rate is than the host's; together with the host's own error at most 3.

        Of SPI, whose clock comes from the host, 0.
        """
        if self.link == "spi":
            return 0.0
        return 100 * (self.clock_mhz * 1e6 / self.divisor / self.baud - 1)


def plan_board(board: Board, clock_mhz: float | None = None, link: LinkKind = "uart") -> BoardPlan:
    """Choose the PLL's dividers and the link's rate.

    Parameters
    ----------
    board : Board
        Which.
    clock_mhz : float, optional
        Clock of the core; the board's own if not given.
    link : {"uart", "spi"}
        What carries the link's bytes.

    Raises
    ------
    DeviceError
        If the board has nothing for such a port, or its chip cannot make the clock.
    """
    if link == "spi" and not board.spi:
        others = ", ".join(each.name for each in boards() if each.spi and each.device == board.device)
        remedy = f"boards with this chip that have them: {others}" if others else "use --link uart"
        lacking = "no connector with four free pins for SPI"
        if board.clock_is_chips:
            lacking = "its clock is the chip's own oscillator, which is too inexact for SPI"
        raise DeviceError(f"{board.name}: {lacking}; {remedy}")
    if link == "uart" and not board.link:
        others = ", ".join(each.name for each in boards_that_fit(luts=board.luts, block_ram_bits=0, headroom=1)[:3])
        lacking = "no serial port, and no connector with two free pins for one"
        if board.clock_is_chips:
            lacking = "its clock is the chip's own oscillator, which is too inexact for a serial port"
        raise DeviceError(f"{board.name}: {lacking}; boards that have one: {others}")
    own_clock = clock_mhz is None or math.isclose(clock_mhz, board.clock_mhz)
    pll = None if own_clock else find_pll(board, clock_mhz)
    got_mhz = board.clock_mhz if pll is None else pll.output_mhz
    baud = link_baud(board, got_mhz) if link == "uart" else int(got_mhz * 1e6 / CYCLES_PER_BIT)
    return BoardPlan(board=board, pll=pll, clock_mhz=got_mhz, baud=baud, link=link)


class BoardTop(Elaboratable):
    """A core on a board, reached through the board's serial port or over SPI.

    The protocol is that of docs/reference/link.md. The board's LEDs, as far as there are any, show the last
    result, bit 0 on LED 0.

    Parameters
    ----------
    design : Design
        The core; its Verilog is linked in by `xnorweave.boards.toolchain`.
    plan : BoardPlan
        Where it goes, from `plan_board`.
    """

    def __init__(self, design: Design, plan: BoardPlan) -> None:
        self._design = design
        self._plan = plan

    def elaborate(self, platform: Platform) -> Module:
        """Connect pins, link and core."""
        m = Module()
        clock_hz = self._plan.clock_mhz * 1e6
        if self._plan.pll is not None:
            m.domains += ClockDomain("sync")
            m.submodules.clock = ClockGenerator(self._plan.board, self._plan.pll)
        m.submodules.link = link = Link(
            input_bits=self._design.input_bits,
            output_bits=self._design.output_bits,
            input_words=self._design.input_words,
            reset_cycles=math.ceil(_CORE_RESET_S * clock_hz),
            identity=Identity(
                network=bytes.fromhex(self._design.network_sha256)[:DIGEST_BYTES],
                build=bytes.fromhex(self._design.build_sha256)[:DIGEST_BYTES],
                clock_hz=round(clock_hz),
            ),
        )
        self._add_core(m, link)
        if self._plan.link == "uart":
            self._add_uart(m, platform, link)
        else:
            self._add_spi(m, platform, link)
        self._add_leds(m, platform, link)
        return m

    def _add_core(self, m: Module, link: Link) -> None:
        m.submodules.core = Instance(
            TOP_MODULE,
            i_clk=ClockSignal(),
            i_rst=ResetSignal(allow_reset_less=True) | link.core_reset,
            i_i__payload=link.core_i.payload,
            i_i__valid=link.core_i.valid,
            o_i__ready=link.core_i.ready,
            o_o__payload=link.core_o.payload,
            o_o__valid=link.core_o.valid,
            i_o__ready=link.core_o.ready,
        )

    def _add_uart(self, m: Module, platform: Platform, link: Link) -> None:
        pins = platform.request("uart", 0, dir="-")
        m.submodules.rx_pin = rx_pin = io.Buffer("i", pins.rx)
        m.submodules.tx_pin = tx_pin = io.Buffer("o", pins.tx)
        m.submodules.receiver = receiver = UartReceiver(divisor=self._plan.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(divisor=self._plan.divisor)
        connect(m, receiver.o, link.rx)
        connect(m, link.tx, transmitter.i)
        m.d.comb += [
            receiver.rx.eq(rx_pin.i),
            tx_pin.o.eq(transmitter.tx),
            link.lost.eq(receiver.framing_error | receiver.overrun),
        ]

    def _add_spi(self, m: Module, platform: Platform, link: Link) -> None:
        pins = platform.request(SPI_RESOURCE, 0, dir="-")
        m.submodules.spi = spi = SpiDevice()
        for name in ("sck", "mosi", "cs_n"):
            m.submodules[f"{name}_pin"] = pin = io.Buffer("i", getattr(pins, name))
            m.d.comb += getattr(spi, name).eq(pin.i)
        m.submodules.miso_pin = miso_pin = io.Buffer("o", pins.miso)
        connect(m, spi.o, link.rx)
        connect(m, link.tx, spi.i)
        m.d.comb += [miso_pin.o.eq(spi.miso), link.lost.eq(spi.lost)]

    def _add_leds(self, m: Module, platform: Platform, link: Link) -> None:
        """Show as many bits of the result as there are LEDs whose pins are free."""
        for bit in range(self._design.output_bits):
            try:
                port = platform.request("led", bit, dir="-")
            except ResourceError:
                return
            m.submodules[f"led_{bit}_pin"] = led = io.Buffer("o", port)
            m.d.comb += led.o.eq(link.result[bit])
