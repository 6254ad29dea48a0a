"""From the words of a command line to a network and its images."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xnorweave.build_folder import REPORT_FORMAT
from xnorweave.errors import DataError, NetworkError
from xnorweave.images import ImageSet, load_images, shipped
from xnorweave.importers import load_any
from xnorweave.network import Network

__all__ = ["Report", "Source", "find_images", "find_network", "head", "shipped_networks"]

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
    """

    network: Network
    images: Path | None = None


def shipped_networks() -> list[str]:
    """Words for the networks that come with the package."""
    names = (path.name.removesuffix(".npz") for path in shipped("").glob("*.npz"))
    return sorted(name for name in names if not name.endswith(_IMAGES_SUFFIX))


def find_network(text: str) -> Source:
    """Read the network that ``text`` names: the word of a shipped one, or a file that can be imported.

    Parameters
    ----------
    text : str
        The word or the path.

    Raises
    ------
    NetworkError
        Where there is no such network, or its file is not valid.
    UnsupportedError
        Where the file is one that no network of ours equals.
    """
    if _WORD.match(text) and text in shipped_networks():
        images = shipped(f"{text}{_IMAGES_SUFFIX}.npz")
        return Source(network=load_any(shipped(f"{text}.npz")), images=images if images.is_file() else None)
    path = Path(text)
    if not os.path.exists(path):  # noqa: PTH110 -- Path.exists() raises on a name that is too long
        words = ", ".join(shipped_networks()) or "none"
        raise NetworkError(f"{text}: no such file, nor the word of a shipped network ({words}); check the path")
    return Source(network=load_any(path))


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


def head(network: Network) -> Report:
    """The parts of every document: its format, and the network."""
    return {
        "format": REPORT_FORMAT,
        "network": {"name": network.name, "weights": network.weight_count, "macs": network.macs},
    }
