"""Residual addition: a fork behind the source's stream, and the unit that adds what comes of it to the sums."""

from amaranth import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from xnorweave.hw.stream_register import StreamRegister
from xnorweave.hw.wide_cat import wide_cat

__all__ = ["ResidualAdd", "StreamFork"]


class StreamFork(wiring.Component):
    """Give each word to ``o`` and to every shortcut, each as soon as it is ready.

    Latency 0 cycles; interval 1 cycle where all are ready. A word is released once all have it; those that have it see
    no word until then. ``valid`` of one output depends on no output's ``ready``.

    Parameters
    ----------
    word_bits : int
        Width of the payload, in bits.
    shortcuts : int
        Outputs beside ``o``, at least 1.

    Members
    -------
    i : In(stream.Signature(word_bits))
    o : Out(stream.Signature(word_bits))
    shortcuts : Out(stream.Signature(word_bits)).array(shortcuts)

    Raises
    ------
    ValueError
        If there are no shortcuts.
    """

    def __init__(self, *, word_bits: int, shortcuts: int):
        if shortcuts < 1:
            raise ValueError(f"A fork has at least one shortcut, not {shortcuts!r}")
        signature = stream.Signature(word_bits)
        super().__init__({"i": In(signature), "o": Out(signature), "shortcuts": Out(signature).array(shortcuts)})

    def elaborate(self, platform):
        m = Module()
        outputs = [self.o, *self.shortcuts]
        given = Signal(len(outputs))
        after = Signal.like(given, name="given_after")
        for place, output in enumerate(outputs):
            m.d.comb += [
                output.payload.eq(self.i.payload),
                output.valid.eq(self.i.valid & ~given[place]),
                after[place].eq(given[place] | (output.valid & output.ready)),
            ]
        m.d.comb += self.i.ready.eq(Cat(given[k] | output.ready for k, output in enumerate(outputs)).all())
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += given.eq(0)
        with m.Else():
            m.d.sync += given.eq(after)
        return m


class ResidualAdd(wiring.Component):
    """Add the values of two streams, channel by channel.

    Latency 1 cycle; interval 1 cycle; takes a word of both at once, and holds its output while ``o`` is not ready.

    Parameters
    ----------
    channels : int
        Values of a word.
    bits : tuple of int
        Width of a value of ``i`` and of ``shortcut``, in bits; both are unsigned.
    factors : tuple of int
        What a value of each counts in the sum.

    Attributes
    ----------
    output_bits : int
        Width of a sum, in bits.

    Members
    -------
    i : In(stream.Signature(channels * bits[0]))
        Channel 0 lowest.
    shortcut : In(stream.Signature(channels * bits[1]))
    o : Out(stream.Signature(channels * output_bits))

    Raises
    ------
    ValueError
        If there is no channel, or a width or a factor is not positive.

    References
    ----------
    Liu et al., Bi-Real Net, ECCV 2018 (a shortcut that carries sums past each binary convolution).
    """

    def __init__(self, *, channels: int, bits: tuple[int, int], factors: tuple[int, int]):
        if min(channels, *bits, *factors) < 1:
            raise ValueError(f"channels={channels!r}, bits={bits!r} and factors={factors!r} are not all positive")
        self.channels, self.bits, self.factors = channels, bits, factors
        self.output_bits = sum(f * (2**b - 1) for f, b in zip(factors, bits, strict=True)).bit_length()
        super().__init__(
            {
                "i": In(stream.Signature(channels * bits[0])),
                "shortcut": In(stream.Signature(channels * bits[1])),
                "o": Out(stream.Signature(channels * self.output_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.register = register = StreamRegister(word_bits=len(self.o.payload))
        sums = []
        for channel in range(self.channels):
            sums.append(total := Signal(self.output_bits, name=f"sum{channel}"))
            main, shortcut = (
                each.payload.word_select(channel, bits) * factor
                if factor > 1
                else each.payload.word_select(channel, bits)
                for each, bits, factor in zip((self.i, self.shortcut), self.bits, self.factors, strict=True)
            )
            m.d.comb += total.eq(main + shortcut)
        m.d.comb += [
            register.i.payload.eq(wide_cat(sums)),
            register.i.valid.eq(self.i.valid & self.shortcut.valid),
            self.i.ready.eq(register.i.ready & self.shortcut.valid),
            self.shortcut.ready.eq(register.i.ready & self.i.valid),
        ]
        wiring.connect(m, register.o, wiring.flipped(self.o))
        return m
