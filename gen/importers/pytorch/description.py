"""The description of a network in TOML, checked key by key."""

import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xnorweave.errors import NetworkError, UnsupportedError
from xnorweave.importers.folding.files import quoted, read_bytes
from xnorweave.importers.folding.image import PixelRule
from xnorweave.layers import MAX_CHANNELS, MAX_SIDE
from xnorweave.network import Shape

__all__ = ["KINDS", "Description", "Entry", "read_description"]

MAX_FILE_BYTES = 1 << 20
MAX_LAYERS = 512
MAX_NAME = 1000

KINDS: dict[str, tuple[str, ...]] = {
    "conv": ("name", "weight", "bias", "sign", "stride", "padding", "groups"),
    "dense": ("name", "weight", "bias", "sign"),
    "batch_norm": ("name", "weight", "bias", "mean", "variance", "epsilon"),
    "sign": ("zero",),
    "quantize": ("low", "high", "scale"),
    "dorefa": ("bits",),
    "max_pool": ("size", "stride"),
    "global_average": (),
    "global_sum": (),
    "flatten": (),
    "affine": ("scale", "offset"),
    "normalize": ("mean", "std"),
    "argmax": (),
}
"""Kinds of layers with their keys, besides ``kind``."""
_BRANCHES = ("add", "residual", "shortcut", "skip", "concat")


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """One layer of the description: its kind, and the keys that are given."""

    kind: str
    keys: dict[str, Any]

    def name(self, key: str) -> str | None:
        """A key that names a tensor, or None where it is not given."""
        value = self.keys.get(key)
        if value is not None and (not isinstance(value, str) or not 0 < len(value) <= MAX_NAME):
            raise NetworkError(f"{key} = {quoted(value)} is no name of a tensor; write it in quotes")
        return value

    def whole(self, key: str, default: int, *, most: int = 65535) -> int:
        """A key that is a whole number above 0."""
        value = self.keys.get(key, default)
        if type(value) is not int or not 0 < value <= most:
            raise NetworkError(f"{key} = {quoted(value)} is no whole number from 1 to {most}")
        return value


@dataclass(frozen=True, kw_only=True, eq=False)
class Description:
    """What the file says.

    Parameters
    ----------
    weights : str
        Name of the file of weights, which lies in the same folder.
    shape : Shape
        Channels, height, width of an image.
    pixels : {"unit", "raw"}
        What the first layer gets for a pixel.
    classes : tuple of str
        Labels of the outputs, or none.
    layers : tuple of Entry
        In order.
    """

    weights: str
    shape: Shape
    pixels: PixelRule
    classes: tuple[str, ...]
    layers: tuple[Entry, ...]


def read_description(path: Path) -> Description:
    """Read and check a file.

    Raises
    ------
    NetworkError
        Where it is absent, no TOML, or not sound.
    UnsupportedError
        Where it has a kind of layer or a key that is not known.
    """
    try:
        found = tomllib.loads(read_bytes(path, MAX_FILE_BYTES).decode("utf-8"))
    except (ValueError, RecursionError) as e:
        raise NetworkError(f"is no valid TOML ({quoted(e)[1:-1]}); mend the line") from e
    _only(found, "the file", ("weights", "input", "classes", "layers"))
    shape, pixels = _input(found.get("input"))
    layers, classes = found.get("layers"), found.get("classes", [])
    if not isinstance(layers, list) or not 0 < len(layers) <= MAX_LAYERS:
        raise NetworkError(f"has no [[layers]], or more than {MAX_LAYERS}; list the layers in order")
    if not isinstance(classes, list) or not all(isinstance(c, str) and len(c) <= MAX_NAME for c in classes):
        raise NetworkError("classes is no list of texts; write them in quotes, or leave classes out")
    return Description(
        weights=_beside(found.get("weights")),
        shape=shape,
        pixels=pixels,
        classes=tuple(classes),
        layers=tuple(_entry(layer, number) for number, layer in enumerate(layers, 1)),
    )


def _only(table: dict[str, Any], where: str, known: Collection[str]) -> None:
    if unknown := sorted(table.keys() - set(known)):
        raise UnsupportedError(
            f"key {quoted(unknown[0])} of {where} is not known; known are: {', '.join(known) or 'none'}"
        )


def _input(value: object) -> tuple[Shape, PixelRule]:
    if not isinstance(value, dict):
        raise NetworkError('says no input; write: input = { shape = [1, 28, 28], pixels = "unit" }')
    _only(value, "input", ("shape", "pixels"))
    shape, pixels = value.get("shape"), value.get("pixels", "unit")
    limits = (MAX_CHANNELS, MAX_SIDE, MAX_SIDE)
    if (
        not isinstance(shape, list)
        or len(shape) != 3
        or not all(type(n) is int and 0 < n <= most for n, most in zip(shape, limits, strict=True))
    ):
        raise NetworkError(
            f"input shape = {quoted(shape)} is not channels, height and width of an image, up to {limits}"
        )
    if pixels not in ("unit", "raw"):
        raise NetworkError(f"input pixels = {quoted(pixels)} is neither 'unit' (pixel / 255) nor 'raw' (the pixel)")
    return (shape[0], shape[1], shape[2]), pixels


def _beside(value: object) -> str:
    """The name of a file in the same folder."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or "\0" in value:
        raise NetworkError('names no file of weights; write: weights = "net.safetensors"')
    if value in (".", "..") or "/" in value or "\\" in value:
        raise NetworkError(f"weights = {quoted(value)} is no name of a file in the same folder; put the file there")
    return value


def _entry(layer: object, number: int) -> Entry:
    if not isinstance(layer, dict) or not isinstance(layer.get("kind"), str) or layer["kind"] not in KINDS:
        kind = layer.get("kind") if isinstance(layer, dict) else layer
        if kind in _BRANCHES:
            raise UnsupportedError(
                f"layer {number}: kind = {quoted(kind)} joins branches, as a residual connection does; only chains are "
                "supported, in which each layer takes the one before it: train without the branch"
            )
        raise UnsupportedError(
            f"layer {number}: kind = {quoted(kind)} is not supported; supported are: {', '.join(KINDS)}"
        )
    _only(layer, f"layer {number} ({layer['kind']})", ("kind", *KINDS[layer["kind"]]))
    return Entry(kind=layer["kind"], keys=layer)
