"""Compress: similar kernels within an accuracy budget, on a user's images."""

import dataclasses
import hashlib
import json
from collections import UserDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xnorweave.build_folder import write_whole
from xnorweave.commands.compression_file import Compressed, write_compression
from xnorweave.commands.networks import sharing_part
from xnorweave.commands.source import Report, Source, find_images, head
from xnorweave.console import Stages
from xnorweave.errors import DataError
from xnorweave.images import ImageSet
from xnorweave.network import Conv2D, Network
from xnorweave.network_file import network_bytes, save_network
from xnorweave.passes.compress import Compression, CompressOptions, Examples, Point, compress
from xnorweave.passes.share import Form, share_network
from xnorweave.passes.workers import usable_cpus
from xnorweave.sim import golden

__all__ = ["compress_network", "split_images"]

_FORMS: tuple[Form, ...] = ("none", "repeated", "kernel")
_MOST_CALIBRATION = 1000
_FEWEST_IMAGES = 50


def compress_network(
    source: Source, data: Path | None, output: Path, options: CompressOptions, stages: Stages, *, images: int | None
) -> Report:
    """Compress a network, and write it and how it was compressed.

    What was measured before a kill is kept beside ``output`` until then.

    Parameters
    ----------
    source : Source
        The network.
    data : Path, optional
        Images with labels, none of them a test image; those shipped with the network where absent.
    output : Path
        File to write.
    options : CompressOptions
        What to look for.
    stages : Stages
        Told how far it is.
    images : int, optional
        How many of the images to use; all where absent.

    Raises
    ------
    DataError
        Where the images have no labels, or are too few, or progress cannot be kept.
    UnsupportedError
        As `compress`.
    """
    network, found = source.network, find_images(source, data, images)
    calibration, validation = split_images(network, found, str(data or source.images), options.seed)
    progress = output.with_name(f".{output.name}.progress.json")
    store = _FileStore(progress, _digest(network, found, options))
    stages.start(f"compressing {network.name}", 1000)

    def told(what: str, done: int, total: int) -> None:
        stages.advance(1000 * done // (total + 1))
        stages.note(what)

    result = compress(
        network,
        calibration,
        validation,
        options,
        run_layers=golden.run_layers,
        store=store,
        workers=usable_cpus(),
        progress=told,
    )
    part = compression_part(result, options, calibration_images=len(calibration.labels))
    before = _counted_before(network, result.network, options)
    save_network(result.network, output)
    write_compression(output, result.network, Compressed(search=part, before=before))
    progress.unlink(missing_ok=True)
    return head(result.network) | {"compression": part, "written": str(output)}


def _counted_before(network: Network, compressed: Network, options: CompressOptions) -> dict[str, dict[str, int]]:
    """What the layers that were changed came to before: the forms that have kernels of their own, not shared sums."""
    changed = {
        old.name
        for old, new in zip(network.layers, compressed.layers, strict=True)
        if isinstance(old, Conv2D) and isinstance(new, Conv2D) and not np.array_equal(old.weights, new.weights)
    }
    rows = share_network(network, _FORMS, layers=changed, family=options.family, workers=usable_cpus())
    return {
        row["name"]: {name: value for name, value in row.items() if _of_kernels(name)}
        for row in sharing_part(rows, options.family)["layers"]
    }


def _of_kernels(name: str) -> bool:
    """Whether a count is that of one of these forms."""
    return name.endswith(("_unshared", "_repeated", "_kernel")) and "_per_frame_" not in name


def compression_part(found: Compression, options: CompressOptions, *, calibration_images: int) -> dict[str, Any]:
    """``compression`` of a report: what was asked, before and after, and every network measured on the way."""
    row = _row_of(found)
    return {
        "objective": options.objective,
        "max_loss_percent": options.max_loss,
        "family": options.family,
        "seed": options.seed,
        "calibration_images": calibration_images,
        "validation_images": found.validation_images,
        "before": row(found.before),
        "after": row(found.after),
        "trajectory": [row(point) for point in found.trajectory],
        "alone": [row(point) for point in found.alone],
    }


def _row_of(found: Compression) -> Any:
    def row(point: Point) -> dict[str, Any]:
        percent = round(100 * point.correct / found.validation_images, 2)
        return {"correct": point.correct, "percent": percent} | point.units | {"kernels_kept": point.codes}

    return row


def split_images(network: Network, images: ImageSet, where: str, seed: int) -> tuple[Examples, Examples]:
    """A fifth of the images, at most 1,000, to calibrate with; the others to count right answers on."""
    if images.labels is None:
        raise DataError(f"{where}: no labels; give classes in an array y, to count right answers by")
    count = len(images.labels)
    if count < _FEWEST_IMAGES:
        raise DataError(f"{where}: {count} images are too few to measure a loss on; give at least {_FEWEST_IMAGES}")
    order = np.random.default_rng(seed).permutation(count)
    parts = np.split(order, [min(_MOST_CALIBRATION, count // 5)])
    calibration, validation = (_examples(network, images.frames[part], images.labels[part]) for part in parts)
    return calibration, validation


def _examples(network: Network, frames: NDArray[np.uint8], labels: NDArray[np.int64]) -> Examples:
    return Examples(values=golden.input_values(network.input, frames).transpose(0, 2, 3, 1), labels=labels)


def _digest(network: Network, images: ImageSet, options: CompressOptions) -> str:
    """Of everything that what is measured depends on."""
    whole = hashlib.sha256(network_bytes(network))
    whole.update(images.frames.tobytes())
    whole.update(b"" if images.labels is None else images.labels.tobytes())
    whole.update(json.dumps(dataclasses.asdict(options), sort_keys=True).encode())
    return whole.hexdigest()


class _FileStore(UserDict[str, Any]):
    """A dictionary that is in a file after every change, for a search that is killed and started again.

    Parameters
    ----------
    path : Path
        The file; one of another search, or a damaged one, is replaced.
    key : str
        What the search is.

    Raises
    ------
    DataError
        Where the file cannot be written.
    """

    def __init__(self, path: Path, key: str):
        super().__init__()
        self._path, self._key = path, key
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if isinstance(kept, dict) and kept.get("key") == key and isinstance(kept.get("measured"), dict):
            self.data.update(kept["measured"])

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        try:
            write_whole(self._path, json.dumps({"key": self._key, "measured": self.data}))
        except OSError as e:
            raise DataError(f"{self._path}: progress cannot be kept ({e.strerror}); write to another folder") from e
