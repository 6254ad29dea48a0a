"""Spatial convolution layer: window, shared sums, thresholds or the sums themselves."""

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from xnorweave.hw.adder_graph import AdderGraph
from xnorweave.hw.border_sums import BorderSums
from xnorweave.hw.sliding_window import SlidingWindow
from xnorweave.hw.sum_pipeline import SumPipeline
from xnorweave.hw.threshold import ThresholdUnit

__all__ = ["Conv2D"]


class Conv2D(wiring.Component):
    """A whole convolution layer wired for its weights: one output pixel per cycle.

    Latency: `SumPipeline`'s from a window's last pixel. Interval: `SlidingWindow`'s.

    Parameters
    ----------
    window : SlidingWindow
        Its border number travels with the sums.
    graph : AdderGraph
        Takes one window; its tag carries the border number.
    last : ThresholdUnit or BorderSums
        Takes the graph's sums.
    free_running : bool
        See `SumPipeline`.

    Attributes
    ----------
    latency : int
        In cycles.

    Members
    -------
    i : In(stream.Signature(word_bits))
        One input pixel per transfer, channel 0 lowest.
    o : Out(last.o)
        One pixel's activations or sums per transfer, channel 0 lowest.
    """

    def __init__(
        self, *, window: SlidingWindow, graph: AdderGraph, last: ThresholdUnit | BorderSums, free_running: bool = False
    ):
        self.window = window
        self.sums = SumPipeline(graph=graph, last=last, free_running=free_running)
        self.latency = self.sums.latency
        super().__init__({"i": In(window.i.signature.flip()), "o": Out(last.o.signature)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.window, m.submodules.sums = self.window, self.sums
        wiring.connect(m, wiring.flipped(self.i), self.window.i)
        wiring.connect(m, self.window.o, self.sums.i)
        wiring.connect(m, self.sums.o, wiring.flipped(self.o))
        return m
