"""What a tensor between two steps of a network can be: pixels, activations, totals of these, sums or classes.

Each is a finite set of values per channel, so an operation is known by what it does to each of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import NetworkError
from xnorweave.importers.folding.layout import Layout
from xnorweave.importers.folding.rounding import Rounding
from xnorweave.importers.folding.rules import Rule
from xnorweave.network import Add, InputSpec, Layer, MaxPool, Padding

__all__ = [
    "Activations",
    "Classes",
    "Pixels",
    "Signal",
    "Step",
    "Sums",
    "Totals",
    "Words",
    "fractions_of",
    "kind_of",
]

CHUNK_VALUES = 1 << 22
TINY = 1e-300


def fractions_of(values: NDArray) -> tuple[Fraction, ...]:
    """Floats as the fractions that they are."""
    return tuple(Fraction(float(v)) for v in values.ravel())


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One elementwise operation with its constants, each [channels, n] float32."""

    rule: Rule
    constants: tuple[NDArray[np.float32], ...]

    def apply(self, values: NDArray, rows: slice = slice(None), order: int = 0) -> NDArray[np.float32]:
        """Values [channels, n] behind the operation.

        Parameters
        ----------
        values : float32 array
            Before it.
        rows : slice
            Channels that ``values`` holds.
        order : int
            0 as the framework has it; above, another order of rounding where the operation has one.

        Raises
        ------
        NetworkError
            Where a result is not finite, though its input is.
        """
        orders = (self.rule.apply, *self.rule.orders)
        with np.errstate(all="ignore"):
            result = orders[min(order, len(orders) - 1)](values, *(c[rows] for c in self.constants))
        result = result.astype(np.float32, copy=False)
        if not np.isfinite(result).all():
            raise NetworkError("gives a value that float32 does not hold; check its constants")
        return result


@dataclass(frozen=True, kw_only=True)
class Words:
    """What the tool that wrote a network calls the things that an error advises.

    Parameters
    ----------
    source : str
        Whose float32 decides.
    quantizer : str
        What gives -1 and +1, and +1 for 0.
    weights, inputs : str
        What makes weights of one magnitude, and input values of one step.
    dense : str
        What gives the sums of classes.
    ending : str
        What gives the class.
    """

    source: str
    quantizer: str
    weights: str
    inputs: str
    dense: str
    ending: str


@dataclass(frozen=True, kw_only=True, eq=False)
class _Signal:
    """What all kinds have: a layout, the frames and layers behind which it stands, and remarks for the history."""

    layout: Layout
    words: Words
    source: InputSpec | None = None
    layers: tuple[Layer, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Pixels(_Signal):
    """A function of the input pixel.

    Parameters
    ----------
    values : float32 array [channels, 256]
        As the framework computes them.
    ideal : tuple of 256 Fraction, optional
        The values before they were rounded, where sums are taken of these if ``values`` have no common step.
    """

    values: NDArray[np.float32]
    ideal: tuple[Fraction, ...] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Activations(_Signal):
    """Activations of few values.

    Parameters
    ----------
    values : float32 array [channels, levels + 1]
        For each number of thresholds that a channel can reach; of one level for bit 0 and for bit 1.
    """

    values: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Totals(_Signal):
    """Activations added up over all positions, perhaps divided by their number.

    Parameters
    ----------
    values : float32 array [channels, n]
        For each total of a channel, from the lowest on, as a framework computes them.
    error : Fraction
        How far other orders of additions and another way to divide may be off these.
    cause : str
        Why they may be, and what to do about it.
    """

    values: NDArray[np.float32]
    error: Fraction = Fraction(0)
    cause: str = ""

    def then(self, step: Step) -> "Totals":
        """The totals behind one more operation, which is no quantizer and has one order of rounding."""
        values, error = step.apply(self.values), Fraction(0)
        if self.error:
            # By what the operation, which is affine, multiplies differences; then it rounds once.
            before, after = (np.abs(v[:, -1].astype(np.float64) - v[:, 0]) for v in (self.values, values))
            factor = (after / np.maximum(before, TINY)).max()
            error = 2 * self.error * Fraction(float(factor)) + Fraction(float(np.abs(values).max())) / (1 << 23)
        return replace(self, values=values, error=error)


@dataclass(frozen=True, kw_only=True, eq=False)
class Classes(_Signal):
    """Index of the largest score.

    Parameters
    ----------
    ours : pair of tuples of Fraction
        Scale and offset of each class, from our last layer's sums to the scores.
    scores : the same, optional
        Where the network gives the scores themselves.
    """

    ours: tuple[tuple[Fraction, ...], tuple[Fraction, ...]]
    scores: tuple[tuple[Fraction, ...], tuple[Fraction, ...]] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Sums(_Signal):
    """Integer accumulators, each times a scale plus an offset, and what was done to them since.

    Parameters
    ----------
    weights : int8 array [out, in] or [out, in, ky, kx]
        In our order; signs of the layer's input values are in them already.
    stride : int
    padding : Padding
    groups : int
    low : int64 array [out]
        Lowest accumulator value of each channel.
    step, count : int
        Distance and number of the values that an accumulator may have.
    first_scale, first_offset : tuple of Fraction
        What the layer itself makes of its accumulator.
    error : Rounding
        How far float32 may be off such a sum, in whatever order it adds.
    steps : tuple of Step
        Elementwise operations since.
    scale, offset : tuple of Fraction
        Behind all steps, in exact arithmetic.
    pools : tuple of MaxPool
        Poolings since; they move behind the threshold.
    rising : int array [out]
        Where there are poolings, whether the channel's value rises (1), falls (-1) or rests (0) with the accumulator.
    adds : tuple of Add
        Residual additions, whose values the accumulator counts too.
    carried : bool
        Whether a later addition takes these sums.
    """

    weights: NDArray[np.int8]
    stride: int = 1
    padding: Padding = (0, 0, 0, 0)
    groups: int = 1
    low: NDArray[np.int64]
    step: int
    count: int
    first_scale: tuple[Fraction, ...]
    first_offset: tuple[Fraction, ...]
    error: Rounding
    steps: tuple[Step, ...] = ()
    scale: tuple[Fraction, ...]
    offset: tuple[Fraction, ...]
    pools: tuple[MaxPool, ...] = ()
    rising: NDArray[np.int64] | None = None
    adds: tuple[Add, ...] = ()
    carried: bool = False

    @property
    def keeps_signs(self) -> bool:
        """Whether the weights cannot be negated, since additions count with them."""
        return self.carried or bool(self.adds)

    @property
    def high(self) -> NDArray[np.int64]:
        """Highest accumulator value of each channel."""
        return self.low + self.step * (self.count - 1)

    def accumulators(self, rows: slice) -> NDArray[np.int64]:
        """Every value that the accumulators of some channels may have, ascending: [channels, count]."""
        return self.low[rows, None] + self.step * np.arange(self.count)

    def chunks(self) -> Iterator[slice]:
        """Channels in groups whose values take a bounded amount of memory."""
        size = max(1, CHUNK_VALUES // self.count)
        for start in range(0, len(self.low), size):
            yield slice(start, min(start + size, len(self.low)))

    def evaluate(self, sums: NDArray, rows: slice, *, order: int = 0, shift: int = 0) -> NDArray[np.float32]:
        """What a framework makes of accumulator values [channels, n] in float32.

        Parameters
        ----------
        sums : int array
            Accumulator values.
        rows : slice
            Their channels.
        order : int
            As `Step.apply`.
        shift : int
            1 or -1 to move each sum by the largest error that float32 may make of it.
        """
        scale = np.array([float(s) for s in self.first_scale[rows]])[:, None]
        offset = np.array([float(o) for o in self.first_offset[rows]])[:, None]
        with np.errstate(over="ignore"):
            exact = self.error.ends(sums, rows, shift) if shift else sums * scale + offset
            values = exact.astype(np.float32)
        if not np.isfinite(values).all():
            raise NetworkError("gets sums that float32 does not hold; use smaller scales before it")
        for step in self.steps[self.error.steps if shift else 0 :]:
            values = step.apply(values, rows, order)
        return values

    def then(self, step: Step) -> "Sums":
        """The sums behind one more operation, which is no quantizer."""
        assert step.rule.exact is not None
        constants = [fractions_of(c) for c in step.constants]
        exact = [step.rule.exact(s, o, *c) for s, o, *c in zip(self.scale, self.offset, *constants, strict=True)]
        both = tuple(s for s, _ in exact), tuple(o for _, o in exact)
        return replace(self, steps=(*self.steps, step), scale=both[0], offset=both[1])


Signal = Pixels | Activations | Totals | Sums | Classes


def kind_of(signal: Signal) -> str:
    """What a signal is, for errors."""
    names = {Pixels: "pixels", Activations: "activations", Totals: "totals", Sums: "sums", Classes: "classes"}
    return names[type(signal)]
