"""The kernel atlas: which 2-D kernels a convolution has, and which filters use each of them.

In ``report.json`` a layer's kernels are text: for each input channel one string, for each of its filters the kernel's
+1 taps as a number of fixed width in hexadecimal, row by row from bit 0. How many times a kernel is used, and which are
each other's inverses, follows from that. Only so many kernels are written as a page can show; the rest is counted.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from xnorweave.network import Conv2D, Network

__all__ = ["Tile", "channel_tiles", "kernel_atlas"]

# Kernels in one report, and of one layer, whose channels are taken from the first on.
_MOST_KERNELS = 2048
_MOST_OF_LAYER = 768


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A kernel of an input channel and its inverse, with their users.

    Parameters
    ----------
    pattern : int
        The +1 taps, row by row from bit 0; of a pair, of the one used more.
    filters, inverse_filters : tuple of int
        Filters that use the kernel, and its inverse.
    """

    pattern: int
    filters: tuple[int, ...]
    inverse_filters: tuple[int, ...]

    @property
    def uses(self) -> int:
        """How many filters use one of the two."""
        return len(self.filters) + len(self.inverse_filters)


def kernel_atlas(network: Network) -> dict[str, Any] | None:
    """``kernel_atlas`` of a report; None for a network without convolutions of more than one tap.

    Parameters
    ----------
    network : Network
        Whose kernels.

    Returns
    -------
    dict or None
        ``layers``, each with ``name``, ``kernel`` (height, width), ``channels`` and ``filters`` of the layer, ``groups``,
        ``filters_shown`` of each channel, and ``patterns``, a string for each channel shown.
    """
    layers = [layer for layer in network.layers if isinstance(layer, Conv2D) and max(layer.kernel) > 1]
    if not layers:
        return None
    share = min(_MOST_OF_LAYER, _MOST_KERNELS // len(layers))
    return {"layers": [_encoded(layer, share) for layer in layers]}


def _encoded(layer: Conv2D, most: int) -> dict[str, Any]:
    filters, each = len(layer.weights) // layer.groups, layer.weights.shape[1]
    channels, shown = each * layer.groups, min(filters, most)
    digits = -(-layer.weights[0, 0].size // 4)
    return {
        "name": layer.name,
        "kernel": list(layer.kernel),
        "channels": channels,
        "filters": len(layer.weights),
        "groups": layer.groups,
        "filters_shown": shown,
        "patterns": [_channel(layer, channel, shown, digits) for channel in range(min(channels, max(1, most // shown)))],
    }


def _channel(layer: Conv2D, channel: int, shown: int, digits: int) -> str:
    group, place = divmod(channel, layer.weights.shape[1])
    first = group * (len(layer.weights) // layer.groups)
    taps = np.packbits(layer.weights[first : first + shown, place].reshape(shown, -1) > 0, axis=1, bitorder="little")
    return "".join(f"{int.from_bytes(row.tobytes(), 'little'):0{digits}x}" for row in taps)


def channel_tiles(layer: dict[str, Any], channel: int) -> list[Tile]:
    """The tiles of a channel of ``kernel_atlas``, most used first."""
    height, width = layer["kernel"]
    digits, full = -(-height * width // 4), (1 << height * width) - 1
    text = layer["patterns"][channel]
    first = channel // (layer["channels"] // layer["groups"]) * (layer["filters"] // layer["groups"])
    users: dict[int, list[int]] = {}
    for number, place in enumerate(range(0, len(text), digits)):
        users.setdefault(int(text[place : place + digits], 16), []).append(first + number)
    tiles = [_tile(pattern, full, users) for pattern in users if _leads(pattern, full, users)]
    return sorted(tiles, key=lambda tile: (-tile.uses, -len(tile.filters), tile.pattern))


def _leads(pattern: int, full: int, users: dict[int, list[int]]) -> bool:
    """Whether a kernel stands for its pair: it is used more than its inverse, or as often and is the greater number."""
    return (len(users[pattern]), pattern) > (len(users.get(full ^ pattern, [])), full ^ pattern)


def _tile(pattern: int, full: int, users: dict[int, list[int]]) -> Tile:
    return Tile(
        pattern=pattern, filters=tuple(users[pattern]), inverse_filters=tuple(users.get(full ^ pattern, ()))
    )
