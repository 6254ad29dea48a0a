"""Similar kernels made equal: fewer distinct kernels in each input channel, with the least change of a layer's sums.

What changes is measured on data: a filter whose weights change by ``d`` has sums that change by ``d . x``, whose
variance over the windows ``x`` of real images is ``d' C d``, with C the windows' covariance (the mean does no harm:
thresholds follow it, see `refit`). Filters are compared by that variance as a part of their own sums' variance. So a
flipped tap whose pixel hardly varies costs little, and errors of one filter's kernels that cancel cost nothing.

1. `rank_kernels` ranks the candidates of each input channel: at each place the one with which the filters, each taking
   the nearest kernel up to inversion, change least; the first ones of this ranking are the codebook of any size.
2. `replace_kernels` divides a number of codes among the channels, where they gain most, and gives each filter its
   kernels by coordinate descent on the whole filter's variance, channel after channel.
3. `refit` moves thresholds to where the replaced layer's bits differ least from the original ones, in closed form.

Second moments are whole numbers that float64 holds exactly, as are all products with them: the order of additions, and
so the number of threads, changes nothing.

References
----------
Chang, Lin, Lin, Chen, Wang, "A Convolutional Result Sharing Approach for Binarized Neural Network Inference", DATE 2020
(similar filters share one result). Nagel, Amjad, van Baalen, Louizos, Blankevoort, "Up or Down? Adaptive Rounding for
Post-Training Quantization", ICML 2020, section 3.1 (weights chosen by their inputs' second moments).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from xnorweave.network import Conv2D, Threshold

__all__ = [
    "KernelRanking",
    "Moments",
    "kernel_candidates",
    "rank_candidates",
    "rank_kernels",
    "refit",
    "replace_kernels",
    "window_moments",
]

_MOST_WINDOWS = 1 << 14
_MOST_ENUMERATED_TAPS = 9
_SWEEPS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """How the windows that a convolution sees vary, for each group of its channels.

    Parameters
    ----------
    covariance : float64 array [groups, taps, taps]
        Whole numbers: ``n * sum x x' - sum x sum x'`` over ``n`` windows, taps in the order channel, row, column.
    windows : int
        How many were looked at.
    """

    covariance: NDArray[np.float64]
    windows: int


@dataclass(frozen=True, kw_only=True, eq=False)
class KernelRanking:
    """Candidates for the kernels of each input channel of each group, best first.

    Parameters
    ----------
    kernels : list of int8 array [rank, taps of a kernel]
        For each channel; the last one leaves no filter changed, unless fewer were asked for.
    gains : list of float64 array [rank]
        By how much each lowers the filters' change, the first one against none at all (infinity).
    shared : bool
        Whether all channels have the same ranking, and one codebook.
    """

    kernels: list[NDArray[np.int8]]
    gains: list[NDArray[np.float64]]
    shared: bool = False

    @property
    def most_codes(self) -> int:
        """Codes of all channels with which nothing changes; not the fewest such."""
        return sum(len(kernels) for kernels in self.kernels)

    def sizes(self, codes: int) -> list[int]:
        """Codes of each channel: ``codes`` divided where they gain most, at least one each; if shared, all of them."""
        if self.shared:
            return [codes] * len(self.kernels)
        gains = np.concatenate(self.gains)
        channels = np.repeat(np.arange(len(self.gains)), [len(channel) for channel in self.gains])
        best = np.argsort(-gains, kind="stable")[: max(codes, len(self.gains))]
        return np.bincount(channels[best], minlength=len(self.gains)).tolist()


def window_moments(layer: Conv2D, values: NDArray, rng: np.random.Generator) -> Moments:
    """Measure how the windows of ``layer`` vary.

    Parameters
    ----------
    layer : Conv2D
        Whose windows.
    values : int array [N, height, width, channels]
        What it gets; whole numbers of at most 16 bits.
    rng : numpy Generator
        Chooses the windows, at most 16,384, where there are more.
    """
    top, bottom, left, right = layer.padding
    padded = np.pad(values, ((0, 0), (top, bottom), (left, right), (0, 0)))
    windows = sliding_window_view(padded, layer.kernel, (1, 2))[:, :: layer.stride, :: layer.stride]
    frames, rows, columns = windows.shape[:3]
    count = frames * rows * columns
    chosen = np.arange(count) if count <= _MOST_WINDOWS else np.sort(rng.choice(count, _MOST_WINDOWS, replace=False))
    picked = windows[np.unravel_index(chosen, (frames, rows, columns))]
    groups = np.split(picked, layer.groups, 1)
    return Moments(
        covariance=np.stack([_covariance(group.reshape(len(chosen), -1)) for group in groups]), windows=len(chosen)
    )


def _covariance(windows: NDArray) -> NDArray[np.float64]:
    largest = int(np.abs(windows.astype(np.int64)).max(initial=1))
    # Float32 is twice as fast, and holds these sums as exactly while they are below 2**24.
    dtype = np.float32 if largest**2 * len(windows) <= 1 << 24 else np.float64
    values = windows.astype(dtype)
    totals = windows.sum(0, dtype=np.float64)
    return len(windows) * (values.T @ values).astype(np.float64) - np.outer(totals, totals)


def rank_kernels(layer: Conv2D, moments: Moments, *, most: int | None = None) -> KernelRanking:
    """Rank the candidates for each input channel's kernels.

    Candidates are all kernels of at most nine taps, or else those of the layer. Each is there once with its inverse.

    Parameters
    ----------
    layer : Conv2D
        Whose kernels.
    moments : Moments
        Of the windows that it gets.
    most : int, optional
        Rank so many for all channels together, as one codebook of the layer.
    """
    channels = list(_channels(layer, moments))
    candidates = kernel_candidates(layer.weights.reshape(-1, layer.weights[0, 0].size))
    if most is not None:
        order, gains = rank_candidates(np.concatenate([_changes(channel, candidates) for channel in channels]), most)
        kernels = candidates[order].astype(np.int8)
        return KernelRanking(kernels=[kernels] * len(channels), gains=[gains] * len(channels), shared=True)
    ranked = [rank_candidates(_changes(channel, candidates), len(candidates)) for channel in channels]
    return KernelRanking(
        kernels=[candidates[order].astype(np.int8) for order, _ in ranked], gains=[gains for _, gains in ranked]
    )


class _Channel(NamedTuple):
    """One input channel: its kernels [filters, taps], covariance [taps, taps], and its filters' importance."""

    kernels: NDArray[np.float64]
    covariance: NDArray[np.float64]
    importance: NDArray[np.float64]


def _channels(layer: Conv2D, moments: Moments) -> Iterator[_Channel]:
    for filters, covariance in zip(np.split(layer.weights, layer.groups), moments.covariance, strict=True):
        flat = filters.reshape(len(filters), -1).astype(np.float64)
        importance = _importance(flat, covariance)
        size = filters[0, 0].size
        for first in range(0, flat.shape[1], size):
            part = slice(first, first + size)
            yield _Channel(flat[:, part], covariance[part, part], importance)


def _importance(weights: NDArray[np.float64], covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """One over each filter's variance; of a filter that never varies, as if it did by the least number."""
    return 1.0 / np.maximum(((weights @ covariance) * weights).sum(1), 1.0)


def kernel_candidates(kernels: NDArray[np.int8]) -> NDArray[np.float64]:
    """Kernels to choose from, of a kernel and its inverse the one whose first tap is -1.

    Parameters
    ----------
    kernels : int8 array [count, taps]
        Those that there are.

    Returns
    -------
    float64 array [candidates, taps]
        All there can be of at most nine taps, or else the given ones.
    """
    taps = kernels.shape[1]
    if taps <= _MOST_ENUMERATED_TAPS:
        bits = np.arange(1 << (taps - 1))[:, None] >> np.arange(taps) & 1
        return np.roll(2 * bits - 1, 1, axis=1).astype(np.float64)
    return np.unique(kernels * -kernels[:, :1], axis=0).astype(np.float64)


def _changes(channel: _Channel, candidates: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each filter changes, [filters, candidates], when it takes the candidate or its inverse here."""
    kernels, covariance, importance = channel
    own = ((kernels @ covariance) * kernels).sum(1)[:, None] + ((candidates @ covariance) * candidates).sum(1)
    return importance[:, None] * (own - 2.0 * np.abs(kernels @ covariance @ candidates.T))


@numba.njit(cache=True)
def rank_candidates(changes, most):  # pragma: no cover -- compiled
    """Take the candidate that lowers the sum of each filter's least change most, until nothing changes.

    Parameters
    ----------
    changes : float64 array [filters, candidates]
        Of each filter for each candidate.
    most : int
        Candidates to take at most.

    Returns
    -------
    order : int64 array [rank]
    gains : float64 array [rank]
    """
    filters, count = changes.shape
    least = np.full(filters, np.inf)
    taken = np.zeros(count, np.bool_)
    order = np.empty(min(most, count), np.int64)
    gains = np.empty(len(order))
    for rank in range(len(order)):
        best, best_total = -1, np.inf
        for k in range(count):
            if taken[k]:
                continue
            total = 0.0
            for o in range(filters):
                total += min(least[o], changes[o, k])
            if total < best_total:
                best, best_total = k, total
        before = 0.0
        for o in range(filters):
            before += least[o]
            least[o] = min(least[o], changes[o, best])
        taken[best] = True
        order[rank], gains[rank] = best, before - best_total
        if best_total <= 0.0:
            return order[: rank + 1], gains[: rank + 1]
    return order, gains


def replace_kernels(layer: Conv2D, moments: Moments, ranking: KernelRanking, codes: int) -> NDArray[np.int8]:
    """Weights of ``layer`` with ``codes`` distinct kernels, up to inversion, over all its input channels.

    Parameters
    ----------
    layer : Conv2D
        The original.
    moments : Moments
        Of the windows that it gets.
    ranking : KernelRanking
        Of `rank_kernels`.
    codes : int
        Kernels to keep; every channel keeps one at least, and more than the layer has are never needed.

    Returns
    -------
    int8 array [out, in / groups, ky, kx]
    """
    sizes = ranking.sizes(codes)
    books = [np.concatenate([k[:n], -k[:n]]).astype(np.float64) for k, n in zip(ranking.kernels, sizes, strict=True)]
    per_group = len(books) // layer.groups
    replaced = [
        _assign(filters.reshape(len(filters), -1).astype(np.float64), covariance, books[g * per_group :][:per_group])
        for g, (filters, covariance) in enumerate(
            zip(np.split(layer.weights, layer.groups), moments.covariance, strict=True)
        )
    ]
    return np.concatenate(replaced).reshape(layer.weights.shape).astype(np.int8)


def _assign(
    weights: NDArray[np.float64], covariance: NDArray[np.float64], books: list[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Give every filter a kernel of each channel's book so that its sums' variance of change is low."""
    size = books[0].shape[1]
    change = np.zeros_like(weights)
    pull = np.zeros_like(weights)  # change @ covariance, kept up to date
    for _ in range(_SWEEPS):
        moved = False
        for channel, book in enumerate(books):
            part = slice(channel * size, (channel + 1) * size)
            own, block = weights[:, part], covariance[part, part]
            # Change of the filter's other channels, and what its present kernel here adds to the mean of both.
            others = pull[:, part] - change[:, part] @ block
            costs = ((book @ block) * book).sum(1) + 2.0 * (others - own @ block) @ book.T
            step = book[costs.argmin(1)] - own - change[:, part]
            if step.any():
                moved = True
                change[:, part] += step
                pull += step @ covariance[part]
        if not moved:
            break
    return weights + change


def refit(threshold: Threshold, sums: NDArray, fired: NDArray) -> Threshold:
    """Thresholds with which bits of changed sums differ least from the original ones.

    For each channel and level, the number of positions that fire though they did not, or do not though they did, is
    counted for every threshold between the lowest and the highest sum; of those with the fewest, the one nearest to the
    old threshold is taken.

    Parameters
    ----------
    threshold : Threshold
        The old thresholds.
    sums : int array [positions, channels]
        Changed sums.
    fired : int array [positions, channels]
        How many of the old thresholds the original sums reached.
    """
    low, high = int(sums.min()), int(sums.max())
    rows = []
    for channel, old in enumerate(threshold.by_channel):
        places = sums[:, channel].astype(np.int64) - low
        row = [_refit_level(places, fired[:, channel] > level, int(t) - low) for level, t in enumerate(old)]
        rows.append(np.maximum.accumulate(row) + low)
    limits = np.iinfo(np.int32)
    assert limits.min <= low <= high < limits.max, "sums of a network are of 32 bits"
    return Threshold(name=threshold.name, thresholds=np.array(rows, np.int32).reshape(threshold.thresholds.shape))


def _refit_level(places: NDArray[np.int64], fires: NDArray[np.bool_], old: int) -> int:
    """The same of one level; places of sums, and the old threshold, count from the lowest sum."""
    length = int(places.max()) + 2
    firing = np.bincount(places[fires], minlength=length)
    silent = np.bincount(places[~fires], minlength=length)
    # A threshold t misses what fired below it, and wakes what was silent from it on.
    missed = np.concatenate([[0], np.cumsum(firing)[:-1]])
    woken = silent.sum() - np.concatenate([[0], np.cumsum(silent)[:-1]])
    wrong = missed + woken
    best = np.flatnonzero(wrong == wrong.min())
    return int(best[np.abs(best - old).argmin()])
