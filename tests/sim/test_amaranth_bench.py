import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from xnorweave.errors import MismatchError, UnsupportedError
from xnorweave.hw.wide_cat import wide_cat
from xnorweave.sim import amaranth_bench
from xnorweave.sim.amaranth_bench import AmaranthBench, run_amaranth
from xnorweave.sim.bench import Stimulus

FRAMES = [[(37 * i + 11 * j) % 256 for j in range(4)] for i in range(12)]
SUMS = [[sum((x + 1) % 256 for x in frame)] for frame in FRAMES]


def run(core, **fields):
    taps = {"plus_one": (core.inner, 4)}
    return run_amaranth(core, Stimulus(frames=FRAMES, patience_cycles=300, **fields), output_words=1, taps=taps)


@pytest.mark.parametrize("idle", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("stall", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("burst", [1, 5])
def test_words_under_every_pattern(summing_core, idle, stall, burst):
    result = run(summing_core(), idle=idle, stall=stall, burst=burst, seed=5)
    assert result.outputs == SUMS
    assert result.taps == {"plus_one": [[(x + 1) % 256 for x in frame] for frame in FRAMES]}


def test_cycles_are_counted(summing_core):
    result = run(summing_core())
    # The fourth word goes in at cycle 3, leaves the adder at 4 and the sum at 5.
    assert (result.first_latency_cycles, result.interval_cycles, result.cycles) == (5, 4, 4 * len(FRAMES) + 2)
    assert result.simulator.startswith("amaranth 0.5")


@pytest.mark.parametrize("reset_at", [(0,), (6,), (5, 6, 7), (3, 20, 33), tuple(range(2, 60, 6))])
def test_a_reset_interrupts_and_repeats_a_frame(summing_core, reset_at):
    result = run(summing_core(), idle=0.1, stall=0.1, reset_at=reset_at)
    assert result.outputs == SUMS
    assert result.resets == len(reset_at)
    assert result.taps["plus_one"] == [[(x + 1) % 256 for x in frame] for frame in FRAMES]


def test_a_wrong_word_comes_out_as_it_is(summing_core):
    assert run(summing_core("wrong")).outputs == [[total[0] + 1] for total in SUMS]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("unheld", r"cycle \d+: payload changed or valid fell while valid and not ready: o at frame \d, 0 of 1 words"),
        ("valid_falls", r"payload changed or valid fell"),
        (
            "deadlock",
            r"no transfer for 300 cycles, deadlocked: i at frame 3, 1 of 4 words; o at frame 3, 0 of 1 words; "
            r"tap plus_one at frame 3, 0 of 4 words",
        ),
    ],
)
def test_planted_faults_are_named(summing_core, fault, message):
    with pytest.raises(MismatchError, match=message):
        run(summing_core(fault), stall=0.6)


def test_a_word_too_many(summing_core):
    frames = FRAMES[:3]
    with pytest.raises(MismatchError, match=r"cycle \d+: a word too many: o at frame 3, 0 of 1 words delivered"):
        run_amaranth(summing_core("surplus"), Stimulus(frames=frames), output_words=1)


def test_an_inner_stream_is_watched(summing_core):
    """The input's own stream as a tap: the bench itself keeps it steady."""
    core = summing_core()
    result = run_amaranth(core, Stimulus(frames=FRAMES, stall=0.5), output_words=1, taps={"input": (core.i, 4)})
    assert result.taps["input"] == FRAMES


class Wire(wiring.Component):
    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.o.valid.eq(self.i.valid), self.o.payload.eq(~self.i.payload), self.i.ready.eq(self.o.ready)]
        return m


def test_combinational_component():
    done = []
    result = run_amaranth(
        Wire(),
        Stimulus(frames=FRAMES, idle=0.2, stall=0.5),
        output_words=4,
        progress=lambda *counts: done.append(counts),
    )
    assert result.outputs == [[255 - x for x in frame] for frame in FRAMES]
    assert done == [(k + 1, len(FRAMES)) for k in range(len(FRAMES))]
    back_to_back = run_amaranth(Wire(), Stimulus(frames=FRAMES), output_words=4)
    assert (back_to_back.first_latency_cycles, back_to_back.interval_cycles) == (3, 4)


class Kept(wiring.Component):
    """A word that goes through registers, or through a memory."""

    def __init__(self, width, *, memory=False):
        self.memory = memory
        super().__init__({"i": In(stream.Signature(width)), "o": Out(stream.Signature(width))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(self.o.ready | ~self.o.valid)
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(self.i.valid)
        if self.memory:
            m.submodules.memory = memory = Memory(shape=len(self.i.payload), depth=2, init=[])
            write, read = memory.write_port(), memory.read_port(domain="comb")
            m.d.comb += [write.en.eq(self.i.ready), write.data.eq(self.i.payload), self.o.payload.eq(read.data)]
        else:
            with m.If(self.i.ready):
                m.d.sync += self.o.payload.eq(wide_cat(~bit for bit in self.i.payload))
        return m


def test_a_word_of_more_bits_than_python_nests_or_has_digits_for():
    bits = 15_000
    words = [0, (1 << bits) - 1, 3 << 9_000]
    result = run_amaranth(Kept(bits), Stimulus(frames=[[word] for word in words]), output_words=1)
    assert result.outputs == [[~word & (1 << bits) - 1] for word in words]


@pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="Python 3.12 nests no deeper than it likes")
def test_a_memory_of_words_of_more_bits_than_python_nests():
    bits = 4_000
    words = [5, (1 << bits) - 1, 3 << 3_000]
    result = run_amaranth(Kept(bits, memory=True), Stimulus(frames=[[word] for word in words]), output_words=1)
    assert result.outputs == [[word] for word in words]


def test_a_memory_of_words_too_wide_is_refused_and_python_is_as_before(monkeypatch):
    monkeypatch.setattr(amaranth_bench, "_NESTING", 1)
    before = sys.getrecursionlimit(), sys.get_int_max_str_digits(), threading.stack_size()
    with pytest.raises(UnsupportedError, match=r"simulator=amaranth: .* give icarus or verilator"):
        AmaranthBench(Kept(40_000, memory=True), output_words=1)
    assert (sys.getrecursionlimit(), sys.get_int_max_str_digits(), threading.stack_size()) == before


def test_simulators_made_in_several_threads_are_made_one_at_a_time():
    before = sys.getrecursionlimit(), sys.get_int_max_str_digits(), threading.stack_size()
    bits = 15_000
    with ThreadPoolExecutor(3) as pool:
        benches = list(pool.map(lambda _: AmaranthBench(Kept(bits), output_words=1), range(3)))
    assert (sys.getrecursionlimit(), sys.get_int_max_str_digits(), threading.stack_size()) == before
    for bench in benches:
        assert bench.run(Stimulus(frames=[[5]])).outputs == [[5 ^ (1 << bits) - 1]]


def test_an_elaboration_without_end_is_no_width():
    class Endless(wiring.Component):
        i: In(stream.Signature(4))
        o: Out(stream.Signature(4))

        def elaborate(self, platform):
            return self.elaborate(platform)

    with pytest.raises(RecursionError):
        AmaranthBench(Endless(), output_words=1)


def test_an_error_of_a_design_is_raised_as_it_is():
    class Broken(wiring.Component):
        i: In(stream.Signature(4))
        o: Out(stream.Signature(4))

        def elaborate(self, platform):
            raise ValueError("no such hardware")

    with pytest.raises(ValueError, match="no such hardware"):
        AmaranthBench(Broken(), output_words=1)
