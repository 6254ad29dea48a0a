"""Joins any number of values into one."""

from collections.abc import Iterable

from amaranth import Cat, Value

__all__ = ["wide_cat"]

_MOST_PARTS = 256


def wide_cat(parts: Iterable) -> Value:
    """``Cat`` of as many parts as a layer has lanes, channels or bits, the first lowest.

    Amaranth's simulator makes one Python expression of a `Cat`, nested as deep as it has parts, and Python refuses
    some 3,000 levels. Parts in groups, and groups of these, are the same wires: in Verilog nothing changes.

    Parameters
    ----------
    parts : iterable of Value
        What to join.

    Returns
    -------
    Value
        As wide as all of them.
    """
    parts = list(parts)
    while len(parts) > _MOST_PARTS:
        parts = [Cat(parts[k : k + _MOST_PARTS]) for k in range(0, len(parts), _MOST_PARTS)]
    return Cat(parts)
