"""xnorweave: trained binarized networks to small, proven, open-flow hardware."""

from typing import TYPE_CHECKING, Any

from xnorweave.importers import load_any as load
from xnorweave.network import Network
from xnorweave.network_file import load_network, save_network

if TYPE_CHECKING:
    from xnorweave.boards.host import Board

__all__ = ["Board", "Network", "__version__", "load", "load_network", "save_network"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load `Board` where it is asked for: it needs the serial port's package, and nothing else here does."""
    if name == "Board":
        from xnorweave.boards.host import Board

        return Board
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
