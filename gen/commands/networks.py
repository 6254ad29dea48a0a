"""Commands about a network alone: inspect, import, share."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

import numpy as np

from xnorweave.commands.source import Report, head
from xnorweave.console import Stages
from xnorweave.cost import ERROR_PERCENT, CostFamily
from xnorweave.errors import UnsupportedError
from xnorweave.network import Conv2D, Dense, Layer, MaxPool, Network, Threshold
from xnorweave.network_file import save_network
from xnorweave.passes.share import FORMS, STRATEGIES, Form, LayerSharing, StrategyChoice, share_network

__all__ = ["import_", "inspect", "known_strategy", "share", "share_for_build", "sharing_part"]


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


def share(network: Network, strategy: str, stages: Stages, *, family: CostFamily = "ice40") -> Report:
    """What sharing saves, layer by layer, beside random weights; every adder graph counted here has been certified.

    Parameters
    ----------
    network : Network
        What to share.
    strategy : str
        One strategy, which is compared with ``none``, or ``auto`` for all of them.
    stages : Stages
        Told how far it is.
    family : {"ice40", "ecp5"}
        Whose cells are estimated.

    Raises
    ------
    UnsupportedError
        Where the strategy or a layer is not supported.
    """
    choice = known_strategy(strategy)
    forms: tuple[Form, ...] = FORMS if choice == "auto" else tuple({"none": None, choice: None})
    stages.start(f"sharing results of {network.name}, and of random weights", 1000)
    rows = share_network(
        network,
        forms,
        strategy=choice,
        family=family,
        control=True,
        workers=os.cpu_count() or 1,
        progress=lambda done, total: stages.advance(1000 * done // total),
    )
    return head(network) | {"strategy": strategy, "sharing": sharing_part(rows, family)}


def share_for_build(
    network: Network, strategy: str, stages: Stages, *, layers: Collection[str], family: CostFamily, unit_levels: int
) -> list[LayerSharing]:
    """Count the layers that are wired in every form, and keep the graphs to build.

    Parameters
    ----------
    network : Network
        What to build.
    strategy : str
        How results are shared; ``auto`` for the fewest estimated places in each layer.
    stages : Stages
        Told how far it is.
    layers : collection of str
        Names of the layers that are wired.
    family : {"ice40", "ecp5"}
        Of the target.
    unit_levels : int
        Of the plan.

    Raises
    ------
    UnsupportedError
        Where the strategy or a layer is not supported.
    """
    choice = known_strategy(strategy)
    stages.start(f"sharing results of {network.name}, and proving every adder graph", 1000)
    return share_network(
        network,
        layers=layers,
        strategy=choice,
        family=family,
        unit_levels=unit_levels,
        keep=True,
        workers=os.cpu_count() or 1,
        progress=lambda done, total: stages.advance(1000 * done // total),
    )


def known_strategy(strategy: str) -> StrategyChoice:
    """The strategy of that name.

    Raises
    ------
    UnsupportedError
        Where this version does not have it.
    """
    if strategy != "auto" and strategy not in STRATEGIES:
        raise UnsupportedError(f"strategy {strategy!r} is not in this version; use auto, {', '.join(STRATEGIES)}")
    return cast(StrategyChoice, strategy)


def sharing_part(rows: list[LayerSharing], family: CostFamily) -> dict[str, Any]:
    """``sharing`` of a report: layers, their totals and, where it was counted, both of random weights."""
    part: dict[str, Any] = {
        "family": family,
        "luts_estimate_error_percent": ERROR_PERCENT[family],
        "layers": [_sharing_row(row) for row in rows],
    }
    part["totals"] = _totals(part["layers"])
    controls = [row["random"] for row in part["layers"] if "random" in row]
    return part | ({"totals": part["totals"] | {"random": _totals(controls)}} if controls else {})


_NOT_COUNTED = ("name", "inputs", "outputs", "pixels", "strategy", "random")


def _totals(layers: list[dict[str, Any]]) -> dict[str, Any]:
    counted = [name for name in (layers[0] if layers else {}) if name not in _NOT_COUNTED]
    return {name: round(sum(layer[name] for layer in layers), 6) for name in counted}


def _sharing_row(row: LayerSharing) -> dict[str, Any]:
    cells: dict[str, Any] = {
        "name": row.name,
        "inputs": row.inputs,
        "outputs": row.outputs,
        "pixels": row.pixels,
        "strategy": row.strategy,
    }
    return cells | _counts(row) | ({"random": _counts(row.control)} if row.control else {})


def _counts(row: LayerSharing) -> dict[str, Any]:
    """What is counted of a layer; keys end in the form, that without sharing being ``unshared``."""
    cells: dict[str, Any] = {
        "kernels": row.counts.kernels,
        "kernels_distinct": row.counts.distinct,
        "kernels_distinct_mod_inverse": row.counts.distinct_mod_inverse,
    }
    units = {"kernel_evaluations": row.kernel_evaluations, "additions": row.additions, "adder_bits": row.adder_bits}
    for unit, numbers in (units | {"luts": row.luts}).items():
        for form, number in numbers.items():
            suffix = "unshared" if form == "none" else form
            cells[f"{unit}_{suffix}"] = number
            if unit in units:
                cells[f"{unit}_per_frame_{suffix}"] = number * row.pixels
    if row.strategy in row.forms:
        cells["additions_built"], cells["luts_built"] = row.additions[row.strategy], row.luts[row.strategy]
    return cells | {"seconds": round(row.seconds, 6)}
