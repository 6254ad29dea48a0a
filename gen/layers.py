"""The layers that networks are chains of: frozen, validated, and each with its shape inference.

Conventions: bit 1 means +1 and bit 0 means -1; weights are ``int8`` in {-1, +1}; a threshold is reached when
``acc >= t``; shapes are ``(channels, height, width)``; a dense layer flattens its input in that order,
as PyTorch does.
"""

import math
import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import NetworkError

__all__ = [
    "BINARY",
    "MAX_CHANNELS",
    "MAX_KERNEL",
    "MAX_LAYERS",
    "MAX_LEVELS",
    "MAX_SCORE",
    "MAX_SIDE",
    "MAX_STRIDE",
    "NAME_PATTERN",
    "Add",
    "ArgMax",
    "Conv2D",
    "Dense",
    "Encoding",
    "GlobalSum",
    "Layer",
    "MaxPool",
    "Padding",
    "Scale",
    "Shape",
    "Threshold",
    "activation",
    "check_int",
    "frozen",
]

Shape = tuple[int, int, int]
"""Channels, height, width. A vector of n features is ``(n, 1, 1)``."""

Padding = tuple[int, int, int, int]
"""Rows of zeros on top and at the bottom, columns of zeros on the left and on the right."""

MAX_SIDE = 1024
MAX_CHANNELS = 16_384
MAX_KERNEL = 7
MAX_STRIDE = 7
MAX_LEVELS = 15
MAX_LAYERS = 256
MAX_SCORE = (1 << 62) - 1
NAME_PATTERN = re.compile(r"(?!.*__)[A-Za-z][A-Za-z0-9_]{0,39}\Z")


def frozen(array: NDArray, dtype: type) -> NDArray:
    frozen = np.array(array, dtype=dtype, order="C")
    frozen.setflags(write=False)
    return frozen


def _check_name(name: object) -> str:
    if not isinstance(name, str) or not NAME_PATTERN.match(name):
        raise NetworkError(
            f"layer name {name!r}: a name is a letter and at most 39 letters, digits or single underscores; rename it"
        )
    return name


def _check_weights(name: str, weights: object, dims: int) -> NDArray[np.int8]:
    layout = "[out, in, ky, kx]" if dims == 4 else "[out, in]"
    if not isinstance(weights, np.ndarray) or weights.ndim != dims or 0 in weights.shape:
        found = getattr(weights, "shape", type(weights).__name__)
        raise NetworkError(f"{name}: weights have shape {found}, not a non-empty {layout}; transpose or reshape them")
    if weights.dtype.kind not in "iu" or weights.dtype.itemsize > 8:
        raise NetworkError(f"{name}: weights are {weights.dtype}, not integers; binarize them to int8 -1 and +1")
    if not np.all((weights == 1) | (weights == -1)):
        bad = weights[(weights != 1) & (weights != -1)].flat[0]
        raise NetworkError(f"{name}: weights contain {bad}, not only -1 and +1; binarize them first")
    return frozen(weights, np.int8)


def check_int(name: str, what: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise NetworkError(f"{name}: {what}={value!r} is not a whole number from {low} to {high}")
    return int(value)


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv2D:
    """Cross-correlation with {-1, +1} weights: ``acc[o,y,x] = sum w[o,c,i,j] * v[c, y*stride+i, x*stride+j]``.

    With groups, the ``k``-th part of the filters sees only the ``k``-th part of the channels; as many groups as
    channels are a depthwise convolution.

    Parameters
    ----------
    name : str
        Unique in the network.
    weights : int8 array [out, in / groups, ky, kx]
        Each -1 or +1; ky and kx from 1 to 7.
    stride : int
        1 to 7, the same in both directions; beyond the kernel, input between windows is skipped.
    padding : Padding
        Zeros around the input: they add nothing to a sum, so a padded tap counts neither as -1 nor as +1.
    groups : int
        Parts of equal size that filters and channels are divided into; divides the filters.
    """

    name: str
    weights: NDArray[np.int8]
    stride: int = 1
    padding: Padding = (0, 0, 0, 0)
    groups: int = 1
    kind: str = field(default="conv2d", init=False)

    def __post_init__(self) -> None:
        _check_name(self.name)
        object.__setattr__(self, "weights", _check_weights(self.name, self.weights, 4))
        ky, kx = self.kernel
        if max(ky, kx) > MAX_KERNEL:
            raise NetworkError(f"{self.name}: kernel {ky}x{kx} is not within 1x1 to {MAX_KERNEL}x{MAX_KERNEL}")
        check_int(self.name, "stride", self.stride, 1, MAX_STRIDE)
        if not isinstance(self.padding, (tuple, list)) or len(self.padding) != 4:
            raise NetworkError(f"{self.name}: padding={self.padding!r} is not (top, bottom, left, right)")
        top, bottom, left, right = self.padding
        for what, value, kernel in (("top", top, ky), ("bottom", bottom, ky), ("left", left, kx), ("right", right, kx)):
            check_int(self.name, f"padding {what}", value, 0, kernel - 1)
        object.__setattr__(self, "padding", (int(top), int(bottom), int(left), int(right)))
        object.__setattr__(self, "groups", check_int(self.name, "groups", self.groups, 1, MAX_CHANNELS))
        if len(self.weights) % self.groups:
            filters = len(self.weights)
            raise NetworkError(f"{self.name}: groups={self.groups} do not divide the {filters} filters; give a divisor")

    @property
    def kernel(self) -> tuple[int, int]:
        """Kernel height and width."""
        return int(self.weights.shape[2]), int(self.weights.shape[3])

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of the sums for an input of ``shape``; raises NetworkError where it does not fit."""
        channels, height, width = shape
        out, fan_in, ky, kx = self.weights.shape
        if fan_in * self.groups != channels:
            each = f"{self.groups} groups of {fan_in}" if self.groups > 1 else f"{fan_in}"
            raise NetworkError(f"{self.name}: weights take {each} channels, but the layer before gives {channels}")
        top, bottom, left, right = self.padding
        rows, columns = height + top + bottom - ky, width + left + right - kx
        if rows < 0 or columns < 0:
            raise NetworkError(f"{self.name}: kernel {ky}x{kx} exceeds its padded input {rows + ky}x{columns + kx}")
        return int(out), rows // self.stride + 1, columns // self.stride + 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Threshold:
    """Batch norm and activation in one: of ``levels`` thresholds so many are reached, which means a value.

    Channel ``c`` gives ``2 * count - levels``, with ``count`` how many of its thresholds ``acc[c]`` is at least: of one
    level -1 or +1, of three -3, -1, 1 or 3.

    Parameters
    ----------
    name : str
        Unique in the network.
    thresholds : int32 array [channels] or [channels, levels]
        In units of the signed sum of the layer before; 1 to 15 levels, each channel's ascending. One level is kept
        as [channels].
    """

    name: str
    thresholds: NDArray[np.int32]
    kind: str = field(default="threshold", init=False)

    def __post_init__(self) -> None:
        _check_name(self.name)
        thresholds = self.thresholds
        if not isinstance(thresholds, np.ndarray) or thresholds.ndim not in (1, 2) or not thresholds.size:
            found = getattr(thresholds, "shape", type(thresholds).__name__)
            raise NetworkError(
                f"{self.name}: thresholds have shape {found}, not one per channel or [channels, levels]; reshape them"
            )
        if thresholds.dtype.kind not in "iu":
            raise NetworkError(f"{self.name}: thresholds are {thresholds.dtype}, not integers; use ceil(t) as int32")
        limits = np.iinfo(np.int32)
        if thresholds.min() < limits.min or thresholds.max() > limits.max:
            raise NetworkError(f"{self.name}: a threshold is beyond int32; a constant channel needs only |t| > fan-in")
        if thresholds.ndim == 2:
            self._check_levels(thresholds)
            thresholds = thresholds[:, 0] if thresholds.shape[1] == 1 else thresholds
        object.__setattr__(self, "thresholds", frozen(thresholds, np.int32))

    def _check_levels(self, thresholds: NDArray) -> None:
        if thresholds.shape[1] > MAX_LEVELS:
            raise NetworkError(
                f"{self.name}: {thresholds.shape[1]} levels of a channel, more than {MAX_LEVELS}; train with fewer"
            )
        falls = np.flatnonzero((thresholds[:, 1:] < thresholds[:, :-1]).any(1))
        if len(falls):
            channel = int(falls[0])
            raise NetworkError(
                f"{self.name}: thresholds {thresholds[channel].tolist()} of channel {channel} do not ascend; sort them"
            )

    @property
    def levels(self) -> int:
        """Thresholds of a channel."""
        return self.by_channel.shape[1]

    @property
    def by_channel(self) -> NDArray[np.int32]:
        """Thresholds as [channels, levels], whatever their number."""
        return self.thresholds.reshape(len(self.thresholds), -1)

    @property
    def encoding(self) -> "Encoding":
        """How numbers of levels stand for activations."""
        return activation(self.levels)

    def output_shape(self, shape: Shape) -> Shape:
        """Same as the input's; raises NetworkError where the channels differ."""
        channels = len(self.thresholds)
        if shape[0] != channels:
            raise NetworkError(f"{self.name}: {channels} thresholds for {shape[0]} channels; give one each")
        return shape


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPool:
    """Maximum over a ``size`` x ``size`` window of activations; of -1/+1 values it is the OR of their bits.

    Parameters
    ----------
    name : str
        Unique in the network.
    size : int
        2 or 3.
    stride : int
        From 1 to ``size``. Windows that do not fit wholly are dropped, as in PyTorch.
    """

    name: str
    size: int = 2
    stride: int = 2
    kind: str = field(default="max_pool", init=False)

    def __post_init__(self) -> None:
        _check_name(self.name)
        check_int(self.name, "size", self.size, 2, 3)
        check_int(self.name, "stride", self.stride, 1, self.size)

    def output_shape(self, shape: Shape) -> Shape:
        """Pooled shape; raises NetworkError where the window does not fit."""
        channels, height, width = shape
        if min(height, width) < self.size:
            raise NetworkError(f"{self.name}: window {self.size}x{self.size} is larger than its input {height}x{width}")
        return channels, (height - self.size) // self.stride + 1, (width - self.size) // self.stride + 1


@dataclass(frozen=True, kw_only=True, eq=False)
class GlobalSum:
    """Sum of each channel's activations over all positions: global average pooling without its division.

    The division scales all sums of a `Dense` behind it alike, so its thresholds are scaled instead, and an `ArgMax`
    does not see it.

    Parameters
    ----------
    name : str
        Unique in the network.
    """

    name: str
    kind: str = field(default="global_sum", init=False)

    def __post_init__(self) -> None:
        _check_name(self.name)

    def output_shape(self, shape: Shape) -> Shape:
        """``(channels, 1, 1)``."""
        return shape[0], 1, 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Add:
    """Residual addition: each sum, plus what an earlier layer gave at the same place.

    Stands behind a Conv2D or another Add, and gives sums. At least one Conv2D lies between the source and it.

    Parameters
    ----------
    name : str
        Unique in the network.
    source : str
        Earlier layer of the same output shape: a Conv2D or an Add, whose sums are added, or a Threshold or a MaxPool,
        whose activations are.
    """

    name: str
    source: str
    kind: str = field(default="add", init=False)

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not isinstance(self.source, str):
            raise NetworkError(f"{self.name}: source={self.source!r} is no layer's name; give that of an earlier layer")

    def output_shape(self, shape: Shape) -> Shape:
        """Same as the input's."""
        return shape


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense:
    """Fully connected layer with {-1, +1} weights: ``acc[o] = sum w[o,i] * v[i]``.

    Parameters
    ----------
    name : str
        Unique in the network.
    weights : int8 array [out, in]
        Each -1 or +1; inputs in the order channel, row, column.
    """

    name: str
    weights: NDArray[np.int8]
    kind: str = field(default="dense", init=False)

    def __post_init__(self) -> None:
        _check_name(self.name)
        object.__setattr__(self, "weights", _check_weights(self.name, self.weights, 2))

    def output_shape(self, shape: Shape) -> Shape:
        """``(out, 1, 1)``; raises NetworkError where the flattened input differs."""
        features = math.prod(shape)
        if self.weights.shape[1] != features:
            raise NetworkError(
                f"{self.name}: weights take {self.weights.shape[1]} inputs, but the layer before gives "
                f"{features} ({shape[0]} channels of {shape[1]}x{shape[2]})"
            )
        return int(self.weights.shape[0]), 1, 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Scale:
    """A factor and an offset for each class: ``value[c] = factor[c] * acc[c] + offset[c]`` behind the last layer.

    A batch norm there is one, up to a factor that all classes have in common.

    Parameters
    ----------
    name : str
        Unique in the network.
    factors : int32 array [channels]
        Of any sign, or 0.
    offsets : int64 array [channels]
        Values behind the layer are below 2**62 in magnitude.
    """

    name: str
    factors: NDArray[np.int32]
    offsets: NDArray[np.int64]
    kind: str = field(default="scale", init=False)

    def __post_init__(self) -> None:
        _check_name(self.name)
        object.__setattr__(self, "factors", self._checked("factors", self.factors, np.int32))
        object.__setattr__(self, "offsets", self._checked("offsets", self.offsets, np.int64))
        if len(self.factors) != len(self.offsets):
            raise NetworkError(
                f"{self.name}: {len(self.factors)} factors for {len(self.offsets)} offsets; give as many"
            )

    def _checked(self, what: str, array: object, dtype: type) -> NDArray:
        if not isinstance(array, np.ndarray) or array.ndim != 1 or not array.size:
            found = getattr(array, "shape", type(array).__name__)
            raise NetworkError(f"{self.name}: {what} have shape {found}, not one for each channel; reshape them")
        if array.dtype.kind not in "iu":
            raise NetworkError(f"{self.name}: {what} are {array.dtype}, not integers; scale them all alike, and round")
        limits = np.iinfo(dtype)
        for value in (int(array.min()), int(array.max())):
            if not limits.min < value <= limits.max:
                bits = limits.bits
                raise NetworkError(
                    f"{self.name}: {what} hold {value}, beyond int{bits}; divide all factors and offsets"
                )
        return frozen(array, dtype)

    def output_shape(self, shape: Shape) -> Shape:
        """Same as the input's; raises NetworkError where the channels differ."""
        channels = len(self.factors)
        if shape != (channels, 1, 1):
            raise NetworkError(f"{self.name}: {channels} factors for {shape[0]} sums; give one each")
        return shape


@dataclass(frozen=True, kw_only=True, eq=False)
class ArgMax:
    """Class of the largest sum; of several that are largest the first one's.

    Parameters
    ----------
    name : str
        Unique in the network.
    order : tuple of int, optional
        Class of each sum: sums stand in the order in which equal ones win. Where absent, or as they are counted, that
        is the order of the classes, so the lowest class wins.
    """

    name: str
    order: tuple[int, ...] | None = None
    kind: str = field(default="arg_max", init=False)

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.order is None:
            return
        order = self.order
        whole = isinstance(order, (tuple, list)) and all(type(n) is int for n in order)
        if not whole or not order or sorted(order) != list(range(len(order))):
            raise NetworkError(
                f"{self.name}: order={str(order)[:80]} does not have each class from 0 on once; leave it out for the "
                "order of the classes"
            )
        object.__setattr__(self, "order", None if list(order) == sorted(order) else tuple(order))

    def output_shape(self, shape: Shape) -> Shape:
        """``(1, 1, 1)``: one class index."""
        return 1, 1, 1


Layer = Conv2D | Threshold | MaxPool | GlobalSum | Add | Dense | Scale | ArgMax


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How unsigned integers on a wire stand for a layer's input values: ``value = scale * x + offset``.

    Parameters
    ----------
    bits : int
        Width of ``x``, in bits.
    scale, offset : int
        A binary activation is ``bits=1, scale=2, offset=-1``.
    """

    bits: int
    scale: int
    offset: int


def activation(levels: int) -> Encoding:
    """How numbers of thresholds reached stand for activations of so many levels."""
    return Encoding(bits=levels.bit_length(), scale=2, offset=-levels)


BINARY = activation(1)
