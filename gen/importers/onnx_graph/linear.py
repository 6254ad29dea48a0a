"""Handlers of MatMul, Gemm and Conv: real weights become -1 and +1 times a scale, activations integers."""

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import NetworkError, UnsupportedError
from xnorweave.importers.onnx_graph import rules
from xnorweave.importers.onnx_graph.layout import Layout
from xnorweave.importers.onnx_graph.registry import Call, Value, handles
from xnorweave.importers.onnx_graph.rounding import EXACT_FLOAT32, Rounding
from xnorweave.importers.onnx_graph.signals import Bits, Pixels, Signal, Step, Sums, fractions_of
from xnorweave.network import MAX_CHANNELS, MAX_LAYERS, Conv2D, Dense, InputSpec, Padding

__all__: list[str] = []

MAX_WEIGHTS = 1 << 26


@dataclass(frozen=True, kw_only=True, eq=False)
class _Values:
    """A layer's input as integers: value = ``scale * sign[channel] * integer + offset``."""

    integers: tuple[int, ...]
    scale: Fraction
    offset: Fraction
    signs: NDArray[np.int8]


@handles("MatMul", inputs=(2, 2))
def _matmul(call: Call) -> Value:
    if not isinstance(call.values[1], np.ndarray):
        raise UnsupportedError("its second input is no constant; give activations first and constant weights second")
    return _dense(call, call.floats(1, "weights").T)


@handles("Gemm", inputs=(2, 3), attributes=("alpha", "beta", "transA", "transB"))
def _gemm(call: Call) -> Value:
    call.expect("transA", 0)
    weights = call.floats(1, "weights")
    sums = _dense(call, weights if call.attribute("transB", 0) else weights.T)
    alpha, beta = np.float32(call.attribute("alpha", 1.0)), np.float32(call.attribute("beta", 1.0))
    return _within_sum(sums, alpha, call.floats(2, "bias") * beta if call.has(2) else None)


def _within_sum(sums: Sums, factor: np.float32, bias: NDArray[np.float32] | None) -> Sums:
    """Sums times a factor, plus a bias: behind the sum as documented, or, where frameworks like, within it."""
    added: tuple[Fraction, ...] = ()
    if factor != 1:
        sums = _constant_step(sums, rules.MULTIPLY, np.array(factor))
    if bias is not None:
        added = fractions_of(sums.layout.per_channel(bias))
        sums = _constant_step(sums, rules.ADD, bias)
    changes = {"factor": Fraction(float(factor)), "bias": added, "steps": len(sums.steps)}
    return replace(sums, error=replace(sums.error, scale=sums.scale, offset=sums.offset, **changes))


def _constant_step(sums: Sums, rule: rules.Rule, constant: NDArray[np.float32]) -> Sums:
    return sums.then(Step(rule=rule, constants=(sums.layout.per_channel(constant)[:, None],)))


def _dense(call: Call, weights: NDArray[np.float32]) -> Sums:
    """The sums of weights [out, in]."""
    signal = call.signal(0)
    if weights.ndim != 2 or len(signal.layout.shape) != 2:
        raise UnsupportedError(
            f"multiplies {list(signal.layout.shape)} by weights of rank {weights.ndim}; flatten to rank 2 before it"
        )
    outputs, features = weights.shape
    if features != signal.layout.order.size or not outputs:
        raise NetworkError(f"its weights take {features} inputs, but the tensor has {signal.layout.order.size}")
    ordered = np.empty_like(weights)
    ordered[:, signal.layout.order.ravel()] = weights
    return _sums(signal, ordered, Layout.plain(signal.layout.batch, (outputs, 1, 1), (outputs,)))


@handles("Conv", inputs=(2, 3), attributes=("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"))
def _conv(call: Call) -> Value:
    signal, weights = call.signal(0), call.floats(1, "weights")
    call.expect("auto_pad", "NOTSET", "VALID")
    call.expect("group", 1)
    call.expect("dilations", (1, 1))
    if weights.ndim != 4 or 0 in weights.shape:
        raise UnsupportedError(f"its weights have rank {weights.ndim}; only 2-D convolutions are supported")
    kernel = weights.shape[2:]
    call.expect("kernel_shape", kernel)
    stride = call.attribute("strides", (1, 1))
    if stride not in ((1, 1), (2, 2)):
        raise UnsupportedError(f"strides={list(stride)} is not supported; nearest: [1, 1] or [2, 2]")
    pads = call.attribute("pads", (0, 0, 0, 0))
    if len(pads) != 4 or (any(pads) and call.attribute("auto_pad", "NOTSET") == "VALID"):
        raise NetworkError(f"pads={list(pads)} does not fit a 2-D convolution")
    if not signal.layout.is_map and isinstance(signal, Pixels):
        signal = _as_image(signal)
    if not signal.layout.is_map:
        raise UnsupportedError(
            f"its input {list(signal.layout.shape)} is not the map {list(signal.layout.map)} (channels first) of the "
            "layer before; remove the Reshape or Transpose between"
        )
    padding = (pads[0], pads[2], pads[1], pads[3])
    # Made only for its checks and its shape, before any large array.
    probe = Conv2D(name="conv", weights=np.ones(weights.shape, np.int8), stride=stride[0], padding=padding)
    layout = Layout.plain(signal.layout.batch, probe.output_shape(signal.layout.map))
    sums = _sums(signal, weights, layout, stride=stride[0], padding=padding)
    if not call.has(2):
        return sums
    bias = call.floats(2, "bias")
    if bias.shape != weights.shape[:1]:
        raise NetworkError(f"its bias {list(bias.shape)} is not one value for each of {len(weights)} filters")
    return _within_sum(sums, np.float32(1), bias[:, None, None])


def _as_image(signal: Pixels) -> Signal:
    """Pixels that were reshaped to the image that a convolution takes."""
    layout, same = signal.layout, not np.any(signal.values != signal.values[:1])
    if len(layout.shape) != 4 or not layout.is_plain or not same:
        return signal
    channels, height, width = layout.order.shape
    values = np.repeat(signal.values[:1], channels, axis=0)
    return replace(signal, layout=Layout.plain(layout.batch, (channels, height, width)), values=values)


def _sums(
    signal: Signal,
    weights: NDArray[np.float32],
    layout: Layout,
    *,
    stride: int = 1,
    padding: Padding = (0, 0, 0, 0),
) -> Sums:
    """The sums of real weights, in our order, over a layer's input."""
    _check_budget(signal, weights)
    values, source = _values(signal), _source(signal)
    if any(padding) and values.offset:
        raise UnsupportedError(
            "pads with zeros, which are neither of its input's two values; give the quantizer -1, +1"
        )
    magnitudes = _magnitudes(weights)
    signs = np.where(weights > 0, np.int8(1), np.int8(-1))
    totals = signs.reshape(len(signs), -1).sum(1, dtype=np.int64)
    per_input = np.repeat(values.signs, signal.layout.order.size // len(values.signs))
    signs *= values.signs[:, None, None] if signs.ndim == 4 else per_input
    low, step, count = _reach(signs, (*values.integers, 0) if any(padding) else values.integers)
    scale = tuple(m * values.scale for m in magnitudes)
    offset = tuple(m * values.offset * int(t) for m, t in zip(magnitudes, totals, strict=True))
    return Sums(
        layout=layout,
        source=source,
        layers=signal.layers,
        notes=signal.notes,
        weights=signs,
        stride=stride,
        padding=padding,
        low=low,
        step=step,
        count=count,
        first_scale=scale,
        first_offset=offset,
        error=Rounding(
            inputs=tuple(values.scale * v + values.offset for v in values.integers),
            magnitudes=magnitudes,
            terms=signs[0].size,
            scale=scale,
            offset=offset,
        ),
        scale=scale,
        offset=offset,
    )


def _reach(signs: NDArray[np.int8], integers: tuple[int, ...]) -> tuple[NDArray[np.int64], int, int]:
    """Lowest accumulator value of each output, the distance of values and their number."""
    low, high, fan_in = min(integers), max(integers), signs[0].size
    if fan_in * max(-low, high) >= EXACT_FLOAT32:
        raise UnsupportedError(f"its sums reach {fan_in * max(-low, high)}, beyond what float32 counts exactly (2^24)")
    step = math.gcd(*(v - low for v in integers))
    flat = signs.reshape(len(signs), -1)
    lowest = (flat > 0).sum(1) * low - (flat < 0).sum(1) * high
    return lowest, step, fan_in * (high - low) // step + 1


def _source(signal: Signal) -> InputSpec | None:
    """The network's input, where the signal is that; else the one it comes from."""
    if not isinstance(signal, Pixels):
        return signal.source
    table = np.array(integer_table(signal)[0])
    return InputSpec(
        kind="pixels", shape=signal.layout.map, table=None if np.array_equal(table, np.arange(256)) else table
    )


def _check_budget(signal: Signal, weights: NDArray) -> None:
    total = sum(x.weights.size for x in signal.layers if isinstance(x, (Conv2D, Dense))) + weights.size
    if total > MAX_WEIGHTS or len(weights) > MAX_CHANNELS or len(signal.layers) >= MAX_LAYERS:
        raise NetworkError(
            f"layer {len(signal.layers) + 1} with {len(weights)} outputs, {total} weights so far: more than "
            f"{MAX_LAYERS} layers, {MAX_CHANNELS} outputs or {MAX_WEIGHTS} weights; make the network smaller"
        )


def _magnitudes(weights: NDArray[np.float32]) -> tuple[Fraction, ...]:
    """The one magnitude that all weights of an output have."""
    flat = np.abs(weights.reshape(len(weights), -1))
    bad = (flat != flat[:, :1]).any(1) | (flat[:, 0] == 0)
    if bad.any():
        output = int(bad.argmax())
        found = ", ".join(f"{v:g}" for v in np.unique(flat[output])[:3])
        raise UnsupportedError(
            f"weights of output {output} have the magnitudes {found}, not one above 0; binarize them with "
            "BipolarQuant, or with Quant of 1 bit"
        )
    return fractions_of(flat[:, 0])


def _values(signal: Signal) -> _Values:
    match signal:
        case Pixels():
            integers, scale = integer_table(signal)
            ones = np.ones(signal.layout.map[0], np.int8)
            return _Values(integers=tuple(sorted(set(integers))), scale=scale, offset=Fraction(0), signs=ones)
        case Bits():
            return _bit_values(signal)
        case Sums():
            raise UnsupportedError("takes sums; quantize them to -1 and +1 before, with BipolarQuant")
        case _:
            raise UnsupportedError("takes class indices; remove what follows the ArgMax or TopK")


def _bit_values(signal: Bits) -> _Values:
    pairs = [fractions_of(pair) for pair in signal.values]
    halves = [(high - low) / 2 for low, high in pairs]
    middles = {(high + low) / 2 for low, high in pairs}
    if len({abs(h) for h in halves}) != 1 or len(middles) != 1 or not halves[0]:
        raise UnsupportedError(
            "its input's channels have different scales or offsets, which no integer sum holds; give the quantizer "
            "before it one scale for all channels"
        )
    signs = np.array([1 if h > 0 else -1 for h in halves], np.int8)
    return _Values(integers=(-1, 1), scale=abs(halves[0]), offset=middles.pop(), signs=signs)


def integer_table(signal: Pixels) -> tuple[tuple[int, ...], Fraction]:
    """An integer for each pixel, and what one of it is worth.

    Raises
    ------
    UnsupportedError
        Where channels differ, or the values are no multiples of one step.
    """
    if np.any(signal.values != signal.values[:1]):
        raise UnsupportedError(
            "the input's channels are scaled differently; only one rule for all channels is supported"
        )
    values = fractions_of(signal.values[0])
    denominator = math.lcm(*(v.denominator for v in values))
    numerators = [v.numerator * (denominator // v.denominator) for v in values]
    unit = math.gcd(*numerators) or 1
    integers = tuple(n // unit for n in numerators)
    if max(map(abs, integers)) > 32767:
        raise UnsupportedError(
            "the input's values are no multiples of one step within 16 bits; quantize the input with Quant of a "
            "power-of-two scale, or with BipolarQuant"
        )
    return integers, Fraction(unit, denominator)
