"""Averages and sums over all positions of a map."""

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import NetworkError, UnsupportedError
from xnorweave.importers.folding import rules
from xnorweave.importers.folding.integers import equal_steps
from xnorweave.importers.folding.layout import Layout
from xnorweave.importers.folding.rounding import EXACT_FLOAT32, lowest_bit
from xnorweave.importers.folding.signals import Activations, Signal, Step, Sums, Totals, fractions_of, kind_of
from xnorweave.network import GlobalSum

__all__ = ["averaged"]

MAX_TOTALS = 1 << 16
MAX_VALUES = 1 << 24


def averaged(signal: Signal, axes: Sequence[int], *, keep: bool, divided: bool = True) -> Signal:
    """Each channel's average over the whole map, or its sum.

    Parameters
    ----------
    signal : Signal
        Activations; or sums of a 1x1 convolution of such, which equal those of a dense layer behind their average.
    axes : sequence of int
        Those of the rows and columns, in the tensor with its batch.
    keep : bool
        Whether they remain, with the size 1.
    divided : bool
        Whether the sum is divided by the number of positions.

    Raises
    ------
    NetworkError, UnsupportedError
        Where the axes are not those of a whole map, or something else is averaged.
    """
    positions = signal.layout.map[1] * signal.layout.map[2]
    layout = _without(signal.layout, axes, keep=keep)
    if positions == 1:
        return replace(signal, layout=layout)
    match signal:
        case Activations():
            return _totals(signal, layout, positions, divided=divided)
        case Sums():
            return _sums(signal, layout, positions, divided=divided)
        case _:
            raise UnsupportedError(f"averages {kind_of(signal)}; only activations behind a quantizer can be averaged")


def _without(layout: Layout, axes: Sequence[int], *, keep: bool) -> Layout:
    """The layout of the tensor without rows and columns."""
    rank, (channels, height, width) = len(layout.shape), layout.map
    reduced = sorted(axis % rank - 1 for axis in axes if -rank <= axis < rank)
    if len(reduced) != len(axes) or len(set(reduced)) != len(reduced):
        raise NetworkError(f"axes={list(axes)} do not fit its input {list(layout.shape)}; name each dimension once")
    kept = [axis for axis in range(rank - 1) if axis not in reduced]
    # One row for each channel, which holds all its positions and no other's.
    sizes = [layout.order.shape[axis] for axis in kept]
    rows = np.empty((0, 1), np.int64)
    if reduced and reduced[0] >= 0:
        rows = np.sort(layout.order.transpose(*kept, *reduced).reshape(math.prod(sizes), -1), 1)
    numbers = np.arange(channels * height * width).reshape(channels, -1)
    if not np.array_equal(rows[np.argsort(rows[:, 0])], numbers):
        raise UnsupportedError(
            f"averages the axes {list(axes)} of {list(layout.shape)}; nearest: all rows and columns of the map, and "
            "nothing else"
        )
    shape = [1 if axis in reduced else layout.order.shape[axis] for axis in range(rank - 1)] if keep else sizes
    return Layout(batch=layout.batch, map=(channels, 1, 1), order=(rows[:, 0] // (height * width)).reshape(shape))


def _totals(signal: Activations, layout: Layout, positions: int, *, divided: bool) -> Totals:
    most = (signal.values.shape[1] - 1) * positions
    if most >= MAX_TOTALS or most * len(signal.values) >= MAX_VALUES:
        raise UnsupportedError(f"averages {positions} positions, which have {most + 1} sums; pool the map before")
    rows, which = np.unique(signal.values, axis=0, return_inverse=True)
    values, errors = zip(*(_total(row, positions, divided=divided) for row in rows), strict=True)
    cause = (
        f"averages over {positions} positions are rounded to float32; average over 4, 16, 64 or another power of two, "
        "or add up instead and divide behind the layer"
    )
    return Totals(
        layout=layout,
        words=signal.words,
        source=signal.source,
        layers=(*signal.layers, GlobalSum(name="global_sum")),
        notes=signal.notes,
        values=np.stack(values)[which.ravel()],
        error=max(errors),
        cause=cause,
    )


def _total(row: NDArray[np.float32], positions: int, *, divided: bool) -> tuple[NDArray[np.float32], Fraction]:
    """Each total of a channel with these values, and how far a framework may be off it.

    ``n`` additions are each off by at most 2^-24 of the largest partial sum; a division, or a product with a rounded
    reciprocal, by two more such parts.
    """
    exact = fractions_of(row)
    half, middle, off = equal_steps(exact)
    totals = np.arange(-(len(row) - 1) * positions, (len(row) - 1) * positions + 1, 2)
    values = (totals * float(half) + positions * float(middle)).astype(np.float32)
    largest = max(map(abs, exact))
    unit = min((lowest_bit(v) for v in exact if v), default=Fraction(1))
    adds_exactly = not off and positions * largest <= EXACT_FLOAT32 * unit
    halves_exactly = not divided or positions & (positions - 1) == 0
    if divided:
        values /= np.float32(positions)
    if adds_exactly and halves_exactly:
        return values, Fraction(0)
    rounded = (4 if adds_exactly else positions + 4) * largest / (1 << 23) + off
    return values, rounded if divided else rounded * positions


def _sums(signal: Sums, layout: Layout, positions: int, *, divided: bool) -> Sums:
    """Sums of a 1x1 convolution over a map, averaged: those of a dense layer behind the total of its input."""
    plain = signal.weights.shape[2:] == (1, 1) and signal.stride == 1 and signal.groups == 1
    if not plain or signal.steps or signal.pools or signal.adds or not signal.layers:
        raise UnsupportedError(
            "averages sums; only those of a 1x1 convolution behind a quantizer, as they are: put the quantizer before "
            "the average, or the batch norm, scale or bias behind it"
        )
    reach = positions * max(abs(int(signal.low.min())), int(signal.high.max()))
    if reach >= EXACT_FLOAT32:
        raise UnsupportedError(f"its sums reach {reach}, beyond what float32 counts exactly (2^24)")
    offset = tuple(positions * o for o in signal.first_offset)
    total = replace(
        signal,
        layout=layout,
        layers=(*signal.layers, GlobalSum(name="global_sum")),
        weights=signal.weights[:, :, 0, 0],
        low=signal.low * positions,
        count=(signal.count - 1) * positions + 1,
        first_offset=offset,
        offset=offset,
        error=replace(signal.error, terms=signal.error.terms * positions, offset=offset),
    )
    if not divided:
        return total
    divisor = np.full((len(signal.low), 1), positions, np.float32)
    return total.then(Step(rule=rules.AVERAGE, constants=(divisor,)))
