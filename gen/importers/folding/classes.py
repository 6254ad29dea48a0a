"""The choice of a class: the largest of scores that are sums times a scale, plus an offset of each class.

Where all have one scale, offsets are as good as added to the sums where they are whole steps of these: constant
channels in front of the last layer do that. What is left of each is a fraction of a step, which decides only between
equal sums. So the sums are put in the order in which equal ones win, and the class of each is looked up behind.

Where classes have scales of their own, as behind a batch norm, a `Scale` follows the sums, of integers that keep the
exact order of all scores; see `scales`.
"""

from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import UnsupportedError
from xnorweave.importers.folding.closeness import close_scores
from xnorweave.importers.folding.layout import Layout
from xnorweave.importers.folding.offsets import with_equal_offsets, with_steps_added
from xnorweave.importers.folding.scales import Scores, fewest_bits
from xnorweave.importers.folding.signals import Classes, Signal, Sums
from xnorweave.importers.folding.thresholds import weighted_layer
from xnorweave.network import ArgMax, Layer, Scale

__all__ = ["classified"]

MAX_SCORES = 1 << 23


def classified(signal: Signal, *, apart: float = 0.0) -> Classes:
    """Class of the largest score, the lowest of equals; scores are sums, scaled and offset for each class.

    Parameters
    ----------
    signal : Signal
        The scores.
    apart : float
        By how much the scores of different sums have to differ at least, where a softmax rounds them again.

    Raises
    ------
    UnsupportedError
        Where the largest score could be that of another class than the one chosen here.
    """
    if not isinstance(signal, Sums) or signal.weights.ndim != 2 or len(signal.layout.shape) != 2 or signal.pools:
        raise UnsupportedError(f"chooses a class; only from the sums [batch, classes] of {signal.words.dense}")
    _check_count(signal)
    if len(set(signal.scale)) != 1:
        return _scaled(signal, apart)
    before = with_equal_offsets(signal)
    if not before.scale[0]:
        raise UnsupportedError("scores have the scale 0, so all classes are equal; check the constants")
    sums, fractions = _in_one_step(before if before.scale[0] > 0 else _negated(before), signal)
    order = sorted(range(len(fractions)), key=lambda c: (-fractions[c], c))
    _check_scores(sums, order, apart)
    notes = sums.notes
    if order != sorted(order):
        notes = (*notes, "classes have offsets of their own: of equal sums the one of the largest offset is chosen")
    placed = replace(sums, weights=sums.weights[order])
    layers: tuple[Layer, ...] = (
        *sums.layers,
        weighted_layer(placed, placed.weights),
        ArgMax(name="classify", order=tuple(order)),
    )
    return Classes(
        layout=Layout.plain(sums.layout.batch, (1, 1, 1), (1,)),
        words=sums.words,
        source=sums.source,
        layers=layers,
        notes=notes,
        ours=(sums.scale, sums.offset),
    )


def _scaled(sums: Sums, apart: float) -> Classes:
    """Class of the largest of scores of different scales."""
    scores = Scores(sums.scale, sums.offset, sums.low, sums.step, sums.count)
    factors, offsets = fewest_bits(scores)
    bits = int(np.abs(factors).max()).bit_length()
    notes = [f"classes have scales of their own: their sums are multiplied by factors of {bits} bits"]
    close = close_scores(sums, scores, apart)
    if close and sums.error.any():
        raise UnsupportedError(
            "chooses a class from float32 sums that depend on the order of additions, which decides between classes "
            f"for {close} pairs of sums; multiply by the scales of the classes behind the last layer's sums, as a "
            "batch norm does"
        )
    if close:
        notes.append(
            f"{close} pairs of sums of two classes have scores so close that float32 does not tell them apart for "
            "sure; there the exact ones decide"
        )
    layers: tuple[Layer, ...] = (
        *sums.layers,
        weighted_layer(sums, sums.weights),
        Scale(name="scale", factors=factors.astype(np.int32), offsets=offsets),
        ArgMax(name="classify"),
    )
    return Classes(
        layout=Layout.plain(sums.layout.batch, (1, 1, 1), (1,)),
        words=sums.words,
        source=sums.source,
        layers=layers,
        notes=(*sums.notes, *notes),
        ours=(sums.scale, sums.offset),
    )


def _check_count(sums: Sums) -> None:
    if sums.count * len(sums.low) > MAX_SCORES:
        raise UnsupportedError(
            f"chooses one of {len(sums.low)} classes from sums of {sums.count} values, too many to check them all; "
            "pool the map before"
        )


def _negated(sums: Sums) -> Sums:
    """The same scores of negated sums."""
    first = tuple(-scale for scale in sums.first_scale)
    error = replace(sums.error, scale=tuple(-scale for scale in sums.error.scale))
    scale = tuple(-scale for scale in sums.scale)
    return replace(sums, weights=-sums.weights, low=-sums.high, first_scale=first, scale=scale, error=error)


def _in_one_step(sums: Sums, signal: Sums) -> tuple[Sums, list[Fraction]]:
    """Sums to which the whole steps of the offsets are added, and what is left of each offset, in sums."""
    apart = [(offset - min(sums.offset)) / sums.scale[0] for offset in sums.offset]
    steps = [int(d // sums.step) for d in apart]
    fractions = [d - n * sums.step for d, n in zip(apart, steps, strict=True)]
    aligned = len(set((sums.low % sums.step).tolist())) == 1
    added = sums if not any(steps) else with_steps_added(sums, steps) if aligned else None
    if added is None or (any(apart) and not aligned):
        other = next(n for n, d in enumerate(apart) if d != apart[0])
        remedy = "train the last layer without bias"
        if len(set(signal.first_offset)) != 1:
            remedy = "give the quantizer before the last layer values that are symmetric about 0, such as -1 and 1"
        one, another = (float(sums.offset[c]) for c in (0, other))
        raise UnsupportedError(
            f"scores of classes 0 and {other} have offsets {one:g} and {another:g}, which no constant channels before "
            "the last layer add to its sums: that takes a hidden layer without groups or an average behind it, of an "
            f"odd number of levels, and offsets of few sums; {remedy}"
        )
    return added, fractions


def _check_scores(sums: Sums, order: list[int], apart: float) -> None:
    """Refuse scores in float32 that are in another order than the sums that are to stand for them."""
    classes, values = len(order), sums.accumulators(slice(None))
    of_class = np.repeat(np.arange(classes)[:, None], sums.count, 1)
    place = np.argsort(order)[of_class]
    sequence = np.lexsort((-place.ravel(), values.ravel()))
    # A negative factor behind the sum turns the ends of what rounding may make of it.
    shifts = (-1, 1) if sums.error.any() else (0,)
    ends = [sums.evaluate(values, slice(None), shift=s).ravel()[sequence].astype(np.float64) for s in shifts]
    gaps, chosen = np.min(ends, 0)[1:] - np.max(ends, 0)[:-1], of_class.ravel()[sequence]
    # Of equal scores the lower class is chosen, which comes last here.
    ties = (gaps == 0) & (chosen[1:] <= chosen[:-1]) & (not sums.error.any())
    bad = ~((gaps > apart) | ties)
    if bad.any():
        _refuse(sums, values.ravel()[sequence], chosen, int(bad.argmax()))


def _refuse(sums: Sums, values: NDArray[np.int64], chosen: NDArray[np.int64], at: int) -> None:
    one, other = (f"class {chosen[n]} of the sum {values[n]}" for n in (at, at + 1))
    if sums.error.any():
        remedy = "; multiply by scales that are no powers of two behind the last layer, the same for all classes"
        why = f", since {sums.error.reason(0)}" if sums.error.input_error or sums.error.biased.any() else remedy
        raise UnsupportedError(
            "chooses a class from float32 sums that depend on the order of additions, so equal sums may come out "
            f"unequal{why}: here of {one} and {other}"
        )
    raise UnsupportedError(
        f"float32 gives {other} no larger score than {one}; scale or shift the scores less, and all alike"
    )
