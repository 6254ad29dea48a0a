"""Small tables in logic."""

from amaranth import Mux

__all__ = ["lookup"]


def lookup(index, values):
    """``values[index]`` as a tree of multiplexers, for an index within reach."""
    for bit in index:
        values = [
            Mux(bit, *pair[::-1]) if len(pair) == 2 else pair[0]
            for pair in (values[k : k + 2] for k in range(0, len(values), 2))
        ]
    return values[0]
