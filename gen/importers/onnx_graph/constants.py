"""Operations on constants alone, and those that only move or name elements.

Their results are bounded before memory is taken for them.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import NetworkError, UnsupportedError
from xnorweave.importers.folding.image import as_image
from xnorweave.importers.folding.signals import Classes, Pixels, Signal
from xnorweave.importers.onnx_graph.model import MAX_RANK, array_of
from xnorweave.importers.onnx_graph.registry import BRANCHES, Call, Value, handles

__all__ = ["bounded", "finite", "moved"]

MAX_CONSTANT_VALUES = 1 << 25


def bounded(*shapes: tuple[int, ...]) -> None:
    """Refuse to broadcast constants to something far larger than a network's weights."""
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError as e:
        raise NetworkError(f"constants of shapes {' and '.join(str(list(s)) for s in shapes)} do not broadcast") from e
    _check_size(math.prod(shape))


def _check_size(values: int) -> None:
    if values > MAX_CONSTANT_VALUES:
        raise NetworkError(f"gives a constant of {values} values, more than {MAX_CONSTANT_VALUES}")


def moved(signal: Signal, **changes: Any) -> Signal:
    """The signal in another layout."""
    return replace(signal, **changes)


@handles("Constant", inputs=(0, 0), attributes=("value", "value_float", "value_int", "value_floats", "value_ints"))
def _constant(call: Call) -> Value:
    if len(call.node.attributes) != 1:
        raise NetworkError("has not exactly one value")
    ((name, value),) = call.node.attributes.items()
    if name == "value":
        if not hasattr(value, "data_location"):
            raise NetworkError("its value is no tensor")
        return array_of(value, "its value")
    # A list where the name says so, of numbers of the kind that it says; integers of ONNX have 64 bits.
    kind = float if "float" in name else int
    # Protobuf's lists have a length, but not in every version an iterator of their own.
    numbers: tuple[Any, ...] = tuple(value) if name.endswith("s") and hasattr(value, "__len__") else (value,)
    if np.isscalar(value) == name.endswith("s") or not all(type(number) is kind for number in numbers):
        raise NetworkError(f"its {name} holds something else; export the graph again")
    constant = np.array(numbers if name.endswith("s") else value, np.float32 if kind is float else np.int64)
    if not np.isfinite(constant).all():
        raise NetworkError("its value is not finite")
    return constant


@handles("Identity", "Dropout", inputs=(1, 3), attributes=("ratio", "seed"))
def _identity(call: Call) -> Value:
    if call.has(2) and call.constant(2, "training_mode").any():
        raise UnsupportedError("training_mode=1 is not supported; export for inference")
    return call.values[0]  # pyright: ignore[reportReturnType]  # `call` checked that it is there


@handles("Cast", inputs=(1, 1), attributes=("to", "saturate"))
def _cast(call: Call) -> Value:
    to, value = call.attribute("to", 0), call.values[0]
    if isinstance(value, np.ndarray):
        kinds: dict[int, type] = {1: np.float32, 6: np.int32, 7: np.int64}
        if to not in kinds:
            raise UnsupportedError(f"to={to} is not supported; nearest: 1 (float32)")
        return value.astype(kinds[to])
    if to != 1 or isinstance(value, Classes):
        raise UnsupportedError(f"casts {call.kind(0)} to element type {to}; only 1 (float32) is supported")
    return call.signal(0)


@handles("Shape", inputs=(1, 1))
def _shape(call: Call) -> Value:
    value = call.values[0]
    shape = value.shape if isinstance(value, np.ndarray) else call.signal(0).layout.shape
    return np.array(shape, np.int64)


@handles("Gather", inputs=(2, 2), attributes=("axis",))
def _gather(call: Call) -> Value:
    data, index = call.constant(0, "data"), call.constant(1, "indices")
    axis = call.attribute("axis", 0)
    if index.dtype.kind != "i" or data.ndim == 0 or data.ndim + index.ndim > MAX_RANK or not -1 <= axis < data.ndim:
        raise NetworkError(f"axis={axis} or indices of {index.dtype} do not fit data {list(data.shape)}")
    _check_size(index.size * (data.size // max(1, data.shape[axis])))
    try:
        return np.asarray(np.take(data, index, axis))
    except IndexError as e:
        raise NetworkError(f"an index is outside of the {data.shape[axis]} elements of data {list(data.shape)}") from e


@handles("Concat", inputs=(1, 64), attributes=("axis",))
def _concat(call: Call) -> Value:
    if any(isinstance(value, Signal) for value in call.values):
        raise UnsupportedError(BRANCHES)
    parts = [call.constant(n, f"input {n}") for n in range(len(call.values))]
    _check_size(sum(part.size for part in parts))
    try:
        return np.concatenate(parts, call.attribute("axis", 0))
    except (ValueError, TypeError) as e:
        raise NetworkError(f"its inputs do not join ({e})") from e


@handles("Pow", inputs=(2, 2))
def _pow(call: Call) -> Value:
    base, exponent = call.floats(0, "base"), call.floats(1, "exponent")
    bounded(base.shape, exponent.shape)
    return finite(np.power(base, exponent, dtype=np.float32))


@handles("Sqrt", inputs=(1, 1))
def _sqrt(call: Call) -> Value:
    return finite(np.sqrt(call.floats(0, "input")))


def finite(result: NDArray) -> NDArray:
    """A constant's float32 result, unless it is not finite."""
    if not np.isfinite(result).all():
        raise NetworkError("gives a value that is not finite; check its constants")
    return np.asarray(result, np.float32)


@handles("Reshape", inputs=(2, 2), attributes=("allowzero",))
def _reshape(call: Call) -> Value:
    call.expect("allowzero", 0, 1)
    value, shape = call.values[0], call.integers(1, "shape")
    if call.attribute("allowzero", 0) and 0 in shape:
        raise NetworkError(f"shape {list(shape)} with allowzero=1 holds nothing; export the graph again")
    old = value.shape if isinstance(value, np.ndarray) else call.signal(0).layout.shape
    if len(shape) > MAX_RANK or any(n == 0 and i >= len(old) for i, n in enumerate(shape)):
        raise NetworkError(f"shape {list(shape)} does not fit its input {list(old)}")
    return _reshaped(call, tuple(old[i] if n == 0 else n for i, n in enumerate(shape)))


@handles("Flatten", inputs=(1, 1), attributes=("axis",))
def _flatten(call: Call) -> Value:
    call.expect("axis", 1)
    return _reshaped(call, (call.signal(0).layout.batch, -1))


@handles("Squeeze", "Unsqueeze", inputs=(1, 2), attributes=("axes",))
def _squeeze(call: Call) -> Value:
    value = call.values[0]
    shape = list(value.shape if isinstance(value, np.ndarray) else call.signal(0).layout.shape)
    axes: Sequence[int] = call.integers(1, "axes") if call.has(1) else call.attribute("axes", ())
    grows = call.node.op == "Unsqueeze"
    rank = len(shape) + (len(axes) if grows else 0)
    axes = sorted(axis % rank if -rank <= axis < rank else rank for axis in axes)
    if not axes or axes[-1] >= min(rank, MAX_RANK + 1) or len(set(axes)) < len(axes):
        raise NetworkError(f"its axes do not fit its input {shape}; name each dimension once")
    if not grows and any(shape[axis] != 1 for axis in axes):
        raise NetworkError(f"axes={axes} of {shape} are not all 1")
    for axis in axes if grows else reversed(axes):
        shape[axis : axis + (not grows)] = [1] if grows else []
    return _reshaped(call, tuple(shape))


def _reshaped(call: Call, shape: tuple[int, ...]) -> Value:
    value = call.values[0]
    if isinstance(value, np.ndarray):
        try:
            return value.reshape(shape)
        except ValueError as e:
            raise NetworkError(f"a constant of {list(value.shape)} has no shape {list(shape)}") from e
    signal = call.signal(0)
    signal = moved(signal, layout=signal.layout.reshaped(shape))
    return as_image(signal) if isinstance(signal, Pixels) else signal


@handles("Transpose", inputs=(1, 1), attributes=("perm",))
def _transpose(call: Call) -> Value:
    value, perm = call.values[0], call.attribute("perm", ())
    if isinstance(value, np.ndarray):
        if perm and sorted(perm) != list(range(value.ndim)):
            raise NetworkError(f"perm={list(perm)} is no order of {value.ndim} dimensions")
        return value.transpose(perm or None)
    signal = call.signal(0)
    perm = perm or tuple(reversed(range(len(signal.layout.shape))))
    return moved(signal, layout=signal.layout.transposed(perm))
