"""Sums of each channel over all positions of a frame: global average pooling without its division."""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from xnorweave.hw.wide_cat import wide_cat

__all__ = ["GlobalSum"]


class GlobalSum(wiring.Component):
    """Add up each channel's values of a frame.

    Latency 1 cycle from a frame's last pixel; interval ``positions`` cycles a frame. Holds its output while ``o`` is
    not ready, and takes no pixel of the next frame until then.

    Parameters
    ----------
    channels, lane_bits : int
        Values of a pixel and their width, in bits; values are unsigned.
    positions : int
        Pixels of a frame.
    sum_bits : int
        Width of a sum, in bits; sums must fit.

    Members
    -------
    i : In(stream.Signature(channels * lane_bits))
        One pixel per transfer, channel 0 lowest.
    o : Out(stream.Signature(channels * sum_bits))
        All sums of a frame in one transfer, channel 0 lowest.

    Raises
    ------
    ValueError
        If ``positions`` is not positive.
    """

    def __init__(self, *, channels: int, lane_bits: int, positions: int, sum_bits: int):
        if positions < 1:
            raise ValueError(f"positions={positions!r} is not positive")
        self.channels, self.lane_bits, self.positions, self.sum_bits = channels, lane_bits, positions, sum_bits
        super().__init__(
            {
                "i": In(stream.Signature(channels * lane_bits)),
                "o": Out(stream.Signature(channels * sum_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        position, done = Signal(range(max(2, self.positions))), Signal()
        sums = [Signal(self.sum_bits, name=f"sum{c}", reset_less=True) for c in range(self.channels)]
        last = position == self.positions - 1
        m.d.comb += [self.o.payload.eq(wide_cat(sums)), self.o.valid.eq(done), self.i.ready.eq(self.o.ready | ~done)]
        with m.If(self.o.ready):
            m.d.sync += done.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [position.eq(Mux(last, 0, position + 1)), done.eq(last)]
            for channel, total in enumerate(sums):
                value = self.i.payload.word_select(channel, self.lane_bits)
                m.d.sync += total.eq(Mux(position == 0, 0, total) + value)
        return m
