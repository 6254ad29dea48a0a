"""A layer's input as integers: what its hardware sums, and what a framework's float32 makes of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import UnsupportedError
from xnorweave.importers.folding.signals import Activations, Pixels, Signal, Sums, Totals, fractions_of

__all__ = ["Integers", "PixelTable", "equal_steps", "integers_of", "pixel_table"]

LEAST_STEP = 1 << 8
"""Values that are off equal steps by a smaller part than this of half a step were rounded; others are no steps."""
ROUNDED_PART = 1 << 21
"""Scales of channels are one where float32, rounding the values, has moved them apart by less than such a part."""
MOST_TABLES = 16
MOST_STEPS = 32767
MOST_VALUES = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Integers:
    """A layer's input as integers: in channel ``c`` ``scales[c] * signs[c] * integer + offsets[c]``, but for rounding.

    Parameters
    ----------
    integers : sequence of int
        Those that occur, ascending; of all channels the same.
    scales, offsets : tuple of Fraction
        Of each channel; scales are above 0.
    signs : int8 array [channels]
    rounding : Fraction
        How far a framework's value may be off.
    cause : str
        Why it may be, and what to do about it.
    """

    integers: Sequence[int]
    scales: tuple[Fraction, ...]
    offsets: tuple[Fraction, ...]
    signs: NDArray[np.int8]
    rounding: Fraction = Fraction(0)
    cause: str = ""

    @property
    def offset(self) -> Fraction:
        """The offset of all channels.

        Raises
        ------
        UnsupportedError
            Where they differ.
        """
        if len(set(self.offsets)) != 1:
            raise UnsupportedError(
                "pads with zeros, but its input's channels have offsets of their own, so the border would need "
                "thresholds of its own; give the quantizer before it one offset, or the layer no padding"
            )
        return self.offsets[0]

    def scale(self, channels: slice = slice(None)) -> Fraction:
        """The scale of these channels.

        Raises
        ------
        UnsupportedError
            Where they differ.
        """
        found = set(self.scales[channels])
        if len(found) != 1:
            one, other = (f"{float(2 * v):g}" for v in sorted(found)[:2])
            raise UnsupportedError(
                f"its input's channels have values in different steps, such as {one} and {other}, which no integer sum "
                "holds; give the quantizer before it one scale for all channels that a sum adds"
            )
        return found.pop()

    def values(self) -> tuple[Fraction, ...]:
        """All values that occur in any channel.

        Raises
        ------
        UnsupportedError
            Where these are too many.
        """
        lines = set(zip(self.scales, self.offsets, strict=True))
        if len(lines) > 1 and len(lines) * len(self.integers) > MOST_VALUES:
            raise UnsupportedError("its input's channels have too many values; give them one scale and one offset")
        return tuple({scale * n + offset for scale, offset in lines for n in self.integers})


def integers_of(signal: Signal, *, padded: bool) -> Integers:
    """A layer's input as integers, around which zeros may be padded."""
    match signal:
        case Pixels():
            table = pixel_table(signal, padded=padded)
            exact = [table.scale * n + table.offsets[0] for n in table.rows[0]]
            return Integers(
                integers=tuple(sorted({n for row in table.rows for n in row})),
                scales=(table.scale,) * len(table.offsets),
                offsets=table.offsets,
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
    which, lines = which.ravel(), [equal_steps(fractions_of(row)) for row in rows]
    if not all(half for half, _, _ in lines):
        constant = next(channel for channel, n in enumerate(which) if not lines[n][0])
        raise UnsupportedError(
            f"channel {constant} of its input is the same for every image, which no weight of -1 or +1 leaves out; "
            "scale it by another number than 0, or remove it"
        )
    scales, off = _common_scales(rows, [(half, off) for half, _, off in lines])
    return Integers(
        integers=range(-levels, levels + 1, 2),
        scales=tuple(scales[n] for n in which),
        offsets=tuple(lines[n][1] for n in which),
        signs=np.array([1 if lines[n][0] > 0 else -1 for n in which], np.int8),
        rounding=off + error,
        cause=cause,
    )


def _common_scales(
    rows: NDArray[np.float32], halves: list[tuple[Fraction, Fraction]]
) -> tuple[list[Fraction], Fraction]:
    """The scale of each row, one for those that only roundings of float32 divide, and how far values are off them."""
    levels = rows.shape[1] - 1
    scales, most = [Fraction(0)] * len(rows), Fraction(0)
    common = Fraction(0)
    for n in sorted(range(len(rows)), key=lambda n: abs(halves[n][0])):
        half, off = abs(halves[n][0]), halves[n][1]
        apart = (half - common) * levels
        if not common or apart * ROUNDED_PART > Fraction(float(np.abs(rows[n]).max())):
            common, apart = half, Fraction(0)
        scales[n], most = common, max(most, off + apart)
    return scales, most


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


@dataclass(frozen=True, kw_only=True)
class PixelTable:
    """Integers that pixels stand for: channel ``c`` is ``scale * table + offsets[c]``.

    Parameters
    ----------
    rows : tuple of tuple of 256 int
        One for all channels, or one for each.
    scale : Fraction
    offsets : tuple of Fraction
        Of each channel.
    """

    rows: tuple[tuple[int, ...], ...]
    scale: Fraction
    offsets: tuple[Fraction, ...]


def pixel_table(signal: Pixels, *, padded: bool) -> PixelTable:
    """The values of pixels in float32 as integers if they have a step, else the values before rounding, where known.

    Channels that differ by an offset alone have one table, and these offsets, where nothing is padded; others a table
    each, without an offset.

    Raises
    ------
    UnsupportedError
        Where the values have no common step.
    """
    rows, which = np.unique(signal.values, axis=0, return_inverse=True)
    if len(rows) > MOST_TABLES:
        raise UnsupportedError(
            f"the input's channels are scaled in {len(rows)} ways; at most {MOST_TABLES} are supported: scale more of "
            "them alike"
        )
    which, exact = which.ravel(), [fractions_of(row) for row in rows]
    first, known = exact[which[0]], signal.ideal
    apart = [{value - other for value, other in zip(line, first, strict=True)} for line in exact]
    if len(rows) == 1 or (not padded and all(len(found) == 1 for found in apart)):
        above = [min(found) for found in apart]
        for line, offset in ((first, Fraction(0)), *(((known, Fraction(0)), (known, known[0])) if known else ())):
            if (found := _in_steps([line], offset)) is not None:
                return PixelTable(rows=found[0], scale=found[1], offsets=tuple(offset + above[n] for n in which))
    if (found := _in_steps(exact, Fraction(0))) is not None:
        tables = tuple(found[0][n] for n in which)
        return PixelTable(rows=tables, scale=found[1], offsets=(Fraction(0),) * len(which))
    raise UnsupportedError(
        f"the input's values are no multiples of one step within 16 bits; quantize the input with {signal.words.inputs}"
    )


def _in_steps(
    lines: Sequence[tuple[Fraction, ...]], offset: Fraction
) -> tuple[tuple[tuple[int, ...], ...], Fraction] | None:
    """Values as multiples of their largest common step, and this step; None where that takes more than 16 bits."""
    denominator = math.lcm(*(v.denominator for line in lines for v in line), offset.denominator)
    numerators = [[int((v - offset) * denominator) for v in line] for line in lines]
    unit = math.gcd(*(n for line in numerators for n in line)) or 1
    rows = tuple(tuple(n // unit for n in line) for line in numerators)
    return (rows, Fraction(unit, denominator)) if max(abs(n) for row in rows for n in row) <= MOST_STEPS else None
