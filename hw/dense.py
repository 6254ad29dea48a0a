"""Spatial dense layer: shared sums of a whole vector, then thresholds or biases."""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from xnorweave.hw.adder_graph import AdderGraph
from xnorweave.hw.stream_register import register_output
from xnorweave.hw.sum_pipeline import SumPipeline
from xnorweave.hw.threshold import ThresholdUnit
from xnorweave.hw.wide_cat import wide_cat

__all__ = ["BiasUnit", "Dense"]


class BiasUnit(wiring.Component):
    """Add to each channel's sum that channel's bias.

    Latency 1 cycle; interval 1 cycle; holds its output while ``o`` is not ready.

    Parameters
    ----------
    biases : tuple of int
        One per channel.
    sum_shape : Shape
        Shape of one sum taken.
    output_shape : Shape
        Shape of one sum given; results must fit.

    Members
    -------
    i : In(stream.Signature(channels * sum bits))
        One vector's sums per transfer, channel 0 lowest.
    o : Out(stream.Signature(channels * output bits))
        The same with their biases.

    Raises
    ------
    ValueError
        If ``biases`` is empty.
    """

    def __init__(self, *, biases: tuple[int, ...], sum_shape, output_shape):
        if not biases:
            raise ValueError("Biases are needed for at least one channel")
        self.biases, self.sum_shape, self.output_shape = biases, sum_shape, output_shape
        super().__init__(
            {
                "i": In(stream.Signature(len(biases) * sum_shape.width)),
                "o": Out(stream.Signature(len(biases) * output_shape.width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        results = []
        for channel, bias in enumerate(self.biases):
            total = Signal(self.sum_shape, name=f"sum{channel}")
            results.append(result := Signal(self.output_shape, name=f"biased{channel}"))
            m.d.comb += [
                total.eq(self.i.payload.word_select(channel, self.sum_shape.width)),
                result.eq(total + bias),
            ]
        register_output(m, wide_cat(results), self.i, self.o)
        return m


class Dense(wiring.Component):
    """A whole dense layer wired for its weights: one vector per cycle.

    Latency: `SumPipeline`'s. Interval 1 cycle; holds its output while ``o`` is not ready.

    Parameters
    ----------
    graph : AdderGraph
        Takes one vector; without a tag.
    last : ThresholdUnit or BiasUnit
        Takes the graph's sums: gives one bit per output, or the sums themselves.
    lanes : int
        Inputs per word, at least the graph's.
    free_running : bool
        See `SumPipeline`.

    Attributes
    ----------
    latency : int
        In cycles.

    Members
    -------
    i : In(stream.Signature(lanes * input bits))
        One vector per transfer, the first input lowest; lanes beyond the graph's inputs are ignored.
    o : Out(stream.Signature(outputs * lane bits))
        All outputs per transfer, the first lowest.

    Raises
    ------
    ValueError
        If ``lanes`` are fewer than the graph's inputs, or the graph has a tag.
    """

    def __init__(self, *, graph: AdderGraph, last: ThresholdUnit | BiasUnit, lanes: int, free_running: bool = False):
        if lanes < graph.input_count:
            raise ValueError(f"lanes={lanes!r} do not hold the graph's {graph.input_count} inputs")
        if graph.tag_bits:
            raise ValueError(f"A dense layer's graph has no tag, not one of {graph.tag_bits} bits")
        self.sums = SumPipeline(graph=graph, last=last, free_running=free_running)
        self.latency = self.sums.latency
        super().__init__({"i": In(stream.Signature(lanes * graph.input_bits)), "o": Out(last.o.signature)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sums = self.sums
        m.d.comb += [
            self.sums.i.payload.eq(self.i.payload),  # drops the lanes beyond
            self.sums.i.valid.eq(self.i.valid),
            self.i.ready.eq(self.sums.i.ready),
        ]
        wiring.connect(m, self.sums.o, wiring.flipped(self.o))
        return m
