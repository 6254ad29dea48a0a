"""Readers of network files: our own, and those of other tools."""

import os
from pathlib import Path

from xnorweave.errors import NetworkError
from xnorweave.importers.bnn_pynq import from_arrays, is_bnn_pynq
from xnorweave.importers.bnn_pynq_folder import from_folder
from xnorweave.importers.folding.image import PixelRule
from xnorweave.importers.keras import from_keras
from xnorweave.importers.onnx_graph import from_onnx
from xnorweave.importers.packed_files import is_packed
from xnorweave.importers.pytorch import from_description
from xnorweave.network import Network
from xnorweave.network_file import network_of, read_arrays

__all__ = ["PixelRule", "load_any"]


def load_any(path: str | os.PathLike[str], *, pixels: PixelRule = "auto") -> Network:
    """Read a network from anything that can be imported, by the ending of its name.

    These are ``.onnx``; ``.h5``, ``.hdf5`` and ``.keras`` of Keras and Larq; ``.toml``, which describes the layers of a
    PyTorch ``state_dict``; a folder or ``.tar`` of packed BNN-PYNQ parameters; anything else is a network file of ours,
    or decoded BNN-PYNQ arrays.

    Parameters
    ----------
    path : path
        The file, or the folder of packed BNN-PYNQ parameters.
    pixels : {"auto", "unit", "raw"}
        What the float input of another tool's network is for a pixel, as `from_onnx`, `from_keras` and
        `from_description` have it.

    Raises
    ------
    NetworkError
        Where the file is of no such kind, or is damaged.
    UnsupportedError
        Where it is a network that no network of ours equals.
    ToolchainError
        Where the package that reads such files is not installed.
    """
    path = Path(path)
    match path.suffix.lower():
        case ".onnx":
            return from_onnx(path, pixels)
        case ".h5" | ".hdf5" | ".keras":
            return from_keras(path, pixels)
        case ".toml":
            return from_description(path, pixels)
        case ".pt" | ".pth" | ".safetensors":
            raise NetworkError(
                f"{path}: holds tensors without the layers that use them; write NET.toml beside it with `weights = "
                f"{ascii(path.name)[:80]}` and the layers in order (docs/reference/importing.md), and give NET.toml"
            )
        case _ if is_packed(path):
            return from_folder(path)
        case _:
            return _from_arrays(path)


def _from_arrays(path: Path) -> Network:
    arrays = read_arrays(path)
    if "network" in arrays:
        return network_of(arrays, path)
    if is_bnn_pynq(arrays):
        return from_arrays(arrays, path)
    found = ", ".join(sorted(arrays)[:6]) or "nothing"
    raise NetworkError(
        f"{path}: is no network known here; it holds {found[:200]}; give a network file of ours (entry "
        "'network'), decoded BNN-PYNQ arrays (conv0_w, fc0_w, ...), their packed folder, or a file that ends in .onnx, "
        ".h5, .keras or .toml"
    )
