"""xnorweave: trained binarized networks to small, proven, open-flow hardware."""

from typing import TYPE_CHECKING

from xnorweave.late import late_names
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

# They need every room, and the serial port's package, and nothing below them does.
__getattr__ = late_names(__name__, {"api": ("BoardPlan", "Build", "LoadedNetwork", "load"), "boards.host": ("Board",)})
