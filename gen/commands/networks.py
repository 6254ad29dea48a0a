"""Commands about a network alone: inspect, share."""

import math
import os
from collections.abc import Collection, Mapping
from typing import Any, cast

import numpy as np

from xnorweave.commands.source import Report, head
from xnorweave.console import Stages
from xnorweave.cost import ERROR_PERCENT, CostFamily
from xnorweave.errors import UnsupportedError
from xnorweave.network import Add, Conv2D, Dense, Layer, MaxPool, Network, Scale, Shape, Threshold
from xnorweave.passes.plan import make_plan
from xnorweave.passes.share import FORMS, STRATEGIES, Form, LayerSharing, StrategyChoice, share_network

__all__ = ["inspect", "known_strategy", "share", "share_for_build", "sharing_part"]


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
            {"name": layer.name, "kind": layer.kind, "input": list(before), "output": list(after)}
            | _details(layer, after)
            for layer, before, after in network.walk()
        ],
    }
    return report


def _details(layer: Layer, output: Shape) -> dict[str, Any]:
    match layer:
        case Conv2D():
            details = {"kernel": list(layer.kernel), "stride": layer.stride, "padding": list(layer.padding)}
            details |= {"groups": layer.groups} if layer.groups > 1 else {}
            return details | {"weights": layer.weights.size, "positive": _positive(layer.weights)}
        case Dense():
            return {"weights": layer.weights.size, "positive": _positive(layer.weights)}
        case Threshold():
            levels = {"levels": layer.levels} if layer.levels > 1 else {}
            return {"thresholds": layer.thresholds.size} | levels
        case MaxPool():
            return {"size": layer.size, "stride": layer.stride}
        case Scale():
            return {"factors": layer.factors.size, "factor_bits": int(np.abs(layer.factors).max()).bit_length()}
        case Add():
            return {"source": layer.source, "additions": math.prod(output)}
        case _:
            return {}


def _positive(weights: np.ndarray) -> int:
    return int(np.count_nonzero(weights == 1))


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
    folded = {layer.name for layer in make_plan(network).layers if layer.engine == "folded"}
    return head(network) | {"strategy": strategy, "sharing": sharing_part(rows, family, folded=folded)}


def share_for_build(
    network: Network,
    strategy: str,
    stages: Stages,
    *,
    layers: Collection[str],
    family: CostFamily,
    unit_levels: int,
    control: bool = False,
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
    control : bool
        Whether to count random weights of the same shapes as well.

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
        control=control,
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


def sharing_part(
    rows: list[LayerSharing],
    family: CostFamily,
    *,
    folded: Collection[str] = (),
    before: Mapping[str, Mapping[str, int]] | None = None,
) -> dict[str, Any]:
    """``sharing`` of a report: layers, their totals and, where it was counted, both of random weights.

    What has no meaning in a layer, such as kernel evaluations of a dense one, is left out there. Totals of a unit are
    of the layers where every form has it, so that they compare; ``notes`` say so where that leaves any layer out.

    Parameters
    ----------
    rows : list of LayerSharing
        What was counted.
    family : {"ice40", "ecp5"}
        Whose cells were estimated.
    folded : collection of str
        Layers that are counted though builds do not wire them.
    before : dict of str to dict of str to int, optional
        Counts of layers before their kernels were made similar; those of others are their own.
    """
    layers = [_sharing_row(row, "folded" if row.name in folded else "spatial") for row in rows]
    totals = _totals(layers)
    if any("random" in row for row in layers):
        totals["random"] = _totals(layers, "random")
    before = before or {}
    if changed := [row["name"] for row in layers if row["name"] in before]:
        counted = set.intersection(*(set(before[name]) for name in changed))
        for row in layers:
            counts = before.get(row["name"], row)
            row["before"] = {name: counts[name] for name in row if name in counted}
        totals["before"] = _totals(layers, "before")
    return {
        "family": family,
        "luts_estimate_error_percent": ERROR_PERCENT[family],
        "layers": layers,
        "totals": totals,
        "notes": _notes(layers),
    }


_UNITS = ("kernel_evaluations", "additions", "adder_bits", "luts")
_NOT_COUNTED = ("name", "inputs", "outputs", "pixels", "engine", "strategy", "random", "before")


def _totals(layers: list[dict[str, Any]], of: str | None = None) -> dict[str, Any]:
    """Sums over the layers of their counts, or of the counts that they have under ``of``."""
    counts = [layer if of is None else layer[of] for layer in layers]
    counted = dict.fromkeys(name for row in counts for name in row if name not in _NOT_COUNTED)
    compared = {unit: _compared(layers, unit) for unit in _UNITS}

    def total(name: str) -> float:
        summed = compared.get(_unit_of(name), layers)
        return sum(row[name] for layer, row in zip(layers, counts, strict=True) if layer in summed)

    return {name: round(total(name), 6) for name in counted}


def _unit_of(name: str) -> str:
    return next((unit for unit in _UNITS if name.startswith(f"{unit}_")), "")


def _compared(layers: list[dict[str, Any]], unit: str) -> list[dict[str, Any]]:
    """Layers where every form that has the unit in any layer has it."""
    having = [{name for name in layer if _unit_of(name) == unit} for layer in layers]
    return [layer for layer, names in zip(layers, having, strict=True) if names == set[str]().union(*having)]


def _notes(layers: list[dict[str, Any]]) -> list[str]:
    """What a reader of the totals has to know."""
    notes = []
    for unit in _UNITS:
        compared, having = _compared(layers, unit), [row for row in layers if any(_unit_of(n) == unit for n in row)]
        if left_out := [row for row in having if row not in compared]:
            notes.append(
                f"Totals of {unit.replace('_', ' ')} are of {_named(compared)} alone: in {_named(left_out)} not every "
                "form compared has any."
            )
    if folded := [row for row in layers if row["engine"] == "folded"]:
        notes.append(f"Builds fold {_named(folded)} instead of wiring such sums: counted here and in the totals.")
    return notes


def _named(layers: list[dict[str, Any]]) -> str:
    return ", ".join(layer["name"] for layer in layers)


def _sharing_row(row: LayerSharing, engine: str) -> dict[str, Any]:
    cells: dict[str, Any] = {
        "name": row.name,
        "inputs": row.inputs,
        "outputs": row.outputs,
        "pixels": row.pixels,
        "engine": engine,
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
