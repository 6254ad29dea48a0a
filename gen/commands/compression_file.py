"""How a network was compressed, as a file beside its own: what the report of a build draws from it.

``NAME.compression.json`` beside ``NAME.npz``: the search as ``compression`` of a report has it, and the kernels of the
layers that were changed, counted before. The digest of the network says whether it is still the one beside it.
"""

import errno
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xnorweave.build_folder import write_whole
from xnorweave.errors import DataError
from xnorweave.network import Network
from xnorweave.network_file import network_digest
from xnorweave.passes.compress import OBJECTIVES, UNITS

__all__ = ["Compressed", "Counts", "compression_path", "read_compression", "write_compression"]

_FORMAT = "xnorweave-compression/1"
_MAX_BYTES = 16 << 20
_REMEDY = "remove it, or compress again"
# A name that becomes too long is of no file of ours.
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_MOST = 1 << 53
_SEARCH = {
    *("objective", "max_loss_percent", "family", "seed", "calibration_images", "validation_images"),
    *("before", "after", "trajectory", "alone"),
}
_POINT = ("correct", "percent", "kernels_kept")

Counts = Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Compressed:
    """What a network was before kernels were made similar, and how that went.

    Parameters
    ----------
    search : dict
        ``compression`` of a report.
    before : dict of str to dict of str to int
        For each layer that was changed, by name, what `sharing_part` counts, of the layer before.
    """

    search: Mapping[str, Any]
    before: Mapping[str, Counts]


def compression_path(network_file: Path) -> Path:
    """Where the compression of the network in a file is."""
    return network_file.with_name(f"{network_file.stem}.compression.json")


def write_compression(network_file: Path, network: Network, compressed: Compressed) -> None:
    """Write how the network in a file was compressed; an existing file is replaced once the new one is whole.

    Raises
    ------
    DataError
        Where it cannot be written.
    """
    path = compression_path(network_file)
    document = {
        "format": _FORMAT,
        "network_sha256": network_digest(network).hex(),
        "compression": compressed.search,
        "before": compressed.before,
    }
    try:
        write_whole(path, json.dumps(document, indent=1) + "\n")
    except OSError as e:
        raise DataError(f"{path}: cannot be written ({e.strerror}); write to another folder") from e


def read_compression(network_file: Path, network: Network) -> Compressed | None:
    """How the network of a file was compressed; None where there is no such file, or it is of another network.

    Raises
    ------
    DataError
        Where the file is damaged.
    """
    path = compression_path(network_file)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path}: has more than {_MAX_BYTES:,} bytes; {_REMEDY}")
        document = json.loads(path.read_text("utf-8"))
    except OSError as e:
        if e.errno in _NO_FILE:
            return None
        raise DataError(f"{path}: cannot be read ({e.strerror}); {_REMEDY}") from e
    except (ValueError, RecursionError) as e:
        raise DataError(f"{path}: is no JSON ({e}); {_REMEDY}") from e
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        return None
    if document.get("network_sha256") != network_digest(network).hex():
        return None
    search: Any = document.get("compression")
    before: Any = document.get("before")
    if not _is_search(search) or not _is_before(before):
        raise DataError(f"{path}: has a value that `xnorweave compress` does not write; {_REMEDY}")
    return Compressed(search=search, before=before)


def _is_search(found: object) -> bool:
    if not isinstance(found, dict) or found.keys() != _SEARCH or found["objective"] not in OBJECTIVES:
        return False
    counts = (found[name] for name in ("calibration_images", "validation_images", "seed"))
    return (
        all(map(_is_count, counts))
        and _is_number(found["max_loss_percent"])
        and isinstance(found["family"], str)
        and _is_point(found["before"], UNITS)
        and _is_point(found["after"], UNITS)
        and isinstance(found["trajectory"], list)
        and len(found["trajectory"]) > 0
        and all(_is_point(point, UNITS) for point in found["trajectory"])
        and isinstance(found["alone"], list)
        and all(_is_point(point, ()) for point in found["alone"])
    )


def _is_point(found: object, units: tuple[str, ...]) -> bool:
    """Whether it is a network that was measured, with these units at least, and others of them at most."""
    if not isinstance(found, dict) or not {*_POINT, *units} <= found.keys() <= {*_POINT, *UNITS}:
        return False
    counts = (value for name, value in found.items() if name not in ("percent", "kernels_kept"))
    return _is_number(found["percent"]) and all(map(_is_count, counts)) and _is_counts(found["kernels_kept"])


def _is_before(found: object) -> bool:
    return isinstance(found, dict) and all(map(_is_counts, found.values()))


def _is_counts(found: object) -> bool:
    return isinstance(found, dict) and all(map(_is_count, found.values()))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST


def _is_number(value: object) -> bool:
    return _is_count(value) or (isinstance(value, float) and 0 <= value < _MOST)
