"""Sums of a convolution that leave it as a stream, for a residual addition, and the thresholds on such a stream.

A sum is the ``x`` of one encoding for all borders and channels, unsigned as every wire is: the lowest sum that can
occur is 0, and the step is the largest that all of them are on. Of an even number of binary inputs that is 2.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xnorweave.hw.sliding_window import border_classes
from xnorweave.network import Conv2D, Encoding, Shape, Threshold, activation

__all__ = ["SumForm", "ThresholdStage", "borders", "reach", "sum_form", "threshold_stage"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SumForm:
    """How sums leave a convolution: as ``x = factor * L + bias``.

    Parameters
    ----------
    encoding : Encoding
        Of ``x``.
    factor : int
        At least 1.
    biases : dict of int to tuple of int
        For each border number one per output channel.
    """

    encoding: Encoding
    factor: int
    biases: dict[int, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True, eq=False)
class ThresholdStage:
    """Thresholds on sums that come as a stream.

    Parameters
    ----------
    name, layer : str
    output_shape : Shape
        Of the sums too.
    encoding : Encoding
        Of the sums.
    thresholds : tuple of int
        On ``x``: ``levels`` ascending ones per channel, channel by channel.
    levels : int
    """

    name: str
    layer: str
    output_shape: Shape
    encoding: Encoding
    thresholds: tuple[int, ...]
    levels: int

    @property
    def input_shape(self) -> Shape:
        """As the output's."""
        return self.output_shape

    @property
    def output_encoding(self) -> Encoding:
        """Of the activations."""
        return activation(self.levels)


def reach(weights: NDArray[np.int8], encoding: Encoding) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lowest and highest ``L`` of each output for weights [out, ...]."""
    top = 2**encoding.bits - 1
    flat = weights.reshape(len(weights), -1)
    return -top * (flat < 0).sum(1), top * (flat > 0).sum(1)


def borders(layer: Conv2D, before: Shape) -> dict[int, NDArray[np.int8]]:
    """For each border number the weights on real data, [out, in / groups, rows, columns]."""
    rows, columns = border_classes(before[1:], layer.kernel, layer.stride, layer.padding)
    return {
        r << columns.bits | c: layer.weights[:, :, top:bottom, left:right]
        for r, (top, bottom) in enumerate(rows.spans)
        for c, (left, right) in enumerate(columns.spans)
    }


def sum_form(layer: Conv2D, before: Shape, encoding: Encoding) -> SumForm:
    """How a convolution's sums leave: of all borders and channels in one encoding, the narrowest."""
    fixed: dict[int, NDArray[np.int64]] = {}
    lows, highs = list[int](), list[int]()
    for border, taps in borders(layer, before).items():
        fixed[border] = encoding.offset * taps.sum((1, 2, 3), dtype=np.int64)
        low, high = reach(taps, encoding)
        lows.append(int((encoding.scale * low + fixed[border]).min()))
        highs.append(int((encoding.scale * high + fixed[border]).max()))
    offset = min(lows)
    step = math.gcd(encoding.scale, *(int(f) - offset for each in fixed.values() for f in each))
    return SumForm(
        encoding=Encoding(bits=max(1, ((max(highs) - offset) // step).bit_length()), scale=step, offset=offset),
        factor=encoding.scale // step,
        biases={border: tuple((int(f) - offset) // step for f in each) for border, each in fixed.items()},
    )


def threshold_stage(layer: Threshold, shape: Shape, encoding: Encoding) -> ThresholdStage:
    """The thresholds behind sums of ``encoding``."""
    exact = -((encoding.offset - layer.by_channel.astype(np.int64)) // encoding.scale)
    return ThresholdStage(
        name=layer.name,
        layer=layer.name,
        output_shape=shape,
        encoding=encoding,
        thresholds=tuple(int(t) for t in np.clip(exact, 0, 2**encoding.bits).flat),
        levels=layer.levels,
    )
