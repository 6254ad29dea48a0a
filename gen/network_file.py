"""Reading and writing network files (`.npz`, format ``xnorweave/1``) without trusting them.

A file is a zip archive of NumPy arrays. Entry ``network`` holds UTF-8 JSON with the chain of layers; the
others are ``<layer>.weights``, ``<layer>.thresholds`` and ``input.table``. Nothing is ever unpickled, and
every size is checked against limits before memory is taken for it.
"""

import hashlib
import io
import json
import math
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import NetworkError
from xnorweave.layers import MAX_LAYERS
from xnorweave.network import (
    Add,
    ArgMax,
    Conv2D,
    Dense,
    GlobalSum,
    InputSpec,
    Layer,
    MaxPool,
    Network,
    Scale,
    Threshold,
)

__all__ = [
    "FORMAT",
    "load_network",
    "network_bytes",
    "network_digest",
    "network_of",
    "read_arrays",
    "save_network",
]

FORMAT = "xnorweave/1"
MAX_ENTRIES = 4 * MAX_LAYERS
MAX_FILE_BYTES = 256 << 20
MAX_JSON_BYTES = 1 << 20
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_ARRAY_FIELDS = {
    "conv2d": ("weights",),
    "dense": ("weights",),
    "threshold": ("thresholds",),
    "scale": ("factors", "offsets"),
}
_LAYER_CLASSES: dict[str, type] = {
    "conv2d": Conv2D,
    "threshold": Threshold,
    "max_pool": MaxPool,
    "global_sum": GlobalSum,
    "add": Add,
    "dense": Dense,
    "scale": Scale,
    "arg_max": ArgMax,
}
_LAYER_REQUIRED = {"add": {"source"}}
_LAYER_OPTIONS = {
    "conv2d": {"stride", "padding", "groups"},
    "max_pool": {"size", "stride"},
    "threshold": set(),
    "global_sum": set(),
    "add": set(),
    "dense": set(),
    "scale": set(),
    "arg_max": {"order"},
}


def read_arrays(path: Path, *, kinds: str = "iubU", error: type[Exception] = NetworkError) -> dict[str, NDArray]:
    """Read every array of an ``.npz`` file safely.

    Parameters
    ----------
    path : Path
        The archive.
    kinds : str
        Allowed NumPy dtype kinds; never objects.
    error : type of Exception
        What to raise.

    Returns
    -------
    dict of str to array
        By entry name without ``.npy``.

    Raises
    ------
    error
        Where the file is absent, no zip archive, damaged, too large, or holds anything but plain arrays.
    """
    try:
        if path.exists() and not path.is_file():
            raise error(f"{path}: is a folder or a device, not a file; give the .npz file itself")
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            total = sum(entry.file_size for entry in entries)
            if len(entries) > MAX_ENTRIES or total > MAX_FILE_BYTES:
                raise error(
                    f"{path}: {len(entries)} entries of {total} bytes, more than {MAX_ENTRIES} entries or "
                    f"{MAX_FILE_BYTES} bytes; this is no network file"
                )
            arrays: dict[str, NDArray] = {}
            for entry in entries:
                name = entry.filename.removesuffix(".npy")
                if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise error(f"{path}: {name} is packed by method {entry.compress_type}; write it with savez")
                if name in arrays or name == entry.filename:
                    raise error(f"{path}: entry {entry.filename!r} is repeated or no .npy array; write it with savez")
                # Not archive.read: it trusts the data, not the size that was checked above.
                with archive.open(entry) as file:
                    data = file.read(entry.file_size)
                arrays[name] = _read_array(path, name, data, kinds, error)
            return arrays
    except FileNotFoundError as e:
        raise error(f"{path}: no such file; check the path") from e
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as e:
        raise error(f"{path}: not a readable .npz archive ({e}); copy or export it again") from e


def _read_array(path: Path, name: str, data: bytes, kinds: str, error: type[Exception]) -> NDArray:
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read_header:
            raise error(f"{path}: {name} has .npy version {version}; write it with NumPy's savez")
        shape, fortran, dtype = read_header[version](stream)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, UnicodeError) as e:
        raise error(f"{path}: {name} has no valid .npy header ({e}); export the file again") from e
    if dtype.hasobject or dtype.kind not in kinds:
        raise error(f"{path}: {name} is of dtype {dtype}, which is not allowed here (pickles are never read)")
    body = len(data) - stream.tell()
    if any(type(n) is not int or n < 0 for n in shape) or math.prod(shape) * dtype.itemsize != body:
        raise error(f"{path}: {name} says shape {shape} of {dtype}, but holds {body} bytes; export the file again")
    array = np.frombuffer(data, dtype=dtype, offset=stream.tell())
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


def load_network(path: str | os.PathLike[str]) -> Network:
    """Read and check a network file.

    Raises
    ------
    NetworkError
        Where anything about the file is not as the format says; the message names place, value and remedy.
    """
    path = Path(path)
    return network_of(read_arrays(path), path)


def network_of(arrays: dict[str, NDArray], path: Path) -> Network:
    """Build and check the network that the arrays of a file describe; ``path`` is named in errors, ``arrays`` used up.

    Raises
    ------
    NetworkError
        As `load_network`.
    """
    try:
        return _build(_description(arrays), arrays)
    except NetworkError as e:
        raise NetworkError(f"{path}: {e}") from e


def _description(arrays: dict[str, NDArray]) -> dict[str, Any]:
    if "network" not in arrays:
        raise NetworkError("no entry 'network', so this is no xnorweave network; see `xnorweave import`")
    entry = arrays.pop("network")
    if entry.nbytes > MAX_JSON_BYTES:
        raise NetworkError(f"entry 'network' has {entry.nbytes} bytes, more than {MAX_JSON_BYTES}")
    try:
        text = entry.item() if entry.ndim == 0 and entry.dtype.kind == "U" else entry.tobytes().decode("utf-8")
        description = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as e:
        raise NetworkError(f"entry 'network' is not valid UTF-8 JSON ({e})") from e
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        found = description.get("format") if isinstance(description, dict) else type(description).__name__
        raise NetworkError(f"format is {found!r}, not {FORMAT!r}; import the file again with this version")
    return description


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number here")


def _take(mapping: object, where: str, required: set[str], optional: set[str]) -> dict[str, Any]:
    if not isinstance(mapping, dict):
        raise NetworkError(f"{where} is {type(mapping).__name__}, not an object")
    missing, unknown = required - mapping.keys(), mapping.keys() - required - optional
    if missing:
        raise NetworkError(f"{where}: field {min(missing)!r} is missing")
    if unknown:
        raise NetworkError(f"{where}: field {min(unknown)!r} is unknown to this version; remove it or upgrade")
    return mapping


def _strings(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) and len(v) <= 400 for v in value):
        raise NetworkError(f"{where} is not a list of strings of at most 400 characters")
    return tuple(value)


def _build(description: dict[str, Any], arrays: dict[str, NDArray]) -> Network:
    fields = _take(description, "network", {"format", "name", "input", "layers"}, {"classes", "history"})
    source = _take(fields["input"], "input", {"kind", "shape"}, set())
    if not isinstance(source["shape"], list):
        raise NetworkError(f"input: shape={source['shape']!r} is not [channels, height, width]")
    spec = InputSpec(kind=source["kind"], shape=tuple(source["shape"]), table=arrays.pop("input.table", None))
    if not isinstance(fields["layers"], list) or len(fields["layers"]) > MAX_LAYERS:
        raise NetworkError(f"layers is not a list of at most {MAX_LAYERS} layers")
    layers = tuple(_build_layer(layer, index, arrays) for index, layer in enumerate(fields["layers"]))
    if arrays:
        raise NetworkError(f"array {min(arrays)!r} belongs to no layer; remove it")
    return Network(
        name=fields["name"],
        input=spec,
        layers=layers,
        classes=_strings(fields.get("classes", []), "classes"),
        history=_strings(fields.get("history", []), "history"),
    )


def _build_layer(layer: object, index: int, arrays: dict[str, NDArray]) -> Layer:
    where = f"layers[{index}]"
    kind = layer.get("kind") if isinstance(layer, dict) else None
    if not isinstance(kind, str) or kind not in _LAYER_CLASSES:
        raise NetworkError(f"{where}: kind {kind!r} is unknown; known kinds: {', '.join(_LAYER_CLASSES)}")
    fields = dict(_take(layer, where, {"name", "kind"} | _LAYER_REQUIRED.get(kind, set()), _LAYER_OPTIONS[kind]))
    del fields["kind"]
    for array in _ARRAY_FIELDS.get(kind, ()):
        entry = f"{fields['name']}.{array}"
        if entry not in arrays:
            raise NetworkError(f"{fields['name']}: array {entry!r} is missing")
        fields[array] = arrays.pop(entry)
    if "padding" in fields and isinstance(fields["padding"], list):
        fields["padding"] = tuple(fields["padding"])
    return _LAYER_CLASSES[kind](**fields)


def _layer_fields(layer: Layer) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": layer.name, "kind": layer.kind}
    match layer:
        case Conv2D():
            fields |= {"stride": layer.stride, "padding": list(layer.padding)}
            # Files of networks without groups stay as they were, and readable by versions that know none.
            fields |= {"groups": layer.groups} if layer.groups > 1 else {}
        case MaxPool():
            fields |= {"size": layer.size, "stride": layer.stride}
        case Add():
            fields |= {"source": layer.source}
        case ArgMax() if layer.order is not None:
            fields |= {"order": list(layer.order)}
        case _:
            pass
    return fields


def network_bytes(network: Network) -> bytes:
    """Return the network as file content; equal networks give equal bytes, as long as zlib is the same."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in _entries(network):
            entry = zipfile.ZipInfo(name, _ZIP_EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return out.getvalue()


def network_digest(network: Network) -> bytes:
    """Return the SHA-256 of a network: of its file's entries, each a name, a zero byte and what it holds unpacked.

    So it does not depend on how the file was packed, which another version of zlib does differently.
    """
    whole = hashlib.sha256()
    for name, content in _entries(network):
        whole.update(name.encode() + b"\0")
        whole.update(content)
    return whole.digest()


def _entries(network: Network) -> Iterator[tuple[str, bytes]]:
    """Names and contents of a network file, in order."""
    description = {
        "format": FORMAT,
        "name": network.name,
        "input": {"kind": network.input.kind, "shape": list(network.input.shape)},
        "layers": [_layer_fields(layer) for layer in network.layers],
        "classes": list(network.classes),
        "history": list(network.history),
    }
    text = json.dumps(description, indent=1, ensure_ascii=False)
    yield _entry("network", np.frombuffer(text.encode(), np.uint8))
    if network.input.table is not None:
        yield _entry("input.table", network.input.table)
    for layer in network.layers:
        for name in _ARRAY_FIELDS.get(layer.kind, ()):
            yield _entry(f"{layer.name}.{name}", getattr(layer, name))


def _entry(name: str, array: NDArray) -> tuple[str, bytes]:
    content = io.BytesIO()
    np.lib.format.write_array(content, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return f"{name}.npy", content.getvalue()


def save_network(network: Network, path: str | os.PathLike[str]) -> None:
    """Write a network file; an existing file is replaced only once the new one is whole."""
    path = Path(path)
    data = network_bytes(network)
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as e:
        raise NetworkError(f"{path}: cannot be written ({e.strerror}); choose another path") from e
