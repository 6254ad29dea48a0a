"""Readers of network files: our own, and those of other tools."""

import os
from pathlib import Path

from xnorweave.errors import NetworkError
from xnorweave.importers.bnn_pynq import from_arrays, is_bnn_pynq
from xnorweave.network import Network
from xnorweave.network_file import network_of, read_arrays

__all__ = ["load_any"]


def load_any(path: str | os.PathLike[str]) -> Network:
    """Read a network from any file that can be imported: ours, or decoded BNN-PYNQ arrays.

    Raises
    ------
    NetworkError
        Where the file is of neither kind, or is damaged.
    """
    path = Path(path)
    arrays = read_arrays(path)
    if "network" in arrays:
        return network_of(arrays, path)
    if is_bnn_pynq(arrays):
        return from_arrays(arrays, path)
    found = ", ".join(sorted(arrays)[:6]) or "nothing"
    raise NetworkError(
        f"{path}: is no network known here; it holds {found[:200]}; give a network file of ours (entry 'network') "
        "or decoded BNN-PYNQ arrays (conv0_w, fc0_w, ...)"
    )
