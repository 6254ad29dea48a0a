"""Class of the largest of several sums that come a few a word."""

from amaranth import C, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ArgMax"]


class ArgMax(wiring.Component):
    """Class of the largest sum of a frame, the first of equal ones.

    Latency 1 cycle from the last word; interval ``ceil(classes / lanes)`` cycles a frame while ``o`` is ready, and one
    more where a frame is of one word alone and ``o`` is not.

    Parameters
    ----------
    classes : int
        Sums per frame.
    lanes : int
        Sums per word, the first lowest; lanes beyond ``classes`` in the last word are ignored.
    sum_shape : Shape
        Shape of one sum.
    order : tuple of int, optional
        Class of each sum; where absent, its index.

    Members
    -------
    i : In(stream.Signature(lanes * sum bits))
    o : Out(stream.Signature(class bits))
        The class, once a frame.

    Raises
    ------
    ValueError
        Where there are more lanes than classes, or the order is none of them.
    """

    def __init__(self, *, classes: int, lanes: int, sum_shape, order: tuple[int, ...] | None = None):
        if not 1 <= lanes <= classes:
            raise ValueError(f"lanes={lanes!r} is not within 1..{classes}")
        if order is not None and sorted(order) != list(range(classes)):
            raise ValueError(f"order={order!r} does not have each of {classes} classes once")
        self.order = order
        self.classes, self.lanes, self.sum_shape = classes, lanes, sum_shape
        self.words = -(-classes // lanes)
        super().__init__(
            {
                "i": In(stream.Signature(lanes * sum_shape.width)),
                "o": Out(stream.Signature(max(1, (classes - 1).bit_length()))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        word, done = Signal(range(max(2, self.words))), Signal()
        best, index = Signal(self.sum_shape, reset_less=True), Signal.like(self.o.payload, reset_less=True)
        top, lane = self._best_lane(m, word)
        last = word == self.words - 1
        m.d.comb += [self.o.valid.eq(done), self.i.ready.eq(self.o.ready | ~done)]
        if self.order is None:
            m.d.comb += self.o.payload.eq(index)
        else:
            with m.Switch(index):
                for place, label in enumerate(self.order):
                    with m.Case(place):
                        m.d.comb += self.o.payload.eq(label)
        with m.If(self.o.ready):
            m.d.sync += done.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [word.eq(Mux(last, 0, word + 1)), done.eq(last)]
            with m.If((word == 0) | (top > best)):
                m.d.sync += [best.eq(top), index.eq(word * self.lanes + lane)]
        return m

    def _best_lane(self, m, word):
        """Largest sum of the word at hand and its lane, by a tree of comparisons."""
        spare = self.words * self.lanes - self.classes
        candidates = []
        for lane in range(self.lanes):
            total, real = Signal(self.sum_shape, name=f"sum{lane}"), Signal(name=f"real{lane}")
            m.d.comb += total.eq(self.i.payload.word_select(lane, self.sum_shape.width))
            m.d.comb += real.eq(1 if lane < self.lanes - spare else word != self.words - 1)
            candidates.append((total, real, C(lane, max(1, (self.lanes - 1).bit_length()))))
        while len(candidates) > 1:
            candidates = [
                self._larger(m, *candidates[k : k + 2]) if k + 1 < len(candidates) else candidates[k]
                for k in range(0, len(candidates), 2)
            ]
        return candidates[0][0], candidates[0][2]

    def _larger(self, m, left, right):
        """The right one only where it is real and strictly larger."""
        take = Signal()
        m.d.comb += take.eq(right[1] & (right[0] > left[0]))
        total = Signal(self.sum_shape)
        m.d.comb += total.eq(Mux(take, right[0], left[0]))
        return total, left[1], Mux(take, right[2], left[2])
