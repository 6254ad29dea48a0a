"""From layers to hardware stages: signed sums and thresholds become unsigned integers on wires.

A wire carries an unsigned ``x`` with ``value = scale * x + offset`` (`Encoding`). For a layer with weights ``w`` let
``L = sum w * x``. Its signed sum is ``acc = scale * L + offset * sum w`` over the taps on real data, so

    acc >= t   is   L >= ceil((t - offset * sum w) / scale),

and a padded tap, whose value is zero, is exact as ``x = 0`` with ``sum w`` taken without it: only the threshold
depends on the border. Activations of several levels are numbers of thresholds reached, which are wires like any other.

Sums that an addition needs leave the convolution themselves, as ``x`` of the coarsest encoding that holds them at every
border. An addition makes ``x`` of two: its step is the common one of both, its offset their sum.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import UnsupportedError
from xnorweave.layers import BINARY
from xnorweave.network import (
    Add,
    ArgMax,
    Conv2D,
    Dense,
    Encoding,
    GlobalSum,
    MaxPool,
    Network,
    Padding,
    Scale,
    Shape,
    Threshold,
    activation,
)
from xnorweave.passes.sums import SumForm, ThresholdStage, borders, reach, sum_form, threshold_stage

__all__ = [
    "AddStage",
    "ArgMaxStage",
    "ConvStage",
    "DenseStage",
    "GlobalSumStage",
    "PoolStage",
    "ScaleStage",
    "Stage",
    "TableStage",
    "streamline",
]


@dataclass(frozen=True, kw_only=True, eq=False)
class TableStage:
    """Pixel table: 256 entries of each channel, which are the unsigned ``x`` of ``encoding``."""

    name: str
    layer: str
    channels: int
    pixels: int
    entries: tuple[tuple[int, ...], ...]
    encoding: Encoding


@dataclass(frozen=True, kw_only=True, eq=False)
class ConvStage:
    """Convolution and its thresholds, or its sums.

    Parameters
    ----------
    name, layer : str
        The convolution's name, and the layer whose values leave: the threshold's, or of sums its own.
    weights : int8 array [out, in / groups, ky, kx]
    stride : int
    padding : Padding
    input_shape, output_shape : Shape
    encoding : Encoding
        Of the inputs.
    thresholds : dict of int to tuple of int
        For each border number ``levels`` ascending thresholds on ``L`` per output channel, channel by channel, within
        reach of ``L`` or one above; none where sums leave.
    levels : int
        Thresholds of a channel.
    groups : int
        As of `Conv2D`.
    sums : SumForm, optional
        What leaves where there are no thresholds.
    """

    name: str
    layer: str
    weights: NDArray[np.int8]
    stride: int
    padding: Padding
    input_shape: Shape
    output_shape: Shape
    encoding: Encoding
    thresholds: dict[int, tuple[int, ...]]
    levels: int = 1
    groups: int = 1
    sums: SumForm | None = None

    @property
    def limits(self) -> dict[int, tuple[int, ...]]:
        """The thresholds or, of sums, the biases of each border number."""
        return self.thresholds if self.sums is None else self.sums.biases

    @property
    def output_encoding(self) -> Encoding:
        """Of the activations or sums that leave."""
        return activation(self.levels) if self.sums is None else self.sums.encoding

    @property
    def matrix(self) -> NDArray[np.int8]:
        """Weights as [inputs, outputs], 0 outside an output's group; inputs in the order row, column, channel."""
        taps = self.weights.transpose(2, 3, 1, 0)
        if self.groups == 1:
            return np.ascontiguousarray(taps.reshape(-1, len(self.weights)))
        matrix = np.zeros((*taps.shape[:2], self.input_shape[0], len(self.weights)), np.int8)
        channels, outputs = taps.shape[2], len(self.weights) // self.groups
        for group in range(self.groups):
            columns = slice(group * outputs, (group + 1) * outputs)
            matrix[:, :, group * channels : (group + 1) * channels, columns] = taps[:, :, :, columns]
        return matrix.reshape(-1, len(self.weights))

    def by_group(self) -> "list[tuple[ConvStage, NDArray[np.int64]]]":
        """Each group as a convolution of its own, with the places of its inputs among those of a window."""
        if self.groups == 1:
            return [(self, np.arange(self.weights[0].size))]
        channels, outputs = self.weights.shape[1], len(self.weights) // self.groups
        taps = math.prod(self.weights.shape[2:])
        places = np.arange(taps * self.input_shape[0]).reshape(taps, self.groups, channels)
        return [(self._group(k * outputs, outputs), places[:, k].reshape(-1)) for k in range(self.groups)]

    def _group(self, first: int, outputs: int) -> "ConvStage":
        rows = slice(first * self.levels, (first + outputs) * self.levels)
        sums = self.sums
        if sums is not None:
            sums = replace(sums, biases={border: row[first : first + outputs] for border, row in sums.biases.items()})
        return replace(
            self,
            weights=self.weights[first : first + outputs],
            input_shape=(self.weights.shape[1], *self.input_shape[1:]),
            output_shape=(outputs, *self.output_shape[1:]),
            thresholds={border: row[rows] for border, row in self.thresholds.items()},
            groups=1,
            sums=sums,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class PoolStage:
    """Max pooling of activations of one ``encoding``."""

    name: str
    layer: str
    size: int
    stride: int
    input_shape: Shape
    output_shape: Shape
    encoding: Encoding = BINARY

    @property
    def output_encoding(self) -> Encoding:
        """As the input's."""
        return self.encoding


@dataclass(frozen=True, kw_only=True, eq=False)
class GlobalSumStage:
    """Sums of activations of one ``encoding`` over all positions."""

    name: str
    layer: str
    input_shape: Shape
    encoding: Encoding

    @property
    def positions(self) -> int:
        """Pixels of a frame."""
        return self.input_shape[1] * self.input_shape[2]

    @property
    def output_shape(self) -> Shape:
        """One pixel."""
        return self.input_shape[0], 1, 1

    @property
    def output_encoding(self) -> Encoding:
        """Of the sums: as many levels as all positions have together."""
        return activation(-self.encoding.offset * self.positions)


@dataclass(frozen=True, kw_only=True, eq=False)
class AddStage:
    """Residual addition.

    Parameters
    ----------
    name, layer : str
    source : str
        Layer whose values are added.
    output_shape : Shape
        Of both inputs too.
    encoding, shortcut : Encoding
        Of the sums that come, and of the source's values.
    between : tuple of Stage
        What the values pass on the way that the shortcut spares them, in order; what holds them back there fills the
        shortcut.
    """

    name: str
    layer: str
    source: str
    output_shape: Shape
    encoding: Encoding
    shortcut: Encoding
    between: "tuple[Stage, ...]"

    @property
    def input_shape(self) -> Shape:
        """As the output's."""
        return self.output_shape

    @property
    def factors(self) -> tuple[int, int]:
        """What each of the two ``x`` counts in the sum's."""
        return self.encoding.scale // self.output_encoding.scale, self.shortcut.scale // self.output_encoding.scale

    @property
    def output_encoding(self) -> Encoding:
        """Of the sums."""
        both = self.encoding, self.shortcut
        scale = math.gcd(*(each.scale for each in both))
        top = sum((2**each.bits - 1) * each.scale // scale for each in both)
        return Encoding(bits=top.bit_length(), scale=scale, offset=sum(each.offset for each in both))


@dataclass(frozen=True, kw_only=True, eq=False)
class DenseStage:
    """Dense layer, with its thresholds where it has some.

    A lane with weight +1 adds ``x``, one with -1 its complement ``top - x`` with ``top = 2**bits - 1``.

    Parameters
    ----------
    name, layer : str
        The dense layer's name, and the layer whose values leave.
    weights : int8 array [out, in]
        Inputs in stream order: row, column, channel.
    input_shape : Shape
    encoding : Encoding
        Of the inputs.
    biases : tuple of int
        Added to each output's sum of lanes.
    fires : bool
        Outputs are activations: the first level is reached where ``bias + sum >= 0``.
    scale : int
    offsets : tuple of int
        Without ``fires``, the signed sum is ``scale * (bias + sum) + offset``.
    steps : tuple of tuple of int
        Where there are several levels, what ``bias + sum`` must be at least for each further one, ascending, for each
        output.
    """

    name: str
    layer: str
    weights: NDArray[np.int8]
    input_shape: Shape
    encoding: Encoding
    biases: tuple[int, ...]
    fires: bool
    scale: int
    offsets: tuple[int, ...]
    steps: tuple[tuple[int, ...], ...] = ()

    @property
    def levels(self) -> int:
        """Thresholds of an output that fires."""
        return 1 + len(self.steps[0]) if self.steps else 1

    @property
    def output_encoding(self) -> Encoding:
        """Of the activations, where it fires."""
        return activation(self.levels)

    @property
    def matrix(self) -> NDArray[np.int8]:
        """Weights as [inputs, outputs]."""
        return np.ascontiguousarray(self.weights.T)

    @property
    def output_shape(self) -> Shape:
        """One pixel."""
        return len(self.weights), 1, 1

    @property
    def linear_biases(self) -> tuple[int, ...]:
        """What makes each output's ``bias + sum`` of its ``L``: the bias, and the complements' constant."""
        complements = (2**self.encoding.bits - 1) * (self.weights < 0).sum(1, dtype=np.int64)
        return tuple(bias + int(c) for bias, c in zip(self.biases, complements, strict=True))


@dataclass(frozen=True, kw_only=True, eq=False)
class ScaleStage:
    """Factors and offsets of the sums of a dense layer.

    Parameters
    ----------
    name, layer : str
        The scale's name.
    factors, offsets : tuple of int
        A result on a wire is ``factor * x + offset`` of a sum ``x`` on a wire; none is negative.
    sum_range : tuple of int
        Lowest and highest ``x``.
    highest : int
        Highest result.
    scale, offset : int
        The layer's value is ``scale * result + offset``.
    """

    name: str
    layer: str
    factors: tuple[int, ...]
    offsets: tuple[int, ...]
    sum_range: tuple[int, int]
    highest: int
    scale: int
    offset: int


@dataclass(frozen=True, kw_only=True, eq=False)
class ArgMaxStage:
    """Class of the largest of ``classes`` sums, whose classes are ``order``."""

    name: str
    layer: str
    classes: int
    order: tuple[int, ...] | None


Stage = (
    TableStage
    | ConvStage
    | PoolStage
    | GlobalSumStage
    | AddStage
    | ThresholdStage
    | DenseStage
    | ScaleStage
    | ArgMaxStage
)


def streamline(network: Network) -> tuple[Stage, ...]:
    """Give the hardware stages of a network, in order.

    Preserves outputs bit for bit. Raises UnsupportedError naming the layer where this version has no hardware for it.
    """
    stages: list[Stage] = []
    encoding = network.input.encoding
    if network.input.table is not None:
        stages.append(_table(network, encoding))
    walk = list(network.walk())
    for index, (layer, before, after) in enumerate(walk):
        following = walk[index + 1][0] if index + 1 < len(walk) else None
        threshold = following if isinstance(following, Threshold) else None
        match layer:
            case Conv2D() | Add() if following is None:
                raise UnsupportedError(
                    f"{layer.name}: sums of a convolution that leave the network have no hardware; put a Threshold "
                    "behind it"
                )
            case Conv2D() if threshold is None or layer.name in network.sources:
                stages.append(conv := _conv(layer, None, before, after, encoding))
                encoding = conv.output_encoding
            case Conv2D():
                stages.append(_conv(layer, threshold, before, after, encoding))
            case Add():
                stages.append(add := _add(layer, stages, after, encoding))
                encoding = add.output_encoding
            case Dense():
                stages.append(_dense(layer, threshold, before, encoding))
            case Threshold():
                if stages[-1].layer != layer.name:
                    stages.append(threshold_stage(layer, after, encoding))
                encoding = layer.encoding
            case MaxPool():
                stages.append(
                    PoolStage(
                        name=layer.name,
                        layer=layer.name,
                        size=layer.size,
                        stride=layer.stride,
                        input_shape=before,
                        output_shape=after,
                        encoding=encoding,
                    )
                )
            case GlobalSum():
                total = GlobalSumStage(name=layer.name, layer=layer.name, input_shape=before, encoding=encoding)
                stages.append(total)
                encoding = total.output_encoding
            case Scale():
                dense = stages[-1]
                assert isinstance(dense, DenseStage), "Network puts every Scale behind a Dense"
                stages.append(_scale(layer, dense))
            case ArgMax():
                stages.append(ArgMaxStage(name=layer.name, layer=layer.name, classes=before[0], order=layer.order))
    return tuple(stages)


def _table(network: Network, encoding: Encoding) -> TableStage:
    tables = network.input.table_by_channel
    assert tables is not None
    channels, height, width = network.input.shape
    entries = tuple(tuple((int(v) - encoding.offset) // encoding.scale for v in table) for table in tables)
    return TableStage(
        name="table", layer="", channels=channels, pixels=height * width, entries=entries, encoding=encoding
    )


def _conv(layer: Conv2D, threshold: Threshold | None, before: Shape, after: Shape, encoding: Encoding) -> ConvStage:
    """A convolution and its thresholds; without them its sums leave."""
    return ConvStage(
        name=layer.name,
        layer=layer.name if threshold is None else threshold.name,
        weights=layer.weights,
        stride=layer.stride,
        padding=layer.padding,
        input_shape=before,
        output_shape=after,
        encoding=encoding,
        thresholds={} if threshold is None else _border_thresholds(layer, threshold, before, encoding),
        levels=1 if threshold is None else threshold.levels,
        groups=layer.groups,
        sums=sum_form(layer, before, encoding) if threshold is None else None,
    )


def _border_thresholds(
    layer: Conv2D, threshold: Threshold, before: Shape, encoding: Encoding
) -> dict[int, tuple[int, ...]]:
    low, high = (bound[:, None] for bound in reach(layer.weights, encoding))
    thresholds: dict[int, tuple[int, ...]] = {}
    for border, taps in borders(layer, before).items():
        fixed = encoding.offset * taps.sum((1, 2, 3), dtype=np.int64)
        exact = -((fixed[:, None] - threshold.by_channel) // encoding.scale)
        thresholds[border] = tuple(int(t) for t in np.clip(exact, low, high + 1).flat)
    return thresholds


def _add(layer: Add, stages: list[Stage], shape: Shape, encoding: Encoding) -> AddStage:
    place = next(k for k, stage in enumerate(stages) if stage.layer == layer.source)
    source = stages[place]
    assert isinstance(source, (ConvStage, PoolStage, AddStage, ThresholdStage)), "Network takes no other source"
    return AddStage(
        name=layer.name,
        layer=layer.name,
        source=layer.source,
        output_shape=shape,
        encoding=encoding,
        shortcut=source.output_encoding,
        between=tuple(stages[place + 1 :]),
    )


def _dense(layer: Dense, threshold: Threshold | None, before: Shape, encoding: Encoding) -> DenseStage:
    outputs = len(layer.weights)
    weights = layer.weights.reshape(outputs, *before).transpose(0, 2, 3, 1).reshape(outputs, -1)
    top = 2**encoding.bits - 1
    complement = top * (weights < 0).sum(1, dtype=np.int64)
    constant = encoding.offset * weights.sum(1, dtype=np.int64) - encoding.scale * complement
    steps: tuple[tuple[int, ...], ...] = ()
    if threshold is not None:
        fixed = (constant + encoding.scale * complement)[:, None]
        low, high = (bound[:, None] for bound in reach(weights, encoding))
        exact = np.clip(-((fixed - threshold.by_channel) // encoding.scale), low, high + 1)
        biases = -(exact[:, 0] + complement)
        offsets = np.zeros(outputs, np.int64)
        if threshold.levels > 1:
            steps = tuple(tuple(int(t) for t in row) for row in exact[:, 1:] - exact[:, :1])
    else:
        biases, offsets = _score_biases(layer, constant, encoding)
    return DenseStage(
        name=layer.name,
        layer=threshold.name if threshold is not None else layer.name,
        weights=weights,
        input_shape=before,
        encoding=encoding,
        biases=tuple(int(b) for b in biases),
        fires=threshold is not None,
        scale=encoding.scale,
        offsets=tuple(int(o) for o in offsets),
        steps=steps,
    )


def _score_biases(
    layer: Dense, constant: NDArray[np.int64], encoding: Encoding
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Biases that bring all outputs to one scale and offset, so that the largest wire value is the largest sum."""
    difference = constant - constant[0]
    if np.any(difference % encoding.scale):
        step = math.gcd(*(int(d) for d in difference), encoding.scale)
        raise UnsupportedError(
            f"{layer.name}: scores of this input table (step {encoding.scale}) differ by {step}, which no integer "
            "bias holds; give the table an offset that is a multiple of its step"
        )
    return difference // encoding.scale, np.full(len(constant), constant[0])


def _scale(layer: Scale, dense: DenseStage) -> ScaleStage:
    """Factors and offsets of the sums on wires, without what all results have in common."""
    factors = [int(f) * dense.scale for f in layer.factors]
    offsets = [int(f) * sums + int(o) for f, o, sums in zip(layer.factors, layer.offsets, dense.offsets, strict=True)]
    common = math.gcd(*factors, *(o - offsets[0] for o in offsets)) or 1
    span = dense.weights.shape[1] * (2**dense.encoding.bits - 1)
    ends = [
        [factor * x + offset for x in (bias, bias + span)]
        for factor, offset, bias in zip(factors, offsets, dense.biases, strict=True)
    ]
    lowest, highest = min(map(min, ends)), max(map(max, ends))
    return ScaleStage(
        name=layer.name,
        layer=layer.name,
        factors=tuple(factor // common for factor in factors),
        offsets=tuple((offset - lowest) // common for offset in offsets),
        sum_range=(min(dense.biases), max(dense.biases) + span),
        highest=(highest - lowest) // common,
        scale=common,
        offset=lowest,
    )
