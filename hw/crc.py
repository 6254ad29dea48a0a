"""CRC-32 of a stream of bytes."""

# Amaranth's members and contexts carry no types.
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false, reportArgumentType=false

from amaranth.hdl import Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc.catalog import CRC32_ETHERNET
from amaranth.lib.wiring import In, Out

__all__ = ["CRC_BYTES", "Crc32"]

BYTE_BITS = 8
CRC_BYTES = 4


class Crc32(wiring.Component):
    """The CRC-32 of Ethernet and zip (``zlib.crc32``) of the bytes since ``start``.

    Latency 1 cycle from a byte's transfer to ``value`` and ``good``. Interval ``8 / bits_per_cycle`` cycles; a byte
    of several cycles waits on ``i`` until its last one, which is when it is taken.

    Parameters
    ----------
    bits_per_cycle : int
        1, 2, 4 or 8: the fewer, the smaller.

    Members
    -------
    i : In(stream.Signature(8))
        Bytes; ready at any time but within a byte of several cycles.
    start : In(1)
        Forget all bytes; one of the same cycle is lost.
    drain : In(1)
        Bytes on ``i`` are no part of the message, but each takes the low byte off ``value``: the CRC is sent that way.
    value : Out(32)
        The CRC; its low byte is sent first. Means nothing while a byte is on its way.
    good : Out(1)
        Whether the last four bytes were the CRC of all before.

    Raises
    ------
    ValueError
        If ``bits_per_cycle`` does not divide a byte.
    """

    def __init__(self, *, bits_per_cycle: int = BYTE_BITS) -> None:
        if bits_per_cycle not in (1, 2, 4, 8):
            raise ValueError(f"bits_per_cycle must be 1, 2, 4 or 8, not {bits_per_cycle!r}")
        self.bits_per_cycle = bits_per_cycle
        super().__init__(
            {
                "i": In(stream.Signature(BYTE_BITS)),
                "start": In(1),
                "drain": In(1),
                "value": Out(BYTE_BITS * CRC_BYTES),
                "good": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """The library's register, given a byte part by part, low bits first."""
        m = Module()
        processor = CRC32_ETHERNET(data_width=self.bits_per_cycle).create()
        m.submodules.processor = ResetInserter(self.start)(processor)
        steps = BYTE_BITS // self.bits_per_cycle
        step = Signal(range(steps))
        part = self.i.payload.word_select(step, self.bits_per_cycle)
        m.d.comb += [
            self.i.ready.eq(step == steps - 1),
            # What the register has itself gives no feedback: zeros come in, and the value is its complement.
            processor.data.eq(Mux(self.drain, ~self.value[: self.bits_per_cycle], part)),
            processor.valid.eq(self.i.valid),
            self.value.eq(processor.crc),
            self.good.eq(processor.match_detected),
        ]
        with m.If(self.i.valid):
            m.d.sync += step.eq(step + 1)
        with m.If(self.start):
            m.d.sync += step.eq(0)
        return m
