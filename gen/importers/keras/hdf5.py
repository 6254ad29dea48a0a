"""HDF5 files read without trusting them: plain groups, plain arrays of bounded size, and nothing outside of the file.

The bytes are opened as an image in memory. Every name is looked up link by link, so that soft and external links, data
in other files, virtual data sets and filters that would load a plugin are refused before they do anything.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import NetworkError, ToolchainError, UnsupportedError
from xnorweave.importers.folding.files import quoted

__all__ = ["Store"]

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_VALUES = 1 << 26
MAX_RANK = 8
MAX_TEXT_BYTES = 4 << 20
MAX_MEMBERS = 256
MAX_DEPTH = 6
_PLAIN_FILTERS = {1, 2, 3}  # deflate, shuffle, fletcher32


@contextmanager
def _readable() -> Iterator[None]:
    """Whatever the library says of a damaged file, as the error that tells how to mend it."""
    try:
        yield
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, MemoryError, NotImplementedError) as e:
        what = "".join(c for c in str(e) if c.isprintable())[:120]
        raise NetworkError(f"not a readable HDF5 file ({what}); copy or save it again") from e


class Store:
    """An HDF5 file in memory.

    Parameters
    ----------
    data : bytes
        The whole file.

    Raises
    ------
    NetworkError
        Where it is no HDF5 file.
    ToolchainError
        Where the package ``h5py`` is not installed.
    """

    def __init__(self, data: bytes) -> None:
        try:
            import h5py
        except ImportError as e:
            raise ToolchainError("reading Keras files needs the package h5py: pip install 'xnorweave[keras]'") from e
        if not data.startswith(SIGNATURE):
            raise NetworkError("is no HDF5 file; give a whole model as Keras saves it, in a .h5 or a .keras file")
        self._h5py: Any = h5py
        with _readable():
            self._file: Any = h5py.File(h5py.h5f.open_file_image(data), "r")

    def close(self) -> None:
        """Give the memory back."""
        self._file.close()

    def text(self, name: str) -> str | None:
        """A text that is an attribute of the file, or None where there is no such attribute."""
        with _readable():
            if name not in self._file.attrs:
                return None
            found = self._file.attrs.get_id(name)
            if found.shape not in ((), (1,)) or found.get_storage_size() > MAX_TEXT_BYTES:
                raise NetworkError(
                    f"attribute {name!r} is no text of at most {MAX_TEXT_BYTES >> 20} MiB; save it again"
                )
            value = self._file.attrs[name]
            value = value.item() if isinstance(value, np.ndarray) else value
            value = value.decode("utf-8") if isinstance(value, bytes) else value
        if not isinstance(value, str) or len(value) > MAX_TEXT_BYTES:
            raise NetworkError(f"attribute {name!r} is no text of at most {MAX_TEXT_BYTES >> 20} MiB; save it again")
        return value

    def has(self, path: str) -> bool:
        """Whether there is something of that name."""
        return self._find(path) is not None

    def array(self, path: str) -> NDArray[np.float32]:
        """The array of float32 under a name.

        Raises
        ------
        NetworkError
            Where there is none, it is too large, or a value is not finite.
        UnsupportedError
            Where it is of another type, or its data lie elsewhere.
        """
        found = self._find(path)
        if not isinstance(found, self._h5py.Dataset):
            raise NetworkError(f"array {quoted(path)} is missing; save the whole model again")
        with _readable():
            self._check(found, path)
            array = np.asarray(found[()], np.float32)
        if not np.isfinite(array).all():
            raise NetworkError(
                f"array {quoted(path)} holds a value that is not finite; train again with a lower learning rate"
            )
        return array

    def arrays_under(self, path: str) -> dict[str, str]:
        """The paths of all arrays in a group and the groups in it, by their last name without ``:0``."""
        found: dict[str, str] = {}
        pending, seen = [(path, 0)], 0
        while pending:
            at, depth = pending.pop()
            node = self._find(at)
            if isinstance(node, self._h5py.Dataset):
                name = at.rsplit("/", 1)[-1].removesuffix(":0")
                if name in found:
                    raise NetworkError(f"group {quoted(path)} holds two arrays {quoted(name)}; save the model again")
                found[name] = at
            elif isinstance(node, self._h5py.Group) and depth < MAX_DEPTH:
                with _readable():
                    members = len(node)
                    seen += members
                    if seen > MAX_MEMBERS:
                        raise NetworkError(f"group {quoted(path)} has more than {MAX_MEMBERS} members; save it again")
                    pending += [(f"{at}/{name}", depth + 1) for name in node]
        return found

    def _find(self, path: str) -> Any:
        node = self._file
        for part in path.split("/"):
            if part in ("", ".", ".."):
                raise NetworkError(f"name {quoted(path)} is no plain path; rename the layer and save it again")
            if not isinstance(node, self._h5py.Group):
                return None
            with _readable():
                link = node.get(part, getlink=True)
                if link is None:
                    return None
                if not isinstance(link, self._h5py.HardLink):
                    raise UnsupportedError(
                        f"{quoted(path)} is a link to another place, which is not followed; save the model in one file"
                    )
                node = node[part]
        return node

    def _check(self, found: Any, path: str) -> None:
        where = f"array {quoted(path)}"
        if found.external or found.is_virtual:
            raise UnsupportedError(f"{where}: its data are in another file, which is not followed; save them in one")
        if found.dtype != np.float32:
            raise UnsupportedError(f"{where} is of type {str(found.dtype)[:40]}; save the model in float32")
        if found.shape is None or len(found.shape) > MAX_RANK or math.prod(found.shape) > MAX_VALUES:
            raise NetworkError(f"{where} has the shape {str(found.shape)[:80]}, more than {MAX_VALUES} values")
        if found.chunks is not None and math.prod(found.chunks) > MAX_VALUES:
            raise NetworkError(f"{where} has chunks of more than {MAX_VALUES} values; save the model again")
        properties = found.id.get_create_plist()
        filters = {properties.get_filter(n)[0] for n in range(properties.get_nfilters())}
        if not filters <= _PLAIN_FILTERS:
            raise UnsupportedError(f"{where} is packed by filter {max(filters)}; save the model without it")
