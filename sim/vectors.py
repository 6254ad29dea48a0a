"""Words on a core's streams for values of the golden model, and back; the first place where two disagree."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xnorweave.design import Tap
from xnorweave.errors import MismatchError
from xnorweave.images import pixel_bytes
from xnorweave.network import Network, Shape

__all__ = ["Mismatch", "first_mismatch", "input_words", "tap_masks", "tap_values", "tap_words"]

Words = Sequence[Sequence[int]]
"""Words per frame."""


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """One value that a simulation gives and the golden model does not.

    Parameters
    ----------
    frame, row, column, channel : int
        Where; a dense layer has row and column 0.
    layer : str
        Golden layer.
    expected, found : int
        In the units of the golden model.
    """

    frame: int
    layer: str
    row: int
    column: int
    channel: int
    expected: int
    found: int

    def __str__(self) -> str:
        return (
            f"frame {self.frame}: layer {self.layer}, row {self.row}, column {self.column}, channel {self.channel}: "
            f"golden model gives {self.expected}, simulation gives {self.found}"
        )


def input_words(network: Network, frames: NDArray[np.uint8]) -> list[list[int]]:
    """One word per pixel in raster order, channel 0 in the low bits, for every frame.

    Parameters
    ----------
    network : Network
        Tells the frame's shape and whether a channel takes 8 bits (pixels) or 1 (bits).
    frames : uint8 array [N, channels, height, width]
        As the golden model takes them.

    Raises
    ------
    DataError
        Where the frames do not have the network's shape or type.
    """
    pixels = pixel_bytes(network, frames)
    return _from_bytes(pixels.reshape(len(frames), -1, pixels.shape[-1]))


def tap_words(tap: Tap, values: NDArray) -> list[list[int]]:
    """Words that a stream has to carry for values of its golden layer; filler lanes are 0.

    Parameters
    ----------
    tap : Tap
        The stream.
    values : int array [N, channels, height, width], or [N] for an ArgMax
        Of the golden layer ``tap.layer``.

    Raises
    ------
    MismatchError
        Where a value cannot be carried by the tap's lanes: the tap is described wrongly.
    """
    pixels = _pixels(tap, values)
    coded, rest = np.divmod(pixels - np.asarray(tap.offsets, dtype=np.int64), tap.scale)
    low, high = _lane_range(tap)
    bad = np.argwhere((rest != 0) | (coded < low) | (coded > high))
    if len(bad):
        frame, pixel, channel = (int(v) for v in bad[0])
        raise MismatchError(
            f"tap {tap.layer}: frame {frame}, pixel {pixel}, channel {channel}: {pixels[frame, pixel, channel]} is not "
            f"{tap.scale} * x + {tap.offsets[channel]} with x from {low} to {high}; widen or correct the tap"
        )
    frames, count, channels = coded.shape
    padded = np.zeros((frames, count, _groups(tap) * tap.lanes), dtype=np.int64)
    padded[:, :, :channels] = coded
    lanes = padded.reshape(frames, tap.words, tap.lanes)
    bits = (lanes[..., None] >> np.arange(tap.lane_bits)) & 1
    return _from_bytes(np.packbits(bits.reshape(frames, tap.words, -1).astype(np.uint8), axis=-1, bitorder="little"))


def tap_masks(tap: Tap) -> list[int]:
    """For each word of a frame, the bits that carry values; filler lanes are 0."""
    masks = []
    for word in range(tap.words):
        first = word % _groups(tap) * tap.lanes
        used = min(tap.lanes, tap.channels - first)
        masks.append((1 << used * tap.lane_bits) - 1)
    return masks


def tap_values(tap: Tap, words: Words, shape: Shape) -> NDArray[np.int64]:
    """Golden values that a stream's words stand for: the inverse of `tap_words`.

    Parameters
    ----------
    tap : Tap
        The stream.
    words : words per frame
        Each frame complete.
    shape : Shape
        Of the golden layer; an ArgMax is ``(1, 1, 1)``.

    Returns
    -------
    int64 array [N, channels, height, width]
    """
    channels, height, width = shape
    if channels != tap.channels or height * width * _groups(tap) != tap.words:
        raise MismatchError(
            f"tap {tap.layer}: {tap.words} words of {tap.lanes} lanes for {tap.channels} channels do not carry {shape}"
        )
    for frame, found in enumerate(words):
        if len(found) != tap.words:
            raise MismatchError(f"tap {tap.layer}: frame {frame} has {len(found)} words, not {tap.words}")
    size = (tap.lanes * tap.lane_bits + 7) // 8
    top = (1 << tap.lanes * tap.lane_bits) - 1
    raw = b"".join((word & top).to_bytes(size, "little") for frame in words for word in frame)
    octets = np.frombuffer(raw, dtype=np.uint8).reshape(-1, size)
    bits = np.unpackbits(octets, axis=1, count=tap.lanes * tap.lane_bits, bitorder="little")
    weights = np.left_shift(np.int64(1), np.arange(tap.lane_bits))
    if tap.signed:
        weights[-1] = -weights[-1]
    coded = bits.reshape(-1, tap.lane_bits).astype(np.int64) @ weights
    pixels = coded.reshape(len(words), height * width, _groups(tap) * tap.lanes)[:, :, :channels]
    values = tap.scale * pixels + np.asarray(tap.offsets, dtype=np.int64)
    return np.ascontiguousarray(values.transpose(0, 2, 1)).reshape(len(words), channels, height, width)


def first_mismatch(tap: Tap, words: Words, values: NDArray, first_frame: int = 0) -> Mismatch | None:
    """First value, in stream order, where a stream's words differ from the golden layer's values.

    Parameters
    ----------
    tap : Tap
        The stream.
    words : words per frame
        What the simulation gave.
    values : int array [N, channels, height, width], or [N] for an ArgMax
        What the golden model gives.
    first_frame : int
        Number of the first of these frames, for the report.
    """
    expected = values.reshape(-1, 1, 1, 1) if values.ndim == 1 else values
    found = tap_values(tap, words, (expected.shape[1], expected.shape[2], expected.shape[3]))
    order = (0, 2, 3, 1)
    different = np.argwhere(found.transpose(order) != expected.transpose(order))
    if not len(different):
        return None
    frame, row, column, channel = (int(v) for v in different[0])
    return Mismatch(
        frame=first_frame + frame,
        layer=tap.layer,
        row=row,
        column=column,
        channel=channel,
        expected=int(expected[frame, channel, row, column]),
        found=int(found[frame, channel, row, column]),
    )


def _groups(tap: Tap) -> int:
    return -(-tap.channels // tap.lanes)


def _lane_range(tap: Tap) -> tuple[int, int]:
    if tap.signed:
        return -(1 << tap.lane_bits - 1), (1 << tap.lane_bits - 1) - 1
    return 0, (1 << tap.lane_bits) - 1


def _pixels(tap: Tap, values: NDArray) -> NDArray[np.int64]:
    if values.ndim == 1:
        values = values.reshape(-1, 1, 1, 1)
    frames, channels, height, width = values.shape
    if channels != tap.channels or height * width * _groups(tap) != tap.words or len(tap.offsets) != channels:
        raise MismatchError(
            f"tap {tap.layer}: {tap.words} words of {tap.lanes} lanes and {len(tap.offsets)} offsets for "
            f"{tap.channels} channels do not carry values of {channels} channels, {height}x{width}; correct the tap"
        )
    return values.transpose(0, 2, 3, 1).reshape(frames, height * width, channels).astype(np.int64)


def _from_bytes(octets: NDArray[np.uint8]) -> list[list[int]]:
    frames, words, size = octets.shape
    raw = np.ascontiguousarray(octets).tobytes()
    flat = [int.from_bytes(raw[at : at + size], "little") for at in range(0, len(raw), size)]
    return [flat[frame * words : (frame + 1) * words] for frame in range(frames)]
