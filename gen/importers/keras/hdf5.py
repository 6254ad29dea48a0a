"""HDF5 files read without trusting them: plain arrays, in bounded time and memory, and nothing outside of the file."""

import importlib.util
import json
import math
import os
import subprocess
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import NetworkError, ToolchainError, UnsupportedError
from xnorweave.importers.folding.files import quoted
from xnorweave.importers.keras import extract

__all__ = ["Store"]

SIGNATURE = b"\x89HDF\r\n\x1a\n"
LONGEST_S = 120.0
_DAMAGED = "not a readable HDF5 file (cut short or damaged); copy or save it again"


class Store:
    """The texts and arrays of an HDF5 file.

    Parameters
    ----------
    data : bytes
        The whole file; `extract` says what is read of it, in a process of its own.

    Raises
    ------
    NetworkError
        Where it is no HDF5 file, or damaged.
    ToolchainError
        Where the package ``h5py`` is not installed.
    """

    def __init__(self, data: bytes) -> None:
        if importlib.util.find_spec("h5py") is None:
            raise ToolchainError("reading Keras files needs the package h5py: pip install 'xnorweave[keras]'")
        if not data.startswith(SIGNATURE):
            raise NetworkError("is no HDF5 file; give a whole model as Keras saves it, in a .h5 or a .keras file")
        document, self._bodies = _extracted(data)
        if "fault" in document:
            raise NetworkError(document["fault"])
        self.texts: dict[str, str] = document["texts"]
        self._arrays: dict[str, dict[str, Any]] = document["arrays"]
        offset = 0
        for entry in self._arrays.values():
            entry["offset"] = offset
            offset += 4 * math.prod(entry["shape"]) if "shape" in entry else 0
        self._groups = {path[:n] for path in self._arrays for n in range(len(path)) if path[n] == "/"}

    def has(self, path: str) -> bool:
        """Whether there is an array of that name, or a group with one in it."""
        return path in self._arrays or path in self._groups

    def array(self, path: str) -> NDArray[np.float32]:
        """The array under a name.

        Raises
        ------
        NetworkError
            Where there is none, it is too large, or a value is not finite.
        UnsupportedError
            Where it is of another type than float32, or its data lie elsewhere.
        """
        entry = self._arrays.get(path, {"fault": "is missing; save the whole model again"})
        for what, error in (("fault", NetworkError), ("unsupported", UnsupportedError)):
            if what in entry:
                raise error(f"array {quoted(path)} {entry[what]}")
        shape = tuple(entry["shape"])
        array = np.frombuffer(self._bodies, np.float32, math.prod(shape), entry["offset"]).reshape(shape)
        if not np.isfinite(array).all():
            raise NetworkError(
                f"array {quoted(path)} holds a value that is not finite; train again with a lower learning rate"
            )
        return array

    def arrays_under(self, path: str) -> dict[str, str]:
        """The paths of all arrays in a group and the groups in it, by their last name without ``:0``."""
        found: dict[str, str] = {}
        for at in self._arrays:
            if at.startswith(f"{path}/"):
                name = at.rsplit("/", 1)[-1].removesuffix(":0")
                if name in found:
                    raise NetworkError(f"group {quoted(path)} holds two arrays {quoted(name)}; save the model again")
                found[name] = at
        return found


def _extracted(data: bytes) -> tuple[dict[str, Any], memoryview]:
    try:
        # With -P the script's own folder, whose modules have names of their own, is not on the path.
        done = subprocess.run(
            [sys.executable, "-P", extract.__file__],
            input=data,
            capture_output=True,
            timeout=LONGEST_S,
            check=False,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired as e:
        raise NetworkError(_DAMAGED) from e
    except OSError as e:
        raise ToolchainError(f"reading Keras files needs a second process ({e.strerror}); free some memory") from e
    if done.returncode != 0 or len(done.stdout) < 8:
        raise NetworkError(_DAMAGED)
    size = int.from_bytes(done.stdout[:8], "little")
    return json.loads(done.stdout[8 : 8 + size]), memoryview(done.stdout)[8 + size :]
