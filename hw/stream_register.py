"""The one-word output register that units without a pipeline of their own share."""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["StreamRegister", "register_output"]


class StreamRegister(wiring.Component):
    """Register between two streams.

    Latency 1 cycle; interval 1 cycle; holds its word while ``o`` is not ready. ``i.ready`` follows ``o.ready`` within
    the cycle.

    Parameters
    ----------
    word_bits : int
        Width of the payload, in bits.

    Members
    -------
    i : In(stream.Signature(word_bits))
    o : Out(stream.Signature(word_bits))
    """

    def __init__(self, *, word_bits: int):
        super().__init__({"i": In(stream.Signature(word_bits)), "o": Out(stream.Signature(word_bits))})

    def elaborate(self, platform):
        m = Module()
        payload, full = Signal.like(self.o.payload, reset_less=True), Signal()
        m.d.comb += [self.o.payload.eq(payload), self.o.valid.eq(full), self.i.ready.eq(self.o.ready | ~full)]
        with m.If(self.i.ready):
            m.d.sync += [payload.eq(self.i.payload), full.eq(self.i.valid)]
        return m


def register_output(m, payload, i, o) -> None:
    """End unit ``m`` with a `StreamRegister`: ``payload`` follows the word at the stream ``i`` and leaves at ``o``.

    ``i`` is the unit's input, or an inner stream that gives the words.
    """
    m.submodules.register = register = StreamRegister(word_bits=len(o.payload))
    m.d.comb += [register.i.payload.eq(payload), register.i.valid.eq(i.valid), i.ready.eq(register.i.ready)]
    wiring.connect(m, register.o, wiring.flipped(o))
