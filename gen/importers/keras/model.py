"""From a ``.h5`` or ``.keras`` file to the model's description and its arrays.

A ``.h5`` file has the description as its attribute ``model_config``, and the arrays of a layer in ``model_weights``
under the layer's name. A ``.keras`` file is a zip archive of ``config.json``, ``metadata.json`` and
``model.weights.h5``; there the arrays of a layer are numbered, and so are the layers of a class: ``layers/conv2d``,
``layers/conv2d_1``, ....
"""

import io
import json
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import NetworkError
from xnorweave.importers.folding.files import quoted, read_bytes
from xnorweave.importers.keras.chain import LayerConfig
from xnorweave.importers.keras.extract import MAX_TEXT_BYTES
from xnorweave.importers.keras.hdf5 import Store

__all__ = ["Model", "read_model"]

MAX_FILE_BYTES = 256 << 20
MAX_ENTRIES = 1024
MAX_DEPTH = 64
_NUMBERED = ("layers", "_layer_checkpoint_dependencies")


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A model's description, and access to its arrays.

    Parameters
    ----------
    config : dict
        With ``class_name`` and ``config``.
    keras : int
        Major version of the Keras that wrote it.
    numbered : bool
        Whether arrays are numbered, as in a ``.keras`` file.
    store : Store
        The arrays.
    """

    config: dict[str, Any]
    keras: int
    numbered: bool
    store: Store

    def weights(self, layer: LayerConfig, *names: str) -> tuple[NDArray[np.float32], ...]:
        """The arrays of a layer, in the order in which Keras makes them.

        A name may be several, divided by a bar, of which the file has one.

        Raises
        ------
        NetworkError
            Where one is missing.
        """
        if not self.numbered:
            found = self.store.arrays_under(f"model_weights/{layer.name}")
            held = [next((n for n in name.split("|") if n in found), None) for name in names]
            if missing := [name for name, own in zip(names, held, strict=True) if own is None]:
                name = missing[0].split("|")[0]
                raise NetworkError(f"its array {name!r} is missing in the file; save the whole model again")
            return tuple(self.store.array(found[own]) for own in held if own is not None)
        root = next((name for name in _NUMBERED if self.store.has(name)), _NUMBERED[0])
        # By the layer's own name only where the file does not number the layers of a class.
        places = [f"{root}/{name}/vars" for name in (layer.numbered_name, layer.name)]
        place = next((p for p in places if self.store.has(p)), places[0])
        return tuple(self.store.array(f"{place}/{n}") for n in range(len(names)))


def read_model(path: Path) -> Model:
    """Read a file.

    Raises
    ------
    NetworkError
        Where it is absent, damaged, too large, or no whole model.
    ToolchainError
        Where the package ``h5py`` is not installed.
    """
    data = read_bytes(path, MAX_FILE_BYTES)
    if numbered := path.suffix.lower() == ".keras":
        config, version, data = _archived(data)
        store = Store(data)
    else:
        store = Store(data)
        config, version = store.texts.get("model_config"), store.texts.get("keras_version", "2")
    if config is None:
        raise NetworkError("holds no description of the layers; save the whole model: model.save(...)")
    major = re.match(r"\d+", version)
    return Model(
        config=_parsed(config, "the description of the layers"),
        keras=int(major[0][:4]) if major else 2,
        numbered=numbered,
        store=store,
    )


def _archived(data: bytes) -> tuple[str, str, bytes]:
    """``config.json``, the version in ``metadata.json`` and ``model.weights.h5``."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            total = sum(entry.file_size for entry in entries.values())
            if len(entries) != len(archive.infolist()) or len(entries) > MAX_ENTRIES or total > MAX_FILE_BYTES:
                raise NetworkError(
                    f"{len(archive.infolist())} entries of {total} bytes, or two of one name; at most {MAX_ENTRIES} "
                    f"and {MAX_FILE_BYTES} bytes are read: save the model again"
                )
            config = _entry(archive, entries, "config.json", MAX_TEXT_BYTES)
            weights = _entry(archive, entries, "model.weights.h5", MAX_FILE_BYTES)
            metadata = b"{}"
            if "metadata.json" in entries:
                metadata = _entry(archive, entries, "metadata.json", MAX_TEXT_BYTES)
            version = _parsed(metadata.decode("utf-8"), "metadata.json").get("keras_version", "3")
            return config.decode("utf-8"), str(version), weights
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as e:
        raise NetworkError("is no readable .keras archive (cut short or damaged); copy or save it again") from e


def _entry(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], name: str, most: int) -> bytes:
    if name not in entries:
        raise NetworkError(f"entry {name!r} is missing; save the whole model in one .keras file")
    entry = entries[name]
    if entry.file_size > most or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NetworkError(f"entry {name!r} has {entry.file_size} bytes, or is packed in an unusual way; save it again")
    # Not archive.read: it trusts the data, not the size that was checked above.
    with archive.open(entry) as file:
        return file.read(entry.file_size)


def _parsed(text: str, where: str) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("a name is there twice")
        return dict(pairs)

    def number(name: str) -> None:
        raise ValueError(f"{name} is no number here")

    try:
        parsed = json.loads(text, object_pairs_hook=once, parse_constant=number)
    except (ValueError, RecursionError) as e:
        raise NetworkError(f"{where} is no valid JSON ({quoted(e)}); save the model again") from e
    if not isinstance(parsed, dict):
        raise NetworkError(f"{where} is {type(parsed).__name__}, not an object; save the model again")
    pending: list[tuple[Any, int]] = [(parsed, 0)]
    while pending:
        value, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise NetworkError(f"{where} is nested deeper than {MAX_DEPTH}; save the model again")
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        pending += [(v, depth + 1) for v in inner]
    return parsed
