"""What a build's report says beside measurements: the network's shapes and kernels, provenance, and how to use it."""

from typing import Any

from xnorweave.boards.catalogue import Board
from xnorweave.boards.usage import usage_of
from xnorweave.commands.options import BuildOptions
from xnorweave.commands.source import Report
from xnorweave.design import Design
from xnorweave.network import Conv2D, Layer, MaxPool, Network
from xnorweave.network_file import network_digest
from xnorweave.report import kernel_atlas

__all__ = ["pictures", "provenance", "usage"]


def pictures(network: Network) -> Report:
    """What a report shows of the network itself: its layers' shapes, and kernels."""
    layers = [
        {"name": layer.name, "kind": layer.kind, "input": list(before), "output": list(after)} | _window(layer)
        for layer, before, after in network.walk()
    ]
    atlas = kernel_atlas(network)
    return {"layers": layers} | ({"kernel_atlas": atlas} if atlas else {})


def _window(layer: Layer) -> dict[str, Any]:
    """What of a layer decides when it starts."""
    match layer:
        case Conv2D():
            return {"kernel": list(layer.kernel), "padding": list(layer.padding)}
        case MaxPool():
            return {"kernel": [layer.size, layer.size]}
        case _:
            return {}


def provenance(network: Network, options: BuildOptions) -> Report:
    """``build`` of the report: what to run, and on what, for the same result."""
    digest = network_digest(network).hex()
    command = {"command": options.command} if options.command else {}
    history = {"history": list(network.history)} if network.history else {}
    return {"build": command | {"seed": options.seed, "network_sha256": digest} | history}


def usage(network: Network, design: Design, board: Board, synthesis: dict[str, Any]) -> Report:
    """``usage`` of the report: pins, and what to run to load the bitstream and to talk to it."""
    same = {name: synthesis[name] for name in ("baud", "bitstream", "link")}
    return {"usage": usage_of(board, design, classes=network.classes, **same)}
