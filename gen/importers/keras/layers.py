"""What each class of layers does to what a tensor holds."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import NetworkError, UnsupportedError
from xnorweave.importers.folding import rules
from xnorweave.importers.folding.averages import averaged
from xnorweave.importers.folding.layout import Layout
from xnorweave.importers.folding.linear import conv_sums, dense_sums, within_sum
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
from xnorweave.layers import MAX_STRIDE
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


def _kernel(
    layer: LayerConfig, model: Model, rank: int, *names: str
) -> tuple[list[NDArray[np.float32]], NDArray[np.float32] | None]:
    """Kernels as the layer multiplies with them, by their names in the file, and the layer's bias."""
    use_bias = layer.config.get("use_bias", True)
    if not isinstance(use_bias, bool):
        raise NetworkError(f"use_bias={shown(use_bias)} is neither true nor false; save the model again")
    arrays = model.weights(layer, *names, *["bias"] * use_bias)
    kernels = []
    for name, kernel in zip(names, arrays, strict=False):
        if kernel.ndim != rank or 0 in kernel.shape:
            raise NetworkError(f"its kernel has the shape {list(kernel.shape)}, not rank {rank}; save the model again")
        option = f"{name.split('|')[0].removesuffix('_kernel')}_quantizer"
        rule = quantizer(layer.config.get(option), option)
        if rule is not None and rule is not rules.BIPOLAR:
            raise UnsupportedError(f"its {option} does not give -1 and +1; use ste_sign")
        kernels.append(kernel if rule is None else np.where(kernel >= 0, np.float32(1), np.float32(-1)))
    bias = arrays[-1] if use_bias else None
    dims = kernels[-1].shape
    count = dims[2] * dims[3] if names[-1].startswith("depthwise") else dims[-1]
    if bias is not None and bias.shape != (count,):
        raise NetworkError(f"its bias {list(bias.shape)} is not one value for each of {count} outputs")
    return kernels, bias


def _dense(layer: LayerConfig, model: Model, signal: Signal) -> Signal:
    (kernel,), bias = _kernel(layer, model, 2, "kernel")
    if kernel.shape[1] != whole(layer, "units"):
        raise NetworkError(f"its kernel {list(kernel.shape)} does not have {shown(layer.config['units'])} units")
    if len(signal.layout.shape) != 2:
        raise UnsupportedError(f"takes a tensor of {list(signal.layout.shape)}; put a Flatten before it")
    sums = dense_sums(signal, kernel.T)
    return within_sum(sums, bias)


def _conv(layer: LayerConfig, model: Model, signal: Signal) -> Signal:
    size = pair(layer, "kernel_size")
    (kernel,), bias = _kernel(layer, model, 4, "kernel")
    if kernel.shape[:2] != size or kernel.shape[3] != whole(layer, "filters"):
        raise _unfit(kernel, "kernel_size and filters")
    weights = kernel.transpose(3, 2, 0, 1)
    return _convolved(layer, signal, weights, bias, groups=whole(layer, "groups", 1))


def _depthwise_conv(layer: LayerConfig, model: Model, signal: Signal) -> Signal:
    _expect(layer, "groups", 1)  # Keras 2 writes them, and makes nothing of them
    (kernel,), bias = _kernel(layer, model, 4, "depthwise_kernel|kernel")
    if kernel.shape[:2] != pair(layer, "kernel_size") or kernel.shape[3] != whole(layer, "depth_multiplier", 1):
        raise _unfit(kernel, "kernel_size and depth_multiplier")
    # Output q of channel c is the (c * multiplier + q)-th.
    weights = kernel.reshape(*kernel.shape[:2], 1, -1).transpose(3, 2, 0, 1)
    return _convolved(layer, signal, weights, bias, groups=kernel.shape[2])


def _separable_conv(layer: LayerConfig, model: Model, signal: Signal) -> Signal:
    """Keras multiplies by the pointwise kernel what the depthwise one gives: by their product, where both are signs."""
    _expect(layer, "groups", 1)
    if layer.config.get("depth_multiplier", 1) != 1:
        raise UnsupportedError(
            f"depth_multiplier={shown(layer.config['depth_multiplier'])} makes sums of sums with nothing between; "
            "nearest: 1, or a QuantDepthwiseConv2D and a QuantConv2D of 1x1 with an input_quantizer"
        )
    (depthwise, pointwise), bias = _kernel(layer, model, 4, "depthwise_kernel", "pointwise_kernel")
    fits = depthwise.shape[:2] == pair(layer, "kernel_size") and depthwise.shape[3] == 1
    if not fits or pointwise.shape != (1, 1, depthwise.shape[2], whole(layer, "filters")):
        raise _unfit(depthwise, f"{list(pointwise.shape)}, kernel_size and filters")
    if np.any(np.abs(depthwise) != 1) or np.any(np.abs(pointwise) != 1):
        raise UnsupportedError(
            'weights are not all -1 and +1; use depthwise_quantizer="ste_sign" and pointwise_quantizer="ste_sign"'
        )
    return _convolved(layer, signal, pointwise[0, 0].T[:, :, None, None] * depthwise[..., 0].transpose(2, 0, 1), bias)


def _unfit(kernel: NDArray, what: str) -> NetworkError:
    return NetworkError(f"its kernel {list(kernel.shape)} does not fit {what}; save the model again")


def _convolved(
    layer: LayerConfig, signal: Signal, weights: NDArray[np.float32], bias: NDArray[np.float32] | None, groups: int = 1
) -> Signal:
    """The sums of weights [out, in / groups, ky, kx], with the options that all convolutions have."""
    _expect(layer, "data_format", "channels_last", None)
    if pair(layer, "dilation_rate", 1) != (1, 1):
        raise UnsupportedError(f"dilation_rate={shown(layer.config['dilation_rate'])} is not supported; nearest: 1")
    strides, size = pair(layer, "strides", 1), (weights.shape[2], weights.shape[3])
    if strides not in [(n, n) for n in range(1, MAX_STRIDE + 1)]:
        raise UnsupportedError(
            f"strides={shown(list(strides))} is not supported; nearest: the same from 1 to {MAX_STRIDE} in both "
            "directions"
        )
    image = _map(signal)
    padding = _padding(layer, image.layout.map, size, strides[0])
    if any(padding):
        _expect(layer, "pad_values", 0, None)
    sums = conv_sums(image, weights, stride=strides[0], padding=padding, groups=groups)
    sums = replace(sums, layout=sums.layout.transposed(_LAST))
    return within_sum(sums, bias)


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


def _global_average(layer: LayerConfig, model: Model, signal: Signal) -> Signal:
    _expect(layer, "data_format", "channels_last", None)
    if len(signal.layout.shape) != 4:
        raise UnsupportedError(f"takes a tensor of {list(signal.layout.shape)}, not a map; remove it")
    return averaged(signal, (1, 2), keep=layer.config.get("keepdims") is True)


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
_DEPTHWISE = (*(option for option in _CONV if option != "filters"), "depth_multiplier")
HANDLERS: dict[str, tuple[tuple[str, ...], Handler]] = {
    "Rescaling": (("scale", "offset"), _rescaling),
    "Dense": (("units", "use_bias"), _dense),
    "QuantDense": (("units", *_QUANTIZED), _dense),
    "Conv2D": (_CONV, _conv),
    "QuantConv2D": ((*_CONV, *_QUANTIZED, "pad_values"), _conv),
    "DepthwiseConv2D": ((*_DEPTHWISE,), _depthwise_conv),
    "QuantDepthwiseConv2D": ((*_DEPTHWISE, "input_quantizer", "depthwise_quantizer", "pad_values"), _depthwise_conv),
    "SeparableConv2D": ((*_CONV, "depth_multiplier"), _separable_conv),
    "QuantSeparableConv2D": (
        (*_CONV, "depth_multiplier", "input_quantizer", "depthwise_quantizer", "pointwise_quantizer", "pad_values"),
        _separable_conv,
    ),
    "GlobalAveragePooling2D": (("data_format", "keepdims"), _global_average),
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
