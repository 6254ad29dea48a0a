import itertools

import numpy as np
import pytest
from amaranth.sim import Simulator

from xnorweave.hw.folded_conv2d import FoldedConv2D, PixelGather, group_cycles
from xnorweave.hw.row_buffer import RowBuffer, RowSteps
from xnorweave.hw.sliding_window import border_classes


def reference(weights, thresholds, frame, stride, padding):
    """Levels reached [rows, columns, outputs] of a frame [rows, columns, channels]."""
    top, bottom, left, right = padding
    padded = np.pad(frame, ((top, bottom), (left, right), (0, 0)))
    kernel = weights.shape[2:]
    rows, columns = border_classes(frame.shape[:2], kernel, stride, padding)
    result = np.zeros((len(rows.index), len(columns.index), len(weights)), int)
    for y, x in np.ndindex(result.shape[:2]):
        window = padded[y * stride : y * stride + kernel[0], x * stride : x * stride + kernel[1]]
        parts = window.reshape(*kernel, -1, weights.shape[1])
        filters = weights.reshape(parts.shape[2], -1, *weights.shape[1:])
        sums = np.einsum("goijk,jkgi->go", filters, parts).reshape(-1)
        border = rows.index[y] << columns.bits | columns.index[x]
        result[y, x] = (sums[:, None] >= np.array(thresholds[border]).reshape(len(sums), -1)).sum(1)
    return result


def of_kernels(rng, count, outputs, channels, kernel):
    """Weights of ``count`` different kernels up to inversion; random ones for 0."""
    if not count:
        return rng.choice([-1, 1], (outputs, channels, *kernel))
    taps = int(np.prod(kernel))
    patterns = rng.choice(2 ** (taps - 1), count, replace=False)
    chosen = rng.permutation(np.resize(patterns, outputs * channels))
    bits = np.column_stack([np.zeros(len(chosen), int), *(chosen >> t & 1 for t in range(taps - 1))])
    signs = rng.choice([-1, 1], (len(chosen), 1))
    return ((1 - 2 * bits) * signs).reshape(outputs, channels, *kernel)


class Layer:
    """A random layer, its unit, and frames as the unit takes and gives them."""

    def __init__(
        self,
        rng,
        *,
        channels=4,
        outputs=6,
        size=(5, 6),
        kernel=(3, 3),
        stride=1,
        padding=(0, 0, 0, 0),
        bits=1,
        pe=2,
        simd=2,
        vectors=1,
        buffer_rows=None,
        block_ram=True,
        kernels=0,
        levels=1,
        groups=1,
    ):
        self.bits, self.stride, self.padding, self.simd, self.channels = bits, stride, padding, simd, channels
        self.weights = of_kernels(rng, kernels, outputs, channels // groups, kernel)
        rows, columns = border_classes(size, kernel, stride, padding)
        spread = channels * kernel[0] * kernel[1] * (2**bits - 1) // 4
        self.thresholds = {
            r << columns.bits | c: tuple(
                int(t) for t in np.sort(rng.integers(-spread, spread + 1, (outputs, levels)), 1).flat
            )
            for r, c in itertools.product(range(len(rows.spans)), range(len(columns.spans)))
        }
        matrix = self.weights.transpose(0, 2, 3, 1).reshape(outputs, -1)
        self.unit = FoldedConv2D(
            weights=tuple(sum(1 << i for i, w in enumerate(row) if w > 0) for row in matrix),
            channels=channels,
            input_bits=bits,
            thresholds=self.thresholds,
            size=size,
            kernel=kernel,
            stride=stride,
            padding=padding,
            pe=pe,
            simd=simd,
            vectors=vectors,
            buffer_rows=buffer_rows or 2 * size[0],
            block_ram=block_ram,
            codebook=bool(kernels),
            levels=levels,
            groups=groups,
        )
        self.lane_bits = levels.bit_length()
        self.frames = rng.integers(0, 2**bits, (4, *size, channels))
        self.frames[0], self.frames[1] = 0, 2**bits - 1

    @property
    def words(self):
        groups = self.frames.reshape(len(self.frames), -1, self.simd)
        return [[sum(int(x) << k * self.bits for k, x in enumerate(word)) for word in frame] for frame in groups]

    @property
    def expected(self):
        results = [reference(self.weights, self.thresholds, f, self.stride, self.padding) for f in self.frames]
        return [
            [sum(int(value) << k * self.lane_bits for k, value in enumerate(p)) for p in r.reshape(-1, r.shape[2])]
            for r in results
        ]

    def run(self, stream, pace=(0.0, 0.0), **options):
        return stream(self.unit, self.words, len(self.expected[0]), pace, **options)


LAYERS = [
    {},
    {"pe": 6, "simd": 4},
    {"pe": 1, "simd": 1},
    {"pe": 4, "simd": 4},  # uneven
    {"vectors": 2},
    {"vectors": 3, "pe": 5},  # uneven rows of windows and outputs
    {"vectors": 4, "pe": 6, "simd": 4},
    {"bits": 3, "simd": 1},
    {"bits": 2, "simd": 4, "vectors": 2, "padding": (1, 1, 1, 1)},
    {"padding": (1, 1, 1, 1)},
    {"padding": (2, 0, 0, 2), "vectors": 3},
    {"stride": 2},
    {"stride": 2, "padding": (1, 1, 1, 1), "vectors": 2},
    {"stride": 3, "kernel": (2, 2)},
    {"stride": 7, "kernel": (2, 3), "size": (9, 16), "vectors": 2},
    {"stride": 4, "padding": (2, 1, 0, 2), "size": (9, 10), "vectors": 3, "pe": 4},
    {"stride": 2, "kernel": (1, 1), "vectors": 2},
    {"kernel": (5, 6)},
    {"kernel": (2, 3), "buffer_rows": 2},
    {"size": (1, 1), "kernel": (1, 1)},
    {"size": (7, 5), "buffer_rows": 3},
    {"size": (7, 5), "buffer_rows": 5, "vectors": 2},
    {"outputs": 40, "pe": 3, "padding": (0, 1, 1, 0)},
    {"block_ram": False, "vectors": 2},
    # Weights as indices of so many kernels.
    *({"kernels": count, "pe": 4, "vectors": 2} for count in (1, 2, 3, 5, 16)),
    {"kernels": 5, "pe": 6, "simd": 4},
    {"kernels": 4, "pe": 1, "simd": 1},
    {"kernels": 3, "pe": 5, "vectors": 3, "padding": (1, 1, 1, 1)},
    {"kernels": 4, "bits": 3, "simd": 1, "stride": 2},
    {"kernels": 2, "bits": 2, "simd": 4, "padding": (2, 0, 0, 2), "vectors": 4},
    {"kernels": 16, "outputs": 40, "pe": 3, "padding": (0, 1, 1, 0)},
    {"kernels": 6, "kernel": (2, 3), "channels": 6, "simd": 3, "stride": 3},
    {"kernels": 1, "kernel": (1, 1), "pe": 4},  # one tap: the code of the first is all there is
    {"kernels": 1, "kernel": (1, 1), "pe": 6, "simd": 4, "vectors": 2},  # one word
    {"kernels": 7, "size": (3, 3), "pe": 6, "simd": 4},  # one word for all taps
    {"groups": 2, "pe": 3},
    {"groups": 2, "pe": 3, "simd": 1, "vectors": 2, "padding": (1, 1, 1, 1), "stride": 2},
    {"groups": 4, "outputs": 4, "pe": 1, "simd": 1, "bits": 2, "levels": 3},
    {"groups": 4, "outputs": 8, "pe": 2, "simd": 1, "vectors": 3, "padding": (0, 1, 2, 0), "kernel": (2, 3)},
    {"groups": 2, "channels": 8, "pe": 1, "simd": 2, "size": (7, 5), "buffer_rows": 4},
    {"groups": 3, "channels": 6, "outputs": 9, "pe": 3, "simd": 2, "kernel": (1, 1)},
    {"levels": 3},
    {"levels": 3, "bits": 2, "pe": 4, "vectors": 3, "padding": (1, 1, 1, 1)},
    {"levels": 2, "pe": 6, "simd": 4, "kernels": 5, "vectors": 2},
    {"levels": 7, "outputs": 40, "pe": 3, "padding": (0, 1, 1, 0)},
    {"levels": 3, "outputs": 40, "pe": 2},
]


@pytest.mark.parametrize("options", LAYERS, ids=str)
def test_windows(options, stream, rng):
    layer = Layer(rng, **options)
    for pace in [(0.0, 0.0), (0.3, 0.6)]:
        result = layer.run(stream, pace)
        assert [list(words) for words in result.outputs] == layer.expected


@pytest.mark.parametrize(
    "options",
    [
        {"vectors": 3, "pe": 6, "simd": 4},
        {"kernel": (1, 1), "pe": 6, "simd": 4},
        {"kernels": 5, "vectors": 3, "pe": 4},
        {"kernels": 3, "pe": 6, "simd": 4},
    ],
    ids=str,
)
def test_paces(options, stream, pace, rng):
    layer = Layer(rng, **options)
    assert [list(words) for words in layer.run(stream, pace).outputs] == layer.expected


@pytest.mark.parametrize(
    "options",
    [
        {"pe": 2, "simd": 2},
        {"pe": 2, "simd": 2, "vectors": 2},
        {"pe": 6, "simd": 4, "size": (8, 8)},
        {"pe": 6, "simd": 4, "vectors": 3, "size": (8, 8)},
        {"pe": 6, "simd": 1, "vectors": 4, "kernel": (2, 2), "size": (9, 9)},
        {"kernels": 5, "pe": 2, "simd": 2, "vectors": 2},
        {"kernels": 5, "pe": 6, "simd": 4, "size": (8, 8)},
        {"groups": 2, "pe": 3, "simd": 2},
        {"groups": 4, "outputs": 8, "pe": 2, "simd": 1, "vectors": 2},
    ],
    ids=str,
)
def test_interval(options, stream, rng):
    layer = Layer(rng, **options)
    assert layer.run(stream).interval_cycles == layer.unit.interval_cycles


def test_interval_of_few_words(stream, rng):
    """Where two groups are too few to hide a group's latency, it is 3.5 cycles, of which a group's bound makes 4."""
    layer = Layer(rng, pe=6, simd=4, kernel=(1, 1))
    assert layer.run(stream).interval_cycles == 30 * 3.5
    assert layer.unit.interval_cycles == 30 * 4


@pytest.mark.parametrize("kernels", [0, 5])
def test_a_frame_is_exact_after_a_reset_anywhere(kernels, stream, rng):
    layer = Layer(rng, vectors=2, padding=(1, 0, 0, 1), kernels=kernels)
    for cycle in (3, 16, 33, 50):
        result = layer.run(stream, reset_at=(cycle,))
        assert [list(words) for words in result.outputs] == layer.expected


def test_group_cycles():
    assert group_cycles(4, 18, 4) == 72
    assert group_cycles(1, 1, 8) == 8
    assert group_cycles(1, 4, 1) == 5


@pytest.mark.parametrize(
    ("arguments", "needed", "freed"),
    [
        ((5, 3, 1, 0, 0), (3, 3, 3), (1, 1, 3)),
        ((5, 3, 1, 1, 1), (2, 3, 3, 3, 2), (0, 1, 1, 1, 2)),
        ((7, 2, 3, 0, 0), (3, 4), (3, 4)),
        ((6, 3, 2, 0, 0), (3, 4), (2, 4)),
    ],
)
def test_row_steps(arguments, needed, freed):
    steps = RowSteps(*arguments)
    assert (steps.needed, steps.freed) == (needed, freed)
    assert steps.least == max(needed)


def test_refusals():
    with pytest.raises(ValueError, match="buffer_rows=2 are too few; give at least 3"):
        RowBuffer(word_bits=1, words=1, size=(5, 5), kernel=(3, 3), buffer_rows=2)
    with pytest.raises(ValueError, match=r"Window \(6, 3\) is larger"):
        RowBuffer(word_bits=1, words=1, size=(5, 5), kernel=(6, 3), buffer_rows=9)
    with pytest.raises(ValueError, match="simd=3 does not divide the 4 channels"):
        FoldedConv2D(
            weights=(0,),
            channels=4,
            input_bits=1,
            thresholds={0: (0,)},
            size=(3, 3),
            kernel=(1, 1),
            pe=1,
            simd=3,
            buffer_rows=6,
        )
    with pytest.raises(ValueError, match="parts=2 do not divide the 3 words"):
        RowBuffer(word_bits=1, words=3, size=(5, 5), kernel=(3, 3), buffer_rows=9, parts=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pe": 4}, "pe=4 does not divide 6 outputs in 2 groups"),
        ({"pe": 3, "kernels": 2}, "or a codebook is asked"),
        ({"pe": 3, "simd": 4}, "simd=4 does not divide the 2 channels"),
    ],
)
def test_groups_that_are_refused(options, message, rng):
    with pytest.raises(ValueError, match=message):
        Layer(rng, groups=2, **options)


def run_gather(unit, words, groups, rng, stall):
    """Pixels that leave, and how many had left at each ``done``; two groups on their way at most, as `FoldedConv2D`."""
    pixels, marks = [], []
    fold = unit.neuron_fold

    async def bench(ctx):
        sent = 0
        for _ in range(20 * len(words) * unit.vectors + 50):
            go = sent < len(words) and sent // fold - len(marks) < 2 and rng.random() >= 0.2
            ctx.set(unit.i.valid, go)
            ctx.set(unit.i.payload, words[sent] if go else int(rng.integers(2**unit.vectors)))
            ctx.set(unit.o.ready, rng.random() >= stall)
            assert ctx.get(unit.i.ready)
            sent += go
            if ctx.get(unit.o.valid) and ctx.get(unit.o.ready):
                pixels.append(ctx.get(unit.o.payload))
                if ctx.get(unit.done):
                    marks.append(len(pixels))
            else:
                assert not ctx.get(unit.done)
            await ctx.tick()
        assert not ctx.get(unit.o.valid)

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(marks) == groups
    return pixels, marks


@pytest.mark.parametrize("stall", [0.0, 0.7])
@pytest.mark.parametrize(
    ("channels", "pe", "vectors", "columns"),
    [
        (5, 2, 3, 4),  # a row's last group has one pixel of three, a pixel's last word one channel of two
        (4, 2, 3, 5),
        (4, 4, 4, 8),
        (3, 1, 4, 6),
        (6, 6, 5, 3),  # no group is full
        (7, 3, 1, 2),
    ],
)
def test_gather_counts_the_last_group_of_a_row(channels, pe, vectors, columns, stall, rng):
    unit = PixelGather(channels=channels, pe=pe, vectors=vectors, columns=columns)
    fold = -(-channels // pe)
    assert unit.neuron_fold == fold
    rows, words, expected, marks = 3, [], [], []
    for _ in range(rows):
        for first in range(0, columns, vectors):
            # What is beyond the row or the channels is computed, and must not leave.
            bits = rng.integers(0, 2, (vectors, fold * pe))
            for n in range(fold):
                word = bits[:, n * pe : (n + 1) * pe].ravel()
                words.append(sum(int(bit) << place for place, bit in enumerate(word)))
            real = bits[: columns - first, :channels]
            expected += [sum(int(bit) << place for place, bit in enumerate(pixel)) for pixel in real]
            marks.append(len(expected))
    assert run_gather(unit, words, len(marks), rng, stall) == (expected, marks)


@pytest.mark.parametrize(
    ("shape", "least", "steady"),
    [
        ((12, 3, 1, 0, 0), 3, 6),  # three rows are read while the next frame's first three are written
        ((12, 3, 1, 1, 1), 3, 5),
        ((9, 3, 2, 0, 0), 3, 6),
        ((7, 1, 3, 0, 0), 3, 6),  # rows between the windows are freed unread
        ((5, 5, 1, 0, 0), 5, 10),  # one row of windows needs the whole frame
        ((4, 1, 1, 0, 0), 1, 2),
    ],
)
def test_steady_rows(shape, least, steady):
    steps = RowSteps(*shape)
    assert (steps.least, steps.steady) == (least, steady)


@pytest.mark.parametrize("seed", range(30))
def test_steady_rows_keep_even_reading_and_writing_apart(seed):
    """Frame after frame, rows come and go at the same pace: whole rows are there in time, and no more than fit."""
    rng = np.random.default_rng(seed)
    rows, kernel, stride = int(rng.integers(3, 14)), int(rng.integers(1, 4)), int(rng.integers(1, 4))
    steps = RowSteps(rows, kernel, stride, *(int(n) for n in rng.integers(0, kernel, 2)))
    count = len(steps.freed)
    gone, lead, most = 0, 0, 0
    begins = []
    for step in range(3 * count):
        begins.append((step * rows / count, gone))
        lead = max(lead, gone + steps.needed[step % count] - step * rows / count)
        gone += steps.freed[step % count]
    for begin, first in begins:
        most = max(most, int(np.ceil(begin + rows / count + lead - 1e-9)) - first)
    assert most <= steps.steady
