"""What elementwise operations do: in float32 as a framework does it, and in exact arithmetic.

Every rule here never falls or never rises: each is a chain of correctly rounded float32 operations with constants,
comparisons and roundings, and rounding keeps order.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import UnsupportedError

__all__ = [
    "ADD",
    "AVERAGE",
    "BIPOLAR",
    "BIPOLAR_ABOVE",
    "DIVIDE",
    "HEAVISIDE",
    "MULTIPLY",
    "NEGATE",
    "SIGN",
    "SUBTRACT",
    "Bound",
    "Formula",
    "Rule",
    "batch_norm",
    "dorefa",
    "levels",
    "quant",
    "ternary",
    "whole_steps",
]

Apply = Callable[..., NDArray]
Exact = Callable[..., tuple[Fraction, Fraction]]
Formula = Literal["divided", "factored", "shifted"]
SQRT_BITS = 256


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A threshold in exact arithmetic: ``x`` has to reach the level, or, where it is strict, to exceed it."""

    level: Fraction
    strict: bool = False


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One elementwise operation on ``x`` with constants that broadcast to it.

    Parameters
    ----------
    apply : callable
        ``apply(x, *constants)`` in float32.
    orders : tuple of callable
        The same in other orders of rounding that frameworks use.
    exact : callable, optional
        ``exact(scale, offset, *constants)`` in fractions: scale and offset behind the operation.
    thresholds : int
        Of a quantizer: how many thresholds it compares ``x`` with, so one value less than come out; else 0.
    values : callable, optional
        Of a quantizer: ``values(*constants)`` are these values in float32, [channels, thresholds + 1].
    bounds : callable, optional
        Of a quantizer: ``bounds(*constants)`` are the thresholds of one channel in fractions, whose constants are
        tuples of fractions.
    """

    apply: Apply
    orders: tuple[Apply, ...] = ()
    exact: Exact | None = None
    thresholds: int = 0
    values: Callable[..., NDArray] | None = None
    bounds: Callable[..., Sequence[Bound]] | None = None


ADD = Rule(apply=lambda x, c: x + c, exact=lambda s, o, c: (s, o + c))
SUBTRACT = Rule(apply=lambda x, c: x - c, exact=lambda s, o, c: (s, o - c))
MULTIPLY = Rule(apply=lambda x, c: x * c, exact=lambda s, o, c: (s * c, o * c))
DIVIDE = Rule(apply=lambda x, c: x / c, exact=lambda s, o, c: (s / c, o / c))
AVERAGE = Rule(apply=lambda x, n: x / n, orders=(lambda x, n: x * (np.float32(1) / n),), exact=DIVIDE.exact)
NEGATE = Rule(apply=lambda x: -x, exact=lambda s, o: (-s, -o))
SIGN = Rule(
    apply=np.sign,
    thresholds=2,
    values=lambda: np.array([[-1, 0, 1]], np.float32),
    bounds=lambda: (Bound(level=Fraction(0)), Bound(level=Fraction(0), strict=True)),
)


def _both(scale: NDArray) -> NDArray:
    return np.concatenate([-scale, scale], 1)


BIPOLAR = Rule(
    apply=lambda x, scale: np.where(x >= 0, scale, -scale),
    thresholds=1,
    values=_both,
    bounds=lambda scale: (Bound(level=Fraction(0)),),
)
BIPOLAR_ABOVE = Rule(
    apply=lambda x, scale: np.where(x > 0, scale, -scale),
    thresholds=1,
    values=_both,
    bounds=lambda scale: (Bound(level=Fraction(0), strict=True),),
)
HEAVISIDE = Rule(
    apply=lambda x: np.where(x > 0, np.float32(1), np.float32(0)),
    thresholds=1,
    values=lambda: np.array([[0, 1]], np.float32),
    bounds=lambda: (Bound(level=Fraction(0), strict=True),),
)


def batch_norm(epsilon: float, formula: Formula = "divided") -> Rule:
    """Batch norm in inference; constants: scale, bias, mean, variance.

    Parameters
    ----------
    epsilon : float
        Added to the variance.
    formula : {"divided", "factored", "shifted"}
        What counts. ``divided`` is the formula of the ONNX document, from left to right. ``factored`` makes one factor
        and one offset of the constants first, as PyTorch does, and TensorFlow on vectors. ``shifted`` subtracts the
        mean and multiplies by that factor, as TensorFlow's fused kernel does on maps. The others become ``orders``.
    """
    eps = np.float32(epsilon)

    def documented(x: NDArray, scale: NDArray, bias: NDArray, mean: NDArray, variance: NDArray) -> NDArray:
        return (x - mean) / np.sqrt(variance + eps) * scale + bias

    def reference(x: NDArray, scale: NDArray, bias: NDArray, mean: NDArray, variance: NDArray) -> NDArray:
        return scale * (x - mean) / np.sqrt(variance + eps) + bias

    def folded(x: NDArray, scale: NDArray, bias: NDArray, mean: NDArray, variance: NDArray) -> NDArray:
        factor = scale / np.sqrt(variance + eps)
        return x * factor + (bias - mean * factor)

    def exact(
        s: Fraction, o: Fraction, scale: Fraction, bias: Fraction, mean: Fraction, variance: Fraction
    ) -> tuple[Fraction, Fraction]:
        factor = scale / _sqrt(variance + Fraction(float(eps)))
        return s * factor, (o - mean) * factor + bias

    if formula == "divided":
        return Rule(apply=documented, orders=(reference, folded), exact=exact)

    def factored(x: NDArray, scale: NDArray, bias: NDArray, mean: NDArray, variance: NDArray) -> NDArray:
        factor = np.float32(1) / np.sqrt(variance + eps) * scale
        return x * factor + (bias - mean * factor)

    def shifted(x: NDArray, scale: NDArray, bias: NDArray, mean: NDArray, variance: NDArray) -> NDArray:
        return (x - mean) * (np.float32(1) / np.sqrt(variance + eps) * scale) + bias

    first, second = (factored, shifted) if formula == "factored" else (shifted, factored)
    return Rule(apply=first, orders=(second, documented), exact=exact)


def _sqrt(value: Fraction) -> Fraction:
    """Square root: exact where it is rational, else to 256 bits, far finer than any float32 constant."""
    root = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
    if root * root == value:
        return root
    return Fraction(math.isqrt((value.numerator << 2 * SQRT_BITS) // value.denominator), 1 << SQRT_BITS)


def quant(bits: float, *, signed: bool, narrow: bool, rounding: str) -> Rule:
    """QONNX's Quant; constants: scale, zero point. One signed bit means -1 and +1, with 0 as +1.

    Raises
    ------
    UnsupportedError
        Where the rounding or the width is not supported.
    """
    if bits != int(bits) or not 1 <= bits <= 16:
        raise UnsupportedError(f"bit width {bits:g} is not a whole number from 1 to 16")
    if bits == 1 and signed:
        return _BIPOLAR_QUANT
    if rounding.upper() not in _ROUNDERS:
        raise UnsupportedError(f"rounding_mode={rounding[:20]!r} is not supported; use {', '.join(_ROUNDERS)}")
    half = 2 ** (int(bits) - 1)
    low, high = (-half + narrow, half - 1) if signed else (0, 2 * half - 1 - narrow)
    if low == high:
        raise UnsupportedError("of one narrow unsigned bit has one value; give it 2 bits, or narrow=0")
    return whole_steps(low, high, rounding.upper())


def _bipolar_quant(x: NDArray, scale: NDArray, zero: NDArray) -> NDArray:
    y = np.where(x / scale + zero >= 0, np.float32(1), np.float32(-1))
    return (y - zero) * scale


_BIPOLAR_QUANT = Rule(
    apply=_bipolar_quant,
    thresholds=1,
    values=lambda scale, zero: (np.array([[-1, 1]], np.float32) - zero) * scale,
    bounds=lambda scale, zero: (Bound(level=-zero[0] * scale[0]),),
)


@dataclass(frozen=True, kw_only=True)
class _Rounding:
    """A rounding to whole numbers, as QONNX computes it.

    Parameters
    ----------
    apply : callable
        In float32.
    least : callable
        ``least(n)`` is by how much ``x`` may be below ``n`` and reach it still, and whether it has to exceed that.
    """

    apply: Callable[[NDArray], NDArray]
    least: Callable[[int], tuple[Fraction, bool]]


_HALF = Fraction(1, 2)
_NEAREST = _Rounding(apply=np.round, least=lambda n: (_HALF, n % 2 == 1))
_ROUNDERS = {
    "ROUND": _NEAREST,
    "HALF_EVEN": _NEAREST,
    "FLOOR": _Rounding(apply=np.floor, least=lambda n: (Fraction(0), False)),
    "CEIL": _Rounding(apply=np.ceil, least=lambda n: (Fraction(1), True)),
    # Up is away from 0 here, and down towards it.
    "UP": _Rounding(apply=lambda x: np.sign(x) * np.ceil(np.abs(x)), least=lambda n: (Fraction(n > 0), n > 0)),
    "DOWN": _Rounding(apply=np.trunc, least=lambda n: (Fraction(n <= 0), n <= 0)),
    "HALF_UP": _Rounding(
        apply=lambda x: np.sign(x) * np.floor(np.abs(x) + np.float32(0.5)), least=lambda n: (_HALF, n <= 0)
    ),
    "HALF_DOWN": _Rounding(
        apply=lambda x: np.sign(x) * np.ceil(np.abs(x) - np.float32(0.5)), least=lambda n: (_HALF, n > 0)
    ),
}


def whole_steps(low: int, high: int, rounding: str = "ROUND") -> Rule:
    """Whole numbers from ``low`` to ``high`` that ``x / scale + zero`` is rounded to, and back; constants: scale, zero.

    Parameters
    ----------
    low, high : int
        Of the whole numbers.
    rounding : str
        One of QONNX's rounding modes.
    """
    around, least = _ROUNDERS[rounding].apply, _ROUNDERS[rounding].least

    def apply(x: NDArray, scale: NDArray, zero: NDArray) -> NDArray:
        y = around(np.clip(x / scale + zero, np.float32(low), np.float32(high)))
        return (y - zero) * scale

    def inverse(x: NDArray, scale: NDArray, zero: NDArray) -> NDArray:
        y = around(np.clip(x * (np.float32(1) / scale) + zero, np.float32(low), np.float32(high)))
        return (y - zero) * scale

    def bounds(scale: Sequence[Fraction], zero: Sequence[Fraction]) -> list[Bound]:
        found = []
        for n in range(low + 1, high + 1):
            lead, strict = least(n)
            found.append(Bound(level=(n - lead - zero[0]) * scale[0], strict=strict))
        return found

    return Rule(
        apply=apply,
        orders=(inverse,),
        thresholds=high - low,
        values=lambda scale, zero: (np.arange(low, high + 1, dtype=np.float32)[None] - zero) * scale,
        bounds=bounds,
    )


def dorefa(bits: int) -> Rule:
    """DoReFa's activations: ``round(clip(x, 0, 1) * n) / n`` with ``n = 2^bits - 1``, halves to the even number."""
    most = np.float32(2**bits - 1)

    def bounds() -> list[Bound]:
        levels = range(1, int(most) + 1)
        return [Bound(level=Fraction(2 * n - 1, 2 * int(most)), strict=n % 2 == 1) for n in levels]

    return Rule(
        apply=lambda x: np.round(np.clip(x, np.float32(0), np.float32(1)) * most) / most,
        thresholds=int(most),
        values=lambda: np.arange(most + 1, dtype=np.float32)[None] / most,
        bounds=bounds,
    )


def ternary(threshold: np.float32) -> Rule:
    """Larq's ternary activations: -1 up to ``-threshold``, 1 from ``threshold`` on, 0 between; constants: none."""
    level = Fraction(float(threshold))
    return Rule(
        apply=lambda x: np.sign(np.sign(x + threshold) + np.sign(x - threshold)),
        thresholds=2,
        values=lambda: np.array([[-1, 0, 1]], np.float32),
        bounds=lambda: (
            (Bound(level=-level, strict=True), Bound(level=level))
            if level
            else (Bound(level=level), Bound(level=level, strict=True))
        ),
    )


def levels(scale: float, bias: float, thresholds: int) -> Rule:
    """FINN's MultiThreshold: how many thresholds ``x`` reaches, times ``scale``, plus ``bias``; constants: these."""

    def valued(count: NDArray) -> NDArray:
        return np.float32(scale) * count + np.float32(bias)

    def apply(x: NDArray, constants: NDArray) -> NDArray:
        count = np.zeros(x.shape, np.float32)
        for n in range(thresholds):
            count += x >= constants[..., n : n + 1]
        return valued(count)

    return Rule(
        apply=apply,
        thresholds=thresholds,
        values=lambda constants: valued(np.arange(thresholds + 1, dtype=np.float32)[None]),
        bounds=lambda constants: [Bound(level=level) for level in sorted(constants)],
    )
