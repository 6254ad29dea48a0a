"""The sums of a layer and what is made of them, as one pipeline that stops or never stops."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from xnorweave.hw.adder_graph import AdderGraph
from xnorweave.hw.stream_fifo import StreamFifo

__all__ = ["SumPipeline"]

# Cycles of a word from its credit to the credit's return beyond the graph's: thresholds 1, register 1, FIFO 2,
# counting 1.
_LOOP_CYCLES = 5


class SumPipeline(wiring.Component):
    """An adder graph and the unit that takes its sums.

    Interval 1 cycle; holds its output while ``o`` is not ready. One that stops does so as a whole, at once: every
    register waits for ``o.ready``, which takes long to reach thousands of them. One that is free running has
    registers without an enable. A word enters only with a credit for a place in the FIFO behind, so that none is lost.

    Latency: the graph's + 1 cycles, of a free-running one 3 more.

    Parameters
    ----------
    graph : AdderGraph
        Takes one window or vector.
    last : component with streams ``i`` and ``o``
        Takes the graph's sums; latency 1 cycle, accepts a word in each cycle in which ``o`` is ready.
    free_running : bool
        Whether the registers never wait.

    Attributes
    ----------
    latency : int
        Cycles from a window to what is made of it, where nothing waits.
    held_words : int
        Most words that it holds while ``o`` is not ready.

    Members
    -------
    i : In(graph.i)
    o : Out(last.o)
    """

    def __init__(self, *, graph: AdderGraph, last: wiring.Component, free_running: bool = False):
        self.graph, self.last, self.free_running = graph, last, free_running
        self.latency = graph.latency + (4 if free_running else 1)
        self.held_words = graph.latency + (_LOOP_CYCLES if free_running else 1)
        super().__init__({"i": In(graph.i.signature.flip()), "o": Out(last.o.signature)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.graph, m.submodules.last = self.graph, self.last
        wiring.connect(m, self.graph.o, self.last.i)
        if self.free_running:
            self._with_credits(m)
        else:
            wiring.connect(m, wiring.flipped(self.i), self.graph.i)
            wiring.connect(m, self.last.o, wiring.flipped(self.o))
        return m

    def _with_credits(self, m):
        credits = self.graph.latency + _LOOP_CYCLES
        # A buffered FIFO has depth - 1 places and its output's register, which is empty only while one word waits at
        # most: of three credits or more, the last one's word finds a place.
        m.submodules.fifo = fifo = StreamFifo(word_bits=len(self.o.payload), depth=credits)
        # Sums come from all over a chip: a register more lets the FIFO be in one place.
        arrived, payload = Signal(), Signal.like(self.o.payload, reset_less=True)
        taken, given = Signal(), Signal()
        used, following, room = Signal(range(credits + 1)), Signal(range(credits + 2)), Signal(init=1)
        m.d.comb += [
            taken.eq(self.i.valid & room),
            given.eq(self.o.valid & self.o.ready),
            following.eq(used + taken - given),
            self.i.ready.eq(room),
            self.graph.i.payload.eq(self.i.payload),
            self.graph.i.valid.eq(taken),
            # The FIFO has room by the credits: nothing in the pipeline ever waits.
            self.last.o.ready.eq(1),
            fifo.i.payload.eq(payload),
            fifo.i.valid.eq(arrived),
        ]
        m.d.sync += [arrived.eq(self.last.o.valid), payload.eq(self.last.o.payload)]
        m.d.sync += [used.eq(following), room.eq(following < credits)]
        wiring.connect(m, fifo.o, wiring.flipped(self.o))
