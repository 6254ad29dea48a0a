"""From float32 and a sign to integer thresholds: what fires is read off at every value an accumulator may have."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import UnsupportedError
from xnorweave.importers.folding.signals import Bits, Step, Sums, fractions_of
from xnorweave.network import Conv2D, Dense, Layer, MaxPool, Threshold

__all__ = ["binarize", "weighted_layer"]

MAX_VALUES = 1 << 30


@dataclass(frozen=True, kw_only=True, eq=False)
class _Firing:
    """For each channel: thresholds, which channels fall, and how many other answers rounding could give."""

    thresholds: NDArray[np.int64]
    falls: NDArray[np.bool_]
    rises: NDArray[np.bool_]
    not_exact: NDArray[np.bool_]
    not_in_all_orders: NDArray[np.bool_]


def binarize(sums: Sums, step: Step) -> Bits:
    """The layer's weights and thresholds, where ``step`` is a quantizer of two values.

    A channel that fires for small sums gets all its weights negated; one that never or always fires a threshold out
    of reach.

    Raises
    ------
    UnsupportedError
        Where the quantizer gives a third value at a sum that can occur, where float32 gives one or the other by the
        order of additions, or where poolings stand in the way.
    """
    if sums.count * len(sums.low) > MAX_VALUES:
        raise UnsupportedError(
            f"its sums have {sums.count} values in {len(sums.low)} channels, too many to check them all; "
            "quantize the input to fewer bits"
        )
    pair = _two_values(step, len(sums.low))
    firing = _fires(sums, step, pair)
    if sums.rising is not None:
        against = (firing.falls & (sums.rising > 0)) | (firing.rises & (sums.rising < 0))
        if against.any():
            raise UnsupportedError(
                f"channel {int(against.argmax())} falls behind a max pooling; put the pooling behind the quantizer, or "
                "train with positive batch norm scales"
            )
    weights = np.where(firing.falls.reshape(-1, *[1] * (sums.weights.ndim - 1)), -sums.weights, sums.weights)
    layer = weighted_layer(sums, weights)
    threshold = Threshold(name=f"{layer.name}_sign", thresholds=firing.thresholds.astype(np.int32))
    layers: list[Layer] = [*sums.layers, layer, threshold]
    for pool in sums.pools:
        layers.append(MaxPool(name=f"pool{_count(layers, MaxPool) + 1}", size=pool.size, stride=pool.stride))
    notes = (*sums.notes, *_notes(layer.name, firing, sums))
    return Bits(
        layout=sums.layout, words=sums.words, source=sums.source, layers=tuple(layers), notes=notes, values=pair
    )


def weighted_layer(sums: Sums, weights: NDArray[np.int8]) -> Conv2D | Dense:
    """The layer that makes the sums, under the next free name."""
    if weights.ndim == 4:
        name = f"conv{_count(sums.layers, Conv2D) + 1}"
        return Conv2D(name=name, weights=weights, stride=sums.stride, padding=sums.padding)
    return Dense(name=f"fc{_count(sums.layers, Dense) + 1}", weights=weights)


def _count(layers: list[Layer] | tuple[Layer, ...], kind: type) -> int:
    return sum(isinstance(layer, kind) for layer in layers)


def _two_values(step: Step, channels: int) -> NDArray[np.float32]:
    """What the quantizer gives far below and far above: [channels, 2]."""
    ends = np.broadcast_to(np.array([-np.inf, np.inf], np.float32), (channels, 2))
    pair = step.apply(ends)
    if np.any(pair[:, 0] == pair[:, 1]):
        raise UnsupportedError("gives one value for all sums; check its scale")
    return pair


def _fires(sums: Sums, step: Step, pair: NDArray[np.float32]) -> _Firing:
    channels = len(sums.low)
    thresholds = np.zeros(channels, np.int64)
    falls, rises, inexact, unsure = (np.zeros(channels, bool) for _ in range(4))
    orders = 1 + max((len(s.rule.orders) for s in sums.steps), default=0)
    for rows in sums.chunks():
        values = sums.accumulators(rows)

        def fires_at(order: int = 0, shift: int = 0, rows: slice = rows, values: NDArray = values) -> NDArray[np.bool_]:
            before = sums.evaluate(values, rows, order=order, shift=shift)
            return _upper(step, before, rows, pair, values, sums.words.quantizer)

        fires = fires_at()
        others = [fires_at(order=n) for n in range(1, orders)]
        if sums.error.any(rows):
            _check_every_order(sums, values, rows, fires, fires_at(shift=-1), fires_at(shift=1))
        falls[rows] = fires[:, 0] & ~fires[:, -1]
        rises[rows] = ~fires[:, 0] & fires[:, -1]
        # Reversing the order of the values is what negating the weights does.
        ascending = np.where(falls[rows, None], fires[:, ::-1], fires)
        assert not np.any(ascending[:, :-1] & ~ascending[:, 1:]), "float32 rounding keeps order"
        lowest = np.where(falls[rows], -values[:, -1], values[:, 0])
        thresholds[rows] = lowest + sums.step * (~ascending).sum(1)
        unsure[rows] = np.any([np.any(other != fires, axis=1) for other in others], axis=0) if others else False
        exact = _exact(sums, step, rows, values)
        inexact[rows] = False if exact is None else np.any(exact != fires, axis=1)
    return _Firing(thresholds=thresholds, falls=falls, rises=rises, not_exact=inexact, not_in_all_orders=unsure)


def _check_every_order(
    sums: Sums, values: NDArray[np.int64], rows: slice, fires: NDArray[np.bool_], *ends: NDArray[np.bool_]
) -> None:
    """Refuse sums that fire or not by the order of additions."""
    unsure = np.any([end != fires for end in ends], axis=0)
    if unsure.any():
        row, at = (int(n[0]) for n in np.nonzero(unsure))
        channel = rows.start + row
        raise UnsupportedError(
            f"channel {channel} can sum to {values[row, at]}, where float32 falls on either side of the threshold by "
            f"the order of additions, since {sums.error.reason(channel)}"
        )


def _upper(
    step: Step,
    before: NDArray[np.float32],
    rows: slice,
    pair: NDArray[np.float32],
    sums: NDArray[np.int64],
    quantizer: str,
) -> NDArray[np.bool_]:
    """Where the quantizer gives its upper value; everywhere else it has to give the lower one."""
    after = step.apply(before, rows)
    upper = after == pair[rows, 1:]
    other = ~upper & (after != pair[rows, :1])
    if other.any():
        channel, at = (int(n[0]) for n in np.nonzero(other))
        low, high = pair[rows][channel]
        raise UnsupportedError(
            f"gives {after[channel, at]:g} where channel {rows.start + channel} sums to {sums[channel, at]}, besides "
            f"{low:g} and {high:g}; use {quantizer}, which gives +1 for 0, or another quantizer of two values"
        )
    return upper


def _exact(sums: Sums, step: Step, rows: slice, values: NDArray[np.int64]) -> NDArray[np.bool_] | None:
    """Where ``scale * sum + offset`` reaches the quantizer's level (or exceeds it) in fractions, for every sum."""
    if step.rule.level is None or any(c.shape[1] != 1 for c in step.constants):
        return None
    fires = np.zeros(values.shape, bool)
    for row, channel in enumerate(range(rows.start, rows.stop)):
        level = step.rule.level(*(fractions_of(c[channel])[0] for c in step.constants))
        scale, distance = sums.scale[channel], level - sums.offset[channel]
        if scale == 0:
            fires[row] = distance < 0 if step.rule.strict else distance <= 0
        elif step.rule.strict:
            bound = _within_int64(distance // scale if scale > 0 else -((-distance) // scale))
            fires[row] = values[row] > bound if scale > 0 else values[row] < bound
        else:
            bound = _within_int64(-((-distance) // scale) if scale > 0 else distance // scale)
            fires[row] = values[row] >= bound if scale > 0 else values[row] <= bound
    return fires


def _within_int64(value: Fraction | int) -> int:
    return max(-(1 << 62), min(1 << 62, int(value)))


def _notes(name: str, firing: _Firing, sums: Sums) -> list[str]:
    channels, notes = len(firing.falls), []
    if sums.error.any():
        notes.append(
            f"{name}: float32 sums depend on the order of additions; no sum that can occur is so close to a threshold "
            "that it matters"
        )
    if flipped := int(firing.falls.sum()):
        notes.append(f"{name}: weights of {flipped} of {channels} channels negated, whose scale is negative")
    if constant := int((~firing.falls & ~firing.rises).sum()):
        notes.append(f"{name}: {constant} of {channels} channels are the same for every input")
    if moved := int(firing.not_exact.sum()):
        notes.append(f"{name}: float32 rounding moves {moved} of {channels} thresholds from the exact ones; it is kept")
    if unsure := int(firing.not_in_all_orders.sum()):
        notes.append(
            f"{name}: {unsure} of {channels} channels are so close to a sum that float32 gives another answer in "
            f"another order of rounding; taken as {sums.words.source} has it"
        )
    return notes
