"""Commands about a network alone: inspect, import, share."""

from pathlib import Path
from typing import Any

import numpy as np

from xnorweave.commands.source import Report, head
from xnorweave.errors import UnsupportedError
from xnorweave.network import Conv2D, Dense, Layer, MaxPool, Network, Threshold
from xnorweave.network_file import save_network
from xnorweave.passes.share import STRATEGIES, LayerSharing, Strategy, share_network

__all__ = ["chosen_strategy", "import_", "inspect", "share"]


def inspect(network: Network) -> Report:
    """What the network is, layer by layer."""
    report = head(network)
    report["network"] |= {
        "input": {
            "kind": network.input.kind,
            "shape": list(network.input.shape),
            "table": network.input.table is not None,
        },
        "classes": list(network.classes),
        "history": list(network.history),
        "layers": [
            {"name": layer.name, "kind": layer.kind, "input": list(before), "output": list(after)} | _details(layer)
            for layer, before, after in network.walk()
        ],
    }
    return report


def _details(layer: Layer) -> dict[str, Any]:
    match layer:
        case Conv2D():
            details = {"kernel": list(layer.kernel), "stride": layer.stride, "padding": list(layer.padding)}
            return details | {"weights": layer.weights.size, "positive": _positive(layer.weights)}
        case Dense():
            return {"weights": layer.weights.size, "positive": _positive(layer.weights)}
        case Threshold():
            return {"thresholds": layer.thresholds.size}
        case MaxPool():
            return {"size": layer.size, "stride": layer.stride}
        case _:
            return {}


def _positive(weights: np.ndarray) -> int:
    return int(np.count_nonzero(weights == 1))


def import_(network: Network, output: Path) -> Report:
    """Write the network as a file of ours."""
    save_network(network, output)
    return head(network) | {"written": str(output)}


def share(network: Network, strategy: str) -> Report:
    """What sharing saves, layer by layer; every adder graph counted here has been certified.

    Parameters
    ----------
    network : Network
        What to share.
    strategy : str
        One strategy, which is compared with ``none``, or ``auto`` for all of them.

    Raises
    ------
    UnsupportedError
        Where the strategy or a layer is not supported.
    """
    rows = share_network(network, _strategies(strategy))
    layers = [_sharing_row(row) for row in rows]
    counted = [name for name in (layers[0] if layers else {}) if name not in ("name", "inputs", "outputs", "pixels")]
    totals = {name: round(sum(layer[name] for layer in layers), 6) for name in counted}
    return head(network) | {"strategy": strategy, "sharing": {"layers": layers, "totals": totals}}


def chosen_strategy(strategy: str) -> Strategy:
    """The strategy that hardware is built with; ``auto`` is the one that shares most.

    Raises
    ------
    UnsupportedError
        Where this version does not have it.
    """
    return _strategies(strategy)[-1]


def _strategies(strategy: str) -> tuple[Strategy, ...]:
    if strategy == "auto":
        return STRATEGIES
    for known in STRATEGIES:
        if known == strategy:
            return ("none",) if known == "none" else ("none", known)
    raise UnsupportedError(f"strategy {strategy!r} is not in this version; use auto, {', '.join(STRATEGIES)}")


def _sharing_row(row: LayerSharing) -> dict[str, Any]:
    cells: dict[str, Any] = {
        "name": row.name,
        "inputs": row.inputs,
        "outputs": row.outputs,
        "pixels": row.pixels,
        "kernels": row.counts.kernels,
        "kernels_distinct": row.counts.distinct,
        "kernels_distinct_mod_inverse": row.counts.distinct_mod_inverse,
    }
    for strategy in row.additions:
        suffix = "unshared" if strategy == "none" else strategy
        cells[f"additions_{suffix}"] = row.additions[strategy]
        cells[f"adder_bits_{suffix}"] = row.adder_bits[strategy]
    return cells | {"seconds": round(sum(row.seconds.values()), 6)}
