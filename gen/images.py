"""Images and labels from ``.npz`` files, in the shape a network takes."""

import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import DataError
from xnorweave.network import Network
from xnorweave.network_file import read_arrays

__all__ = ["ImageSet", "as_frames", "load_images", "shipped"]


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
