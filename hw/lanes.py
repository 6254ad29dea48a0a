"""Stream converters: more lanes a word, or fewer, or the same words several times."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from xnorweave.hw.wide_cat import wide_cat

__all__ = ["Packer", "Replay", "Unpacker"]


class Packer(wiring.Component):
    """Join ``factor`` words into one, lowest first; zeros fill up the last word of a frame.

    Latency 1 cycle from the last word joined; interval 1 cycle a word taken, as long as ``o`` is ready.

    Parameters
    ----------
    word_bits : int
        Width of a word taken, in bits.
    factor : int
        Words joined, at least 2.
    words : int
        Words taken per frame.

    Members
    -------
    i : In(stream.Signature(word_bits))
    o : Out(stream.Signature(word_bits * factor))
    """

    def __init__(self, *, word_bits: int, factor: int, words: int):
        if factor < 2 or words < 1:
            raise ValueError(f"Packing needs a factor of at least 2 and a word, not {factor!r} and {words!r}")
        self.word_bits, self.factor, self.words = word_bits, factor, words
        super().__init__({"i": In(stream.Signature(word_bits)), "o": Out(stream.Signature(word_bits * factor))})

    def elaborate(self, platform):
        m = Module()
        place, taken = Signal(range(self.factor)), Signal(range(max(2, self.words)))
        full, last = Signal(), Signal()
        m.d.comb += [
            last.eq(taken == self.words - 1),
            self.o.valid.eq(full),
            self.i.ready.eq(self.o.ready | ~full),
        ]
        with m.If(self.o.ready):
            m.d.sync += full.eq(0)
        taking = self.i.valid & self.i.ready
        if self.words % self.factor:
            self._place(m, taking, place)
        else:
            self._shift(m, taking)
        with m.If(taking):
            m.d.sync += taken.eq(Mux(last, 0, taken + 1))
            with m.If(last | (place == self.factor - 1)):
                m.d.sync += [place.eq(0), full.eq(1)]
            with m.Else():
                m.d.sync += place.eq(place + 1)
        return m

    def _place(self, m, taking, place):
        """Put the word where it belongs; the first one clears the others, which may not all come."""
        parts = [Signal(self.word_bits, name=f"part{k}", reset_less=True) for k in range(self.factor)]
        m.d.comb += self.o.payload.eq(wide_cat(parts))
        with m.If(taking):
            for k, part in enumerate(parts):
                with m.If(place == k):
                    m.d.sync += part.eq(self.i.payload)
                with m.Elif(place == 0):
                    m.d.sync += part.eq(0)

    def _shift(self, m, taking):
        """Where no word needs filling up, all parts move down as one: no logic in front of the registers."""
        parts = Signal.like(self.o.payload, name="parts", reset_less=True)
        m.d.comb += self.o.payload.eq(parts)
        with m.If(taking):
            m.d.sync += parts.eq(Cat(parts[self.word_bits :], self.i.payload))


class Unpacker(wiring.Component):
    """Split each word into ``factor`` words, lowest first.

    Latency 0 cycles; interval ``factor`` cycles a word taken; a word is released with its last part.

    Parameters
    ----------
    word_bits : int
        Width of a word given, in bits.
    factor : int
        Words made of one, at least 2.
    words : int
        Words given per frame; parts of the frame's last word beyond them are dropped.

    Members
    -------
    i : In(stream.Signature(word_bits * factor))
    o : Out(stream.Signature(word_bits))
    """

    def __init__(self, *, word_bits: int, factor: int, words: int):
        if factor < 2 or words < 1:
            raise ValueError(f"Unpacking needs a factor of at least 2 and a word, not {factor!r} and {words!r}")
        self.word_bits, self.factor, self.words = word_bits, factor, words
        super().__init__({"i": In(stream.Signature(word_bits * factor)), "o": Out(stream.Signature(word_bits))})

    def elaborate(self, platform):
        m = Module()
        place, given = Signal(range(self.factor)), Signal(range(max(2, self.words)))
        last = Signal()
        m.d.comb += [
            last.eq((given == self.words - 1) | (place == self.factor - 1)),
            self.o.payload.eq(self.i.payload.word_select(place, self.word_bits)),
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready & last),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += place.eq(Mux(last, 0, place + 1))
            m.d.sync += given.eq(Mux(given == self.words - 1, 0, given + 1))
        return m


class Replay(wiring.Component):
    """Give each vector of ``words`` words ``repeats`` times; the next vector is taken meanwhile.

    Two vectors are kept in one memory. Latency 2 cycles from a vector's last word; interval
    ``words * max(1, repeats)`` cycles a vector.

    Parameters
    ----------
    word_bits : int
        Width of a word, in bits.
    words : int
        Words of a vector.
    repeats : int
        How often each vector is given.

    Members
    -------
    i : In(stream.Signature(word_bits))
    o : Out(stream.Signature(word_bits))
    """

    def __init__(self, *, word_bits: int, words: int, repeats: int):
        if words < 1 or repeats < 1:
            raise ValueError(f"A replay needs a word and a repeat, not {words!r} and {repeats!r}")
        self.word_bits, self.words, self.repeats = word_bits, words, repeats
        super().__init__({"i": In(stream.Signature(word_bits)), "o": Out(stream.Signature(word_bits))})

    def elaborate(self, platform):
        m = Module()
        address_bits = (self.words - 1).bit_length()
        m.submodules.store = store = Memory(shape=self.word_bits, depth=2 << address_bits, init=[])
        write, read = store.write_port(), store.read_port()
        filled, written, taken = Signal(2), Signal(), Signal()
        self._fill(m, write, filled, address_bits, written)
        self._give(m, read, filled, address_bits, taken)
        m.d.sync += filled.eq((filled | Cat(written & ~self._bank_in, written & self._bank_in)) & ~self._released)
        return m

    def _fill(self, m, write, filled, address_bits, written):
        self._bank_in = bank = Signal(name="bank_in")
        word = Signal(address_bits, name="word_in")
        last = word == self.words - 1 if self.words > 1 else 1
        m.d.comb += [
            self.i.ready.eq(~filled.bit_select(bank, 1)),
            write.addr.eq(Cat(word, bank)),
            write.data.eq(self.i.payload),
            write.en.eq(self.i.valid & self.i.ready),
            written.eq(write.en & last),
        ]
        with m.If(write.en):
            m.d.sync += [word.eq(Mux(last, 0, word + 1)), bank.eq(bank ^ last)]

    def _give(self, m, read, filled, address_bits, taken):
        bank = Signal(name="bank_out")
        word = Signal(address_bits, name="word_out")
        repeat = Signal(range(max(2, self.repeats)))
        self._released = Signal(2, name="released")
        valid, fetch = Signal(), Signal()
        last = word == self.words - 1 if self.words > 1 else 1
        final = repeat == self.repeats - 1
        m.d.comb += [
            fetch.eq(filled.bit_select(bank, 1) & (self.o.ready | ~valid)),
            read.addr.eq(Cat(word, bank)),
            read.en.eq(fetch),
            taken.eq(fetch & last & final),
            self._released.eq(Cat(taken & ~bank, taken & bank)),
            self.o.payload.eq(read.data),
            self.o.valid.eq(valid),
        ]
        with m.If(self.o.ready | ~valid):
            m.d.sync += valid.eq(fetch)
        with m.If(fetch):
            m.d.sync += word.eq(Mux(last, 0, word + 1))
            with m.If(last):
                m.d.sync += [repeat.eq(Mux(final, 0, repeat + 1)), bank.eq(bank ^ final)]
        return m
