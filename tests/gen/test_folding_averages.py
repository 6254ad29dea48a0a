"""Averages over a map: whatever order float32 adds and however it divides, the totals are within their stated error."""

import numpy as np
import pytest

from xnorweave.errors import UnsupportedError
from xnorweave.importers.folding.averages import averaged
from xnorweave.importers.folding.layout import Layout
from xnorweave.importers.folding.rules import MULTIPLY, SUBTRACT
from xnorweave.importers.folding.signals import Activations, Totals
from xnorweave.importers.folding.steps import applied
from xnorweave.importers.pytorch import WORDS


def activations(values, height, width):
    values = np.asarray(values, np.float32)
    return Activations(layout=Layout.plain(1, (len(values), height, width)), words=WORDS, values=values)


def in_float32(values: np.ndarray, rng) -> list[np.float32]:
    """Their average by the ways that frameworks have: in any order, divided, and times a rounded reciprocal."""
    count, results = np.float32(len(values)), []
    for _ in range(4):
        total = np.float32(0)
        for value in rng.permutation(values):
            total += value
        results += [total / count, total * (np.float32(1) / count)]
    return results


@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (7, 7), (8, 8), (5, 6), (1, 41)])
@pytest.mark.parametrize(
    "row", [[-1, 1], [0, 1], [-0.5, 0, 0.5], [0, 1 / 3, 2 / 3, 1], [0.7, 0, -0.7], [0.1, 0.2, 0.3]]
)
def test_every_order_is_within_the_error(shape, row, rng):
    totals = averaged(activations([row], *shape), (2, 3), keep=True)
    assert isinstance(totals, Totals)
    count = shape[0] * shape[1]
    values = np.array(row, np.float32)
    assert totals.values.shape == (1, (len(row) - 1) * count + 1)
    furthest = 0.0
    for _ in range(60):
        drawn = rng.integers(0, len(row), count)
        nominal = float(totals.values[0, drawn.sum()])
        furthest = max(furthest, *(abs(float(r) - nominal) for r in in_float32(values[drawn], rng)))
    assert furthest <= float(totals.error)
    exact = row in ([-1, 1], [0, 1], [-0.5, 0, 0.5])
    assert (totals.error == 0) == (exact and count & (count - 1) == 0)


def test_what_follows_an_average_is_within_the_error_too(rng):
    """A difference of near numbers leaves their errors, though it is small itself."""
    values = np.array([0.9, 1.0], np.float32)
    totals = averaged(activations([values], 3, 5), (2, 3), keep=True)
    behind = applied(applied(totals, MULTIPLY, np.float32([0.3])), SUBTRACT, np.float32([0.285]))
    assert isinstance(behind, Totals)
    for _ in range(60):
        drawn = rng.integers(0, 2, 15)
        nominal = float(behind.values[0, drawn.sum()])
        for result in in_float32(values[drawn], rng):
            assert abs(float(result * np.float32(0.3) - np.float32(0.285)) - nominal) <= float(behind.error)
    zero = applied(applied(totals, MULTIPLY, np.float32([0.0])), MULTIPLY, np.float32([2.0]))
    assert isinstance(zero, Totals)
    assert not zero.values.any()


def test_one_position_is_no_average():
    signal = activations([[-1, 1], [-1, 1]], 1, 1)
    same = averaged(signal, (2, 3), keep=False)
    assert isinstance(same, Activations)
    assert same.layout.shape == (1, 2)


@pytest.mark.parametrize(("values", "side", "message"), [
    ([[-1, 1]], 256, r"averages 65536 positions, which have 65537 sums; pool the map before"),
    ([[-1, 1]] * 2048, 128, r"averages 16384 positions, which have 16385 sums; pool the map before"),
])  # fmt: skip
def test_totals_beyond_measure_are_refused(values, side, message, monkeypatch):
    with pytest.raises(UnsupportedError, match=message):
        averaged(activations(values, side, side) if len(values) == 1 else wide(values, side), (2, 3), keep=True)


def wide(values, side):
    """Of many channels, without an array of all their positions."""
    layout = Layout(batch=1, map=(len(values), side, side), order=np.arange(len(values) * side * side, dtype=np.int64)
                    .reshape(len(values), side, side))  # fmt: skip
    return Activations(layout=layout, words=WORDS, values=np.asarray(values, np.float32))
