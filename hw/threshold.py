"""Batch norm and activation as integer comparisons, one for each level of a channel."""

import functools
import itertools
import operator

from amaranth import C, Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from xnorweave.hw.stream_register import register_output
from xnorweave.hw.wide_cat import wide_cat

__all__ = ["ThresholdUnit", "level_count"]


def level_count(reached):
    """Number of levels reached, as a value of ``len(reached).bit_length()`` bits.

    Levels ascend: one is reached only where those below it are. Bit ``j`` of the number turns over with every
    ``2**j``-th level, so it is the parity of these.
    """
    bits = range(len(reached).bit_length())
    return Cat(functools.reduce(operator.xor, reached[(1 << j) - 1 :: 1 << j]) for j in bits)


class ThresholdUnit(wiring.Component):
    """Count the thresholds that each channel's sum reaches: one of them gives a bit.

    Latency 1 cycle; interval 1 cycle; holds its output while ``o`` is not ready.

    Parameters
    ----------
    thresholds : dict of int to tuple of int
        For each border number (see `SlidingWindow`) ``levels`` ascending thresholds per channel, channel by channel;
        channel ``c`` reaches level ``k`` when ``sum[c] >= thresholds[border][c * levels + k]``. A layer without padding
        has the border number 0 alone.
    sum_shape : Shape
        Shape of one sum.
    border_bits : int
        Width of the border number, in bits.
    levels : int
        Thresholds of a channel.

    Members
    -------
    i : In(stream.Signature(channels * sum bits + border_bits))
        One pixel's sums per transfer, channel 0 lowest; the border number above them.
    o : Out(stream.Signature(channels * levels.bit_length()))
        One pixel's activations per transfer, channel 0 lowest.

    Raises
    ------
    ValueError
        If ``thresholds`` is empty, not of one length, not ``levels`` per channel, or not ascending.

    References
    ----------
    Umuroglu et al., FINN, FPGA 2017, section 4.2.2 (batch norm and sign as a threshold).
    """

    def __init__(self, *, thresholds: dict[int, tuple[int, ...]], sum_shape, border_bits: int = 0, levels: int = 1):
        lengths = {len(row) for row in thresholds.values()}
        if len(lengths) != 1 or 0 in lengths:
            raise ValueError(f"Thresholds need one row of the same length for each border, not lengths {lengths!r}")
        (length,) = lengths
        if levels < 1 or length % levels:
            raise ValueError(f"{length} thresholds are not levels={levels!r} for each channel")
        for row in thresholds.values():
            if any(a > b for k, (a, b) in enumerate(itertools.pairwise(row), 1) if k % levels):
                raise ValueError(f"Thresholds of a channel ascend, unlike some of {row!r}")
        self.channels = length // levels
        self.thresholds, self.sum_shape, self.border_bits, self.levels = thresholds, sum_shape, border_bits, levels
        super().__init__(
            {
                "i": In(stream.Signature(self.channels * sum_shape.width + border_bits)),
                "o": Out(stream.Signature(self.channels * levels.bit_length())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width = self.sum_shape.width
        border = self.i.payload[self.channels * width :]
        counts = []
        for channel in range(self.channels):
            total = Signal(self.sum_shape, name=f"sum{channel}")
            m.d.comb += total.eq(self.i.payload.word_select(channel, width))
            places = range(channel * self.levels, (channel + 1) * self.levels)
            counts.append(level_count([self._compare(m, place, total, border) for place in places]))
        register_output(m, wide_cat(counts), self.i, self.o)
        return m

    def _compare(self, m, place, total, border):
        rows = {number: row[place] for number, row in self.thresholds.items()}
        values = list(rows.values())
        usual = max(set(values), key=values.count)
        if len(set(values)) == 1:
            return _at_least(total, usual)
        threshold = Signal(range(min(values), max(values) + 1), name=f"threshold{place}")
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
