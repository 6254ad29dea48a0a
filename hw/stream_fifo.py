"""FIFO between two streams."""

from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

__all__ = ["StreamFifo"]


class StreamFifo(wiring.Component):
    """Words wait here while ``o`` is not ready.

    Latency 2 cycles where it is empty (1 cycle with one word of room); interval 1 cycle.

    Parameters
    ----------
    word_bits : int
        Width of the payload, in bits.
    depth : int
        Words that it holds.

    Members
    -------
    i : In(stream.Signature(word_bits))
    o : Out(stream.Signature(word_bits))
    """

    def __init__(self, *, word_bits: int, depth: int):
        if depth < 1:
            raise ValueError(f"A FIFO holds at least one word, not {depth!r}")
        self.word_bits, self.depth = word_bits, depth
        super().__init__({"i": In(stream.Signature(word_bits)), "o": Out(stream.Signature(word_bits))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=self.word_bits, depth=self.depth)
        wiring.connect(m, wiring.flipped(self.i), fifo.w_stream)
        wiring.connect(m, fifo.r_stream, wiring.flipped(self.o))
        return m
