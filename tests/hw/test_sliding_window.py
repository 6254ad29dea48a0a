import numpy as np
import pytest

from xnorweave.hw.sliding_window import BorderClasses, SlidingWindow, border_classes

SHAPES = [
    # height, width, kernel, stride, padding, word_bits
    (5, 6, (3, 3), 1, (0, 0, 0, 0), 4),
    (5, 6, (3, 3), 1, (1, 1, 1, 1), 4),
    (7, 5, (3, 3), 2, (1, 1, 1, 1), 3),
    (6, 7, (2, 3), 2, (0, 1, 2, 0), 2),
    (4, 4, (1, 1), 1, (0, 0, 0, 0), 5),
    (5, 5, (1, 1), 2, (0, 0, 0, 0), 2),
    (9, 8, (7, 7), 1, (3, 3, 3, 3), 1),
    (5, 1, (3, 1), 1, (1, 0, 0, 0), 6),
    (1, 6, (1, 4), 1, (0, 0, 0, 3), 3),
    (2, 2, (2, 2), 1, (0, 0, 0, 0), 8),
    (5, 5, (5, 5), 1, (0, 0, 0, 0), 1),
    (10, 11, (3, 3), 3, (0, 0, 0, 0), 2),
    (7, 9, (2, 3), 3, (1, 0, 2, 1), 2),
    (9, 9, (3, 3), 4, (0, 0, 0, 0), 1),
    (12, 9, (5, 2), 5, (4, 3, 1, 0), 1),
    (15, 9, (1, 2), 7, (0, 0, 1, 1), 2),
]


def expected(frame: np.ndarray, unit: SlidingWindow) -> list[int]:
    (ky, kx), stride = unit.kernel, unit.stride
    top, bottom, left, right = unit.padding
    padded = np.pad(frame, ((top, bottom), (left, right)))
    words = []
    for r, y in enumerate(range(0, padded.shape[0] - ky + 1, stride)):
        for c, x in enumerate(range(0, padded.shape[1] - kx + 1, stride)):
            taps = padded[y : y + ky, x : x + kx].reshape(-1)
            word = sum(int(tap) << k * unit.word_bits for k, tap in enumerate(taps))
            border = unit.column_classes.index[c] | unit.row_classes.index[r] << unit.column_classes.bits
            words.append(word | border << unit.window_bits)
    return words


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_windows(shape, pace, stream, rng):
    height, width, kernel, stride, padding, bits = shape
    unit = SlidingWindow(word_bits=bits, size=(height, width), kernel=kernel, stride=stride, padding=padding)
    frames = rng.integers(0, 1 << bits, (3, height, width))
    want = [expected(frame, unit) for frame in frames]
    result = stream(unit, [[int(w) for w in frame.reshape(-1)] for frame in frames], len(want[0]), pace)
    assert result.outputs == want
    if pace == (0.0, 0.0):
        assert result.interval_cycles == unit.rows * unit.columns


def test_latency_is_zero(stream):
    unit = SlidingWindow(word_bits=2, size=(2, 2), kernel=(2, 2))
    assert stream(unit, [[1, 2, 3, 0]], 1).first_latency_cycles == 3  # three cycles of input come before the last


def test_reset_in_the_middle_of_a_frame(stream, rng):
    unit = SlidingWindow(word_bits=3, size=(4, 5), kernel=(3, 3), padding=(1, 1, 1, 1))
    frames = rng.integers(0, 8, (2, 4, 5))
    want = [expected(frame, unit) for frame in frames]
    for cycle in range(2, 60, 7):
        result = stream(unit, [[int(w) for w in f.reshape(-1)] for f in frames], len(want[0]), reset_at=(cycle,))
        assert result.outputs == want


def test_border_classes_tell_which_taps_are_real():
    classes = BorderClasses(size=5, kernel=5, stride=1, before=2, after=2)
    assert classes.spans == ((2, 5), (1, 5), (0, 5), (0, 4), (0, 3))
    assert classes.index == (0, 1, 2, 3, 4)
    assert classes.bits == 3
    assert BorderClasses(size=9, kernel=3, stride=1, before=0, after=0).bits == 0


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_border_classes_equal_a_count_of_real_taps(shape):
    height, width, kernel, stride, padding, _ = shape
    real = np.pad(np.ones((height, width), int), (padding[:2], padding[2:]))
    rows, columns = border_classes((height, width), kernel, stride, padding)
    for r, y in enumerate(range(0, real.shape[0] - kernel[0] + 1, stride)):
        for c, x in enumerate(range(0, real.shape[1] - kernel[1] + 1, stride)):
            (top, bottom), (left, right) = rows.spans[rows.index[r]], columns.spans[columns.index[c]]
            mask = np.zeros(kernel, int)
            mask[top:bottom, left:right] = 1
            assert np.array_equal(mask, real[y : y + kernel[0], x : x + kernel[1]])


def test_window_larger_than_the_frame_is_refused():
    with pytest.raises(ValueError, match=r"Window \(3, 3\) is larger than the padded frame 2x4"):
        SlidingWindow(word_bits=1, size=(2, 4), kernel=(3, 3))
