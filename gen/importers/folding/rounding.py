"""How far a float32 sum may be off the exact one, in whatever order a framework adds its terms.

With ``n`` terms of magnitude at most ``a``, a partial sum of ``j`` of them is at most ``j * a``, and, since the other
``n - j`` have to lead to the sum ``s * a``, at most ``(n - j + s) * a``. Each addition is off by at most 2^-24 of its
result. Adding one term after the other makes the most of that: ``M * (M + 1) - s * (s - 1) / 2`` times ``a``, where
``M = (n + s) / 2``. Where all terms but one, the bias, are multiples of one unit that float32 adds exactly, only the
sums that hold the bias are rounded, and only where they reach a power of two for the first time: 2^-23 of the largest.

References
----------
Higham, Accuracy and Stability of Numerical Algorithms, chapter 4 (the general bound).
"""

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

__all__ = ["EXACT_FLOAT32", "Rounding", "lowest_bit"]

EXACT_FLOAT32 = 1 << 24
_HALF_ULP = 2.0**-24
_MARGIN = 1.01
_TINY = 1e-300


@dataclass(frozen=True, kw_only=True, eq=False)
class Rounding:
    """Error of a layer's float32 sums, with all that a framework may do within the sum.

    Parameters
    ----------
    inputs : tuple of Fraction
        Values that an input of the layer may have.
    input_error : Fraction
        How far a framework's value may be off these.
    cause : str
        Why it may be, and what to do about it.
    magnitudes : tuple of Fraction
        Of the weights of each output.
    terms : int
        Products in a sum.
    scale, offset : tuple of Fraction
        The exact result is ``scale * accumulator + offset``.
    factor : Fraction
        Of a Gemm: it multiplies the sum of products, or each of them.
    bias : tuple of Fraction
        What is added within the sum; empty for nothing.
    steps : int
        How many of the elementwise operations behind the layer are these two.
    """

    inputs: tuple[Fraction, ...]
    magnitudes: tuple[Fraction, ...]
    terms: int
    scale: tuple[Fraction, ...]
    offset: tuple[Fraction, ...]
    factor: Fraction = Fraction(1)
    bias: tuple[Fraction, ...] = ()
    steps: int = 0
    input_error: Fraction = Fraction(0)
    cause: str = ""
    inexact: NDArray[np.bool_] = field(init=False)
    """Where sums of the products alone may be off."""
    biased: NDArray[np.bool_] = field(init=False)
    """Where only the bias makes sums inexact."""

    def __post_init__(self) -> None:
        largest, smaller = max(map(abs, self.inputs)), min(Fraction(1), lowest_bit(self.factor))
        unit_of_inputs = min((lowest_bit(v) for v in self.inputs if v), default=Fraction(1))
        inexact, biased = np.zeros(len(self.magnitudes), bool), np.zeros(len(self.magnitudes), bool)
        for n, magnitude in enumerate(self.magnitudes):
            added = abs(self.bias[n]) if self.bias else Fraction(0)
            # A power of two of which all terms are multiples, with the factor and without.
            unit = lowest_bit(magnitude) * unit_of_inputs * smaller
            reach = self.terms * magnitude * largest * max(Fraction(1), abs(self.factor)) + added
            if self.input_error or reach > EXACT_FLOAT32 * (min(unit, lowest_bit(added)) if added else unit):
                # Half of what float32 holds, so that no rounded sum leaves the range.
                biased[n] = not self.input_error and 2 * reach <= EXACT_FLOAT32 * unit
                inexact[n] = not biased[n]
        object.__setattr__(self, "inexact", inexact)
        object.__setattr__(self, "biased", biased)

    def any(self, rows: slice = slice(None)) -> bool:
        """Whether the order of additions matters in any of the channels."""
        return bool((self.inexact | self.biased)[rows].any())

    def reason(self, channel: int) -> str:
        """Why the order of additions matters in a channel, and what to do about it."""
        if self.input_error:
            return self.cause
        why = "its bias is added inside the sum" if self.biased[channel] else "scales inside it are no powers of two"
        return f"{why}; multiply and add behind the layer instead, or in its batch norm"

    def ends(self, accumulators: NDArray, rows: slice, side: int) -> NDArray[np.float64]:
        """The result for accumulators [channels, n], moved by the largest error down (side -1) or up (1)."""
        exact = accumulators * _column(self.scale[rows]) + _column(self.offset[rows])
        return exact + side * self._bound(np.abs(exact), rows)

    def _bound(self, magnitudes: NDArray[np.float64], rows: slice) -> NDArray[np.float64]:
        n, b = self.terms, np.abs(_column(self.bias[rows])) if self.bias else 0.0
        a = _column(self.magnitudes[rows]) * float(abs(self.factor) * max(map(abs, self.inputs)))
        s = np.minimum(n, np.ceil((magnitudes + b) / np.maximum(a, _TINY)))
        m = np.ceil((n + s) / 2)
        sums = a * (m * (m + 1) - s * (s - 1) / 2) + (n + 1) * b
        # Products, and a factor before or behind them, are rounded too: at most three times for each term.
        general = _HALF_ULP * np.exp(2 * n * _HALF_ULP) * (sums + 3 * (n * a + b))
        general += n * _column(self.magnitudes[rows]) * float(abs(self.factor) * self.input_error)
        once = _HALF_ULP * (n * a + b + magnitudes)
        return _MARGIN * np.where(self.inexact[rows, None], general, np.where(self.biased[rows, None], once, 0.0))


def lowest_bit(value: Fraction) -> Fraction:
    """The largest power of two of which a float is a multiple; 1 for 0."""
    return Fraction(value.numerator & -value.numerator or 1, value.denominator)


def _column(values: tuple[Fraction, ...]) -> NDArray[np.float64]:
    return np.array([float(v) for v in values])[:, None]
