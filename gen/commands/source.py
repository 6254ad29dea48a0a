"""From the words of a command line to a network and its images."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xnorweave.build_folder import REPORT_FORMAT
from xnorweave.errors import DataError, NetworkError
from xnorweave.images import ImageSet, load_images, load_pictures, shipped
from xnorweave.importers import PixelRule, load_any
from xnorweave.network import Network

if TYPE_CHECKING:
    from xnorweave.commands.compression_file import Compressed

__all__ = [
    "Report",
    "Source",
    "find_compression",
    "find_images",
    "find_network",
    "find_pictures",
    "head",
    "shipped_networks",
]

Report = dict[str, Any]
"""A document in the shape of ``report.json``; absent parts are simply missing."""

_WORD = re.compile(r"[a-z0-9_]+\Z")
_IMAGES_SUFFIX = "_test200"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A network, and where it came from.

    Parameters
    ----------
    network : Network
        What was read.
    images : Path, optional
        Images that come with a shipped network.
    file : Path, optional
        What it was read from, where that is no shipped network.
    """

    network: Network
    images: Path | None = None
    file: Path | None = None


def shipped_networks() -> list[str]:
    """Words for the networks that come with the package."""
    names = (path.name.removesuffix(".npz") for path in shipped("").glob("*.npz"))
    return sorted(name for name in names if not name.endswith(_IMAGES_SUFFIX))


def find_network(text: str, *, pixels: PixelRule = "auto") -> Source:
    """Read the network that ``text`` names: the word of a shipped one, or a file that can be imported.

    Parameters
    ----------
    text : str
        The word or the path.
    pixels : {"auto", "unit", "raw"}
        What the float input of another tool's network is for a pixel.

    Raises
    ------
    NetworkError
        Where there is no such network, or its file is not valid.
    UnsupportedError
        Where the file is another tool's network that no network of ours equals.
    """
    if _WORD.match(text) and text in shipped_networks():
        images = shipped(f"{text}{_IMAGES_SUFFIX}.npz")
        return Source(network=load_any(shipped(f"{text}.npz")), images=images if images.is_file() else None)
    path = Path(text)
    if not os.path.exists(path):  # noqa: PTH110 -- Path.exists() raises on a name that is too long
        words = ", ".join(shipped_networks()) or "none"
        raise NetworkError(f"{text}: no such file, nor the word of a shipped network ({words}); check the path")
    return Source(network=load_any(path, pixels=pixels), file=path)


def find_compression(source: Source) -> "Compressed | None":
    """How the network was compressed, where that is known.

    Raises
    ------
    DataError
        As `read_compression`.
    """
    from xnorweave.commands.compression_file import read_compression

    return None if source.file is None else read_compression(source.file, source.network)


def find_images(source: Source, data: Path | None, limit: int | None = None) -> ImageSet:
    """Read the images of ``data``, or those that come with a shipped network.

    Raises
    ------
    DataError
        Where there are none, or they do not fit the network.
    """
    path = data or source.images
    if path is None:
        raise DataError(f"no images come with {source.network.name!r}; give some with --data FILE.npz (arrays x and y)")
    return load_images(path, source.network, limit)


def find_pictures(
    source: Source, paths: Sequence[Path], data: Path | None, limit: int | None = None, *, resize: bool = False
) -> tuple[list[str], ImageSet]:
    """Read images with a name for each: of image files and ``.npz`` files, else as `find_images`.

    Raises
    ------
    DataError
        Where a file is not as it should be, or fewer images are there than asked for.
    ToolchainError
        Where image files need Pillow, and it is not installed.
    """
    if not paths:
        images = find_images(source, data, limit)
        return _numbered(data or source.images, images), images
    if data is not None:
        raise DataError(f"{data}: given besides {len(paths)} image files; give either, or name it among the files")
    parts = [_part(source.network, path, resize) for path in paths]
    names = [name for part, _ in parts for name in part]
    if limit is not None and limit > len(names):
        raise DataError(f"images={limit}: only {len(names)} are there; ask for 1 to {len(names)}")
    labels = [images.labels for _, images in parts if images.labels is not None]
    return names[:limit], ImageSet(
        frames=np.concatenate([images.frames for _, images in parts])[:limit],
        labels=np.concatenate(labels)[:limit] if len(labels) == len(parts) else None,
    )


def _part(network: Network, path: Path, resize: bool) -> tuple[list[str], ImageSet]:
    if path.suffix.lower() == ".npz":
        images = load_images(path, network)
        return _numbered(path, images), images
    return [str(path)], ImageSet(frames=load_pictures([path], network, resize=resize))


def _numbered(path: Path | None, images: ImageSet) -> list[str]:
    name = path.name if path else "image"
    return [f"{name}[{number}]" for number in range(len(images.frames))]


def head(network: Network) -> Report:
    """The parts of every document: its format, and the network."""
    return {
        "format": REPORT_FORMAT,
        "network": {"name": network.name, "weights": network.weight_count, "macs": network.macs},
    }
