"""Sums of a spatial convolution as they leave it where no threshold takes them."""

from amaranth import C, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from xnorweave.hw.stream_register import register_output
from xnorweave.hw.wide_cat import wide_cat

__all__ = ["BorderSums"]


class BorderSums(wiring.Component):
    """Multiply each channel's sum by one factor, and add what the window's border has for the channel.

    Latency 1 cycle; interval 1 cycle; holds its output while ``o`` is not ready.

    Parameters
    ----------
    biases : dict of int to tuple of int
        For each border number (see `SlidingWindow`) one per channel.
    factor : int
        At least 1.
    sum_shape : Shape
        Shape of one sum taken.
    output_bits : int
        Width of one sum given, which is unsigned; results must fit.
    border_bits : int
        Width of the border number, in bits.

    Members
    -------
    i : In(stream.Signature(channels * sum bits + border_bits))
        One pixel's sums per transfer, channel 0 lowest; the border number above them.
    o : Out(stream.Signature(channels * output_bits))
        The same with factor and biases.

    Raises
    ------
    ValueError
        If ``biases`` are not one row of the same length for each border, or the factor is not positive.
    """

    def __init__(
        self, *, biases: dict[int, tuple[int, ...]], factor: int = 1, sum_shape, output_bits: int, border_bits: int = 0
    ):
        lengths = {len(row) for row in biases.values()}
        if len(lengths) != 1 or 0 in lengths:
            raise ValueError(f"Biases need one row of the same length for each border, not lengths {lengths!r}")
        if factor < 1:
            raise ValueError(f"A factor is at least 1, not {factor!r}")
        (self.channels,) = lengths
        self.biases, self.factor, self.sum_shape = biases, factor, sum_shape
        self.output_bits, self.border_bits = output_bits, border_bits
        super().__init__(
            {
                "i": In(stream.Signature(self.channels * sum_shape.width + border_bits)),
                "o": Out(stream.Signature(self.channels * output_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width = self.sum_shape.width
        border = self.i.payload[self.channels * width :]
        results = []
        for channel in range(self.channels):
            total = Signal(self.sum_shape, name=f"sum{channel}")
            results.append(result := Signal(self.output_bits, name=f"biased{channel}"))
            m.d.comb += [
                total.eq(self.i.payload.word_select(channel, width)),
                result.eq(total * self.factor + self._bias(m, channel, border)),
            ]
        register_output(m, wide_cat(results), self.i, self.o)
        return m

    def _bias(self, m, channel, border):
        values = [row[channel] for row in self.biases.values()]
        if len(set(values)) == 1:
            return C(values[0])
        usual = max(set(values), key=values.count)
        bias = Signal(range(min(values), max(values) + 1), name=f"bias{channel}")
        m.d.comb += bias.eq(usual)
        with m.Switch(border):
            for number, row in self.biases.items():
                if row[channel] != usual:
                    with m.Case(C(number, self.border_bits)):
                        m.d.comb += bias.eq(row[channel])
        return bias
