"""What an offset of activations does where no threshold behind the sum can take it: constant channels in front.

Values that are not symmetric about 0, such as 0, 1, 2 and 3, are our odd or even integers plus an offset. In a sum it
counts the weights, which is a constant of each filter, and moves its thresholds. Not so at a zero-padded border, where
fewer weights count, nor in front of the choice of a class, where there are no thresholds. There the layer before gets
channels that are the same for every image, and the weights of these make up for it, exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import UnsupportedError
from xnorweave.importers.folding.integers import Integers
from xnorweave.importers.folding.signals import Pixels, Signal, Sums
from xnorweave.network import Add, Conv2D, Dense, GlobalSum, Layer, Shape, Threshold, largest_sum

__all__ = ["Border", "border", "with_equal_offsets", "with_steps_added"]

MAX_SUM = (1 << 31) - 2


def _with_constant_channels(signal: Signal, count: int, value: int) -> tuple[Layer, ...] | None:
    """The layers before a signal that comes of activations, with so many more channels, of a constant value.

    None where no layer with weights is there, or it has groups, or there are residual additions.
    """
    layers, source = signal.layers, signal.source
    at = max((n for n, layer in enumerate(layers) if isinstance(layer, (Conv2D, Dense))), default=None)
    if at is None or source is None:
        return None
    weighted, threshold = layers[at], layers[at + 1]
    if any(isinstance(layer, Add) for layer in layers):
        return None
    assert isinstance(weighted, (Conv2D, Dense))
    assert isinstance(threshold, Threshold)
    reach = largest_sum(source, layers[: at + 1])
    if (isinstance(weighted, Conv2D) and weighted.groups > 1) or reach > MAX_SUM:
        return None
    # Copies of the first filter, whose sums are there already.
    weights = np.concatenate([weighted.weights, np.repeat(weighted.weights[:1], count, 0)])
    row = np.where(np.arange(threshold.levels) < (value + threshold.levels) // 2, -reach, reach + 1)
    thresholds = np.concatenate([threshold.by_channel, np.repeat(row[None].astype(np.int32), count, 0)])
    more = replace(weighted, weights=weights), replace(threshold, thresholds=thresholds)
    return (*layers[:at], *more, *layers[at + 2 :])


@dataclass(frozen=True, kw_only=True, eq=False)
class Border:
    """Constant channels that make up for an offset where a convolution pads with zeros.

    Parameters
    ----------
    weights : int8 array [out, n, ky, kx]
        Of these channels.
    layers : tuple of Layer
        Those before the convolution, with these channels.
    notes : tuple of str
        For the history.
    """

    weights: NDArray[np.int8]
    layers: tuple[Layer, ...]
    notes: tuple[str, ...]


def border(signal: Signal, signs: NDArray[np.int8], values: Integers, groups: int) -> Border:
    """What a convolution of weights ``signs`` [out, in, ky, kx] needs whose input's values have an offset.

    Raises
    ------
    UnsupportedError
        Where no constant channels make up for it.
    """
    if isinstance(signal, Pixels):
        raise UnsupportedError(
            "pads with zeros, which are no value of a pixel here; quantize the input, or shift it by a simple fraction"
        )
    levels, offset = max(values.integers), values.offset / (values.scale() if groups == 1 else values.scales[0])
    totals = signs.sum(1, dtype=np.int64) * (1 if offset > 0 else -1)
    count, layers = int(np.abs(totals).max()), None
    # Where 0 is one of the activations, our integer for it is the negative of the offset.
    if groups == 1 and offset.denominator == 1 and abs(offset) <= levels and not (int(offset) - levels) % 2:
        layers = _with_constant_channels(signal, count, abs(int(offset)))
    if layers is None:
        raise UnsupportedError(
            "pads with zeros, but its input's values are not symmetric about 0: the border would need thresholds of "
            "its own, or constant channels between two layers without groups; give the quantizer such values (-1 and "
            "1; -1, 0 and 1), or the layer no padding"
        )
    # All sums of the layer's weights are odd, or all are even; so are those of as many as the largest.
    positive = (count + totals) // 2
    weights = np.where(np.arange(count)[None, :, None, None] < positive[:, None], np.int8(1), np.int8(-1))
    note = (
        f"{count} constant channels for the zeros around activations that are not symmetric about 0; with -1 and 1 (or "
        "-1, 0 and 1) there would be none"
    )
    return Border(weights=weights, layers=layers, notes=(note,) if count else ())


def with_equal_offsets(sums: Sums) -> Sums:
    """Sums of a dense layer, one for each class, with one offset for all; as they are where that is not exact."""
    if sums.source is None or not sums.layers or len(set(sums.first_scale)) != 1 or not sums.first_scale[0]:
        return sums
    scale, lowest = sums.first_scale[0], min(sums.first_offset)
    apart = [(o - lowest) / scale for o in sums.first_offset]
    values, positions, _ = _constants_before(sums)
    value = next((v for v in values if not any(d % (2 * v * positions) for d in apart)), 0)
    if not value or not any(apart):
        return sums
    why = "since its input's values are not symmetric about 0, which gives each class an offset of its own"
    added = _with_constants(sums, value, [int(d / (2 * value * positions)) for d in apart], why)
    return sums if added is None else added


def with_steps_added(sums: Sums, steps: Sequence[int]) -> Sums | None:
    """Sums of a dense layer to which so many of their steps are added; None where no constant channels do that."""
    values, positions, _ = _constants_before(sums)
    if sums.source is None or not any(2 * v * positions == sums.step for v in values):
        return None
    return _with_constants(sums, sums.step // (2 * positions), steps, "which give each class its own offset")


def _constants_before(sums: Sums) -> tuple[range, int, Shape]:
    """Values that constant channels before a dense layer can have, at how many positions each counts, and its input."""
    if sums.source is None or not sums.layers:
        return range(0), 1, (0, 0, 0)
    shape, levels, positions = sums.source.shape, 1, 1
    for layer in sums.layers:
        levels = layer.levels if isinstance(layer, Threshold) else levels
        positions = shape[1] * shape[2] if isinstance(layer, GlobalSum) else 1
        shape = layer.output_shape(shape)
    return range(levels, 0, -2), positions, shape


def _with_constants(sums: Sums, value: int, plus: Sequence[int], why: str) -> Sums | None:
    """Sums with more inputs, of a constant value: each output weights as many by +1 as ``plus`` says, others by -1."""
    _, positions, shape = _constants_before(sums)
    features = shape[1] * shape[2]
    channels = -(-max(plus) // features)
    layers = _with_constant_channels(sums, channels, value)
    if layers is None or channels > shape[0]:
        return None
    more = np.where(np.arange(channels * features) < np.array(plus)[:, None], np.int8(1), np.int8(-1))
    moved = value * positions * more.sum(1, dtype=np.int64)
    first = zip(sums.first_offset, sums.first_scale, moved, strict=True)
    return _with_offset(
        replace(
            sums, layers=layers, weights=np.concatenate([sums.weights, more], 1), low=sums.low + moved,
            notes=(*sums.notes, f"{channels} constant channels before the last layer, {why}"),
        ),
        tuple(offset - scale * int(m) for offset, scale, m in first),
    )  # fmt: skip


def _with_offset(sums: Sums, first_offset: tuple[Fraction, ...]) -> Sums:
    """The sums with another offset of the layer itself, and what the steps behind it make of that."""
    begun = replace(sums, first_offset=first_offset, steps=(), scale=sums.first_scale, offset=first_offset)
    for step in sums.steps[: sums.error.steps]:
        begun = begun.then(step)
    begun = replace(begun, error=replace(sums.error, offset=begun.offset))
    for step in sums.steps[sums.error.steps :]:
        begun = begun.then(step)
    return begun
