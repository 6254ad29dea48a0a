"""Dense layers and convolutions: real weights become -1 and +1 times a scale, activations integers."""

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import NetworkError, UnsupportedError
from xnorweave.importers.folding import rules
from xnorweave.importers.folding.integers import Integers, integers_of, pixel_table
from xnorweave.importers.folding.layout import Layout
from xnorweave.importers.folding.offsets import border
from xnorweave.importers.folding.rounding import EXACT_FLOAT32, Rounding
from xnorweave.importers.folding.signals import Pixels, Signal, Step, Sums, Totals, fractions_of
from xnorweave.layers import MAX_CHANNELS, MAX_LAYERS
from xnorweave.network import Conv2D, Dense, InputSpec, Padding

__all__ = ["conv_sums", "dense_sums", "within_sum"]

MAX_WEIGHTS = 1 << 26
MAX_INT64 = (1 << 63) - 1
ONE = np.float32(1)


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


def within_sum(sums: Sums, bias: NDArray[np.float32] | None, factor: np.float32 = ONE) -> Sums:
    """Sums of a layer times a factor, plus a bias: behind the sum, or, where frameworks like, within it."""
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
    padded = any(padding)
    values, source = integers_of(signal, padded=padded), _source(signal, padded=padded)
    magnitudes = _magnitudes(weights, signal.words.weights)
    signs = np.where(weights > 0, np.int8(1), np.int8(-1))
    scale = tuple(m * s for m, s in zip(magnitudes, _scales(values, len(signs), groups), strict=True))
    around = border(signal, signs, values, groups) if padded and any(values.offsets) else None
    ours = _for_integers(signs, values.signs, signal, groups)
    if around is None:
        offset = tuple(m * o for m, o in zip(magnitudes, _offsets(values, signs, groups), strict=True))
    else:
        ours, offset = np.concatenate([ours, around.weights], 1), tuple(Fraction(0) for _ in magnitudes)
    low, step, count = _reach(ours, (*values.integers, 0) if padded else values.integers)
    return Sums(
        layout=layout,
        words=signal.words,
        source=source,
        layers=signal.layers if around is None else around.layers,
        notes=signal.notes if around is None else (*signal.notes, *around.notes),
        weights=ours,
        stride=stride,
        padding=padding,
        groups=groups,
        low=low,
        step=step,
        count=count,
        first_scale=scale,
        first_offset=offset,
        error=Rounding(
            inputs=values.values(),
            input_error=values.rounding,
            cause=values.cause,
            magnitudes=magnitudes,
            terms=signs[0].size,
            scale=scale,
            offset=offset,
        ),
        scale=scale,
        offset=offset,
    )


def _scales(values: Integers, outputs: int, groups: int) -> list[Fraction]:
    """What one of the inputs' integers is worth to each output, whose filter has the channels of its own group."""
    each = len(values.scales) // groups
    found = [values.scale(slice(n * each, (n + 1) * each)) for n in range(groups)]
    return [found[n * groups // outputs] for n in range(outputs)]


def _offsets(values: Integers, signs: NDArray[np.int8], groups: int) -> list[Fraction]:
    """What the inputs' offsets add to each output whose weights are ``signs``."""
    if len(set(values.offsets)) == 1:
        return [values.offsets[0] * int(n) for n in signs.reshape(len(signs), -1).sum(1, dtype=np.int64)]
    # Whole numbers over one denominator; features of a channel stand together.
    denominator = math.lcm(*(offset.denominator for offset in values.offsets))
    numerators = [int(offset * denominator) for offset in values.offsets]
    dtype = np.int64 if max(map(abs, numerators)) * signs[0].size <= MAX_INT64 else object
    each, outputs = len(numerators) // groups, len(signs) // groups
    counts = signs.reshape(groups, outputs, each, -1).sum(3, dtype=np.int64).astype(dtype)
    parts = np.array(numerators, dtype).reshape(groups, each)
    return [Fraction(int(n), denominator) for group, part in zip(counts, parts, strict=True) for n in group @ part]


def _for_integers(
    signs: NDArray[np.int8], of_inputs: NDArray[np.int8], signal: Signal, groups: int
) -> NDArray[np.int8]:
    """Weights of the integers that stand for values, which some channels have with another sign."""
    if signs.ndim == 2:
        return signs * np.repeat(of_inputs, signal.layout.order.size // len(of_inputs))
    # Each filter has the channels of its own group.
    return signs * np.repeat(of_inputs.reshape(groups, -1), len(signs) // groups, 0)[:, :, None, None]


def _reach(signs: NDArray[np.int8], integers: Sequence[int]) -> tuple[NDArray[np.int64], int, int]:
    """Lowest accumulator value of each output, the distance of values and their number."""
    low, high, fan_in = min(integers), max(integers), signs[0].size
    if fan_in * max(-low, high) >= EXACT_FLOAT32:
        raise UnsupportedError(f"its sums reach {fan_in * max(-low, high)}, beyond what float32 counts exactly (2^24)")
    step = math.gcd(*(v - low for v in integers))
    flat = signs.reshape(len(signs), -1)
    lowest = (flat > 0).sum(1) * low - (flat < 0).sum(1) * high
    return lowest, step, fan_in * (high - low) // step + 1


def _source(signal: Signal, *, padded: bool) -> InputSpec | None:
    """The network's input, where the signal is that; else the one it comes from."""
    if not isinstance(signal, Pixels):
        return signal.source
    rows = np.array(pixel_table(signal, padded=padded).rows)
    plain = np.array_equal(rows, np.arange(256)[None])
    table = None if plain else rows[0] if len(rows) == 1 else rows
    return InputSpec(kind="pixels", shape=signal.layout.map, table=table)


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
