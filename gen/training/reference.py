"""A second, plain reading of a network in NumPy, to check an exported file without PyTorch.

Sums are computed in float64, which holds every sum of a checked network exactly (all are below 2**53).
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from xnorweave.errors import UnsupportedError
from xnorweave.network import ArgMax, Conv2D, Dense, InputSpec, Layer, MaxPool, Network, Threshold

_BATCH = 500


def layer_outputs(network: Network, images: NDArray[np.uint8]) -> dict[str, NDArray[np.int64]]:
    """Return the output of every layer.

    Parameters
    ----------
    network : Network
        With pixel input.
    images : ndarray of uint8, shape [count, channels, height, width]
        A batch that fits in memory as float64.

    Returns
    -------
    dict of str to ndarray of int64
        By layer name: sums, -1/+1 activations [count, c, y, x] or [count, features], or classes [count].

    Raises
    ------
    UnsupportedError
        If the input is not pixels.
    """
    value = _pixels(network.input, images).astype(np.float64)
    outputs = {}
    for layer in network.layers:
        value = _apply(layer, value)
        outputs[layer.name] = value.astype(np.int64)
    return outputs


def classify(network: Network, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the class of every image, uint8 [count]; the last layer of ``network`` must be its `ArgMax`."""
    last = network.layers[-1].name
    parts = [layer_outputs(network, images[i : i + _BATCH])[last] for i in range(0, len(images), _BATCH)]
    return np.concatenate(parts).astype(np.uint8)


def _pixels(spec: InputSpec, images: NDArray[np.uint8]) -> NDArray[np.int16] | NDArray[np.uint8]:
    if spec.kind != "pixels":
        raise UnsupportedError(f"input: kind={spec.kind!r}; this check reads networks of kind 'pixels' only")
    if spec.table is None:
        return images
    channels = np.arange(spec.shape[0])[:, None, None]
    return spec.table[images] if spec.table.ndim == 1 else spec.table[channels, images]


def _apply(layer: Layer, value: NDArray[np.float64]) -> NDArray[np.float64]:
    match layer:
        case Conv2D():
            top, bottom, left, right = layer.padding
            padded = np.pad(value, ((0, 0), (0, 0), (top, bottom), (left, right)))
            windows = sliding_window_view(padded, layer.kernel, axis=(2, 3))[:, :, :: layer.stride, :: layer.stride]
            sums = np.tensordot(windows, layer.weights.astype(np.float64), axes=([1, 4, 5], [1, 2, 3]))
            return np.moveaxis(sums, -1, 1)
        case Threshold():
            thresholds = layer.thresholds.reshape(-1, *[1] * (value.ndim - 2))
            return np.where(value >= thresholds, 1.0, -1.0)
        case MaxPool():
            windows = sliding_window_view(value, (layer.size, layer.size), axis=(2, 3))
            return windows[:, :, :: layer.stride, :: layer.stride].max(axis=(4, 5))
        case Dense():
            return value.reshape(len(value), -1) @ layer.weights.T.astype(np.float64)
        case ArgMax():
            order = range(value.shape[1]) if layer.order is None else layer.order
            return np.array(order, np.float64)[value.argmax(axis=1)]
