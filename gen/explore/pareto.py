"""Which candidates no other one beats, where what each of them comes to is known within bounds.

A figure is a pair (best, worst) in which less is better; a measured one has both equal. A candidate is dominated for
certain where another one's worst is at least as good as its best in every figure, and better in one. So as long as the
truth lies within the bounds, nothing of the true front is ever given up (`undominated`).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bounds", "dominators", "spread", "undominated"]

Bounds = tuple[tuple[float, float], ...]
"""For each objective (best, worst); less is better."""


def dominators(bounds: Sequence[Bounds]) -> list[int | None]:
    """For each candidate the first one that dominates it for certain; None for those that none does."""
    if not bounds:
        return []
    table = np.asarray(bounds, float).reshape(len(bounds), -1, 2)
    best, worst = table[..., 0], table[..., 1]
    found = list[int | None]()
    for here in best:
        beaten = (worst <= here).all(1) & (worst < here).any(1)
        found.append(int(np.argmax(beaten)) if beaten.any() else None)
    return _lasting(found)


def _lasting(found: list[int | None]) -> list[int | None]:
    """Name one that is not dominated itself: certain domination is transitive, so there is one at the end."""

    def last(number: int) -> int:
        while (above := found[number]) is not None:
            number = above
        return number

    return [None if above is None else last(above) for above in found]


def undominated(bounds: Sequence[Bounds]) -> list[int]:
    """Numbers of those that none dominates for certain: where all is measured, the Pareto front."""
    return [number for number, above in enumerate(dominators(bounds)) if above is None]


def spread(points: Sequence[Sequence[float]]) -> list[int]:
    """An order in which every beginning covers the points well: each next one is the farthest from those before.

    It begins with the best point of the first objective. Objectives are scaled to their ranges; of points equally far
    the first is taken.
    """
    if not points:
        return []
    table = np.asarray(points, float)
    low, high = table.min(0), table.max(0)
    scaled = (table - low) / np.where(high > low, high - low, 1.0)
    order = [int(np.lexsort(scaled.T[::-1])[0])]
    distance = _distances(scaled, order[0])
    while len(order) < len(points):
        distance[order] = -1.0
        order.append(int(np.argmax(distance)))
        distance = np.minimum(distance, _distances(scaled, order[-1]))
    return order


def _distances(points: NDArray[np.float64], number: int) -> NDArray[np.float64]:
    return ((points - points[number]) ** 2).sum(1)
