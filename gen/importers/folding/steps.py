"""Elementwise operations on whatever a tensor holds."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import NetworkError, UnsupportedError
from xnorweave.importers.folding.rules import Rule
from xnorweave.importers.folding.signals import Activations, Classes, Pixels, Signal, Step, Sums, Totals
from xnorweave.importers.folding.thresholds import quantize

__all__ = ["along", "applied", "apply_step", "normalized"]

SIMPLEST_DENOMINATOR = 1 << 12


def along(constant: NDArray, rank: int, axis: int) -> NDArray:
    """A constant [channels] so that it broadcasts along one axis of a tensor."""
    return constant.reshape([-1 if n == axis % rank else 1 for n in range(rank)])


def applied(signal: Signal, rule: Rule, *constants: NDArray[np.float32]) -> Signal:
    """A signal behind an elementwise operation with constants that broadcast to it."""
    columns = tuple(signal.layout.per_channel(c)[:, None] for c in constants)
    return apply_step(signal, Step(rule=rule, constants=columns))


def normalized(
    signal: Signal, rule: Rule, constants: Sequence[NDArray[np.float32]], *, epsilon: float, axis: int
) -> Signal:
    """A signal behind a batch norm.

    Parameters
    ----------
    signal : Signal
        Before it.
    rule : Rule
        One of `rules.batch_norm`.
    constants : sequence of 4 float32 arrays [channels]
        Scale, bias, mean and variance.
    epsilon : float
        That of the rule.
    axis : int
        Where the channels are in the tensor with its batch.

    Raises
    ------
    NetworkError
        Where the constants are no vectors, or a variance and epsilon are not positive together.
    """
    if any(c.ndim != 1 for c in constants):
        raise NetworkError("its scale, bias, mean and variance are not one value for each channel")
    with np.errstate(all="ignore"):
        positive = constants[3] + np.float32(epsilon) > 0
    if not positive.all():
        raise NetworkError(f"channel {int(positive.argmin())} has variance + epsilon <= 0; check its variance")
    return applied(signal, rule, *(along(c, len(signal.layout.shape), axis) for c in constants))


def apply_step(signal: Signal, step: Step) -> Signal:
    """A signal behind an elementwise operation: sums become activations in a quantizer, all else stays what it is."""
    match signal:
        case Pixels():
            return replace(signal, values=step.apply(signal.values), ideal=_before_rounding(signal, step))
        case Activations():
            return replace(signal, values=step.apply(signal.values))
        case Totals() if step.rule.thresholds or step.rule.orders:
            what = "quantizes" if step.rule.thresholds else "normalizes"
            raise UnsupportedError(
                f"{what} averages of activations; put a layer with weights behind the average, and this behind it"
            )
        case Totals():
            return signal.then(step)
        case Sums() if step.rule.thresholds:
            return quantize(signal, step)
        case Sums():
            return signal.then(step)
        case Classes():
            raise UnsupportedError(f"works on class indices; remove what follows {signal.words.ending}")


def _before_rounding(pixels: Pixels, step: Step) -> tuple[Fraction, ...] | None:
    """The values of pixels behind an operation, with its constants as the short fractions that they stand for."""
    if pixels.ideal is None or step.rule.exact is None or any(np.any(c != c[:1]) for c in step.constants):
        return None
    constants = [_simplest(c.ravel()[0]) for c in step.constants]
    return tuple(step.rule.exact(Fraction(1), value, *constants)[1] for value in pixels.ideal)


def _simplest(constant: np.float32) -> Fraction:
    exact = Fraction(float(constant))
    short = exact.limit_denominator(SIMPLEST_DENOMINATOR)
    return short if np.float32(float(short)) == constant else exact
