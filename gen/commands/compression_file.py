"""How a network was compressed, as a file beside its own: what the report of a build draws from it.

``NAME.compression.json`` beside ``NAME.npz``: the search as ``compression`` of a report has it, and the kernels of the
layers that were changed, counted before. The digest of the network says whether it is still the one beside it.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xnorweave.errors import DataError
from xnorweave.network import Network
from xnorweave.network_file import network_digest
from xnorweave.passes.compress import OBJECTIVES, UNITS

__all__ = ["Compressed", "Counts", "compression_path", "read_compression", "write_compression"]

_FORMAT = "xnorweave-compression/1"
_MAX_BYTES = 16 << 20
_REMEDY = "remove it, or compress again"

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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
        temporary.replace(path)
    except OSError as e:
        raise DataError(f"{path}: cannot be written ({e.strerror}); write to another folder") from e
    finally:
        temporary.unlink(missing_ok=True)


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
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as e:
        raise DataError(f"{path}: cannot be read ({e.strerror}); {_REMEDY}") from e
    except (ValueError, RecursionError) as e:
        raise DataError(f"{path}: is no JSON ({e}); {_REMEDY}") from e
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise DataError(f"{path}: is not of format {_FORMAT}; {_REMEDY}")
    search: Any = document.get("compression")
    before: Any = document.get("before")
    if not _is_search(search) or not _is_before(before):
        raise DataError(f"{path}: has a value that `xnorweave compress` does not write; {_REMEDY}")
    if document.get("network_sha256") != network_digest(network).hex():
        return None
    return Compressed(search=search, before=before)


def _is_search(found: object) -> bool:
    if not isinstance(found, dict) or found.get("objective") not in OBJECTIVES:
        return False
    numbers = ("max_loss_percent", "calibration_images", "validation_images", "seed")
    trajectory = found.get("trajectory")
    return (
        all(_is_number(found.get(name)) for name in numbers)
        and isinstance(found.get("family"), str)
        and _is_point(found.get("before"))
        and _is_point(found.get("after"))
        and isinstance(trajectory, list)
        and len(trajectory) > 0
        and all(map(_is_point, trajectory))
    )


def _is_point(found: object) -> bool:
    return (
        isinstance(found, dict)
        and {"correct", "percent", *UNITS} <= found.keys()
        and all(_is_number(value) for name, value in found.items() if name != "kernels_kept")
    )


def _is_before(found: object) -> bool:
    return isinstance(found, dict) and all(
        isinstance(counts, dict) and all(map(_is_number, counts.values())) for counts in found.values()
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
