"""What an offset of activations does where no threshold behind the sum can take it: constant channels in front.

Values that are not symmetric about 0, such as 0, 1, 2 and 3, are our odd or even integers plus an offset. In a sum it
counts the weights, which is a constant of each filter, and moves its thresholds. Not so at a zero-padded border, where
fewer weights count, nor in front of the choice of a class, where there are no thresholds. There the layer before gets
channels that are the same for every image, and the weights of these make up for it, exactly.
"""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from xnorweave.importers.folding.signals import Sums
from xnorweave.network import Conv2D, Dense, GlobalSum, InputSpec, Layer, Threshold

__all__ = ["border_weights", "with_constant_channels", "with_equal_offsets"]

MAX_SUM = (1 << 31) - 2


def with_constant_channels(
    layers: tuple[Layer, ...], source: InputSpec, count: int, value: int
) -> tuple[Layer, ...] | None:
    """Layers that end with activations, or totals of them, with so many more channels of a constant value behind.

    None where the last layer with weights is none, or has groups.
    """
    at = max((n for n, layer in enumerate(layers) if isinstance(layer, (Conv2D, Dense))), default=None)
    if at is None:
        return None
    weighted, threshold = layers[at], layers[at + 1]
    assert isinstance(weighted, (Conv2D, Dense))
    assert isinstance(threshold, Threshold)
    reach = _reach(layers[: at + 1], source)
    if (isinstance(weighted, Conv2D) and weighted.groups > 1) or reach > MAX_SUM:
        return None
    # Copies of the first filter, whose sums are there already.
    weights = np.concatenate([weighted.weights, np.repeat(weighted.weights[:1], count, 0)])
    row = np.where(np.arange(threshold.levels) < (value + threshold.levels) // 2, -reach, reach + 1)
    thresholds = np.concatenate([threshold.by_channel, np.repeat(row[None].astype(np.int32), count, 0)])
    more = replace(weighted, weights=weights), replace(threshold, thresholds=thresholds)
    return (*layers[:at], *more, *layers[at + 2 :])


def _reach(layers: Sequence[Layer], source: InputSpec) -> int:
    """The largest magnitude that sums of the last layer can have."""
    shape, largest = source.shape, 255 if source.kind == "pixels" else 1
    if source.table is not None:
        largest = int(np.abs(source.table.astype(np.int64)).max())
    for layer in layers:
        match layer:
            case Conv2D() | Dense():
                largest *= layer.weights[0].size
            case Threshold():
                largest = layer.levels
            case GlobalSum():
                largest *= shape[1] * shape[2]
            case _:
                pass
        shape = layer.output_shape(shape)
    return largest


def border_weights(signs: NDArray[np.int8], offset: Fraction, levels: int) -> NDArray[np.int8] | None:
    """Weights [out, n, ky, kx] of constant channels that make up for an offset where a convolution pads with zeros.

    Parameters
    ----------
    signs : int8 array [out, in, ky, kx]
        Of the layer's own weights.
    offset : Fraction
        Of the values, in units of our integers; the channels have its magnitude.
    levels : int
        Of the activations; None comes out where they do not have that value.
    """
    if offset.denominator != 1 or abs(offset) > levels or (int(offset) - levels) % 2:
        return None
    totals = signs.sum(1, dtype=np.int64) * (1 if offset > 0 else -1)
    count = int(np.abs(totals).max())
    # Of an odd number of channels the sums are odd, of an even number even, for all filters and taps alike.
    positive = (count + totals) // 2
    return np.where(np.arange(count)[None, :, None, None] < positive[:, None], np.int8(1), np.int8(-1))


def with_equal_offsets(sums: Sums) -> Sums:
    """Sums of a dense layer, one for each class, with one offset for all; as they are where that is not exact."""
    if sums.source is None or not sums.layers or len(set(sums.first_scale)) != 1 or not sums.first_scale[0]:
        return sums
    scale, lowest = sums.first_scale[0], min(sums.first_offset)
    apart = [(o - lowest) / scale for o in sums.first_offset]
    shape = sums.source.shape
    levels = positions = 1
    for layer in sums.layers:
        levels = layer.levels if isinstance(layer, Threshold) else levels
        positions = shape[1] * shape[2] if isinstance(layer, GlobalSum) else 1
        shape = layer.output_shape(shape)
    features = shape[1] * shape[2]
    value = next((v for v in range(levels, 0, -2) if not any(d % (2 * v * positions) for d in apart)), 0)
    if not value or not any(apart):
        return sums
    plus = np.array([int(d / (2 * value * positions)) for d in apart])
    channels = -(-int(plus.max()) // features)
    layers = with_constant_channels(sums.layers, sums.source, channels, value)
    if layers is None or channels > shape[0]:
        return sums
    more = np.where(np.arange(channels * features) < plus[:, None], np.int8(1), np.int8(-1))
    moved = value * positions * more.sum(1, dtype=np.int64)
    offset = tuple(o - scale * int(m) for o, m in zip(sums.first_offset, moved, strict=True))
    note = (
        f"{channels} constant channels before the last layer, since its input's values are not symmetric about 0, which "
        "gives each class an offset of its own"
    )
    return _with_offset(
        replace(
            sums, layers=layers, weights=np.concatenate([sums.weights, more], 1), low=sums.low + moved,
            notes=(*sums.notes, note),
        ),
        offset,
    )  # fmt: skip


def _with_offset(sums: Sums, first_offset: tuple[Fraction, ...]) -> Sums:
    """The sums with another offset of the layer itself, and what the steps behind it make of that."""
    error = replace(sums.error, offset=first_offset)
    begun = replace(sums, first_offset=first_offset, steps=(), scale=sums.first_scale, offset=first_offset, error=error)
    for step in sums.steps:
        begun = begun.then(step)
    return begun
