"""xnorweave: trained binarized networks to small, proven, open-flow hardware."""

import importlib
from typing import TYPE_CHECKING, Any

from xnorweave.network import Network
from xnorweave.network_file import load_network, save_network

if TYPE_CHECKING:
    from xnorweave.api import BoardPlan, Build, LoadedNetwork, load
    from xnorweave.boards.host import Board

__all__ = [
    "Board",
    "BoardPlan",
    "Build",
    "LoadedNetwork",
    "Network",
    "__version__",
    "load",
    "load_network",
    "save_network",
]
__version__ = "0.1.0"

# Loaded where they are asked for: they need every room, and the serial port's package, and nothing below them does.
_LATE = {
    "Board": "xnorweave.boards.host",
    "BoardPlan": "xnorweave.api",
    "Build": "xnorweave.api",
    "LoadedNetwork": "xnorweave.api",
    "load": "xnorweave.api",
}


def __getattr__(name: str) -> Any:
    """Give a name of `_LATE`, and keep it."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(_LATE[name]), name)
    return found
