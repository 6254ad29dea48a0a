"""Integer factors and offsets of classes whose scores have scales of their own, in the exact order of these scores.

A score is ``scale * sum + offset`` in fractions, with a scale and an offset of each class. All scores that there can be
are sorted once, exactly. Integers do where they rise where the scores rise, and are equal where these are: that is
looked at for every two neighbours in that order, so it holds for every two sums of any two classes.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import UnsupportedError

__all__ = ["Scores", "fewest_bits"]

MAX_BITS = 31
TRIES = 512
"""Multiples of the scales that are tried for each number of bits: some lie closer to integers than others."""

MAX_RESOLVED = 1 << 20
_INT64 = 1 << 62
_FLOAT_ERROR = 2.0**-50
_TIGHT = 1 << 12

Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Neighbours:
    """Every score beside the next one in exact order.

    Parameters
    ----------
    rows, places : int64 array [n]
        Row, and number from the lowest sum on, of each score in ascending order.
    equal : bool array [n - 1]
        Whether the next score is the same.
    loose : bool array [n - 1]
        Whether it is of the same class alone, so that nobody compares the two.
    gaps : float array [n - 1]
        How far it is, roughly.
    """

    rows: Integers
    places: Integers
    equal: NDArray[np.bool_]
    loose: NDArray[np.bool_]
    gaps: NDArray[np.float64]

    def kept(self, factors: Integers, offsets: Integers, at: Integers | slice = slice(None)) -> NDArray[np.bool_]:
        """Whether integers [..., rows] keep the order of the neighbours ``at`` and the next ones: [..., n]."""
        both = []
        for rows, places in ((self.rows[:-1], self.places[:-1]), (self.rows[1:], self.places[1:])):
            both.append(factors[..., rows[at]] * places[at] + offsets[..., rows[at]])
        rise = both[1] - both[0]
        return np.where(self.equal[at], rise == 0, np.where(self.loose[at], rise >= 0, rise > 0))


class Scores:
    """All scores that there can be: ``scale * (low + step * place) + offset``, for each class and place.

    Classes of the same scores are one row.

    Parameters
    ----------
    scale, offset : sequence of Fraction
        Of each class.
    low : int64 array [classes]
        Lowest sum of each class.
    step, count : int
        Distance and number of the sums of a class.

    Attributes
    ----------
    row : int64 array [classes]
        Row of each class.

    Raises
    ------
    UnsupportedError
        Where too many scores are too close to each other to sort them exactly.
    """

    def __init__(self, scale: Sequence[Fraction], offset: Sequence[Fraction], low: Integers, step: int, count: int):
        self.low, self.step, self.count = low, step, count
        unit = max(map(abs, scale)) * step
        ends = [(s * step / unit, (o + s * int(n)) / unit) for s, o, n in zip(scale, offset, low, strict=True)]
        base = min(start for _, start in ends)
        numbered = {end: n for n, end in enumerate(dict.fromkeys(ends))}
        self.row = np.array([numbered[end] for end in ends])
        # Steps between a row's scores, and its lowest sum's score, in the largest of these steps.
        self._steps = [step for step, _ in numbered]
        self._starts = [start - base for _, start in numbered]
        self._denominator = math.lcm(*(f.denominator for f in self._steps + self._starts))
        self.neighbours = self._sorted()

    @property
    def ranks(self) -> Integers:
        """Place of each score among all different ones, ascending: [rows, count]."""
        near = self.neighbours
        ranks = np.zeros((len(self._steps), self.count), np.int64)
        ranks[near.rows[1:], near.places[1:]] = np.cumsum(~near.equal)
        return ranks

    def exact(self) -> int:
        """The factor of the largest step with which all integers are exact, or 0 where it is too large."""
        return self._denominator if self._denominator < 1 << MAX_BITS else 0

    def rounded(self, largest: Integers) -> tuple[Integers, Integers]:
        """Factors and offsets [n, rows] in steps of a class, nearest for factors of at most ``largest`` [n]."""
        steps, starts = (np.array([float(f) for f in values]) for values in (self._steps, self._starts))
        factors = np.rint(largest[:, None] * steps)
        # What a factor is off grows with the place: by as much to both sides of the middle.
        middle = (largest[:, None] * steps - factors) * (self.count - 1) / 2
        offsets = np.rint(largest[:, None] * starts + middle)
        offsets = np.where(np.abs(offsets) < _INT64 / 2, offsets, 0)
        return factors.astype(np.int64), offsets.astype(np.int64)

    def _sorted(self) -> _Neighbours:
        rows, places = (n.ravel() for n in np.indices((len(self._steps), self.count)))
        keys, error = self._keys()
        order = np.argsort(keys, kind="stable")
        rows, places, keys = rows[order], places[order], keys[order]
        gaps = np.diff(keys)
        equal = gaps == 0
        if error:
            equal = self._resolved(rows, places, np.flatnonzero(gaps <= error))
        alone = np.bincount(self.row)[rows] == 1
        alone[1:] &= ~equal
        alone[:-1] &= ~equal
        loose = alone[1:] & alone[:-1] & (rows[1:] == rows[:-1])
        return _Neighbours(rows=rows, places=places, equal=equal, loose=loose, gaps=gaps.astype(np.float64))

    def _keys(self) -> tuple[NDArray, float]:
        """A number for each score in their order, and up to which difference it tells no order."""
        common = self._denominator
        steps, starts = ([f * common for f in values] for values in (self._steps, self._starts))
        places = np.arange(self.count)
        if max(map(abs, steps)) * self.count + max(starts) < _INT64:
            exact = np.array([int(f) for f in steps])[:, None] * places + np.array([int(f) for f in starts])[:, None]
            return exact.ravel(), 0.0
        floats = np.array([float(f) for f in self._steps]), np.array([float(f) for f in self._starts])
        keys = floats[0][:, None] * places + floats[1][:, None]
        return keys.ravel(), _FLOAT_ERROR * (self.count + float(floats[1].max()))

    def _resolved(self, rows: Integers, places: Integers, close: Integers) -> NDArray[np.bool_]:
        """Put scores in exact order where float64 does not tell it; tells which are equal to the next one."""
        equal = np.zeros(len(rows) - 1, bool)
        if len(close) > MAX_RESOLVED:
            one, other = (int(np.flatnonzero(self.row == rows[close[0] + n])[0]) for n in (0, 1))
            raise UnsupportedError(
                f"scores of classes {one} and {other} are all but the same for many sums; give them one scale and one "
                "offset, or scales and offsets of fewer digits"
            )
        for run in np.split(close, np.flatnonzero(np.diff(close) > 1) + 1) if len(close) else []:
            part = slice(run[0], run[-1] + 2)
            found = [
                (self._steps[row] * int(place) + self._starts[row], row, place)
                for row, place in zip(rows[part], places[part], strict=True)
            ]
            found.sort()
            rows[part], places[part] = [row for _, row, _ in found], [place for *_, place in found]
            equal[run] = [a[0] == b[0] for a, b in itertools.pairwise(found)]
        return equal


def fewest_bits(scores: Scores) -> tuple[Integers, Integers]:
    """Factors and offsets of each class's sums, of the fewest bits found, whose order is that of the scores.

    Parameters
    ----------
    scores : Scores
        Those that there can be.

    Returns
    -------
    int64 array [classes], int64 array [classes]
        ``factor * sum + offset`` of two sums of two classes is less, equal or more as their scores are.

    Raises
    ------
    UnsupportedError
        Where none of at most 31 bits were found; names two sums whose scores are too close.
    """
    near = scores.neighbours
    compared = np.flatnonzero(~near.loose)
    tight = compared[np.argsort(near.gaps[compared], kind="stable")[:_TIGHT]]
    for largest in _largest(scores.exact()):
        factors, offsets = scores.rounded(largest)
        for n in np.flatnonzero(near.kept(factors, offsets, tight).all(1)):
            if near.kept(factors[n], offsets[n]).all():
                return _of_sums(scores, factors[n], offsets[n])
    factors, offsets = scores.rounded(np.array([(1 << MAX_BITS) - 1]))
    at = int(near.kept(factors[0], offsets[0]).argmin())
    rows, places = near.rows[at : at + 2], near.places[at : at + 2]
    of_rows = [int(np.flatnonzero(scores.row == row)[0]) for row in rows]
    one, other = (
        f"class {c} of the sum {int(scores.low[c]) + scores.step * int(place)}"
        for c, place in zip(of_rows, places, strict=True)
    )
    raise UnsupportedError(
        f"scores of {one} and {other} are so close that scales rounded to {MAX_BITS} bits do not keep their order; "
        "train the last layer with one scale for all classes, fewer inputs or fewer classes"
    )


def _largest(exact: int) -> Iterator[Integers]:
    """What the largest factor may be, by its bits: all numbers, or some of them, from the lowest on."""
    for bits in range(1, MAX_BITS + 1):
        low, high = 1 << bits - 1, (1 << bits) - 1
        tried = np.unique(np.linspace(low, high, min(TRIES, high - low + 1)).astype(np.int64))
        yield np.union1d(tried, [exact]) if low <= exact <= high else tried


def _of_sums(scores: Scores, factors: Integers, offsets: Integers) -> tuple[Integers, Integers]:
    """From factors and offsets of rows and places to those of classes and sums, without what all have in common."""
    factors, offsets = factors[scores.row], offsets[scores.row]
    offsets = scores.step * offsets - factors * scores.low
    common = int(np.gcd.reduce([*factors, *(offsets - offsets[0])])) or 1
    return factors // common, (offsets - offsets[0]) // common
