"""Batch norm and sign as one integer comparison for each channel."""

from amaranth import C, Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from xnorweave.hw.stream_register import register_output

__all__ = ["ThresholdUnit"]


class ThresholdUnit(wiring.Component):
    """Compare each channel's sum with that channel's threshold.

    Latency 1 cycle; interval 1 cycle; holds its output while ``o`` is not ready.

    Parameters
    ----------
    thresholds : dict of int to tuple of int
        For each border number (see `SlidingWindow`) one threshold per channel; channel ``c`` fires when
        ``sum[c] >= thresholds[border][c]``. A layer without padding has the border number 0 alone.
    sum_shape : Shape
        Shape of one sum.
    border_bits : int
        Width of the border number, in bits.

    Members
    -------
    i : In(stream.Signature(channels * sum bits + border_bits))
        One pixel's sums per transfer, channel 0 lowest; the border number above them.
    o : Out(stream.Signature(channels))
        One pixel's activations per transfer, channel 0 in bit 0.

    Raises
    ------
    ValueError
        If ``thresholds`` is empty or not of one length.

    References
    ----------
    Umuroglu et al., FINN, FPGA 2017, section 4.2.2 (batch norm and sign as a threshold).
    """

    def __init__(self, *, thresholds: dict[int, tuple[int, ...]], sum_shape, border_bits: int = 0):
        lengths = {len(row) for row in thresholds.values()}
        if len(lengths) != 1 or 0 in lengths:
            raise ValueError(f"Thresholds need one row of the same length for each border, not lengths {lengths!r}")
        (self.channels,) = lengths
        self.thresholds, self.sum_shape, self.border_bits = thresholds, sum_shape, border_bits
        super().__init__(
            {
                "i": In(stream.Signature(self.channels * sum_shape.width + border_bits)),
                "o": Out(stream.Signature(self.channels)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width = self.sum_shape.width
        border = self.i.payload[self.channels * width :]
        fires = []
        for channel in range(self.channels):
            total = Signal(self.sum_shape, name=f"sum{channel}")
            m.d.comb += total.eq(self.i.payload.word_select(channel, width))
            fires.append(self._compare(m, channel, total, border))
        register_output(m, Cat(fires), self.i, self.o)
        return m

    def _compare(self, m, channel, total, border):
        rows = {number: row[channel] for number, row in self.thresholds.items()}
        values = list(rows.values())
        usual = max(set(values), key=values.count)
        if len(set(values)) == 1:
            return _at_least(total, usual)
        threshold = Signal(range(min(values), max(values) + 1), name=f"threshold{channel}")
        m.d.comb += threshold.eq(usual)
        with m.Switch(border):
            for number, value in rows.items():
                if value != usual:
                    with m.Case(C(number, self.border_bits)):
                        m.d.comb += threshold.eq(value)
        return total >= threshold


def _at_least(total, threshold: int):
    """``total >= threshold`` for a constant, as a chain of AND and OR from the lowest bit.

    Logic synthesis packs three bits of the chain into a LUT4, a third of the cells of a carry chain.
    """
    width, signed = len(total), total.shape().signed
    low, high = (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)
    if not low < threshold <= high:
        return C(threshold <= low)
    # With the sign bit inverted, two's complement is in unsigned order.
    bits = [*total[:-1], ~total[-1] if signed else total[-1]]
    at_least = C(1)
    for place, bit in enumerate(bits):
        at_least = bit & at_least if (threshold - low) >> place & 1 else bit | at_least
    return at_least
