"""Readers of network files: our own, and those of other tools."""

import os
from pathlib import Path

from xnorweave.errors import NetworkError
from xnorweave.importers.bnn_pynq import from_arrays, is_bnn_pynq
from xnorweave.importers.bnn_pynq_folder import from_folder
from xnorweave.importers.folding.image import PixelRule
from xnorweave.importers.onnx_graph import from_onnx
from xnorweave.importers.packed_files import is_packed
from xnorweave.network import Network
from xnorweave.network_file import network_of, read_arrays

__all__ = ["PixelRule", "load_any"]


def load_any(path: str | os.PathLike[str], *, pixels: PixelRule = "auto") -> Network:
    """Read a network from anything that can be imported: a file of ours, BNN-PYNQ parameters, or ``.onnx``.

    Parameters
    ----------
    path : path
        The file, or the folder of packed BNN-PYNQ parameters.
    pixels : {"auto", "unit", "raw"}
        What the float input of an ONNX graph is for a pixel, as `from_onnx` has it.

    Raises
    ------
    NetworkError
        Where the file is of no such kind, or is damaged.
    UnsupportedError
        Where it is an ONNX graph or a folder that no network of ours equals.
    """
    path = Path(path)
    if path.suffix.lower() == ".onnx":
        return from_onnx(path, pixels)
    if is_packed(path):
        return from_folder(path)
    arrays = read_arrays(path)
    if "network" in arrays:
        return network_of(arrays, path)
    if is_bnn_pynq(arrays):
        return from_arrays(arrays, path)
    found = ", ".join(sorted(arrays)[:6]) or "nothing"
    raise NetworkError(
        f"{path}: is no network known here; it holds {found[:200]}; give a network file of ours (entry "
        "'network'), decoded BNN-PYNQ arrays (conv0_w, fc0_w, ...), their packed folder, or a file that ends in .onnx"
    )
