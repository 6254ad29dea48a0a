"""Fork and addition: every word of both branches is added once, in order, under any pattern of stalls."""

import pytest
from amaranth import Module
from amaranth.lib import stream as streams
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from xnorweave.hw.adder_graph import range_shape
from xnorweave.hw.border_sums import BorderSums
from xnorweave.hw.residual_add import ResidualAdd, StreamFork
from xnorweave.hw.stream_fifo import StreamFifo
from xnorweave.hw.stream_register import StreamRegister

CHANNELS, BITS = 3, 4


class Block(wiring.Component):
    """A fork, a main path of so many registers, and two additions of shortcuts of so much room."""

    def __init__(self, registers: int, rooms: tuple[int, int], factors: tuple[int, int]):
        word_bits = CHANNELS * BITS
        self.fork = StreamFork(word_bits=word_bits, shortcuts=2)
        self.main = [StreamRegister(word_bits=word_bits) for _ in range(registers)]
        self.waits = [
            StreamFifo(word_bits=word_bits, depth=room) if room > 1 else StreamRegister(word_bits=word_bits)
            for room in rooms
        ]
        first = ResidualAdd(channels=CHANNELS, bits=(BITS, BITS), factors=factors)
        self.adds = [first, ResidualAdd(channels=CHANNELS, bits=(first.output_bits, BITS), factors=(1, 1))]
        self.output_bits = self.adds[1].output_bits
        super().__init__({"i": In(streams.Signature(word_bits)), "o": Out(self.adds[1].o.signature)})

    def elaborate(self, platform):
        m = Module()
        upstream = wiring.flipped(self.i)
        for number, part in enumerate([self.fork, *self.main, *self.adds]):
            m.submodules[f"part{number}"] = part
            wiring.connect(m, upstream, part.i)
            upstream = part.o
        wiring.connect(m, upstream, wiring.flipped(self.o))
        for number, (wait, add) in enumerate(zip(self.waits, self.adds, strict=True)):
            m.submodules[f"wait{number}"] = wait
            wiring.connect(m, self.fork.shortcuts[number], wait.i)
            wiring.connect(m, wait.o, add.shortcut)
        return m


def lanes(word: int, bits: int) -> list[int]:
    return [word >> k * bits & (1 << bits) - 1 for k in range(CHANNELS)]


@pytest.mark.parametrize(("registers", "rooms"), [(1, (1, 4)), (3, (3, 8)), (6, (8, 12))])
def test_a_fork_and_two_additions(pace, stream, rng, registers, rooms):
    words = [int(word) for word in rng.integers(0, 1 << CHANNELS * BITS, 60)]
    unit = Block(registers, rooms, (2, 3))
    result = stream(unit, [words], len(words), pace, patience_cycles=300)
    found = [lanes(word, unit.output_bits) for word in result.outputs[0]]
    assert found == [[2 * x + 3 * x + x for x in lanes(word, BITS)] for word in words]


def test_a_shortcut_with_too_little_room_slows_the_main_path(stream, rng):
    """What the room is for: the words that the main path takes before it gives one."""
    words = [int(word) for word in rng.integers(0, 1 << CHANNELS * BITS, 200)]
    enough = stream(Block(6, (9, 10), (1, 1)), [words], len(words), patience_cycles=300)
    little = stream(Block(6, (3, 10), (1, 1)), [words], len(words), patience_cycles=300)
    assert enough.cycles <= len(words) + 45
    assert little.cycles > 1.5 * len(words)


def test_border_sums(stream):
    biases = {0: (0, 1, 2), 2: (0, 5, -3)}
    unit = BorderSums(biases=biases, factor=3, sum_shape=range_shape(-4, 3), output_bits=5, border_bits=2)
    sums = [(3, 0, 3), (0, 1, 2), (1, -1, 1)]
    frames = [
        [
            sum((v & 7) << 3 * k for k, v in enumerate(row)) | border << 9
            for row, border in zip(sums, (0, 2, 2), strict=True)
        ]
    ]
    result = stream(unit, frames, 3)
    found = [[word >> 5 * k & 31 for k in range(3)] for word in result.outputs[0]]
    want = [
        [3 * v + b for v, b in zip(row, biases[border], strict=True)]
        for row, border in zip(sums, (0, 2, 2), strict=True)
    ]
    assert found == want


def test_sums_of_frames_without_borders(stream):
    unit = BorderSums(biases={0: (4, -1)}, factor=2, sum_shape=range_shape(-4, 3), output_bits=5)
    sums = [(3, 3), (-2, 1), (0, 2)]
    frames = [[sum((v & 7) << 3 * k for k, v in enumerate(row)) for row in sums]]
    words = stream(unit, frames, 3).outputs[0]
    assert [[word >> 5 * k & 31 for k in range(2)] for word in words] == [[2 * a + 4, 2 * b - 1] for a, b in sums]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StreamFork(word_bits=4, shortcuts=0), r"A fork has at least one shortcut, not 0"),
        (lambda: ResidualAdd(channels=0, bits=(1, 1), factors=(1, 1)), r"channels=0, .* are not all positive"),
        (lambda: ResidualAdd(channels=1, bits=(1, 1), factors=(1, 0)), r"factors=\(1, 0\) are not all positive"),
        (
            lambda: BorderSums(biases={0: (1, 2), 1: (1,)}, sum_shape=range_shape(0, 3), output_bits=4),
            r"one row of the same length for each border, not lengths",
        ),
        (
            lambda: BorderSums(biases={0: (1,)}, factor=0, sum_shape=range_shape(0, 3), output_bits=4),
            r"A factor is at least 1, not 0",
        ),
    ],
)
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
