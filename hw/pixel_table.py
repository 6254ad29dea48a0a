"""A table from pixel value to integer, so that links can carry raw pixels."""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from xnorweave.hw.stream_register import register_output
from xnorweave.hw.wide_cat import wide_cat

__all__ = ["PixelTable"]


class PixelTable(wiring.Component):
    """Look every channel of a pixel up in its table of 256 entries, in logic.

    Latency 1 cycle; interval 1 cycle; holds its output while ``o`` is not ready.

    Parameters
    ----------
    tables : tuple of tuple of int
        For each channel, an 8-bit value of a pixel, 256 unsigned entries of ``output_bits`` bits.
    output_bits : int
        Width of an entry, in bits.

    Members
    -------
    i : In(stream.Signature(8 * channels))
        One raw pixel per transfer, channel 0 lowest.
    o : Out(stream.Signature(output_bits * channels))
        Its table entries.

    Raises
    ------
    ValueError
        If there is no table, one has not 256 entries, or one of these is too wide.
    """

    def __init__(self, *, tables: tuple[tuple[int, ...], ...], output_bits: int):
        if not tables or any(len(t) != 256 or not all(0 <= entry < 1 << output_bits for entry in t) for t in tables):
            raise ValueError(f"Each channel's table must hold 256 entries of {output_bits!r} bits")
        self.tables, self.output_bits = tables, output_bits
        channels = len(tables)
        super().__init__({"i": In(stream.Signature(8 * channels)), "o": Out(stream.Signature(output_bits * channels))})

    def elaborate(self, platform):
        m = Module()
        entries = []
        for channel, table in enumerate(self.tables):
            entries.append(entry := Signal(self.output_bits, name=f"entry{channel}"))
            with m.Switch(self.i.payload.word_select(channel, 8)):
                for pixel, value in enumerate(table):
                    with m.Case(pixel):
                        m.d.comb += entry.eq(value)
        register_output(m, wide_cat(entries), self.i, self.o)
        return m
