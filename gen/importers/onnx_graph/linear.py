"""Handlers of MatMul, Gemm and Conv."""

import numpy as np

from xnorweave.errors import NetworkError, UnsupportedError
from xnorweave.importers.folding.image import as_image
from xnorweave.importers.folding.linear import conv_sums, dense_sums, within_sum
from xnorweave.importers.folding.signals import Pixels
from xnorweave.importers.onnx_graph.constants import finite
from xnorweave.importers.onnx_graph.registry import Call, Value, handles
from xnorweave.layers import MAX_CHANNELS, MAX_STRIDE

__all__: list[str] = []


@handles("MatMul", inputs=(2, 2))
def _matmul(call: Call) -> Value:
    if not isinstance(call.values[1], np.ndarray):
        raise UnsupportedError("its second input is no constant; give activations first and constant weights second")
    return dense_sums(call.signal(0), call.floats(1, "weights").T)


@handles("Gemm", inputs=(2, 3), attributes=("alpha", "beta", "transA", "transB"))
def _gemm(call: Call) -> Value:
    call.expect("transA", 0)
    weights = call.floats(1, "weights")
    sums = dense_sums(call.signal(0), weights if call.attribute("transB", 0) else weights.T)
    alpha, beta = np.float32(call.attribute("alpha", 1.0)), np.float32(call.attribute("beta", 1.0))
    with np.errstate(over="ignore"):
        bias = finite(call.floats(2, "bias") * beta) if call.has(2) else None
    return within_sum(sums, bias, alpha)


@handles("Conv", inputs=(2, 3), attributes=("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"))
def _conv(call: Call) -> Value:
    signal, weights = call.signal(0), call.floats(1, "weights")
    call.expect("auto_pad", "NOTSET", "VALID")
    call.expect("dilations", (1, 1))
    if weights.ndim != 4 or 0 in weights.shape:
        raise UnsupportedError(f"its weights have rank {weights.ndim}; only 2-D convolutions are supported")
    call.expect("kernel_shape", weights.shape[2:])
    stride = call.attribute("strides", (1, 1))
    if stride not in [(n, n) for n in range(1, MAX_STRIDE + 1)]:
        raise UnsupportedError(
            f"strides={list(stride)} is not supported; nearest: the same from 1 to {MAX_STRIDE} in both directions"
        )
    pads = call.attribute("pads", (0, 0, 0, 0))
    if len(pads) != 4 or (any(pads) and call.attribute("auto_pad", "NOTSET") == "VALID"):
        raise NetworkError(f"pads={list(pads)} does not fit a 2-D convolution")
    padding = (pads[0], pads[2], pads[1], pads[3])
    if isinstance(signal, Pixels) and not signal.layout.is_map:
        signal = as_image(signal, MAX_CHANNELS)
    sums = conv_sums(signal, weights, stride=stride[0], padding=padding, groups=call.attribute("group", 1))
    if not call.has(2):
        return sums
    bias = call.floats(2, "bias")
    if bias.shape != weights.shape[:1]:
        raise NetworkError(f"its bias {list(bias.shape)} is not one value for each of {len(weights)} filters")
    return within_sum(sums, bias[:, None, None])
