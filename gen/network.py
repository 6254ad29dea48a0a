"""A binarized network: its input, and a chain of layers with residual additions; layers are to be had here too."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import NetworkError
from xnorweave.layers import (
    BINARY,
    MAX_CHANNELS,
    MAX_LAYERS,
    MAX_SCORE,
    MAX_SIDE,
    Add,
    ArgMax,
    Conv2D,
    Dense,
    Encoding,
    GlobalSum,
    Layer,
    MaxPool,
    Padding,
    Scale,
    Shape,
    Threshold,
    activation,
    check_int,
    frozen,
)

__all__ = [
    "Add",
    "ArgMax",
    "Conv2D",
    "Dense",
    "Encoding",
    "GlobalSum",
    "InputSpec",
    "Layer",
    "MaxPool",
    "Network",
    "Padding",
    "Scale",
    "Shape",
    "Threshold",
    "activation",
    "largest_sum",
]


@dataclass(frozen=True, kw_only=True, eq=False)
class InputSpec:
    """What a frame is.

    Parameters
    ----------
    kind : {"pixels", "bits"}
        8-bit unsigned pixels, or bits that stand for -1 and +1.
    shape : Shape
        Channels, height, width of one frame.
    table : int16 array [256] or [channels, 256], optional
        Integer for each pixel value, of all channels or of each; pixels are taken as they are where it is absent. Equal
        ones are kept as [256].
    """

    kind: Literal["pixels", "bits"]
    shape: Shape
    table: NDArray[np.int16] | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("pixels", "bits"):
            raise NetworkError(f"input: kind={self.kind!r} is neither 'pixels' nor 'bits'")
        if not isinstance(self.shape, (tuple, list)) or len(self.shape) != 3:
            raise NetworkError(f"input: shape={self.shape!r} is not (channels, height, width)")
        limits = (("channels", MAX_CHANNELS), ("height", MAX_SIDE), ("width", MAX_SIDE))
        checked = [check_int("input", what, n, 1, high) for (what, high), n in zip(limits, self.shape, strict=True)]
        object.__setattr__(self, "shape", tuple(checked))
        if self.table is not None:
            self._check_table(self.table)

    def _check_table(self, table: object) -> None:
        if self.kind != "pixels":
            raise NetworkError("input: a table needs kind 'pixels', not 'bits'")
        shapes = ((256,), (self.shape[0], 256))
        if not isinstance(table, np.ndarray) or table.shape not in shapes or table.dtype.kind not in "iu":
            found = f"{getattr(table, 'dtype', type(table).__name__)} {getattr(table, 'shape', '')}"
            raise NetworkError(
                f"input: table is {found}, not 256 integers, one for each pixel value, nor such of each of "
                f"{self.shape[0]} channels; give [256] or [channels, 256]"
            )
        if table.min() < -32768 or table.max() > 32767:
            raise NetworkError("input: table has values beyond 16 bits; scale it and the thresholds of the first layer")
        if table.min() == table.max():
            raise NetworkError(f"input: table is {int(table.flat[0])} for every pixel, so the input carries nothing")
        alike = table.ndim == 2 and np.array_equal(table, np.broadcast_to(table[0], table.shape))
        object.__setattr__(self, "table", frozen(table[0] if alike else table, np.int16))

    @property
    def table_by_channel(self) -> NDArray[np.int16] | None:
        """The table as [channels, 256], where there is one."""
        return None if self.table is None else np.broadcast_to(self.table, (self.shape[0], 256))

    @property
    def encoding(self) -> Encoding:
        """How the first layer sees a pixel after the table: the narrowest unsigned integer."""
        if self.kind == "bits":
            return BINARY
        if self.table is None:
            return Encoding(bits=8, scale=1, offset=0)
        values = [int(v) for v in self.table.flat]
        offset = min(values)
        scale = math.gcd(*(v - offset for v in values))
        return Encoding(bits=((max(values) - offset) // scale).bit_length(), scale=scale, offset=offset)


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A chain of layers with everything about it checked.

    Parameters
    ----------
    name : str
        Free text of at most 80 printable characters; never reaches Verilog or a tool.
    input : InputSpec
        What a frame is.
    layers : tuple of Layer
        In order. Sums (Conv2D, Dense) go into a Threshold, an ArgMax, or out, those of a Conv2D through any number of
        Adds, those of a Dense also through a Scale into an ArgMax or out; totals (GlobalSum) into a Dense, a Conv2D of
        1x1, or out.
    classes : tuple of str
        Labels of the outputs, or empty.
    history : tuple of str
        How the network came to be, oldest first.

    Raises
    ------
    NetworkError
        Naming the layer, the value and the remedy.
    """

    name: str
    input: InputSpec
    layers: tuple[Layer, ...]
    classes: tuple[str, ...] = ()
    history: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not 1 <= len(self.name) <= 80 or not self.name.isprintable():
            raise NetworkError(f"network name {self.name!r}: give 1 to 80 printable characters")
        if not 1 <= len(self.layers) <= MAX_LAYERS:
            raise NetworkError(f"network: {len(self.layers)} layers, not 1 to {MAX_LAYERS}")
        for text in (*self.classes, *self.history):
            if not text.isprintable():
                raise NetworkError(f"network: label or history {text[:40]!r} has unprintable characters; remove them")
        seen: dict[str, str] = {}
        for layer in self.layers:
            if layer.name.lower() in seen:
                raise NetworkError(f"{layer.name}: two layers have this name (upper and lower case are one); rename it")
            seen[layer.name.lower()] = layer.name
        self._check_chain()
        shapes = self.shapes
        self._check_shortcuts(shapes)
        self._check_scores()
        if self.classes and len(self.classes) != self._outputs(shapes):
            raise NetworkError(f"network: {len(self.classes)} class labels for {self._outputs(shapes)} outputs")

    def _check_chain(self) -> None:
        signal = "pixels" if self.input.kind == "pixels" else "bits"
        for index, layer in enumerate(self.layers):
            match layer:
                case _ if signal == "scores" and not isinstance(layer, ArgMax):
                    before = self.layers[index - 1].name
                    raise NetworkError(f"{layer.name}: follows the Scale {before}, behind which only an ArgMax may be")
                case Conv2D() | Dense() if signal == "sums":
                    before = self.layers[index - 1].name
                    raise NetworkError(f"{layer.name}: takes bits, but {before} gives sums; put a Threshold between")
                case Conv2D() | Dense():
                    signal = "sums"
                case Threshold() if signal != "sums":
                    raise NetworkError(
                        f"{layer.name}: a Threshold follows a Conv2D, an Add or a Dense; here it gets {signal}"
                    )
                case Threshold():
                    signal = "bits"
                case MaxPool() if signal == "sums":
                    raise NetworkError(
                        f"{layer.name}: pools sums; put it behind the Threshold, which gives the same result"
                    )
                case MaxPool() if signal != "bits":
                    raise NetworkError(
                        f"{layer.name}: pools {signal}; only activations behind a Threshold, or bits, can be pooled"
                    )
                case GlobalSum() if signal == "sums":
                    raise NetworkError(
                        f"{layer.name}: adds up sums; put it behind the Threshold, or in front of a 1x1 convolution, "
                        "which as a Dense then gives the same sums"
                    )
                case GlobalSum() if signal != "bits":
                    raise NetworkError(
                        f"{layer.name}: adds up {signal}; only activations behind a Threshold, or bits, can be added up"
                    )
                case GlobalSum():
                    signal = "totals"
                case Add() if index == 0 or not isinstance(self.layers[index - 1], (Conv2D, Add)):
                    raise NetworkError(
                        f"{layer.name}: an Add follows a Conv2D or another Add; here it gets "
                        f"{signal if signal != 'sums' else 'the sums of a Dense'}"
                    )
                case Scale() if index == 0 or not isinstance(self.layers[index - 1], Dense):
                    raise NetworkError(f"{layer.name}: a Scale follows a Dense; here it gets {signal}")
                case Scale():
                    signal = "scores"
                case ArgMax() if not isinstance(self.layers[index - 1], (Dense, Scale)) or index == 0:
                    raise NetworkError(f"{layer.name}: an ArgMax follows a Dense; here it gets {signal}")
                case ArgMax() if index != len(self.layers) - 1:
                    raise NetworkError(f"{layer.name}: an ArgMax is the last layer; remove what follows")
                case ArgMax(order=order) if order is not None and len(order) != self._sums_before(index):
                    sums = self._sums_before(index)
                    raise NetworkError(f"{layer.name}: order has {len(order)} classes for {sums} sums; give one each")
                case _:
                    pass

    def _check_shortcuts(self, shapes: tuple[Shape, ...]) -> None:
        for index, layer in enumerate(self.layers):
            if not isinstance(layer, Add):
                continue
            place = next((k for k, other in enumerate(self.layers[:index]) if other.name == layer.source), None)
            if place is None:
                raise NetworkError(f"{layer.name}: no layer before it is named {layer.source!r}; give an earlier one's")
            source, between = self.layers[place], self.layers[place + 1 : index]
            if not isinstance(source, (Conv2D, Threshold, MaxPool, Add)):
                raise NetworkError(
                    f"{layer.name}: adds what {source.name}, a {type(source).__name__}, gives; it can add that of a "
                    "Conv2D, a Threshold, a MaxPool or an Add"
                )
            if not any(isinstance(other, Conv2D) for other in between):
                raise NetworkError(
                    f"{layer.name}: no Conv2D lies between its source {source.name} and it; take an earlier source"
                )
            if any(isinstance(other, (Dense, GlobalSum)) for other in self.layers[:index]):
                raise NetworkError(f"{layer.name}: an Add stands before any Dense or GlobalSum; move it there")
            if shapes[place + 1] != shapes[index + 1]:
                here, there = ("x".join(map(str, shapes[k + 1])) for k in (index, place))
                raise NetworkError(
                    f"{layer.name}: adds {there} values of {source.name} to {here}; only the same channels, height and "
                    "width can be added: train the block with stride 1 and as many filters as channels"
                )

    def _sums_before(self, index: int) -> int:
        before = self.layers[index - 1]
        assert isinstance(before, (Dense, Scale))
        return len(before.weights if isinstance(before, Dense) else before.factors)

    def _check_scores(self) -> None:
        for index, layer in enumerate(self.layers):
            if isinstance(layer, Scale):
                factor, offset = (max(abs(int(v)) for v in values) for values in (layer.factors, layer.offsets))
                largest = largest_sum(self.input, self.layers[:index]) * factor + offset
                if largest > MAX_SCORE:
                    bits = largest.bit_length()
                    raise NetworkError(
                        f"{layer.name}: gives values of up to {bits} bits, more than 62; divide all factors and offsets"
                    )

    def _outputs(self, shapes: tuple[Shape, ...]) -> int:
        last = -2 if isinstance(self.layers[-1], ArgMax) else -1
        return shapes[last][0]

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Shape of the input, then of every layer's output: one more than there are layers."""
        shapes = [self.input.shape]
        for layer in self.layers:
            shapes.append(layer.output_shape(shapes[-1]))
            if shapes[-1][0] > MAX_CHANNELS:
                raise NetworkError(f"{layer.name}: {shapes[-1][0]} outputs, more than {MAX_CHANNELS}")
        return tuple(shapes)

    @property
    def weight_count(self) -> int:
        """Number of binary weights."""
        return sum(layer.weights.size for layer in self.layers if isinstance(layer, (Conv2D, Dense)))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one frame, padded taps included."""
        total = 0
        for layer, shape in zip(self.layers, self.shapes[1:], strict=True):
            if isinstance(layer, (Conv2D, Dense)):
                total += layer.weights.size * shape[1] * shape[2]
        return total

    @property
    def sources(self) -> frozenset[str]:
        """Names of the layers whose values a later Add takes."""
        return frozenset(layer.source for layer in self.layers if isinstance(layer, Add))

    def walk(self) -> Iterator[tuple[Layer, Shape, Shape]]:
        """Each layer with its input and output shape, in order."""
        shapes = self.shapes
        yield from zip(self.layers, shapes[:-1], shapes[1:], strict=True)


def largest_sum(source: InputSpec, layers: Sequence[Layer]) -> int:
    """The largest magnitude that values behind some first layers of a network can have."""
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
