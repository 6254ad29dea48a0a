"""What each kind of layer does to what a tensor holds."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import NetworkError, UnsupportedError
from xnorweave.importers.folding import rules
from xnorweave.importers.folding.averages import averaged
from xnorweave.importers.folding.classes import classified
from xnorweave.importers.folding.files import quoted
from xnorweave.importers.folding.linear import conv_sums, dense_sums, within_sum
from xnorweave.importers.folding.pooling import pooled
from xnorweave.importers.folding.signals import Classes, Signal
from xnorweave.importers.folding.steps import along, applied, normalized
from xnorweave.importers.pytorch.description import Entry
from xnorweave.importers.pytorch.tensors import Tensors
from xnorweave.layers import MAX_STRIDE
from xnorweave.network import Padding

__all__ = ["behind"]

_ONE = np.ones((), np.float32)
MOST_BITS = 4
MOST_STEP = 1 << 15


def behind(layer: Entry, tensors: Tensors, signal: Signal) -> Signal:
    """A signal behind a layer.

    Raises
    ------
    NetworkError, UnsupportedError
        Where the layer is not sound, or not exact in hardware.
    """
    if isinstance(signal, Classes):
        raise UnsupportedError("follows the argmax, which has to be the last; remove it")
    match layer.kind:
        case "conv":
            return _conv(layer, tensors, signal)
        case "dense":
            return _dense(layer, tensors, signal)
        case "batch_norm":
            return _batch_norm(layer, tensors, signal)
        case "sign":
            zero = _zero(layer.keys.get("zero"), "zero")
            return applied(signal, rules.SIGN) if zero == 0 else applied(signal, _SIGNS[zero], _ONE)
        case "quantize":
            return _quantize(layer, tensors, signal)
        case "dorefa":
            return applied(signal, rules.dorefa(layer.whole("bits", 2, most=MOST_BITS)))
        case "global_average" | "global_sum":
            if len(signal.layout.shape) != 4:
                raise UnsupportedError(f"takes a tensor of {list(signal.layout.shape)}, not a map; remove it")
            return averaged(signal, (2, 3), keep=True, divided=layer.kind == "global_average")
        case "max_pool":
            size = layer.whole("size", 2)
            return pooled(signal, size=size, stride=layer.whole("stride", size))
        case "flatten":
            return replace(signal, layout=signal.layout.reshaped((signal.layout.batch, -1)))
        case "affine":
            scaled = applied(signal, rules.MULTIPLY, _constant(layer, "scale", 1.0, tensors, signal))
            return applied(scaled, rules.ADD, _constant(layer, "offset", 0.0, tensors, signal))
        case "normalize":
            std = _constant(layer, "std", 1.0, tensors, signal)
            if not std.all():
                raise NetworkError("std is 0, by which it would divide; check it")
            centred = applied(signal, rules.SUBTRACT, _constant(layer, "mean", 0.0, tensors, signal))
            return applied(centred, rules.DIVIDE, std)
        case _:
            return classified(signal)


def _quantize(layer: Entry, tensors: Tensors, signal: Signal) -> Signal:
    """``clamp(round(x / scale), low, high) * scale``."""
    low, high = (layer.keys.get(key) for key in ("low", "high"))
    if type(low) is not int or type(high) is not int or not -MOST_STEP <= low < high <= MOST_STEP:
        raise NetworkError(
            f"low = {quoted(low)}, high = {quoted(high)}: give whole numbers, low below high, within {MOST_STEP} of 0"
        )
    scale = _constant(layer, "scale", 1.0, tensors, signal)
    if not (scale > 0).all():
        raise NetworkError("scale is not above 0; give a positive one, and negate with an affine layer")
    return applied(signal, rules.whole_steps(low, high), scale, np.zeros((), np.float32))


_SIGNS = {1: rules.BIPOLAR, -1: rules.BIPOLAR_ABOVE}


def _zero(value: object, what: str) -> int:
    if type(value) is not int or value not in (-1, 0, 1):
        raise NetworkError(
            f"{what} = {quoted(value)}: say what the sign makes of 0: zero = 1, zero = -1, or zero = 0 as in torch.sign"
        )
    return value


def _weights(layer: Entry, tensors: Tensors, rank: int) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Weights as the layer multiplies with them, and its bias."""
    name, weight, bias = (layer.name(key) for key in ("name", "weight", "bias"))
    if (name is None) == (weight is None):
        raise NetworkError("give either name, of the module, or weight, of the tensor")
    if name is not None:
        weight = f"{name}.weight"
        bias = bias or (f"{name}.bias" if f"{name}.bias" in tensors else None)
    assert weight is not None
    weights = tensors.array(weight)
    if weights.ndim != rank or 0 in weights.shape:
        order = "[out, in, rows, columns]" if rank == 4 else "[out, in]"
        raise NetworkError(f"tensor {quoted(weight)} has the shape {list(weights.shape)}, not {order}; check its name")
    sign = layer.keys.get("sign")
    if sign is not None:
        if not isinstance(sign, dict) or sign.keys() != {"zero"}:
            raise NetworkError(f"sign = {quoted(sign)}: write sign = {{ zero = 1 }}, or what the network makes of 0")
        zero = _zero(sign["zero"], "sign.zero")
        if zero == 0 and not weights.all():
            raise UnsupportedError(
                f"tensor {quoted(weight)} holds 0, of which torch.sign makes 0; train with a sign that makes 1 of "
                "it, and write sign = { zero = 1 }"
            )
        weights = np.where(weights >= 0 if zero == 1 else weights > 0, np.float32(1), np.float32(-1))
    if bias is None:
        return weights, None
    biases = tensors.array(bias)
    if biases.shape != weights.shape[:1]:
        raise NetworkError(
            f"tensor {quoted(bias)} {list(biases.shape)} is not one value for each of {len(weights)} outputs"
        )
    return weights, biases


def _dense(layer: Entry, tensors: Tensors, signal: Signal) -> Signal:
    weights, bias = _weights(layer, tensors, 2)
    if len(signal.layout.shape) != 2:
        raise UnsupportedError(f"takes a tensor of {list(signal.layout.shape)}; put a flatten before it")
    sums = dense_sums(signal, weights)
    return within_sum(sums, bias)


def _conv(layer: Entry, tensors: Tensors, signal: Signal) -> Signal:
    weights, bias = _weights(layer, tensors, 4)
    stride, groups = layer.whole("stride", 1), layer.whole("groups", 1)
    if stride > MAX_STRIDE:
        raise UnsupportedError(f"stride = {stride} is not supported; nearest: 1 to {MAX_STRIDE}")
    padding = _padding(layer.keys.get("padding", 0))
    sums = conv_sums(signal, weights, stride=stride, padding=padding, groups=groups)
    return within_sum(sums, None if bias is None else bias[:, None, None])


def _padding(value: object) -> Padding:
    numbers = [value] if type(value) is int else value
    if (
        not isinstance(numbers, list)
        or len(numbers) not in (1, 2, 4)
        or not all(type(n) is int and 0 <= n < 1 << 16 for n in numbers)
    ):
        raise NetworkError(
            f"padding = {quoted(value)} is not zeros on each side, [rows, columns], or [top, bottom, left, right]"
        )
    if len(numbers) == 4:
        return numbers[0], numbers[1], numbers[2], numbers[3]
    rows, columns = numbers[0], numbers[-1]
    return rows, rows, columns, columns


def _batch_norm(layer: Entry, tensors: Tensors, signal: Signal) -> Signal:
    module = layer.name("name")
    names = {key: layer.name(key) for key in ("weight", "bias", "mean", "variance")}
    if module is not None:
        own = {"weight": "weight", "bias": "bias", "mean": "running_mean", "variance": "running_var"}
        for key, ending in own.items():
            if names[key] is None and (key in ("mean", "variance") or f"{module}.{ending}" in tensors):
                names[key] = f"{module}.{ending}"
    if names["mean"] is None or names["variance"] is None:
        raise NetworkError("give name, of the module, or mean and variance, of the tensors")
    mean, variance = tensors.array(names["mean"]), tensors.array(names["variance"])
    scale = np.ones_like(mean) if names["weight"] is None else tensors.array(names["weight"])
    bias = np.zeros_like(mean) if names["bias"] is None else tensors.array(names["bias"])
    epsilon = layer.keys.get("epsilon", 1e-5)
    if type(epsilon) not in (int, float) or not 0 <= epsilon < 3e38:
        raise NetworkError(f"epsilon = {quoted(epsilon)} is no number from 0 on")
    rule = rules.batch_norm(float(epsilon), "factored")
    return normalized(signal, rule, (scale, bias, mean, variance), epsilon=float(epsilon), axis=1)


def _constant(layer: Entry, key: str, default: float, tensors: Tensors, signal: Signal) -> NDArray[np.float32]:
    """A key that is a number, a list of one for each channel, or the name of such a tensor."""
    value = layer.keys.get(key, default)
    if isinstance(value, str):
        numbers = tensors.array(layer.name(key) or "").ravel()
    else:
        listed: list[Any] = value if isinstance(value, list) and 0 < len(value) <= 1 << 14 else [value]
        if not all(type(n) in (int, float) and abs(n) < 3e38 for n in listed):
            raise NetworkError(f"{key} = {quoted(value)} is no number, list of numbers or name of a tensor")
        numbers = np.array(listed, np.float32)
    return numbers if numbers.size == 1 else along(numbers, len(signal.layout.shape), 1)
