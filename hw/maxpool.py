"""Max pooling of activations; of bits it is their OR."""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from xnorweave.hw.sliding_window import SlidingWindow
from xnorweave.hw.stream_register import register_output
from xnorweave.hw.wide_cat import wide_cat

__all__ = ["MaxPool"]


class MaxPool(wiring.Component):
    """Largest value of each channel in a ``kernel`` x ``kernel`` window.

    Latency 1 cycle from a window's last pixel; interval ``height * width`` cycles a frame. Windows that do not fit
    wholly are dropped.

    Parameters
    ----------
    channels : int
        Values of a pixel.
    size : tuple of int
        Height and width of a frame.
    kernel, stride : int
        Window and step, the same in both directions.
    lane_bits : int
        Width of one value, in bits; values are unsigned.

    Members
    -------
    i : In(stream.Signature(channels * lane_bits))
        One pixel per transfer, channel 0 lowest.
    o : Out(stream.Signature(channels * lane_bits))
        One pooled pixel per transfer.
    """

    def __init__(self, *, channels: int, size: tuple[int, int], kernel: int, stride: int, lane_bits: int = 1):
        self.channels, self.kernel, self.lane_bits = channels, kernel, lane_bits
        word_bits = channels * lane_bits
        self._window = SlidingWindow(word_bits=word_bits, size=size, kernel=(kernel, kernel), stride=stride)
        super().__init__({"i": In(stream.Signature(word_bits)), "o": Out(stream.Signature(word_bits))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.window = window = self._window
        wiring.connect(m, wiring.flipped(self.i), window.i)
        pooled = window.o.payload.word_select(0, self.channels * self.lane_bits)
        for tap in range(1, self.kernel**2):
            pooled = self._larger(m, pooled, window.o.payload.word_select(tap, self.channels * self.lane_bits), tap)
        register_output(m, pooled, window.o, self.o)
        return m

    def _larger(self, m, pooled, pixel, tap):
        """Of two pixels the larger value in each channel."""
        if self.lane_bits == 1:
            return pooled | pixel
        values = Signal(self.channels * self.lane_bits, name=f"largest{tap}")
        lanes = [
            (pooled.word_select(c, self.lane_bits), pixel.word_select(c, self.lane_bits)) for c in range(self.channels)
        ]
        m.d.comb += values.eq(wide_cat(Mux(a > b, a, b) for a, b in lanes))
        return values
