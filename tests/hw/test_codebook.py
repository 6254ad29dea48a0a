import numpy as np
import pytest
from amaranth import Const, Module
from amaranth.sim import Simulator

from xnorweave.hw.codebook import Codebook, CodebookMemory
from xnorweave.hw.lookup import lookup
from xnorweave.hw.processing_elements import ProcessingElements
from xnorweave.hw.xnor_popcount import weight_code


def random_masks(rng, kernels, outputs, channels, taps):
    """Bit masks over windows of kernels that are drawn from a few."""
    patterns = [0, *(int(p) for p in rng.integers(0, 2**taps, kernels - 1))]
    chosen = rng.choice(patterns, (outputs, channels)) ^ rng.choice([0, 2**taps - 1], (outputs, channels))
    return tuple(
        sum((int(k) >> t & 1) << t * channels + c for c, k in enumerate(row) for t in range(taps)) for row in chosen
    )


def codes(masks, channels, taps, pe, simd):
    """Words as they are read, of outputs that fill the fold."""
    lanes = (1 << simd) - 1
    return [
        sum(weight_code(mask >> low & lanes, simd) << k * simd for k, mask in enumerate(masks[start : start + pe]))
        for start in range(0, len(masks), pe)
        for low in range(0, taps * channels, simd)
    ]


def run_memory(unit, count, rng, stall):
    """Words that a memory gives, and the cycle in which the first is there."""
    words, begins = [], []

    async def bench(ctx):
        held = None
        for cycle in range(20 * count + 10):
            ready = bool(rng.random() >= stall)
            ctx.set(unit.o.ready, ready)
            if ctx.get(unit.o.valid):
                begins.append(cycle)
                word = ctx.get(unit.o.payload)
                assert held in (None, word)
                held = None if ready else word
                words.extend([word] if ready else [])
            if len(words) == count:
                return
            await ctx.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return words, begins[0], begins[-1]


@pytest.mark.parametrize("stall", [0.0, 0.6])
@pytest.mark.parametrize(
    ("kernels", "outputs", "channels", "taps", "pe", "simd"),
    [
        (1, 4, 4, 9, 2, 2),
        (2, 6, 6, 9, 3, 3),
        (5, 4, 8, 6, 4, 4),
        (16, 8, 8, 9, 2, 8),
        (3, 3, 2, 4, 3, 2),  # one word
        (3, 2, 3, 4, 1, 1),
        (2, 4, 4, 1, 2, 4),  # one tap
    ],
)
def test_words_are_the_weights_over_and_over(kernels, outputs, channels, taps, pe, simd, stall, rng):
    masks = random_masks(rng, kernels, outputs, channels, taps)
    expected = codes(masks, channels, taps, pe, simd)
    unit = CodebookMemory(codebook=Codebook(masks, channels, taps), pe=pe, simd=simd)
    words, first, last = run_memory(unit, 3 * len(expected), rng, stall)
    assert words == 3 * expected
    assert first == 2
    assert stall or last - first == len(words) - 1  # a word a cycle


def test_kernels_are_kept_up_to_inversion():
    # Channel 0 has +--+, then its inverse; channel 1 has ++++, then +--+.
    masks = (0b11_10_10_11, 0b10_01_01_10)
    book = Codebook(masks, 2, 4)
    assert book.kernels == (0b0000, 0b0110)
    assert book.indices == ((1, 0), (1, 1))
    assert book.firsts == (0b11, 0b10)
    assert book.index_bits == 1
    assert book.slices() == [0b00, 0b10, 0b10, 0b00]


@pytest.mark.parametrize(("kernels", "bits"), [(1, 0), (2, 1), (3, 2), (5, 3), (16, 4)])
def test_index_bits(kernels, bits):
    masks = tuple(k << 1 for k in range(kernels))
    book = Codebook(masks, 1, 5)
    assert (len(book.kernels), book.index_bits) == (kernels, bits)


def first_ready(unit):
    """Cycle in which a unit takes its first word."""
    found = []

    async def bench(ctx):
        ctx.set(unit.o.ready, 1)
        for cycle in range(10):
            if ctx.get(unit.i.ready):
                found.append(cycle)
                return
            await ctx.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return found[0]


def test_lanes_take_their_first_word_when_weights_are_there(rng):
    masks = random_masks(rng, 3, 4, 4, 9)
    options = {"weights": masks, "inputs": 36, "input_bits": 1, "biases": ((0,) * 4,), "fires": True}
    assert first_ready(ProcessingElements(**options, pe=2, simd=2)) == 1
    assert first_ready(ProcessingElements(**options, pe=2, simd=2, codebook=Codebook(masks, 4, 9))) == 2


def test_a_width_that_does_not_divide_the_channels_is_refused():
    with pytest.raises(ValueError, match="simd=3 does not divide the 4 channels"):
        CodebookMemory(codebook=Codebook((0,), 4, 9), pe=1, simd=3)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_lookup(count):
    values = [Const(int(v), 8) for v in np.arange(count) * 7 + 1]
    bits = (count - 1).bit_length()
    seen = []

    async def bench(ctx):
        for index in range(count):
            seen.append(ctx.get(lookup([Const(index >> b & 1) for b in range(bits)], values)))

    simulator = Simulator(Module())
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [k * 7 + 1 for k in range(count)]
