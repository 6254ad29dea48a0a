"""The kernel atlas: which 2-D kernels a convolution has, and which filters use each of them.

In ``report.json`` a layer's kernels are text: for each input channel one string, for each of its filters the kernel's
+1 taps as a number of fixed width in hexadecimal, row by row from bit 0. How many times a kernel is used, and which are
each other's inverses, follows from that. Only so many kernels are written as a page can show; the rest is counted.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from xnorweave.network import Conv2D, Network
from xnorweave.passes.kernels import count_kernels

__all__ = ["Shown", "Tile", "channel_tiles", "kernel_atlas", "shown_layers", "symbol"]

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
        ``layers``, each with ``name``, ``kernel`` (height, width), its ``channels``, ``filters`` and ``groups``,
        how many ``kernels`` it has, ``distinct`` within their channels and ``distinct_mod_inverse``, and ``patterns``,
        a string for each channel shown, of its first ``filters_shown`` filters.
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
    counts = count_kernels(layer.weights, layer.groups)
    return {
        "name": layer.name,
        "kernel": list(layer.kernel),
        "channels": channels,
        "filters": len(layer.weights),
        "groups": layer.groups,
        "kernels": counts.kernels,
        "distinct": counts.distinct,
        "distinct_mod_inverse": counts.distinct_mod_inverse,
        "filters_shown": shown,
        "patterns": [
            _channel(layer, channel, shown, digits) for channel in range(min(channels, max(1, most // shown)))
        ],
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
    return Tile(pattern=pattern, filters=tuple(users[pattern]), inverse_filters=tuple(users.get(full ^ pattern, ())))


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A layer of the atlas as the page shows it.

    Parameters
    ----------
    name : str
    height, width : int
        Of a kernel.
    channels : list of list of Tile
        Of the channels shown, from the first on.
    kernels, distinct, distinct_mod_inverse : int
        Of the whole layer.
    left_out : str
        What is not shown; empty where nothing is.
    """

    name: str
    height: int
    width: int
    channels: list[list[Tile]]
    kernels: int
    distinct: int
    distinct_mod_inverse: int
    left_out: str

    def rows(self, pattern: int) -> str:
        """A kernel in words: its rows of taps, + and -."""
        taps = ["+" if pattern >> place & 1 else "\u2212" for place in range(self.height * self.width)]
        return " ".join("".join(taps[row * self.width : (row + 1) * self.width]) for row in range(self.height))

    def inverse(self, pattern: int) -> int:
        """The kernel with all signs turned over."""
        return pattern ^ ((1 << self.height * self.width) - 1)


def shown_layers(report: dict[str, Any]) -> list[Shown]:
    """The atlas of a report, layer by layer."""
    layers = (report.get("kernel_atlas") or {}).get("layers", [])
    return [
        Shown(
            name=layer["name"],
            height=layer["kernel"][0],
            width=layer["kernel"][1],
            channels=[channel_tiles(layer, channel) for channel in range(len(layer["patterns"]))],
            kernels=layer["kernels"],
            distinct=layer["distinct"],
            distinct_mod_inverse=layer["distinct_mod_inverse"],
            left_out=_left_out(layer),
        )
        for layer in layers
    ]


def _left_out(layer: dict[str, Any]) -> str:
    channels, shown = layer["channels"], len(layer["patterns"])
    each = layer["filters"] // layer["groups"]
    said = [f"{channels - shown:,} of {channels:,} channels"] if shown < channels else []
    said += [f"{each - layer['filters_shown']:,} of {each:,} filters"] if layer["filters_shown"] < each else []
    return " and ".join(said)


def symbol(pattern: int, height: int, width: int) -> Markup:
    """A kernel's +1 taps as a path of unit squares, to be used wherever the kernel is."""
    squares = []
    for row in range(height):
        for column in range(width):
            if pattern >> (row * width + column) & 1:
                squares.append(f"M{column} {row}h1v1h-1z")
    return Markup('<path id="k{}x{}-{:x}" d="{}"/>').format(height, width, pattern, "".join(squares))
