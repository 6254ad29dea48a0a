"""Bit-exact golden model in integer NumPy. Knows networks only, nothing of the hardware.

Sums are computed by matrix products in floating point where every partial sum is an integer that the type
holds exactly (below 2**24 for float32, 2**53 for float64), so the order of additions cannot matter and the
result is the integer sum itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from xnorweave.errors import DataError, UnsupportedError
from xnorweave.network import (
    Add,
    ArgMax,
    Conv2D,
    Dense,
    GlobalSum,
    InputSpec,
    Layer,
    MaxPool,
    Network,
    Scale,
    Threshold,
)

__all__ = ["GoldenResult", "input_values", "run", "run_layer", "run_layers"]

_BATCH_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class GoldenResult:
    """What the network gives for N frames.

    Parameters
    ----------
    outputs : int array
        Class indices [N] after an ArgMax, else the last layer's values [N, channels, height, width].
    scores : int32 (int64 where sums need it) array [N, classes], optional
        The values an ArgMax chose from, sums or those behind a Scale, in the order of the classes.
    layers : dict of str to array
        Every layer's values by name, [N, channels, height, width] (an ArgMax's: [N]); empty unless asked for.
    """

    outputs: NDArray
    scores: NDArray[np.integer] | None = None
    layers: dict[str, NDArray] = field(default_factory=dict)


def run(network: Network, frames: NDArray[np.uint8], *, keep_layers: bool = False) -> GoldenResult:
    """Run frames through the network, exactly.

    Parameters
    ----------
    network : Network
        What to run.
    frames : uint8 array [N, channels, height, width]
        Pixels, or bits 0 and 1 where the network's input is bits.
    keep_layers : bool
        Return every layer's values as well.

    Raises
    ------
    DataError
        Where the frames do not have the network's shape or type.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != network.input.shape:
        raise DataError(
            f"frames are {frames.dtype} {list(frames.shape)}, not uint8 [N, {', '.join(map(str, network.input.shape))}]"
        )
    parts = [_run_batch(network, batch, keep_layers) for batch in _batches(network, frames)]
    if not parts:
        raise DataError("no frames given; give at least one")
    return GoldenResult(
        outputs=np.concatenate([part.outputs for part in parts]),
        scores=None if parts[0].scores is None else np.concatenate([p.scores for p in parts if p.scores is not None]),
        layers={name: np.concatenate([part.layers[name] for part in parts]) for name in parts[0].layers},
    )


def _batches(network: Network, frames: NDArray) -> Iterator[NDArray]:
    largest = max(_columns_bytes(layer, out) for layer, _, out in network.walk())
    size = max(1, _BATCH_BYTES // max(1, largest))
    for start in range(0, len(frames), size):
        yield frames[start : start + size]


def _columns_bytes(layer: Layer, output: tuple[int, int, int]) -> int:
    if isinstance(layer, Conv2D):
        return layer.groups * layer.weights[0].size * output[1] * output[2] * 4
    return layer.weights.shape[1] * 4 if isinstance(layer, Dense) else 1


def _run_batch(network: Network, frames: NDArray[np.uint8], keep_layers: bool) -> GoldenResult:
    values = input_values(network.input, frames).transpose(0, 2, 3, 1)
    layers: dict[str, NDArray] = {}
    scores = None
    sources, kept = network.sources, dict[str, NDArray]()
    for layer in network.layers:
        if isinstance(layer, ArgMax):
            scores = values[:, 0, 0, :]
            scores = scores if layer.order is None else scores[:, np.argsort(layer.order)]
        values = _run_kept(layer, values, sources, kept)
        if keep_layers:
            layers[layer.name] = values if isinstance(layer, ArgMax) else values.transpose(0, 3, 1, 2)
    outputs = values if isinstance(network.layers[-1], ArgMax) else values.transpose(0, 3, 1, 2)
    return GoldenResult(outputs=outputs, scores=scores, layers=layers)


def _run_kept(layer: Layer, values: NDArray, sources: frozenset[str], kept: dict[str, NDArray]) -> NDArray:
    """One layer, of which ``kept`` gets the values where they are a source; an Add takes its source's from there."""
    if not isinstance(layer, Add):
        values = run_layer(layer, values)
    elif layer.source in kept:
        values = np.add(values, kept[layer.source], dtype=np.int64)
    else:
        raise UnsupportedError(
            f"{layer.name}: adds the values of {layer.source}, which is not among the layers run here; start there or "
            "before"
        )
    if layer.name in sources:
        kept[layer.name] = values
    return values


def run_layers(network: Network, values: NDArray, start: int, stop: int) -> NDArray:
    """Run a part of the network, exactly.

    Parameters
    ----------
    network : Network
        What to run.
    values : int array [N, height, width, channels]
        What the layer of number ``start`` gets; N is at least 1.
    start, stop : int
        The layers ``start`` to ``stop - 1``.

    Returns
    -------
    int array [N, height, width, channels], or [N] class indices of an ArgMax
        What the last of these layers gives; the values where there are none.

    Raises
    ------
    UnsupportedError
        Where one of these layers adds the values of one before them.
    """
    parts, sources = [], network.sources
    for batch in _batches(network, values):
        kept: dict[str, NDArray] = {}
        for layer in network.layers[start:stop]:
            batch = _run_kept(layer, batch, sources, kept)
        parts.append(batch)
    return np.concatenate(parts)


def input_values(spec: InputSpec, frames: NDArray[np.uint8]) -> NDArray:
    """Integers that the first layer sees, same shape as ``frames``: pixels through the table, bits as -1 and +1."""
    if spec.kind == "bits":
        if frames.size and frames.max() > 1:
            raise DataError(f"frames hold {int(frames.max())}, but the network's input is bits; give 0 and 1 only")
        return (2 * frames.astype(np.int8) - 1).astype(np.int8)
    if spec.table is None:
        return frames
    if spec.table.ndim == 1:
        return spec.table[frames]
    return np.stack([table[frames[:, channel]] for channel, table in enumerate(spec.table)], 1)


def run_layer(layer: Conv2D | Threshold | MaxPool | GlobalSum | Dense | Scale | ArgMax, values: NDArray) -> NDArray:
    """One layer, exactly.

    Parameters
    ----------
    layer : Layer
        Any kind but an Add, which needs another layer's values too.
    values : int array [N, height, width, channels]
        What the layer gets.

    Returns
    -------
    int array [N, height, width, channels], or [N] class indices of an ArgMax
    """
    match layer:
        case Conv2D():
            return _conv2d(layer, values)
        case Dense():
            flat = values.transpose(0, 3, 1, 2).reshape(len(values), -1)
            return _product(flat, layer.weights.T)[:, None, None, :]
        case Threshold():
            reached = np.zeros(values.shape, np.int8)
            for level in layer.by_channel.T:
                reached += values >= level
            return 2 * reached - np.int8(layer.levels)
        case MaxPool():
            windows = sliding_window_view(values, (layer.size, layer.size), (1, 2))
            return windows[:, :: layer.stride, :: layer.stride].max((-2, -1))
        case GlobalSum():
            return values.sum((1, 2), np.int32, keepdims=True)
        case Scale():
            return values * layer.factors.astype(np.int64) + layer.offsets
        case ArgMax():
            first = values[:, 0, 0, :].argmax(1)
            return first if layer.order is None else np.array(layer.order)[first]


def _conv2d(layer: Conv2D, values: NDArray) -> NDArray[np.integer]:
    top, bottom, left, right = layer.padding
    padded = np.pad(values, ((0, 0), (top, bottom), (left, right), (0, 0)))
    windows = sliding_window_view(padded, layer.kernel, (1, 2))[:, :: layer.stride, :: layer.stride]
    frames, rows, columns = windows.shape[:3]
    flat = windows.transpose(0, 1, 2, 4, 5, 3).reshape(frames * rows * columns, -1)
    if layer.groups == 1:
        return _product(flat, _matrix(layer.weights)).reshape(frames, rows, columns, -1)
    parts = np.split(flat.reshape(len(flat), -1, values.shape[3]), layer.groups, 2)
    filters = np.split(layer.weights, layer.groups)
    sums = [_product(p.reshape(len(p), -1), _matrix(w)) for p, w in zip(parts, filters, strict=True)]
    return np.concatenate(sums, 1).reshape(frames, rows, columns, -1)


def _matrix(weights: NDArray[np.int8]) -> NDArray[np.int8]:
    """Weights [out, in, ky, kx] as [taps, out]; taps in the order row, column, channel."""
    return weights.transpose(2, 3, 1, 0).reshape(-1, len(weights))


def _product(values: NDArray, weights: NDArray[np.int8]) -> NDArray[np.integer]:
    limits = np.iinfo(values.dtype)
    largest = max(abs(int(limits.min)), int(limits.max)) * len(weights)
    dtype = np.float32 if largest < 1 << 24 else np.float64
    return (values.astype(dtype) @ weights.astype(dtype)).astype(np.int32 if largest < 1 << 31 else np.int64)
