"""Readers for image data sets in the IDX format, checked byte for byte."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import DataError

FASHION_MNIST_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts its files."""

FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

_UNSIGNED_BYTE = 0x08
_MAX_BYTES = 1 << 28


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Images with their labels.

    Parameters
    ----------
    images : ndarray of uint8, shape [count, channels, height, width]
        Pixels, 0 to 255.
    labels : ndarray of uint8, shape [count]
        Index of the class of each image.

    Raises
    ------
    DataError
        If the types or shapes differ from these.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def __post_init__(self) -> None:
        """Check types and shapes, and make the arrays read-only."""
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise DataError(f"images: {self.images.dtype}{list(self.images.shape)}; expected uint8 [count, c, y, x]")
        if self.labels.dtype != np.uint8 or self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"labels: {self.labels.dtype}{list(self.labels.shape)}; expected uint8 [{self.images.shape[0]}], "
                "one for each image"
            )
        self.images.setflags(write=False)
        self.labels.setflags(write=False)

    def __len__(self) -> int:
        """Return the number of images."""
        return self.images.shape[0]

    def part(self, start: int, stop: int) -> LabelledImages:
        """Return the images ``start`` to ``stop - 1`` and their labels."""
        return LabelledImages(images=self.images[start:stop], labels=self.labels[start:stop])


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set with its official division.

    Parameters
    ----------
    classes : tuple[str, ...]
        Name of each class, in the order of the labels.
    train, test : LabelledImages
        The official training and test images.

    Raises
    ------
    DataError
        If a label has no class.
    """

    classes: tuple[str, ...]
    train: LabelledImages
    test: LabelledImages

    def __post_init__(self) -> None:
        """Check that every label names a class."""
        for name, part in (("train", self.train), ("test", self.test)):
            if len(part) and int(part.labels.max()) >= len(self.classes):
                raise DataError(
                    f"{name} labels: {int(part.labels.max())} names none of the {len(self.classes)} classes; "
                    "use labels from 0 on"
                )


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read one gzip-compressed IDX file of unsigned bytes.

    Parameters
    ----------
    path : Path
        The ``.gz`` file.

    Returns
    -------
    ndarray of uint8
        In the shape that the file states.

    Raises
    ------
    DataError
        If the file is missing, is not gzip, states another type, or holds more or fewer bytes than it states.

    References
    ----------
    LeCun, Cortes, Burges, "The MNIST database of handwritten digits", section "File formats".
    """
    content = _decompress(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTE:
        raise DataError(f"{path}: starts with {content[:4].hex(' ') or 'nothing'}; expected IDX of bytes, 00 00 08 NN")
    header_bytes = 4 + 4 * content[3]
    if len(content) < header_bytes:
        raise DataError(f"{path}: {len(content)} bytes end inside the header of {header_bytes}; fetch the file again")
    shape = struct.unpack(f">{content[3]}I", content[4:header_bytes])
    if len(content) - header_bytes != math.prod(shape):
        raise DataError(
            f"{path}: holds {len(content) - header_bytes} bytes of data but states {list(shape)}, "
            f"{math.prod(shape)} bytes; fetch the file again"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header_bytes).reshape(shape)


def load_fashion_mnist(folder: Path = FASHION_MNIST_FOLDER) -> Dataset:
    """Load Fashion-MNIST: 60,000 training and 10,000 test images, 28 x 28 grey pixels, ten classes.

    Parameters
    ----------
    folder : Path
        Folder with the four ``.gz`` files under their official names.

    Raises
    ------
    DataError
        If a file is missing, damaged, or not of the official size.

    References
    ----------
    Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms", 2017.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder; run `apt-get install dataset-fashion-mnist`, "
            "or name the folder with the four .gz files (--data FOLDER)"
        )
    return load_idx_folder(folder, classes=FASHION_MNIST_CLASSES, remedy="fetch the data set again")


def load_idx_folder(folder: Path, *, classes: tuple[str, ...], remedy: str) -> Dataset:
    """Load a data set of MNIST's size and names of files: 60,000 and 10,000 images of 28 x 28 grey pixels.

    Parameters
    ----------
    folder : Path
        Folder with the four ``.gz`` files under their official names.
    classes : tuple[str, ...]
        Names of the classes.
    remedy : str
        What to do about images of another size.

    Raises
    ------
    DataError
        If a file is missing, damaged, or not of the official size.
    """
    return Dataset(
        classes=classes,
        train=_read_part(folder, "train", 60_000, remedy),
        test=_read_part(folder, "t10k", 10_000, remedy),
    )


def _read_part(folder: Path, prefix: str, count: int, remedy: str) -> LabelledImages:
    image_path = folder / f"{prefix}-images-idx3-ubyte.gz"
    images = read_idx(image_path)
    if images.shape != (count, 28, 28):
        raise DataError(f"{image_path}: images {list(images.shape)}; expected [{count}, 28, 28]: {remedy}")
    return LabelledImages(images=images[:, np.newaxis], labels=read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz"))


def _decompress(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; name the folder of all four .gz files (--data FOLDER)") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole gzip file ({error}); fetch the file again") from error
    if len(content) > _MAX_BYTES:
        raise DataError(f"{path}: more than {_MAX_BYTES} bytes uncompressed; expected a data set of small images")
    return content
