"""What an image is before the first step: its order, and what a framework gets for a pixel."""

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Literal

import numpy as np

from xnorweave.importers.folding.layout import Layout
from xnorweave.importers.folding.signals import Pixels, Words
from xnorweave.network import Shape

__all__ = ["PixelRule", "as_image", "image_layout", "pixels_of"]

PixelRule = Literal["auto", "unit", "raw"]

MOST_COLOURS = 4


def image_layout(batch: int, sizes: Sequence[int]) -> Layout:
    """The image that an input without its batch is, with channels last where only that can be.

    A vector is a square where it can be one.
    """
    if len(sizes) == 3 and sizes[2] <= MOST_COLOURS < sizes[0]:
        return Layout.plain(batch, (sizes[2], sizes[0], sizes[1])).transposed((0, 2, 3, 1))
    if len(sizes) == 3:
        return Layout.plain(batch, (sizes[0], sizes[1], sizes[2]))
    if len(sizes) == 2:
        return Layout.plain(batch, (1, sizes[0], sizes[1]), tuple(sizes))
    side = math.isqrt(sizes[0])
    shape: Shape = (1, side, side) if side * side == sizes[0] else (1, 1, sizes[0])
    return Layout.plain(batch, shape, tuple(sizes))


def as_image(pixels: Pixels, most_channels: int = MOST_COLOURS) -> Pixels:
    """Pixels alike in all channels that were reshaped to rank 4, as the image with channels first that this is."""
    layout = pixels.layout
    if len(layout.shape) != 4 or not layout.is_plain or np.any(pixels.values != pixels.values[:1]):
        return pixels
    if layout.order.shape[0] > most_channels:
        return pixels
    channels, height, width = layout.order.shape
    values = np.repeat(pixels.values[:1], channels, axis=0)
    return replace(pixels, layout=Layout.plain(layout.batch, (channels, height, width)), values=values)


def _in_words(layout: Layout) -> str:
    """What the dimensions of an image are taken for, without its batch."""
    _, height, width = layout.map
    sizes = layout.order.shape
    match len(sizes):
        case 3:
            meaning = "channels, rows, columns (NCHW)" if layout.is_map else "rows, columns, channels (NHWC)"
        case 2:
            meaning = "rows, columns of one channel"
        case _ if height > 1 or width == 1:
            meaning = f"a square of {height}x{width} in one channel"
        case _:
            meaning = "one row of one channel"
    return f"{'x'.join(map(str, sizes))} taken as {meaning}"


def pixels_of(layout: Layout, rule: PixelRule, words: Words, where: str, *, ideal: bool = False) -> Pixels:
    """The pixels of an image, in float32.

    Parameters
    ----------
    layout : Layout
        Of the tensor that the framework gets.
    rule : {"unit", "raw"}
        ``pixel / 255``, or the pixel.
    words : Words
        For errors.
    where : str
        What the history calls the input.
    ideal : bool
        Whether a layer may sum the values before rounding, where those in float32 have no common step.
    """
    values, exact = np.arange(256, dtype=np.float32), tuple(map(Fraction, range(256)))
    if rule == "unit":
        values, exact = values / np.float32(255), tuple(n / 255 for n in exact)
    notes = (f"{where}: {'pixel / 255' if rule == 'unit' else 'the pixel itself'}", f"{where}: {_in_words(layout)}")
    return Pixels(
        layout=layout,
        words=words,
        values=np.repeat(values[None], layout.map[0], axis=0),
        ideal=exact if ideal else None,
        notes=notes,
    )
