"""How many scores of two classes are so close that float32 may put them in another order than exact arithmetic."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from xnorweave.importers.folding.scales import Scores
from xnorweave.importers.folding.signals import Sums

__all__ = ["close_scores"]


def close_scores(sums: Sums, scores: Scores, apart: float) -> int:
    """Pairs of scores of two classes that float32 does not tell apart, whatever order it rounds or adds in.

    Each score is within an interval of what the framework's formula and its other orders of rounding give; pairs whose
    intervals touch are counted, but not those that are equal in float32 and exactly.

    Parameters
    ----------
    sums : Sums
        Scores of classes.
    scores : Scores
        The same in exact order.
    apart : float
        By how much scores have to differ, where a softmax rounds them again.
    """
    ends = np.stack([v.astype(np.float64) for v in _evaluated(sums)])
    low, high = ends.min(0), ends.max(0)
    close = _touching(low.ravel(), high.ravel() + apart)
    close -= sum(_touching(*rows) for rows in zip(low, high + apart, strict=True))
    return close - _same(scores, low, low == high)


def _evaluated(sums: Sums) -> Iterator[NDArray[np.float32]]:
    """Scores [classes, count] in every order of rounding, with and without the error of sums in float32."""
    every, values = slice(None), sums.accumulators(slice(None))
    for order in range(1 + max((len(step.rule.orders) for step in sums.steps), default=0)):
        for shift in (-1, 0, 1) if sums.error.any() else (0,):
            yield sums.evaluate(values, every, order=order, shift=shift)


def _touching(low: NDArray[np.float64], high: NDArray[np.float64]) -> int:
    """Pairs of intervals that have a point in common: all pairs but those of which one ends before the other."""
    ascending = np.sort(low)
    before = len(low) - np.searchsorted(ascending, high, "right")
    return len(low) * (len(low) - 1) // 2 - int(before.sum())


def _same(scores: Scores, values: NDArray[np.float64], certain: NDArray[np.bool_]) -> int:
    """Pairs of scores of two classes that are equal exactly, and in float32 without doubt."""
    rank = scores.ranks[scores.row].ravel()
    chosen = certain.ravel() & (np.bincount(rank)[rank] > 1)
    keys = np.stack([rank, values.ravel()])[:, chosen]
    classes = np.repeat(np.arange(len(values)), values.shape[1])[chosen]
    _, group = np.unique(keys, axis=1, return_inverse=True)
    within = np.unique(np.stack([group.ravel(), classes]), axis=1, return_counts=True)[1]
    return _pairs(np.bincount(group.ravel())) - _pairs(within)


def _pairs(counts: NDArray[np.int64]) -> int:
    return int((counts * (counts - 1) // 2).sum())
