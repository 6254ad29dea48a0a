"""What each class of layers does to what a tensor holds."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import NetworkError, UnsupportedError
from xnorweave.importers.folding import rules
from xnorweave.importers.folding.layout import Layout
from xnorweave.importers.folding.linear import conv_sums, dense_sums, plus
from xnorweave.importers.folding.pooling import pooled
from xnorweave.importers.folding.signals import Pixels, Signal
from xnorweave.importers.folding.steps import applied, normalized
from xnorweave.importers.keras.chain import LayerConfig
from xnorweave.importers.keras.model import Model
from xnorweave.importers.keras.options import (
    SOFTMAX,
    Quantizer,
    floating,
    number,
    pair,
    quantizer,
    shown,
    whole,
)
from xnorweave.network import Padding, Shape

__all__ = ["HANDLERS", "channels_first", "factors", "plain_map", "quantized"]

Handler = Callable[[LayerConfig, Model, Signal], Signal]
_LAST, _FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
_QUANTIZED = ("use_bias", "input_quantizer", "kernel_quantizer")


def plain_map(shape: Shape) -> Layout:
    """A map in our order, which Keras has with channels last."""
    return Layout.plain(1, shape).transposed(_LAST)


def channels_first(signal: Signal) -> Signal:
    """The same map with channels first."""
    return replace(signal, layout=signal.layout.transposed(_FIRST))


def quantized(signal: Signal, rule: Quantizer) -> Signal:
    """A signal behind an input quantizer or an activation."""
    if rule is SOFTMAX:
        raise UnsupportedError("softmax has to be the last; remove it")
    if rule is None:
        return signal
    return applied(signal, rule, np.ones((), np.float32)) if rule is rules.BIPOLAR else applied(signal, rule)


def factors(layer: LayerConfig, name: str, default: float) -> NDArray[np.float32]:
    """An option that is a number, or a list of one for each channel."""
    value = layer.config.get(name, default)
    numbers = value if isinstance(value, list) and 0 < len(value) <= 1 << 14 else [value]
    return np.array([number(n, name) for n in numbers], np.float32)


def _expect(layer: LayerConfig, name: str, *allowed: object) -> None:
    value = layer.config.get(name, allowed[0])
    if value not in allowed:
        raise UnsupportedError(f"{name}={shown(value)} is not supported; nearest: {allowed[0]}")


def _rescaling(layer: LayerConfig, model: Model, signal: Signal) -> Signal:
    scaled = applied(signal, rules.MULTIPLY, factors(layer, "scale", 1.0))
    return applied(scaled, rules.ADD, factors(layer, "offset", 0.0))


def _kernel(layer: LayerConfig, model: Model, rank: int) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Weights as the layer multiplies with them, and its bias."""
    use_bias = layer.config.get("use_bias", True)
    if not isinstance(use_bias, bool):
        raise NetworkError(f"use_bias={shown(use_bias)} is neither true nor false; save the model again")
    kernel, *bias = model.weights(layer, "kernel", *["bias"] * use_bias)
    if kernel.ndim != rank or 0 in kernel.shape:
        raise NetworkError(f"its kernel has the shape {list(kernel.shape)}, not rank {rank}; save the model again")
    rule = quantizer(layer.config.get("kernel_quantizer"), "kernel_quantizer")
    if rule is not None and rule is not rules.BIPOLAR:
        raise UnsupportedError("its kernel_quantizer does not give -1 and +1; use ste_sign")
    if rule is rules.BIPOLAR:
        kernel = np.where(kernel >= 0, np.float32(1), np.float32(-1))
    if bias and bias[0].shape != kernel.shape[-1:]:
        raise NetworkError(f"its bias {list(bias[0].shape)} is not one value for each of {kernel.shape[-1]} outputs")
    return kernel, bias[0] if bias else None


def _dense(layer: LayerConfig, model: Model, signal: Signal) -> Signal:
    kernel, bias = _kernel(layer, model, 2)
    if kernel.shape[1] != whole(layer, "units"):
        raise NetworkError(f"its kernel {list(kernel.shape)} does not have {shown(layer.config['units'])} units")
    if len(signal.layout.shape) != 2:
        raise UnsupportedError(f"takes a tensor of {list(signal.layout.shape)}; put a Flatten before it")
    sums = dense_sums(signal, kernel.T)
    return sums if bias is None else plus(sums, bias)


def _conv(layer: LayerConfig, model: Model, signal: Signal) -> Signal:
    _expect(layer, "data_format", "channels_last", None)
    _expect(layer, "groups", 1)
    if pair(layer, "dilation_rate", 1) != (1, 1):
        raise UnsupportedError(f"dilation_rate={shown(layer.config['dilation_rate'])} is not supported; nearest: 1")
    strides, size = pair(layer, "strides", 1), pair(layer, "kernel_size")
    if strides not in ((1, 1), (2, 2)):
        raise UnsupportedError(f"strides={shown(list(strides))} is not supported; nearest: [1, 1] or [2, 2]")
    kernel, bias = _kernel(layer, model, 4)
    if kernel.shape[:2] != size or kernel.shape[3] != whole(layer, "filters"):
        raise NetworkError(
            f"its kernel {list(kernel.shape)} does not fit kernel_size and filters; save the model again"
        )
    image = _map(signal)
    padding = _padding(layer, image.layout.map, size, strides[0])
    if any(padding):
        _expect(layer, "pad_values", 0, None)
    sums = conv_sums(image, kernel.transpose(3, 2, 0, 1), stride=strides[0], padding=padding)
    sums = replace(sums, layout=sums.layout.transposed(_LAST))
    return sums if bias is None else plus(sums, bias)


def _map(signal: Signal) -> Signal:
    """A map with channels first, which the signal has to be with channels last."""
    layout = signal.layout
    if len(layout.shape) != 4:
        raise UnsupportedError(f"takes a tensor of {list(layout.shape)}, not a map; give it the shape of an image")
    first = channels_first(signal)
    if not first.layout.is_map and isinstance(signal, Pixels) and layout.is_plain and layout.map[0] == 1:
        # Pixels in a vector, reshaped to an image.
        height, width, channels = layout.order.shape
        values = np.repeat(signal.values, channels, axis=0)
        first = replace(signal, layout=Layout.plain(1, (channels, height, width)), values=values)
    if not first.layout.is_map:
        raise UnsupportedError(
            f"takes a tensor of {list(layout.shape)} that is not the map of the layer before; remove the Reshape"
        )
    return first


def _padding(layer: LayerConfig, shape: Shape, window: tuple[int, int], stride: int) -> Padding:
    """Rows and columns of zeros as TensorFlow adds them: where their number is odd, one more behind than before."""
    padding = layer.config.get("padding", "valid")
    if padding == "valid":
        return 0, 0, 0, 0
    if padding != "same":
        raise UnsupportedError(f"padding={shown(padding)} is not supported; nearest: valid or same")
    totals = [max((-(-n // stride) - 1) * stride + k - n, 0) for n, k in zip(shape[1:], window, strict=True)]
    (top, bottom), (left, right) = ((total // 2, total - total // 2) for total in totals)
    return top, bottom, left, right


def _max_pooling(layer: LayerConfig, model: Model, signal: Signal) -> Signal:
    _expect(layer, "data_format", "channels_last", None)
    size = pair(layer, "pool_size", 2)
    strides = pair(layer, "strides") if layer.config.get("strides") is not None else size
    if size not in ((2, 2), (3, 3)) or strides not in [(n, n) for n in range(1, size[0] + 1)]:
        raise UnsupportedError(
            f"pool_size={list(size)} with strides={list(strides)} is not supported; nearest: [2, 2] with [2, 2]"
        )
    image = _map(signal)
    if any(_padding(layer, image.layout.map, size, strides[0])):
        raise UnsupportedError("padding=same adds rows or columns here; nearest: valid")
    return replace(done := pooled(image, size=size[0], stride=strides[0]), layout=done.layout.transposed(_LAST))


def _batch_normalization(layer: LayerConfig, model: Model, signal: Signal) -> Signal:
    rank = len(signal.layout.shape)
    axis = layer.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if axis not in (-1, rank - 1):
        raise UnsupportedError(f"axis={shown(axis)} is not supported; nearest: -1, the channels")
    names = [n for n, option in (("gamma", "scale"), ("beta", "center")) if layer.config.get(option, True)]
    arrays = dict(zip(names := [*names, "moving_mean", "moving_variance"], model.weights(layer, *names), strict=True))
    mean, variance = arrays["moving_mean"], arrays["moving_variance"]
    constants = (arrays.get("gamma", np.ones_like(mean)), arrays.get("beta", np.zeros_like(mean)), mean, variance)
    epsilon = floating(layer, "epsilon", 1e-3)
    fused = model.keras == 2 and rank == 4 and layer.config.get("fused") is not False
    rule = rules.batch_norm(float(epsilon), "shifted" if fused else "factored")
    return normalized(signal, rule, constants, epsilon=float(epsilon), axis=-1)


def _flatten(layer: LayerConfig, model: Model, signal: Signal) -> Signal:
    _expect(layer, "data_format", "channels_last", None)
    return replace(signal, layout=signal.layout.reshaped((signal.layout.batch, -1)))


def _reshape(layer: LayerConfig, model: Model, signal: Signal) -> Signal:
    shape = layer.config.get("target_shape")
    if not isinstance(shape, list) or not 1 <= len(shape) <= 3 or not all(type(n) is int for n in shape):
        raise UnsupportedError(f"target_shape={shown(shape)} is not supported; give one to three sizes")
    return replace(signal, layout=signal.layout.reshaped((signal.layout.batch, *shape)))


_CONV = ("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate", "groups", "use_bias")
HANDLERS: dict[str, tuple[tuple[str, ...], Handler]] = {
    "Rescaling": (("scale", "offset"), _rescaling),
    "Dense": (("units", "use_bias"), _dense),
    "QuantDense": (("units", *_QUANTIZED), _dense),
    "Conv2D": (_CONV, _conv),
    "QuantConv2D": ((*_CONV, *_QUANTIZED, "pad_values"), _conv),
    "MaxPooling2D": (("pool_size", "strides", "padding", "data_format"), _max_pooling),
    "BatchNormalization": (
        (
            "axis",
            "epsilon",
            "center",
            "scale",
            "momentum",
            "fused",
            "synchronized",
            "renorm_clipping",
            "renorm_momentum",
        ),
        _batch_normalization,
    ),
    "Flatten": (("data_format",), _flatten),
    "Reshape": (("target_shape",), _reshape),
}
"""By class: the options that matter, and what the layer does behind its input quantizer and before its activation."""
