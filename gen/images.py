"""Images and labels from ``.npz`` files, in the shape a network takes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import DataError, ToolchainError
from xnorweave.network import Network
from xnorweave.network_file import read_arrays

__all__ = ["ImageSet", "as_frames", "load_images", "load_pictures", "pixel_bytes", "shipped"]

_MODES = {1: "L", 3: "RGB"}
_BYTE_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Frames in the shape of one network.

    Parameters
    ----------
    frames : uint8 array [N, channels, height, width]
        What the hardware gets.
    labels : int array [N], optional
        Correct classes.
    """

    frames: NDArray[np.uint8]
    labels: NDArray[np.int64] | None = None


def shipped(name: str) -> Path:
    """Path of a network or image file that comes with the package."""
    return Path(str(resources.files("xnorweave") / "networks" / name))


def load_images(path: str | os.PathLike[str], network: Network, limit: int | None = None) -> ImageSet:
    """Read ``x`` (uint8 images) and ``y`` (labels, may be absent) of an ``.npz`` file.

    Raises
    ------
    DataError
        Where the file is damaged or its images do not have the network's size.
    """
    path = Path(path)
    arrays = read_arrays(path, kinds="iubUS", error=DataError)
    if "x" not in arrays:
        raise DataError(f"{path}: no array 'x' with images; found {', '.join(sorted(arrays)) or 'nothing'}")
    frames = as_frames(network, arrays["x"], str(path))
    labels = arrays.get("y")
    if labels is not None and (labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(frames)):
        raise DataError(
            f"{path}: y is {labels.dtype} {list(labels.shape)}, not a class for each of {len(frames)} images"
        )
    if limit is not None and not 1 <= limit <= len(frames):
        raise DataError(f"{path}: {limit} images asked for, but it holds {len(frames)}; ask for 1 to {len(frames)}")
    stop = len(frames) if limit is None else limit
    return ImageSet(frames=frames[:stop], labels=None if labels is None else labels[:stop].astype(np.int64))


def as_frames(network: Network, images: NDArray, where: str = "images") -> NDArray[np.uint8]:
    """Images as frames of the network.

    Parameters
    ----------
    network : Network
        Gives the size.
    images : uint8 array [N, height, width] or [N, height, width, channels]
        As data sets keep them.
    where : str
        Place named in errors.
    """
    channels, height, width = network.input.shape
    if images.dtype != np.uint8:
        raise DataError(f"{where}: images are {images.dtype}, not uint8; convert them to 0..255")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[1:] != (height, width, channels) or not len(images):
        raise DataError(
            f"{where}: images are {list(images.shape)}, but {network.name!r} takes [N, {height}, {width}, {channels}]; "
            "resize or convert them"
        )
    if network.input.kind == "bits" and images.max() > 1:
        raise DataError(f"{where}: images hold {images.max()}, but {network.name!r} takes bits; give 0 and 1 only")
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def load_pictures(
    paths: Sequence[str | os.PathLike[str]], network: Network, *, resize: bool = False
) -> NDArray[np.uint8]:
    """Read image files, each one frame, in grey or colour as the network takes them.

    Parameters
    ----------
    paths : sequence of path
        PNG, JPEG and whatever else Pillow reads.
    network : Network
        Gives size and channels.
    resize : bool
        Scale images of another size, without keeping their proportions, instead of refusing them.

    Returns
    -------
    uint8 array [N, channels, height, width]
        Of a network that takes bits, a bit is 1 where the pixel is 128 or more.

    Raises
    ------
    DataError
        Where a file is missing, no image, or of another size.
    ToolchainError
        Where Pillow is not installed.
    """
    try:
        import PIL.Image
    except ModuleNotFoundError as error:
        raise ToolchainError("images: Pillow is not installed; remedy: pip install 'xnorweave[images]'") from error
    channels = network.input.shape[0]
    if channels not in _MODES:
        raise DataError(
            f"{network.name!r} takes {channels} channels, image files have 1 or 3; give an .npz file with x "
            "[N, height, width, channels]"
        )
    pictures = np.stack([_picture(PIL.Image, Path(path), network, resize) for path in paths])
    if network.input.kind == "bits":
        pictures = (pictures >= 128).astype(np.uint8)
    return as_frames(network, pictures)


def _picture(pillow: Any, path: Path, network: Network, resize: bool) -> NDArray[np.uint8]:
    """One image [height, width, channels]."""
    channels, height, width = network.input.shape
    try:
        with pillow.open(path) as image:
            if image.mode not in _BYTE_MODES:
                raise DataError(f"{path}: pixels of kind {image.mode}, not of 8 bits; convert it to 8 bits a channel")
            if image.size != (width, height) and not resize:
                raise DataError(
                    f"{path}: {image.width}x{image.height} pixels, but {network.name!r} takes {width}x{height}; "
                    "resize it, or have it scaled with --resize"
                )
            image = image.convert(_MODES[channels])
            if image.size != (width, height):
                image = image.resize((width, height), pillow.Resampling.LANCZOS)
            return np.asarray(image, np.uint8).reshape(height, width, channels)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; check the path") from error
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
        raise DataError(f"{path}: no image that can be read ({error}); give PNG, JPEG, or an .npz file") from error


def pixel_bytes(network: Network, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The bytes of each pixel as a core takes it: a byte for each channel, or of bits eight channels in one, low first.

    Parameters
    ----------
    network : Network
        Tells the frame's shape and whether a channel takes 8 bits (pixels) or 1 (bits).
    frames : uint8 array [N, channels, height, width]
        As the golden model takes them.

    Returns
    -------
    uint8 array [N, height, width, bytes]

    Raises
    ------
    DataError
        Where the frames do not have the network's shape, type or values.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != network.input.shape:
        shape = ", ".join(map(str, network.input.shape))
        raise DataError(
            f"frames are {frames.dtype} {list(frames.shape)}, not uint8 [N, {shape}]; convert, transpose or resize them"
        )
    pixels = frames.transpose(0, 2, 3, 1)
    if network.input.kind == "pixels":
        return pixels
    if frames.size and frames.max() > 1:
        raise DataError(f"frames hold {int(frames.max())}, but the network's input is bits; give 0 and 1 only")
    return np.packbits(pixels, axis=-1, bitorder="little")
