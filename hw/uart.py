"""A UART without flow control: eight data bits, no parity, one stop bit (8N1)."""

# Amaranth's members and contexts carry no types.
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportArgumentType=false

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from xnorweave.hw.byte_register import hold_byte

__all__ = ["DATA_BITS", "MINIMUM_DIVISOR", "UartReceiver", "UartTransmitter"]

DATA_BITS = 8
MINIMUM_DIVISOR = 4
_SYNCHRONISER_STAGES = 2


def _check_divisor(divisor: int) -> None:
    if divisor < MINIMUM_DIVISOR:
        raise ValueError(
            f"UART divisor must be at least {MINIMUM_DIVISOR} clock cycles per bit, not {divisor!r}; "
            "use a lower baud rate or a faster clock"
        )


class UartReceiver(wiring.Component):
    """Receive bytes from a serial line.

    The line passes a two-stage synchroniser. A falling edge starts a byte; the line is sampled again in the middle
    of the start bit (a shorter pulse is a glitch and is ignored) and then in the middle of each bit, so that clocks
    may differ by up to 3 % from 8 cycles per bit on. A byte without its stop bit is dropped and the receiver waits for
    an idle line: a break is one such byte.

    Latency from the start bit's edge to ``o.valid``: ``9 * divisor + (divisor - 1) // 2 + 3`` cycles. Interval:
    10 bits. The line cannot be stopped: a byte that ends while the byte before it still waits on ``o`` is dropped.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit, at least 4.

    Members
    -------
    rx : In(1)
        The line, idle high, any clock.
    o : Out(stream.Signature(8))
        Received bytes.
    framing_error : Out(1)
        High for one cycle when a byte was dropped for want of its stop bit.
    overrun : Out(1)
        High for one cycle when a byte was dropped because ``o`` was not ready.

    Raises
    ------
    ValueError
        If ``divisor`` is below 4.
    """

    def __init__(self, *, divisor: int) -> None:
        _check_divisor(divisor)
        self.divisor = divisor
        super().__init__(
            {
                "rx": In(1, init=1),
                "o": Out(stream.Signature(DATA_BITS)),
                "framing_error": Out(1),
                "overrun": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Synchroniser, bit timer, shift register and a register that holds one byte."""
        m = Module()
        line = Signal(init=1)
        m.submodules.synchroniser = FFSynchronizer(self.rx, line, init=1, stages=_SYNCHRONISER_STAGES)
        timer = Signal(range(self.divisor))
        bits_left = Signal(range(DATA_BITS + 1))
        shift = Signal(DATA_BITS)
        done = Signal()

        with m.If(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.FSM():
            with m.State("idle"), m.If(~line):
                # The edge was up to a cycle ago.
                m.d.sync += timer.eq((self.divisor - 1) // 2 - 1)
                m.next = "start"
            with m.State("start"), m.If(timer == 0):
                m.d.sync += [timer.eq(self.divisor - 1), bits_left.eq(DATA_BITS)]
                with m.If(line):
                    m.next = "idle"
                with m.Else():
                    m.next = "data"
            with m.State("data"), m.If(timer == 0):
                m.d.sync += timer.eq(self.divisor - 1)
                with m.If(bits_left == 0):
                    m.d.comb += [done.eq(line), self.framing_error.eq(~line)]
                    m.next = "recover"
                with m.Else():
                    m.d.sync += [shift.eq(Cat(shift[1:], line)), bits_left.eq(bits_left - 1)]
            with m.State("recover"), m.If(line):
                m.next = "idle"

        hold_byte(m, self.o, shift, done, self.overrun)
        return m


class UartTransmitter(wiring.Component):
    """Send bytes on a serial line.

    Latency 1 cycle from the transfer on ``i`` to the start bit; interval exactly ``10 * divisor`` cycles.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit, at least 4.

    Members
    -------
    i : In(stream.Signature(8))
        Bytes to send; ready while the line is idle and in the last cycle of a stop bit.
    tx : Out(1)
        The line, idle high.

    Raises
    ------
    ValueError
        If ``divisor`` is below 4.
    """

    def __init__(self, *, divisor: int) -> None:
        _check_divisor(divisor)
        self.divisor = divisor
        super().__init__({"i": In(stream.Signature(DATA_BITS)), "tx": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        """One shift register of start bit, data and stop bit; ones follow, which is the idle line."""
        m = Module()
        timer = Signal(range(self.divisor))
        bits_left = Signal(range(DATA_BITS + 3))
        shift = Signal(DATA_BITS + 2, init=-1)
        last_cycle = Signal()
        m.d.comb += [
            self.tx.eq(shift[0]),
            last_cycle.eq((bits_left == 1) & (timer == 0)),
            self.i.ready.eq((bits_left == 0) | last_cycle),
        ]
        with m.If(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(bits_left != 0):
            m.d.sync += [timer.eq(self.divisor - 1), bits_left.eq(bits_left - 1), shift.eq(Cat(shift[1:], 1))]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                timer.eq(self.divisor - 1),
                bits_left.eq(DATA_BITS + 2),
                shift.eq(Cat(0, self.i.payload, 1)),
            ]
        return m
