"""A factor and an offset for each of several sums that come a few a word: one bit of each sum a cycle."""

from amaranth import C, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from xnorweave.hw.adder_graph import range_shape
from xnorweave.hw.lookup import lookup
from xnorweave.hw.wide_cat import wide_cat

__all__ = ["LOGIC_ROM_DEPTH", "ScaleUnit", "scale_cycles"]

LOGIC_ROM_DEPTH = 16
"""A ROM of so few words takes one LUT for each bit of its width; constants of more words go into block RAM."""


def scale_cycles(words: int, sum_range: tuple[int, int]) -> int:
    """Cycles in which a `ScaleUnit` takes so many words of sums within a range, both ends included."""
    return words * (range_shape(*sum_range).width + 2)


class ScaleUnit(wiring.Component):
    """Multiply each sum of a frame by its factor and add its offset.

    Each lane adds its factor to an accumulator where the lowest bit of the sum is set, and shifts accumulator and sum
    down together: the bits that leave the accumulator are those of the result, and take the places that the sum's
    leave. A negative factor is a positive one of the sum's complement, and the accumulator starts with the offset.

    Latency ``bits + 1`` cycles, with ``bits`` those that tell the sums of ``sum_range`` apart; interval ``bits + 2`` a
    word. Holds its output while ``o`` is not ready, and takes no word until then. Where constants come from a memory it
    takes nothing in the first cycle after a reset or power-up, in which it reads the first ones.

    Parameters
    ----------
    factors, offsets : tuple of int
        One per sum of a frame.
    lanes : int
        Sums per word, the first lowest; lanes beyond the factors in the last word mean nothing.
    sum_shape : Shape
        Shape of one sum.
    sum_range : tuple of int
        Lowest and highest sum that there is.
    output_shape : Shape
        Shape of one result; results must fit.

    Attributes
    ----------
    bits, words : int
        Bits of a sum that count, and words of a frame.

    Members
    -------
    i : In(stream.Signature(lanes * sum bits))
    o : Out(stream.Signature(lanes * output bits))
        The results, in the places of the sums.

    Raises
    ------
    ValueError
        Where there are not as many offsets as factors, or more lanes than these.
    """

    def __init__(
        self,
        *,
        factors: tuple[int, ...],
        offsets: tuple[int, ...],
        lanes: int,
        sum_shape,
        sum_range: tuple[int, int],
        output_shape,
    ):
        if not 1 <= lanes <= len(factors):
            raise ValueError(f"lanes={lanes!r} is not within 1..{len(factors)}")
        if len(factors) != len(offsets):
            raise ValueError(f"{len(factors)} factors do not have {len(offsets)} offsets")
        self.lanes, self.sum_shape, self.output_shape = lanes, sum_shape, output_shape
        low, high = sum_range
        self.signed, self.bits = low < 0, range_shape(low, high).width
        self.words = -(-len(factors) // lanes)
        spare = (0,) * (self.words * lanes - len(factors))
        self.factors, self.inverted = (*map(abs, factors), *spare), (*(f < 0 for f in factors), *spare)
        self.starts = (*(self._start(f, o) for f, o in zip(factors, offsets, strict=True)), *spare)
        super().__init__(
            {
                "i": In(stream.Signature(lanes * sum_shape.width)),
                "o": Out(stream.Signature(lanes * output_shape.width)),
            }
        )

    def _start(self, factor: int, offset: int) -> int:
        """What the accumulator starts with: the offset, and what taking signs and complements for bits leaves out."""
        lowest = -(1 << self.bits - 1) if self.signed else 0
        return offset + factor * (lowest if factor >= 0 else lowest + (1 << self.bits) - 1)

    def _ranges(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Lowest and highest value of an accumulator, and of what is shifted into it."""
        kept, added = [0], [0]
        for factor, start in zip(self.factors, self.starts, strict=True):
            for step in range(self.bits + 1):
                ends = start >> step, start + factor * ((1 << step) - 1) >> step
                kept += ends
                added += (ends[0], ends[1] + factor)
            added.append(2 * start)
        return (min(kept), max(kept)), (min(added), max(added))

    def elaborate(self, platform):
        m = Module()
        step, busy, done, known = Signal(range(max(2, self.bits))), Signal(), Signal(), Signal(init=self.words == 1)
        load = Signal()
        m.d.comb += [
            self.i.ready.eq(known & ~busy & ~done),
            load.eq(self.i.valid & self.i.ready),
            self.o.valid.eq(done),
        ]
        with m.If(load):
            m.d.sync += busy.eq(1)
        with m.If(busy):
            last = step == self.bits - 1
            m.d.sync += [step.eq(Mux(last, 0, step + 1)), busy.eq(~last), done.eq(last)]
        with m.If(done & self.o.ready):
            m.d.sync += done.eq(0)
        m.d.sync += known.eq(1)
        factors, inverted, starts = self._constants(m, advance=busy & (step == self.bits - 1))
        results = [
            self._lane(m, lane, load, busy, done & self.o.ready, factors[lane], inverted[lane], starts[lane])
            for lane in range(self.lanes)
        ]
        m.d.comb += self.o.payload.eq(wide_cat(results))
        return m

    def _lane(self, m, lane, load, busy, clear, factor, inverted, start):
        kept, added = self._ranges()
        sum_bits = self.i.payload.word_select(lane, self.sum_shape.width)[: self.bits]
        upper = Signal(range_shape(*kept), name=f"upper{lane}")
        lower = Signal(self.bits, name=f"lower{lane}", reset_less=True)
        taken, operand = Signal(self.bits, name=f"taken{lane}"), Signal(range_shape(*added), name=f"operand{lane}")
        total = Signal(range_shape(*added), name=f"total{lane}")
        # Taken for an unsigned number, a signed one with its highest bit inverted is as much more as that bit counts.
        flipped = (1 << self.bits - 1) * self.signed
        m.d.comb += [
            taken.eq(sum_bits ^ inverted.replicate(self.bits) ^ flipped),
            operand.eq(Mux(busy, Mux(lower[0], factor, 0), start << 1)),
            total.eq(upper + operand),
        ]
        with m.If(clear):
            m.d.sync += upper.eq(0)
        with m.Elif(load | busy):
            m.d.sync += upper.eq(total >> 1)
        with m.If(load):
            m.d.sync += lower.eq(taken)
        with m.Elif(busy):
            m.d.sync += lower.eq(Cat(lower[1:], total[0]))
        result = Signal(self.output_shape, name=f"result{lane}")
        m.d.comb += result.eq(Cat(lower, upper))
        return result

    def _constants(self, m, advance):
        """Factors, whether sums are inverted, and starts, of the lanes of the word at hand."""
        kept, _ = self._ranges()
        shapes = [range_shape(0, max(self.factors)), range_shape(0, 1), range_shape(*kept)]
        rows = list(zip(self.factors, self.inverted, self.starts, strict=True))
        packed = [_packed(rows[k * self.lanes : (k + 1) * self.lanes], shapes) for k in range(self.words)]
        named = list(zip(("factor", "inverted", "start"), shapes, strict=True))
        constants = [
            [Signal(shape, name=f"{name}{lane}", reset_less=True) for name, shape in named]
            for lane in range(self.lanes)
        ]
        flat = wide_cat(constant for lane in constants for constant in lane)
        if self.words == 1:
            m.d.comb += flat.eq(packed[0])
        else:
            word = Signal(range(self.words))
            with m.If(advance):
                m.d.sync += word.eq(Mux(word == self.words - 1, 0, word + 1))
            if self.words <= LOGIC_ROM_DEPTH:
                m.d.sync += flat.eq(lookup(word, [C(row, len(flat)) for row in packed]))
            else:
                rom = Memory(shape=len(flat), depth=self.words, init=packed, attrs={"ram_style": "block"})
                m.submodules.rom = rom
                read = rom.read_port()
                m.d.comb += [read.addr.eq(word), flat.eq(read.data)]
        return zip(*constants, strict=True)


def _packed(rows, shapes) -> int:
    """Numbers of these shapes side by side, the first lowest."""
    word = place = 0
    for row in rows:
        for value, shape in zip(row, shapes, strict=True):
            word |= (int(value) & (1 << shape.width) - 1) << place
            place += shape.width
    return word
