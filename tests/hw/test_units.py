"""Threshold, pooling, pixel table, scale, argmax, stream register and FIFO."""

import numpy as np
import pytest
from amaranth import signed, unsigned

from xnorweave.hw.adder_graph import range_shape
from xnorweave.hw.argmax import ArgMax
from xnorweave.hw.global_sum import GlobalSum
from xnorweave.hw.maxpool import MaxPool
from xnorweave.hw.pixel_table import PixelTable
from xnorweave.hw.scale import ScaleUnit, scale_cycles
from xnorweave.hw.stream_fifo import StreamFifo
from xnorweave.hw.stream_register import StreamRegister
from xnorweave.hw.threshold import ThresholdUnit
from xnorweave.sim.amaranth_bench import run_amaranth
from xnorweave.sim.bench import Stimulus


def pack(values, width: int) -> int:
    return sum((int(v) & (1 << width) - 1) << k * width for k, v in enumerate(values))


@pytest.mark.parametrize("shape", [unsigned(4), signed(4)], ids=str)
def test_threshold_of_every_constant_on_every_sum(shape, pace, stream):
    sums = range(-8, 8) if shape.signed else range(16)
    thresholds = tuple(range(-10, 19))
    unit = ThresholdUnit(thresholds={0: thresholds}, sum_shape=shape)
    result = stream(unit, [[pack([s] * len(thresholds), 4)] for s in sums], 1, pace)
    assert [o[0] for o in result.outputs] == [pack([s >= t for t in thresholds], 1) for s in sums]
    if pace == (0.0, 0.0):
        assert (result.first_latency_cycles, result.interval_cycles) == (1, 1)


def test_threshold_by_border(pace, stream, rng):
    thresholds = {border: tuple(int(t) for t in rng.integers(-20, 20, 3)) for border in (0, 1, 2, 5)}
    unit = ThresholdUnit(thresholds=thresholds, sum_shape=signed(5), border_bits=3)
    sums, borders = rng.integers(-16, 16, (60, 3)), rng.choice(list(thresholds), 60)
    words = [[pack(row, 5) | int(b) << 15] for row, b in zip(sums, borders, strict=True)]
    want = [
        pack([s >= t for s, t in zip(row, thresholds[b], strict=True)], 1) for row, b in zip(sums, borders, strict=True)
    ]
    assert [o[0] for o in stream(unit, words, 1, pace).outputs] == want


@pytest.mark.parametrize("levels", [2, 3, 7])
def test_numbers_of_levels_reached(levels, pace, stream, rng):
    thresholds = {b: tuple(int(t) for t in np.sort(rng.integers(-20, 20, (3, levels)), 1).flat) for b in (0, 1)}
    unit = ThresholdUnit(thresholds=thresholds, sum_shape=signed(5), border_bits=1, levels=levels)
    sums, borders = rng.integers(-16, 16, (60, 3)), rng.integers(0, 2, 60)
    words = [[pack(row, 5) | int(b) << 15] for row, b in zip(sums, borders, strict=True)]
    limits = np.array([thresholds[b] for b in borders.tolist()]).reshape(60, 3, levels)
    want = [pack(row, levels.bit_length()) for row in (sums[:, :, None] >= limits).sum(2)]
    assert [o[0] for o in stream(unit, words, 1, pace).outputs] == want


def test_threshold_refuses_levels_that_fall_or_are_missing():
    with pytest.raises(ValueError, match=r"Thresholds of a channel ascend, unlike some of \(1, 2, 4, 3\)"):
        ThresholdUnit(thresholds={0: (1, 2, 4, 3)}, sum_shape=signed(5), levels=2)
    with pytest.raises(ValueError, match=r"3 thresholds are not levels=2 for each channel"):
        ThresholdUnit(thresholds={0: (1, 2, 3)}, sum_shape=signed(5), levels=2)


@pytest.mark.parametrize("thresholds", [{}, {0: ()}, {0: (1,), 1: (1, 2)}])
def test_threshold_refuses_uneven_rows(thresholds):
    with pytest.raises(ValueError, match="same length for each border"):
        ThresholdUnit(thresholds=thresholds, sum_shape=unsigned(3))


@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [((4, 6), 2, 2), ((5, 7), 2, 2), ((7, 6), 3, 2), ((5, 5), 3, 1), ((8, 10), 3, 3)]
)
def test_maxpool(size, kernel, stride, pace, stream, rng):
    frames = rng.random((3, *size, 3)) < 0.3
    unit = MaxPool(channels=3, size=size, kernel=kernel, stride=stride)
    windows = np.lib.stride_tricks.sliding_window_view(frames, (kernel, kernel), (1, 2))[:, ::stride, ::stride]
    want = [[pack(pixel, 1) for pixel in frame.reshape(-1, 3)] for frame in windows.any((-2, -1))]
    result = stream(unit, [[pack(p, 1) for p in f.reshape(-1, 3)] for f in frames], len(want[0]), pace)
    assert result.outputs == want
    if pace == (0.0, 0.0):
        assert result.interval_cycles == size[0] * size[1]


@pytest.mark.parametrize("bits", [2, 3])
def test_maxpool_of_several_bits(bits, pace, stream, rng):
    frames = rng.integers(0, 1 << bits, (3, 5, 7, 3))
    unit = MaxPool(channels=3, size=(5, 7), kernel=3, stride=2, lane_bits=bits)
    windows = np.lib.stride_tricks.sliding_window_view(frames, (3, 3), (1, 2))[:, ::2, ::2]
    want = [[pack(pixel, bits) for pixel in frame.reshape(-1, 3)] for frame in windows.max((-2, -1))]
    result = stream(unit, [[pack(p, bits) for p in f.reshape(-1, 3)] for f in frames], len(want[0]), pace)
    assert result.outputs == want


@pytest.mark.parametrize(("bits", "positions", "sum_bits"), [(1, 7, 3), (2, 4, 4), (3, 1, 3)])
def test_global_sum(bits, positions, sum_bits, pace, stream, rng):
    frames = rng.integers(0, 1 << bits, (6, positions, 3))
    frames[0] = (1 << bits) - 1
    unit = GlobalSum(channels=3, lane_bits=bits, positions=positions, sum_bits=sum_bits)
    result = stream(unit, [[pack(pixel, bits) for pixel in frame] for frame in frames], 1, pace)
    assert result.outputs == [[pack(total, sum_bits)] for total in frames.sum(1)]
    if pace == (0.0, 0.0):
        assert (result.first_latency_cycles, result.interval_cycles) == (positions, positions)


def test_global_sum_of_nothing_is_refused():
    with pytest.raises(ValueError, match="positions=0 is not positive"):
        GlobalSum(channels=1, lane_bits=1, positions=0, sum_bits=1)


def test_pixel_table(pace, stream, rng):
    one, other = (tuple(int(v) for v in rng.integers(0, 32, 256)) for _ in range(2))
    unit = PixelTable(tables=(one, other), output_bits=5)
    pixels = [(p, 255 - p) for p in range(256)]
    result = stream(unit, [[pack(pixel, 8) for pixel in pixels]], 256, pace)
    assert result.outputs == [[pack([one[a], other[b]], 5) for a, b in pixels]]


@pytest.mark.parametrize("table", [(0,) * 255, (0,) * 255 + (4,), (0,) * 255 + (-1,)])
def test_pixel_table_refuses(table):
    for tables in ((table,), ((0,) * 256, table), ()):
        with pytest.raises(ValueError, match="Each channel's table must hold 256 entries of 2 bits"):
            PixelTable(tables=tables, output_bits=2)


@pytest.mark.parametrize(("classes", "lanes"), [(10, 1), (10, 10), (10, 4), (7, 3), (1, 1), (2, 2)])
@pytest.mark.parametrize("shape", [signed(4), unsigned(3)], ids=str)
def test_argmax_takes_the_lowest_of_ties(classes, lanes, shape, pace, stream, rng):
    low, high = (-8, 8) if shape.signed else (0, 8)
    scores = rng.integers(low, high, (40, classes))
    scores[:10] = rng.integers(high - 2, high, (10, classes))  # many ties at the top
    unit = ArgMax(classes=classes, lanes=lanes, sum_shape=shape)
    # Lanes beyond the classes hold the largest value there is: they must not win.
    padded = np.pad(scores, ((0, 0), (0, unit.words * lanes - classes)), constant_values=high - 1)
    frames = [[pack(word, shape.width) for word in row.reshape(-1, lanes)] for row in padded]
    result = stream(unit, frames, 1, pace)
    assert [o[0] for o in result.outputs] == scores.argmax(1).tolist()
    if pace == (0.0, 0.0):
        assert result.interval_cycles == unit.words


def test_argmax_gives_the_class_of_the_first_of_ties(pace, stream, rng):
    scores, order = rng.integers(0, 3, (40, 5)), (3, 0, 4, 1, 2)
    unit = ArgMax(classes=5, lanes=2, sum_shape=unsigned(3), order=order)
    frames = [[pack(word, 3) for word in np.pad(row, (0, 1)).reshape(-1, 2)] for row in scores]
    result = stream(unit, frames, 1, pace)
    assert [o[0] for o in result.outputs] == [order[place] for place in scores.argmax(1)]


def test_argmax_refuses_more_lanes_than_classes():
    with pytest.raises(ValueError, match=r"lanes=3 is not within 1\.\.2"):
        ArgMax(classes=2, lanes=3, sum_shape=unsigned(2))
    with pytest.raises(ValueError, match=r"order=\(0, 0\) does not have each of 2 classes once"):
        ArgMax(classes=2, lanes=1, sum_shape=unsigned(2), order=(0, 0))


@pytest.mark.parametrize(
    ("classes", "lanes", "low", "high"),
    [(10, 1, 0, 12), (7, 7, -7, 9), (10, 4, -8, 7), (4, 3, 0, 0), (1, 1, -1, 0), (40, 2, -50, 100)],
)
@pytest.mark.parametrize("largest", [0, 1, 1000])
def test_scale(classes, lanes, low, high, largest, pace, stream, rng):
    factors, offsets = rng.integers(-largest, largest + 1, classes), rng.integers(-5000, 5000, classes)
    ends = np.concatenate([low * factors + offsets, high * factors + offsets])
    shape, sums = range_shape(int(ends.min()), int(ends.max())), rng.integers(low, high + 1, (8, classes))
    sums[:2] = [[low], [high]]
    given = {"lanes": lanes, "sum_shape": signed(9), "sum_range": (low, high), "output_shape": shape}
    unit = ScaleUnit(factors=tuple(factors.tolist()), offsets=tuple(offsets.tolist()), **given)
    spare = unit.words * lanes - classes
    # Lanes beyond the classes hold anything, and what they give means nothing.
    frames = [
        [pack(word, 9) for word in np.pad(row, (0, spare), constant_values=-3).reshape(-1, lanes)] for row in sums
    ]
    result = stream(unit, frames, unit.words, pace)
    got = [[word >> k * shape.width & (1 << shape.width) - 1 for word in words for k in range(lanes)]
           for words in result.outputs]  # fmt: skip
    assert [row[:classes] for row in got] == [[pack([v], shape.width) for v in row] for row in sums * factors + offsets]
    if pace == (0.0, 0.0):
        assert result.interval_cycles == scale_cycles(unit.words, (low, high)) == unit.words * (unit.bits + 2)
        assert result.first_latency_cycles == unit.words * (unit.bits + 2) - 1


def test_scale_of_every_sum_and_factor():
    """All sums of 4 bits by all factors of 4 bits, at once: every bit of each, and both signs."""
    factors, sums = range(-8, 8), range(-8, 8)
    unit = ScaleUnit(
        factors=tuple(factors), offsets=tuple(3 * f - 5 for f in factors), lanes=16, sum_shape=signed(4),
        sum_range=(-8, 7), output_shape=signed(9),
    )  # fmt: skip
    result = run_amaranth(unit, Stimulus(frames=[[pack([n] * 16, 4)] for n in sums]), output_words=1)
    assert [words[0] for words in result.outputs] == [pack([n * f + 3 * f - 5 for f in factors], 9) for n in sums]


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_scale_of_one_factor_whose_product_is_widest_at_its_last_bit(bits):
    """Five times seven is 35, whose upper three bits are 4: no earlier bit of the seven needs as many."""
    for factor in range(1 << bits):
        for offset in (0, 1, factor):
            shape = range_shape(0, factor * ((1 << bits) - 1) + offset)
            unit = ScaleUnit(
                factors=(factor,), offsets=(offset,), lanes=1, sum_shape=unsigned(bits),
                sum_range=(0, (1 << bits) - 1), output_shape=shape,
            )  # fmt: skip
            frames = [[value] for value in range(1 << bits)]
            result = run_amaranth(unit, Stimulus(frames=frames), output_words=1)
            assert [words[0] for words in result.outputs] == [value * factor + offset for value in range(1 << bits)]


def test_scale_refuses_what_does_not_fit_together():
    given = {"sum_shape": signed(4), "sum_range": (-8, 7), "output_shape": signed(9)}
    with pytest.raises(ValueError, match=r"lanes=3 is not within 1\.\.2"):
        ScaleUnit(factors=(1, 2), offsets=(0, 0), lanes=3, **given)
    with pytest.raises(ValueError, match=r"2 factors do not have 1 offsets"):
        ScaleUnit(factors=(1, 2), offsets=(0,), lanes=1, **given)


def test_stream_register(pace, stream, rng):
    words = [int(w) for w in rng.integers(0, 256, 50)]
    result = stream(StreamRegister(word_bits=8), [words], 50, pace)
    assert result.outputs == [words]


@pytest.mark.parametrize("depth", [1, 2, 7, 16])
def test_stream_fifo(depth, pace, stream, rng):
    words = [int(w) for w in rng.integers(0, 256, 50)]
    assert stream(StreamFifo(word_bits=8, depth=depth), [words], 50, pace).outputs == [words]


def test_stream_fifo_refuses_no_room():
    with pytest.raises(ValueError, match="at least one word, not 0"):
        StreamFifo(word_bits=8, depth=0)
