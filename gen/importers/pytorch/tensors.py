"""Named tensors of a ``.safetensors`` file, or of a ``.pt`` or ``.pth`` file of `torch.save`; neither is trusted."""

import io
import math
import pickle
import pickletools
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import NetworkError, ToolchainError, UnsupportedError
from xnorweave.importers.folding.files import quoted, read_bytes

__all__ = ["Tensors", "read_tensors"]

MAX_FILE_BYTES = 256 << 20
MAX_PICKLE_BYTES = 4 << 20
MAX_VALUES = 1 << 26
MAX_RANK = 8
_Found = tuple[str, tuple[int, ...], Callable[[], NDArray]]
_DTYPES = {"F32": np.float32, "I8": np.int8}
_STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_ASKED = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    *(f"torch {kind}Storage" for kind in _STORAGES),
}
_SAVE = "save it with torch.save(model.state_dict(), ...), or as .safetensors"


class Tensors:
    """Tensors by name; each is checked as it is asked for.

    Parameters
    ----------
    file : str
        Name of the file, for errors.
    found : dict
        By name: type, shape, and a function that gives the values.
    """

    def __init__(self, file: str, found: dict[str, _Found]) -> None:
        self._file = file
        self._found = found

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def array(self, name: str) -> NDArray[np.float32]:
        """A tensor of float32, or of int8, which float32 holds.

        Raises
        ------
        NetworkError
            Where there is none of that name, it is too large, or a value is not finite.
        UnsupportedError
            Where it is of another type.
        """
        if name not in self._found:
            known = ", ".join(quoted(n)[1:-1] for n in list(self._found)[:8]) or "none"
            raise NetworkError(f"tensor {quoted(name)} is not in {quoted(self._file)}; there are: {known}, ...")
        dtype, shape, values = self._found[name]
        if dtype not in _DTYPES:
            raise UnsupportedError(f"tensor {quoted(name)} is of type {dtype}; save it in float32")
        if len(shape) > MAX_RANK or math.prod(shape) > MAX_VALUES:
            raise NetworkError(
                f"tensor {quoted(name)} has the shape {str(list(shape))[:80]}, more than {MAX_VALUES} values"
            )
        array = values().reshape(shape).astype(np.float32)
        if not np.isfinite(array).all():
            raise NetworkError(
                f"tensor {quoted(name)} holds a value that is not finite; train again with a lower learning rate"
            )
        return array


def read_tensors(folder: Path, name: str) -> Tensors:
    """Read the file of weights in a folder.

    Raises
    ------
    NetworkError
        Where it is absent, damaged, too large, or a link out of the folder.
    UnsupportedError
        Where it is of another format, or holds more than tensors.
    ToolchainError
        Where the package that reads it is not installed.
    """
    path = folder / name
    try:
        resolved = path.resolve()
        outside = resolved.parent != folder.resolve()
    except (OSError, RuntimeError) as e:
        raise NetworkError(f"weights {quoted(name)}: cannot be read; check the path") from e
    if outside:
        raise NetworkError(f"weights {quoted(name)}: is a link out of the folder, which is not followed; copy the file")
    readers = {".safetensors": _safetensors, ".pt": _torch, ".pth": _torch}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UnsupportedError(f"weights {quoted(name)}: is none of {', '.join(readers)}; {_SAVE}")
    try:
        return Tensors(name, reader(read_bytes(path, MAX_FILE_BYTES)))
    except (NetworkError, UnsupportedError) as e:
        raise type(e)(f"weights {quoted(name)}: {e}") from e


def _safetensors(data: bytes) -> dict[str, _Found]:
    try:
        from safetensors import SafetensorError, deserialize
    except ImportError as e:
        raise ToolchainError(
            "reading .safetensors files needs the package safetensors: pip install 'xnorweave[safetensors]'"
        ) from e
    try:
        entries = deserialize(data)
    except (SafetensorError, ValueError, OverflowError, MemoryError) as e:
        raise NetworkError(f"is no readable .safetensors file ({quoted(e)[1:-1]}); copy or save it again") from e
    return {name: (entry["dtype"], tuple(entry["shape"]), partial(_values, entry)) for name, entry in entries}


def _values(entry: Mapping[str, Any]) -> NDArray:
    return np.frombuffer(entry["data"], _DTYPES[entry["dtype"]])


def _torch(data: bytes) -> dict[str, _Found]:
    _check_archive(data)
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as e:
        raise ToolchainError("reading .pt and .pth files needs PyTorch: pip install 'xnorweave[pytorch]'") from e
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        EOFError,
        OSError,
    ) as e:
        raise NetworkError(f"is no readable file of torch.save; copy it again, or {_SAVE}") from e
    if not isinstance(state, dict):
        raise UnsupportedError(f"holds {quoted(type(state).__name__)}, not tensors by name; {_SAVE}")
    state = state["state_dict"] if isinstance(state.get("state_dict"), dict) else state
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors.values()}
    if sum(storages.values()) > len(data):
        raise NetworkError(f"says that it holds more than its {len(data)} bytes; copy it again, or {_SAVE}")
    found: dict[str, _Found] = {}
    for name, value in tensors.items():
        if isinstance(name, str):
            kind = {torch.float32: "F32", torch.int8: "I8"}.get(value.dtype, str(value.dtype))
            found[name] = (kind, tuple(value.shape), value.detach().numpy)
    return found


def _check_archive(data: bytes) -> None:
    """Refuse what is no plain archive of `torch.save`, or whose pickle asks for more than tensors."""
    if not data.startswith(b"PK\x03\x04"):
        raise UnsupportedError(f"is no archive of torch.save since PyTorch 1.6; {_SAVE}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            pickles = [entry for entry in entries if entry.filename.endswith(".pkl")]
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise UnsupportedError(f"is packed, as torch.save never does; {_SAVE}")
            if len(pickles) != 1 or pickles[0].file_size > MAX_PICKLE_BYTES:
                raise UnsupportedError(f"is no state_dict, but a whole module (TorchScript), or too large; {_SAVE}")
            with archive.open(pickles[0]) as file:
                asked = _globals(file.read(MAX_PICKLE_BYTES))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as e:
        raise NetworkError(f"is no readable file of torch.save; copy it again, or {_SAVE}") from e
    if unknown := sorted(asked - _ASKED):
        raise UnsupportedError(f"asks for {quoted(unknown[0])}, which is no tensor and is never loaded; {_SAVE}")


def _globals(data: bytes) -> set[str]:
    """Everything that a pickle asks for by name, found without executing it."""
    found = set[str]()
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name == "GLOBAL":
            found.add(str(argument))
        elif opcode.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):
            found.add(f"{opcode.name} {argument}")
    return found
