"""A layer's input as integers: what its hardware sums, and what a framework's float32 makes of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import UnsupportedError
from xnorweave.importers.folding.signals import Activations, Pixels, Signal, Sums, Totals, fractions_of

__all__ = ["Integers", "equal_steps", "integer_table", "integers_of"]

LEAST_STEP = 1 << 8
"""Values that are off equal steps by a smaller part than this of half a step were rounded; others are no steps."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Integers:
    """A layer's input as integers: value = ``scale * sign[channel] * integer + offset``, but for ``rounding``."""

    integers: Sequence[int]
    scale: Fraction
    offset: Fraction
    signs: NDArray[np.int8]
    rounding: Fraction = Fraction(0)
    cause: str = ""


def integers_of(signal: Signal) -> Integers:
    match signal:
        case Pixels():
            integers, scale, offset = integer_table(signal)
            exact = [scale * n + offset for n in integers]
            return Integers(
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


def _stepped(signal: Activations | Totals, error: Fraction, cause: str) -> Integers:
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
    return Integers(
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
            f"its input's values {found}{', ...' if len(values) > 5 else ''} are not equally spaced; quantize to "
            "values of one step"
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
