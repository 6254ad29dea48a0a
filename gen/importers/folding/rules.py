"""What elementwise operations do: in float32 as a framework does it, and in exact arithmetic.

Every rule here never falls or never rises: each is a chain of correctly rounded float32 operations with constants,
comparisons and roundings, and rounding keeps order.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import UnsupportedError

__all__ = [
    "ADD",
    "BIPOLAR",
    "BIPOLAR_ABOVE",
    "DIVIDE",
    "HEAVISIDE",
    "MULTIPLY",
    "NEGATE",
    "SIGN",
    "SUBTRACT",
    "Formula",
    "Rule",
    "batch_norm",
    "levels",
    "quant",
]

Apply = Callable[..., NDArray]
Exact = Callable[..., tuple[Fraction, Fraction]]
Formula = Literal["divided", "factored", "shifted"]
SQRT_BITS = 256


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
    level : callable, optional
        Of a quantizer with two values: ``level(*constants)`` is what ``x`` has to reach for the upper one.
    strict : bool
        Whether ``x`` has to exceed the level instead.
    quantizes : bool
        Whether few values come out of many.
    """

    apply: Apply
    orders: tuple[Apply, ...] = ()
    exact: Exact | None = None
    level: Callable[..., Fraction] | None = None
    strict: bool = False
    quantizes: bool = False


ADD = Rule(apply=lambda x, c: x + c, exact=lambda s, o, c: (s, o + c))
SUBTRACT = Rule(apply=lambda x, c: x - c, exact=lambda s, o, c: (s, o - c))
MULTIPLY = Rule(apply=lambda x, c: x * c, exact=lambda s, o, c: (s * c, o * c))
DIVIDE = Rule(apply=lambda x, c: x / c, exact=lambda s, o, c: (s / c, o / c))
NEGATE = Rule(apply=lambda x: -x, exact=lambda s, o: (-s, -o))
SIGN = Rule(apply=np.sign, level=lambda: Fraction(0), quantizes=True)
BIPOLAR = Rule(apply=lambda x, scale: np.where(x >= 0, scale, -scale), level=lambda scale: Fraction(0), quantizes=True)

BIPOLAR_ABOVE = Rule(
    apply=lambda x, scale: np.where(x > 0, scale, -scale), level=lambda scale: Fraction(0), strict=True, quantizes=True
)
HEAVISIDE = Rule(
    apply=lambda x: np.where(x > 0, np.float32(1), np.float32(0)),
    level=lambda: Fraction(0),
    strict=True,
    quantizes=True,
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

        def bipolar(x: NDArray, scale: NDArray, zero: NDArray) -> NDArray:
            y = np.where(x / scale + zero >= 0, np.float32(1), np.float32(-1))
            return (y - zero) * scale

        return Rule(apply=bipolar, level=lambda scale, zero: -zero * scale, quantizes=True)
    rounders = {"ROUND": np.round, "FLOOR": np.floor, "CEIL": np.ceil}
    if rounding.upper() not in rounders:
        raise UnsupportedError(f"rounding_mode={rounding[:20]!r} is not supported; use {', '.join(rounders)}")
    around = rounders[rounding.upper()]
    half = 2 ** (int(bits) - 1)
    low, high = (-half + narrow, half - 1) if signed else (0, 2 * half - 1 - narrow)

    def apply(x: NDArray, scale: NDArray, zero: NDArray) -> NDArray:
        y = around(np.clip(x / scale + zero, np.float32(low), np.float32(high)))
        return (y - zero) * scale

    return Rule(apply=apply, quantizes=True)


def levels(scale: float, bias: float) -> Rule:
    """FINN's MultiThreshold: how many thresholds ``x`` reaches, times ``scale``, plus ``bias``."""

    def apply(x: NDArray, thresholds: NDArray) -> NDArray:
        count = np.zeros(x.shape, np.float64)
        for n in range(thresholds.shape[-1]):
            count += x >= thresholds[..., n : n + 1]
        return (scale * count + bias).astype(np.float32)

    return Rule(apply=apply, level=lambda *thresholds: thresholds[0], quantizes=True)
