"""Max pooling of -1/+1 activations, which is the OR of their bits."""

from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from xnorweave.hw.sliding_window import SlidingWindow
from xnorweave.hw.stream_register import register_output

__all__ = ["MaxPool"]


class MaxPool(wiring.Component):
    """OR over a ``kernel`` x ``kernel`` window of each channel.

    Latency 1 cycle from a window's last pixel; interval ``height * width`` cycles a frame. Windows that do not fit
    wholly are dropped.

    Parameters
    ----------
    channels : int
        Bits of a pixel.
    size : tuple of int
        Height and width of a frame.
    kernel, stride : int
        Window and step, the same in both directions.

    Members
    -------
    i : In(stream.Signature(channels))
        One pixel per transfer, channel 0 in bit 0.
    o : Out(stream.Signature(channels))
        One pooled pixel per transfer.
    """

    def __init__(self, *, channels: int, size: tuple[int, int], kernel: int, stride: int):
        self.channels, self.kernel = channels, kernel
        self._window = SlidingWindow(word_bits=channels, size=size, kernel=(kernel, kernel), stride=stride)
        super().__init__({"i": In(stream.Signature(channels)), "o": Out(stream.Signature(channels))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.window = window = self._window
        wiring.connect(m, wiring.flipped(self.i), window.i)
        pooled = window.o.payload.word_select(0, self.channels)
        for tap in range(1, self.kernel**2):
            pooled = pooled | window.o.payload.word_select(tap, self.channels)
        register_output(m, pooled, window.o, self.o)
        return m
