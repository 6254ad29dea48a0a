"""An SPI device that carries a stream of bytes each way: mode 0, eight bits, high bit first."""

# Amaranth's members and contexts carry no types.
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportArgumentType=false

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from xnorweave.hw.byte_register import hold_byte

__all__ = ["CYCLES_PER_BIT", "FILLER", "SELECT_CYCLES", "SpiDevice"]

BYTE_BITS = 8
FILLER = 0
"""Byte that is sent where there is none to send."""
CYCLES_PER_BIT = 6
"""Shortest period of the host's clock, in cycles of ours."""
SELECT_CYCLES = 6
"""From the falling edge of ``cs_n`` to the first edge of the host's clock, in cycles of ours, at least."""
_SYNCHRONISER_STAGES = 2


class SpiDevice(wiring.Component):
    """Bytes from a host that clocks them, and bytes to it in the same bits.

    All lines pass two-stage synchronisers and are sampled by the clock of this side: a host's clock is slower by a
    factor of 6 at least, each of its levels lasts 3 cycles at least, and its first edge comes 6 cycles after ``cs_n``.
    A bit to the host changes 3 to 4 cycles after the host has taken the one before, so the whole period is left to it.

    Whether a byte is there to send is decided when the one before it ends, or when ``cs_n`` falls; if none is, the host
    gets a zero. When ``cs_n`` rises a byte that is begun and not whole is dropped, in both directions; one that is not
    begun stays for the next time.

    Latency from the host's edge that takes a byte's last bit to ``o.valid``: 4 cycles. Interval: 8 bits. A byte that
    ends while the byte before it still waits on ``o`` is dropped.

    Members
    -------
    sck, mosi, cs_n : In(1)
        The host's lines, any clock; ``sck`` is low while the host rests.
    miso : Out(1)
        To the host; driven always, so a bus has one device.
    o : Out(stream.Signature(8))
        Bytes from the host.
    i : In(stream.Signature(8))
        Bytes to the host; ready for a cycle where one is wanted.
    lost : Out(1)
        High for a cycle when a byte from the host was dropped.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "sck": In(1),
                "mosi": In(1),
                "cs_n": In(1, init=1),
                "miso": Out(1),
                "o": Out(stream.Signature(BYTE_BITS)),
                "i": In(stream.Signature(BYTE_BITS)),
                "lost": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Synchronisers, edges, one shift register each way, and a register that holds one byte."""
        m = Module()
        sck, mosi, resting = (self._synchronised(m, name) for name in ("sck", "mosi", "cs_n"))
        was_sck, was_resting = Signal(), Signal(init=1)
        m.d.sync += [was_sck.eq(sck), was_resting.eq(resting)]
        taken, selected, left = Signal(), Signal(), Signal()
        m.d.comb += [
            taken.eq(sck & ~was_sck & ~resting),
            selected.eq(was_resting & ~resting),
            left.eq(resting & ~was_resting),
        ]

        bit, come, gone, loaded = Signal(range(BYTE_BITS)), Signal(BYTE_BITS), Signal(BYTE_BITS), Signal()
        last = taken & (bit == BYTE_BITS - 1)
        m.d.comb += [self.miso.eq(gone[-1]), self.i.ready.eq((selected & ~loaded) | last)]
        with m.If(taken):
            m.d.sync += [bit.eq(bit + 1), come.eq(Cat(mosi, come)), gone.eq(Cat(0, gone)), loaded.eq(0)]
        with m.If(self.i.ready):
            m.d.sync += [gone.eq(Mux(self.i.valid, self.i.payload, FILLER)), loaded.eq(self.i.valid)]
        with m.If(resting):
            m.d.sync += bit.eq(0)
        overrun = Signal()
        hold_byte(m, self.o, Cat(mosi, come)[:BYTE_BITS], last, overrun)
        m.d.comb += self.lost.eq(overrun | (left & (bit != 0)))
        return m

    def _synchronised(self, m: Module, name: str) -> Signal:
        line = getattr(self, name)
        inner = Signal(name=f"{name}_inner", init=line.init)
        m.submodules[f"{name}_synchroniser"] = FFSynchronizer(line, inner, init=line.init, stages=_SYNCHRONISER_STAGES)
        return inner
