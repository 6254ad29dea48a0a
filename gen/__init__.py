"""xnorweave: trained binarized networks to small, proven, open-flow hardware."""

from xnorweave.importers import load_any as load
from xnorweave.network import Network
from xnorweave.network_file import load_network, save_network

__all__ = ["Network", "__version__", "load", "load_network", "save_network"]
__version__ = "0.1.0"
