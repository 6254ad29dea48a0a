"""Dense layers and convolutions: real weights become -1 and +1 times a scale, activations integers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import NetworkError, UnsupportedError
from xnorweave.importers.folding import rules
from xnorweave.importers.folding.layout import Layout
from xnorweave.importers.folding.offsets import border_weights, with_constant_channels
from xnorweave.importers.folding.rounding import EXACT_FLOAT32, Rounding
from xnorweave.importers.folding.signals import Activations, Pixels, Signal, Step, Sums, Totals, fractions_of
from xnorweave.network import MAX_CHANNELS, MAX_LAYERS, Conv2D, Dense, InputSpec, Layer, Padding

__all__ = ["conv_sums", "dense_sums", "equal_steps", "integer_table", "plus", "times", "within_sum"]

MAX_WEIGHTS = 1 << 26
LEAST_STEP = 1 << 8
"""Values that are off equal steps by a smaller part than this of half a step were rounded; others are no steps."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Values:
    """A layer's input as integers: value = ``scale * sign[channel] * integer + offset``, but for ``rounding``."""

    integers: Sequence[int]
    scale: Fraction
    offset: Fraction
    signs: NDArray[np.int8]
    rounding: Fraction = Fraction(0)
    cause: str = ""


def dense_sums(signal: Signal, weights: NDArray[np.float32]) -> Sums:
    """The sums of weights [out, in], whose inputs are in the tensor's own order.

    Raises
    ------
    NetworkError, UnsupportedError
        Where the tensor is no vector of that many inputs, or no integer sums come of it.
    """
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


def conv_sums(signal: Signal, weights: NDArray[np.float32], *, stride: int, padding: Padding, groups: int = 1) -> Sums:
    """The sums of weights [out, in / groups, ky, kx] over a map with channels first.

    Raises
    ------
    NetworkError, UnsupportedError
        Where the tensor is no such map, or no integer sums come of it.
    """
    if not signal.layout.is_map:
        raise UnsupportedError(
            f"its input {list(signal.layout.shape)} is not the map {list(signal.layout.map)} (channels first) of the "
            "layer before; remove the Reshape or Transpose between"
        )
    if isinstance(signal, Totals) and (weights.shape[2:] != (1, 1) or any(padding)):
        raise UnsupportedError("takes averages over a map, which is 1x1; use a kernel of 1x1 without padding")
    # Made only for its checks and its shape, before any large array.
    probe = Conv2D(name="conv", weights=np.ones(weights.shape, np.int8), stride=stride, padding=padding, groups=groups)
    layout = Layout.plain(signal.layout.batch, probe.output_shape(signal.layout.map))
    return _sums(signal, weights, layout, stride=stride, padding=padding, groups=groups)


def plus(sums: Sums, constant: NDArray[np.float32]) -> Sums:
    """The sums and a constant that broadcasts to them."""
    return _constant_step(sums, rules.ADD, constant)


def times(sums: Sums, constant: NDArray[np.float32]) -> Sums:
    """The sums times a constant that broadcasts to them."""
    return _constant_step(sums, rules.MULTIPLY, constant)


def within_sum(sums: Sums, factor: np.float32, bias: NDArray[np.float32] | None) -> Sums:
    """Sums of a layer times a factor, plus a bias: behind the sum, or, where frameworks like, within it."""
    added: tuple[Fraction, ...] = ()
    if factor != 1:
        sums = times(sums, np.array(factor))
    if bias is not None:
        added = fractions_of(sums.layout.per_channel(bias))
        sums = plus(sums, bias)
    changes = {"factor": Fraction(float(factor)), "bias": added, "steps": len(sums.steps)}
    return replace(sums, error=replace(sums.error, scale=sums.scale, offset=sums.offset, **changes))


def _constant_step(sums: Sums, rule: rules.Rule, constant: NDArray[np.float32]) -> Sums:
    return sums.then(Step(rule=rule, constants=(sums.layout.per_channel(constant)[:, None],)))


def _sums(
    signal: Signal,
    weights: NDArray[np.float32],
    layout: Layout,
    *,
    stride: int = 1,
    padding: Padding = (0, 0, 0, 0),
    groups: int = 1,
) -> Sums:
    """The sums of real weights, in our order, over a layer's input."""
    _check_budget(signal, weights)
    values, source = _values(signal), _source(signal)
    magnitudes = _magnitudes(weights, signal.words.weights)
    signs = np.where(weights > 0, np.int8(1), np.int8(-1))
    totals = signs.reshape(len(signs), -1).sum(1, dtype=np.int64)
    inputs = tuple(values.scale * v + values.offset for v in values.integers)
    terms, offset_in, layers, notes = signs[0].size, values.offset, signal.layers, signal.notes
    more = np.empty((len(signs), 0, *signs.shape[2:]), np.int8)
    if any(padding) and values.offset:
        more, layers, note = _border(signal, signs, values, groups)
        offset_in, notes = Fraction(0), (*notes, note)
    if signs.ndim == 4:
        # Of each filter's own channels.
        signs *= np.repeat(values.signs.reshape(groups, -1), len(signs) // groups, 0)[:, :, None, None]
    else:
        signs *= np.repeat(values.signs, signal.layout.order.size // len(values.signs))
    signs = np.concatenate([signs, more], 1)
    low, step, count = _reach(signs, (*values.integers, 0) if any(padding) else values.integers)
    scale = tuple(m * values.scale for m in magnitudes)
    offset = tuple(m * offset_in * int(t) for m, t in zip(magnitudes, totals, strict=True))
    return Sums(
        layout=layout,
        words=signal.words,
        source=source,
        layers=layers,
        notes=notes,
        weights=signs,
        stride=stride,
        padding=padding,
        groups=groups,
        low=low,
        step=step,
        count=count,
        first_scale=scale,
        first_offset=offset,
        error=Rounding(
            inputs=inputs,
            input_error=values.rounding,
            cause=values.cause,
            magnitudes=magnitudes,
            terms=terms,
            scale=scale,
            offset=offset,
        ),
        scale=scale,
        offset=offset,
    )


def _border(
    signal: Signal, signs: NDArray[np.int8], values: _Values, groups: int
) -> tuple[NDArray[np.int8], tuple[Layer, ...], str]:
    """Weights of constant channels that make up for the offset where zeros are padded, the layers with them, a note."""
    if isinstance(signal, Pixels):
        raise UnsupportedError(
            "pads with zeros, which are no value of a pixel here; quantize the input, or shift it by a simple fraction"
        )
    levels, layers = max(values.integers), None
    more = border_weights(signs, values.offset / values.scale, levels) if groups == 1 else None
    if more is not None and signal.source is not None:
        value = abs(int(values.offset / values.scale))
        layers = with_constant_channels(signal.layers, signal.source, more.shape[1], value)
    if more is None or layers is None:
        raise UnsupportedError(
            "pads with zeros, but its input's values are not symmetric about 0: the border would need thresholds of its "
            "own, or constant channels between two layers without groups; give the quantizer such values (-1 and 1; -1, 0 "
            "and 1), or the layer no padding"
        )
    note = (
        f"{more.shape[1]} constant channels for the zeros around activations that are not symmetric about 0; with -1 and 1 "
        "(or -1, 0 and 1) there would be none"
    )
    return more, layers, note


def _reach(signs: NDArray[np.int8], integers: Sequence[int]) -> tuple[NDArray[np.int64], int, int]:
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


def _magnitudes(weights: NDArray[np.float32], remedy: str) -> tuple[Fraction, ...]:
    """The one magnitude that all weights of an output have."""
    flat = np.abs(weights.reshape(len(weights), -1))
    bad = (flat != flat[:, :1]).any(1) | (flat[:, 0] == 0)
    if bad.any():
        output = int(bad.argmax())
        found = ", ".join(f"{v:g}" for v in np.unique(flat[output])[:3])
        raise UnsupportedError(
            f"weights of output {output} have the magnitudes {found}, not one above 0; binarize them with {remedy}"
        )
    return fractions_of(flat[:, 0])


def _values(signal: Signal) -> _Values:
    match signal:
        case Pixels():
            integers, scale, offset = integer_table(signal)
            exact = [scale * n + offset for n in integers]
            return _Values(
                integers=tuple(sorted(set(integers))),
                scale=scale,
                offset=offset,
                signs=np.ones(signal.layout.map[0], np.int8),
                rounding=max(abs(v - e) for v, e in zip(fractions_of(signal.values[0]), exact, strict=True)),
                cause="its inputs are rounded to float32; give it whole pixels, and scale behind the layer",
            )
        case Activations():
            cause = "its inputs are rounded to float32; quantize in steps of a power of two, and scale behind the layer"
            return _stepped(signal, Fraction(0), cause)
        case Totals():
            return _stepped(signal, signal.error, signal.cause)
        case Sums():
            raise UnsupportedError(f"takes sums; quantize them to -1 and +1 before, with {signal.words.quantizer}")
        case _:
            raise UnsupportedError(f"takes class indices; remove what follows {signal.words.ending}")


def _stepped(signal: Activations | Totals, error: Fraction, cause: str) -> _Values:
    """Values from a number of thresholds reached, as the integers from -levels to levels in steps of 2.

    Where float32 has rounded them, they are off these by an error.
    """
    levels = signal.values.shape[1] - 1
    rows, which = np.unique(signal.values, axis=0, return_inverse=True)
    lines = [equal_steps(fractions_of(row)) for row in rows]
    if len({abs(half) for half, _, _ in lines}) != 1 or len({m for _, m, _ in lines}) != 1 or not lines[0][0]:
        raise UnsupportedError(
            "its input's channels have different scales or offsets, which no integer sum holds; give the quantizer "
            "before it one scale for all channels"
        )
    signs = np.array([1 if half > 0 else -1 for half, _, _ in lines], np.int8)
    return _Values(
        integers=range(-levels, levels + 1, 2),
        scale=abs(lines[0][0]),
        offset=lines[0][1],
        signs=signs[which.ravel()],
        rounding=max(off for _, _, off in lines) + error,
        cause=cause,
    )


def equal_steps(values: tuple[Fraction, ...]) -> tuple[Fraction, Fraction, Fraction]:
    """Half the step, the middle, and how far values are off those steps, which is at most a rounding of float32."""
    levels = len(values) - 1
    half, middle = (values[-1] - values[0]) / (2 * levels), (values[-1] + values[0]) / 2
    off = max(abs(middle + half * (2 * n - levels) - value) for n, value in enumerate(values))
    if off * LEAST_STEP > abs(half):
        found = ", ".join(f"{float(v):g}" for v in values[:5])
        raise UnsupportedError(
            f"its input's values {found}{', ...' if len(values) > 5 else ''} are not equally spaced; quantize to values "
            "of one step"
        )
    return half, middle, off


def integer_table(signal: Pixels) -> tuple[tuple[int, ...], Fraction, Fraction]:
    """An integer for each pixel, what one of it is worth, and what 0 is: for the values in float32 if they have a step.

    Else for the values before rounding, where these are known; only for them 0 may be worth something.

    Raises
    ------
    UnsupportedError
        Where channels differ, or the values have no common step.
    """
    if np.any(signal.values != signal.values[:1]):
        raise UnsupportedError(
            "the input's channels are scaled differently; only one rule for all channels is supported"
        )
    tries = [(fractions_of(signal.values[0]), Fraction(0))]
    if signal.ideal is not None:
        tries += [(signal.ideal, Fraction(0)), (signal.ideal, signal.ideal[0])]
    for values, offset in tries:
        denominator = math.lcm(*(v.denominator for v in values), offset.denominator)
        numerators = [int((v - offset) * denominator) for v in values]
        unit = math.gcd(*numerators) or 1
        integers = tuple(n // unit for n in numerators)
        if max(map(abs, integers)) <= 32767:
            return integers, Fraction(unit, denominator), offset
    raise UnsupportedError(
        f"the input's values are no multiples of one step within 16 bits; quantize the input with {signal.words.inputs}"
    )
