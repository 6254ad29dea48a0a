"""From float32 and a quantizer to integer thresholds: what it gives is read off at every value of an accumulator."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import UnsupportedError
from xnorweave.importers.folding.rules import Bound
from xnorweave.importers.folding.signals import Activations, Step, Sums, fractions_of
from xnorweave.layers import MAX_LEVELS
from xnorweave.network import Conv2D, Dense, Layer, MaxPool, Threshold

__all__ = ["MAX_VALUES", "quantize", "weighted_layer"]

MAX_VALUES = 1 << 30
MAX_THRESHOLDS = 255


@dataclass(frozen=True, kw_only=True, eq=False)
class _Firing:
    """Of each channel, for the values that occur: thresholds, and how many other answers rounding could give.

    Parameters
    ----------
    every : int
        Of the quantizer's thresholds only each ``every``-th is needed: sums reach that many at once.
    thresholds : int64 array [channels, levels]
        Ascending, of the sum, or of its negative where that is pooled or the value falls.
    negated, turned, constant : bool array [channels]
        Whether the weights are negated; whether the highest value is then that of no threshold reached; and whether the
        value is always the same.
    not_exact, not_in_all_orders : bool array [channels]
    """

    every: int
    thresholds: NDArray[np.int64]
    negated: NDArray[np.bool_]
    turned: NDArray[np.bool_]
    constant: NDArray[np.bool_]
    not_exact: NDArray[np.bool_]
    not_in_all_orders: NDArray[np.bool_]


def quantize(sums: Sums, step: Step) -> Activations:
    """The layer's weights and thresholds, where ``step`` is a quantizer.

    A channel whose values fall for larger sums gets all its weights negated; where the largest sum was pooled, or the
    sum counts in a residual addition, its activations stand for their negatives instead, and the next layer's
    weights are negated. A threshold that is never or always reached is out of reach of the sums.

    Raises
    ------
    UnsupportedError
        Where the quantizer gives more values than there are levels, or float32 gives one or another by the order of
        additions.
    """
    if sums.count * len(sums.low) > MAX_VALUES:
        raise UnsupportedError(
            f"its sums have {sums.count} values in {len(sums.low)} channels, too many to check them all; "
            "quantize the input to fewer bits"
        )
    if sums.keeps_signs and sums.rising is not None and (sums.rising < 0).any():
        raise UnsupportedError(
            f"channel {int(sums.rising.argmin())} has a negative scale behind a residual addition and a max pooling; "
            "train the batch norm there with scales above 0"
        )
    values = _values(step, len(sums.low))
    firing = _fires(sums, step, values)
    weights = np.where(firing.negated.reshape(-1, *[1] * (sums.weights.ndim - 1)), -sums.weights, sums.weights)
    values = np.where(firing.turned[:, None], values[:, ::-1], values)
    layer = weighted_layer(sums, weights)
    thresholds = firing.thresholds.astype(np.int32)
    threshold = Threshold(
        name=f"{layer.name}_{'sign' if thresholds.shape[1] == 1 else 'levels'}", thresholds=thresholds
    )
    layers: list[Layer] = [*sums.layers, layer, *sums.adds, threshold]
    for pool in sums.pools:
        layers.append(MaxPool(name=f"pool{_count(layers, MaxPool) + 1}", size=pool.size, stride=pool.stride))
    notes = (*sums.notes, *_notes(layer.name, firing, sums))
    return Activations(
        layout=sums.layout,
        words=sums.words,
        source=sums.source,
        layers=tuple(layers),
        notes=notes,
        values=values[:, :: firing.every],
    )


def weighted_layer(sums: Sums, weights: NDArray[np.int8]) -> Conv2D | Dense:
    """The layer that makes the sums, under the next free name."""
    if weights.ndim == 4:
        name = f"conv{_count(sums.layers, Conv2D) + 1}"
        return Conv2D(name=name, weights=weights, stride=sums.stride, padding=sums.padding, groups=sums.groups)
    return Dense(name=f"fc{_count(sums.layers, Dense) + 1}", weights=weights)


def _count(layers: list[Layer] | tuple[Layer, ...], kind: type) -> int:
    return sum(isinstance(layer, kind) for layer in layers)


def _values(step: Step, channels: int) -> NDArray[np.float32]:
    """What the quantizer gives by the number of thresholds reached: [channels, thresholds + 1]."""
    rule = step.rule
    if rule.thresholds > MAX_THRESHOLDS:
        raise UnsupportedError(
            f"gives {rule.thresholds + 1} values; sums can be quantized to at most {MAX_LEVELS + 1}, 4 bits"
        )
    assert rule.values is not None
    values = np.broadcast_to(rule.values(*step.constants), (channels, rule.thresholds + 1))
    steps = np.diff(values, axis=1)
    if not ((steps > 0).all(1) | (steps < 0).all(1)).all():
        raise UnsupportedError("gives one value for different levels; check its scale")
    return values


def _fires(sums: Sums, step: Step, pool: NDArray[np.float32]) -> _Firing:
    channels = len(sums.low)
    reached = np.zeros((channels, pool.shape[1] - 1), np.int64)
    negated, turned, constant, inexact, unsure = (np.zeros(channels, bool) for _ in range(5))
    rising = np.zeros(channels, np.int64) if sums.rising is None else sums.rising
    occurring = np.zeros(pool.shape[1], bool)
    orders = 1 + max(len(s.rule.orders) for s in (*sums.steps, step))
    for rows in sums.chunks():
        values = sums.accumulators(rows)

        def fires_at(order: int = 0, shift: int = 0, rows: slice = rows, values: NDArray = values) -> NDArray[np.int64]:
            before = sums.evaluate(values, rows, order=order, shift=shift)
            return _levels(step.apply(before, rows, order), pool[rows])

        fires = fires_at()
        others = [fires_at(order=n) for n in range(1, orders)]
        if sums.error.any(rows):
            _check_every_order(sums, values, rows, fires, fires_at(shift=-1), fires_at(shift=1))
        falls, rises = fires[:, 0] > fires[:, -1], fires[:, 0] < fires[:, -1]
        # Poolings keep the largest of the sums as they are then: their order decides, where there are any.
        negated[rows] = np.where(rising[rows] != 0, rising[rows] < 0, falls & (not sums.keeps_signs))
        turned[rows], constant[rows] = np.where(negated[rows], rises, falls), ~falls & ~rises
        # Reversing the order of the values is what negating the weights does.
        ascending = np.where(negated[rows, None], fires[:, ::-1], fires)
        ascending = np.where(turned[rows, None], reached.shape[1] - ascending, ascending)
        assert np.all(np.diff(ascending) >= 0), "float32 rounding keeps order"
        occurring[np.unique(fires)] = True
        lowest = np.where(negated[rows], -values[:, -1], values[:, 0])
        for level in range(reached.shape[1]):
            reached[rows, level] = lowest + sums.step * (ascending <= level).sum(1)
        unsure[rows] = np.any([np.any(other != fires, axis=1) for other in others], axis=0) if others else False
        exact = _exact(sums, step, rows, values)
        inexact[rows] = False if exact is None else np.any(exact != fires, axis=1)
    every = math.gcd(pool.shape[1] - 1, *(int(n) for n in np.flatnonzero(occurring)))
    thresholds = reached[:, every - 1 :: every]
    if thresholds.shape[1] > MAX_LEVELS:
        raise UnsupportedError(
            f"gives {thresholds.shape[1] + 1} values; sums can be quantized to at most {MAX_LEVELS + 1}, 4 bits"
        )
    return _Firing(
        every=every,
        thresholds=thresholds,
        negated=negated,
        turned=turned,
        constant=constant,
        not_exact=inexact,
        not_in_all_orders=unsure,
    )


def _levels(after: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Which of the values [channels, n] of its channel each result is: how many thresholds it has reached."""
    turned = values[:, :1] > values[:, -1:]
    count = np.zeros(after.shape, np.int64)
    for value in values[:, 1:].T:
        count += np.where(turned, after <= value[:, None], after >= value[:, None])
    assert np.array_equal(np.take_along_axis(values, count, 1), after), "a quantizer gives none but its values"
    return count


def _check_every_order(
    sums: Sums, values: NDArray[np.int64], rows: slice, fires: NDArray[np.int64], *ends: NDArray[np.int64]
) -> None:
    """Refuse sums that are of one level or another by the order of additions."""
    unsure = np.any([end != fires for end in ends], axis=0)
    if unsure.any():
        row, at = (int(n[0]) for n in np.nonzero(unsure))
        channel = rows.start + row
        raise UnsupportedError(
            f"channel {channel} can sum to {values[row, at]}, where float32 falls on either side of the threshold by "
            f"the order of additions, since {sums.error.reason(channel)}"
        )


def _exact(sums: Sums, step: Step, rows: slice, values: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """How many thresholds ``scale * sum + offset`` reaches in fractions, for every sum."""
    if step.rule.bounds is None or step.rule.thresholds > MAX_LEVELS:
        return None
    fires = np.zeros(values.shape, np.int64)
    for row, channel in enumerate(range(rows.start, rows.stop)):
        bounds: Sequence[Bound] = step.rule.bounds(*(fractions_of(c[channel]) for c in step.constants))
        for bound in bounds:
            fires[row] += _beyond(bound, sums, channel, values[row])
    return fires


def _beyond(bound: Bound, sums: Sums, channel: int, values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where the exact values of a channel's sums reach a threshold."""
    scale, distance = sums.scale[channel], bound.level - sums.offset[channel]
    if scale == 0:
        return np.full(values.shape, distance < 0 if bound.strict else distance <= 0)
    if bound.strict:
        most = _within_int64(distance // scale if scale > 0 else -((-distance) // scale))
        return values > most if scale > 0 else values < most
    least = _within_int64(-((-distance) // scale) if scale > 0 else distance // scale)
    return values >= least if scale > 0 else values <= least


def _within_int64(value: int) -> int:
    return max(-(1 << 62), min(1 << 62, value))


def _notes(name: str, firing: _Firing, sums: Sums) -> list[str]:
    channels, notes = len(firing.negated), []
    if sums.error.any():
        notes.append(
            f"{name}: float32 sums depend on the order of additions; no sum that can occur is so close to a threshold "
            "that it matters"
        )
    levels = firing.thresholds.shape[1]
    if levels > 1:
        notes.append(f"{name}: activations of {levels + 1} values, {levels.bit_length()} bits")
    if negated := int((firing.negated & ~firing.constant).sum()):
        notes.append(f"{name}: weights of {negated} of {channels} channels negated, whose scale is negative")
    if turned := int(firing.turned.sum()):
        place = "in front of a residual addition" if sums.carried else "behind a residual addition"
        place = place if sums.keeps_signs else "behind a max pooling"
        notes.append(
            f"{name}: activations of {turned} of {channels} channels stand for their negatives, since their scale "
            f"turns negative {place}"
        )
    if constant := int(firing.constant.sum()):
        notes.append(f"{name}: {constant} of {channels} channels are the same for every input")
    if moved := int(firing.not_exact.sum()):
        notes.append(f"{name}: float32 rounding moves {moved} of {channels} thresholds from the exact ones; it is kept")
    if unsure := int(firing.not_in_all_orders.sum()):
        notes.append(
            f"{name}: {unsure} of {channels} channels are so close to a sum that float32 gives another answer in "
            f"another order of rounding; taken as {sums.words.source} has it"
        )
    return notes
