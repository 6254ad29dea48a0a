"""How far the cells that `xnorweave.cost` estimates are from synthesis: writes bench/results/cost.json.

Run as ``python bench/cost.py [--fit]``: some ten minutes, with ``--fit`` a second on what was measured last. Whole
layers, sums and thresholds, are mapped as `boards.mapping` maps a core; for iCE40 nextpnr packs them as well, since it
adds logic cells around carry chains. The factors of `xnorweave.cost` are fitted on layers of random weights; the error
is that of other layers, which were not fitted. Copy ``factors`` and ``error_percent`` into gen/cost.py.
"""

import argparse
import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from layers import FAMILIES, apart, find_stage, map_graph
from xnorweave import cost
from xnorweave.adder_graph import AdderGraph
from xnorweave.passes.share import STRATEGIES, Strategy, share_layer
from xnorweave.passes.streamline import ConvStage
from xnorweave.yosys import yosys_version

RESULT = Path(__file__).parent / "results" / "cost.json"
FITTED = ("random-4x8x1", "random-8x16x1", "random-16x32x1")
HELD_OUT = ("fashion_mnist-conv1", "fashion_mnist-conv2", "conv0", "random-8x32x1", "random-32x16x1")
FACTORS = ("narrow", "inverter", "compare")
# Rows for a fit are few: a factor that they say little of stays near 1.
PULL_TO_ONE = 0.1
PROCESSES = 2


def parts_of(stage: ConvStage, strategy: Strategy, graph: AdderGraph, family: cost.CostFamily) -> cost.Parts:
    """What `xnorweave.cost` counts of the layer."""
    if strategy != "none":
        return cost.graph_parts(graph, family)
    one = dataclasses.replace(
        stage, weights=stage.weights[:1], thresholds={k: row[:1] for k, row in stage.thresholds.items()}
    )
    return cost.tree_parts(share_layer(one, "none"), stage.matrix, family)


def measure(name: str, strategy: Strategy, family: cost.CostFamily) -> dict[str, Any]:
    """One row: what synthesis gives, and what is counted for the estimate."""
    stage = find_stage(name)
    graph = share_layer(stage, strategy)
    mapped = map_graph(stage, graph, family)
    cells, places = mapped.cells, mapped.places
    return {
        "layer": name,
        "strategy": strategy,
        "family": family,
        "measured": {"luts": cells.luts, "carries": cells.carries, "places": places},
        "parts": dataclasses.asdict(parts_of(stage, strategy, graph, family)),
    }


def fit(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Factors that bring the estimated places of one family's fitted rows nearest to the measured ones."""
    family = rows[0]["family"]
    equations, targets = [PULL_TO_ONE * np.eye(len(FACTORS))], [PULL_TO_ONE * np.ones(len(FACTORS))]
    for row in (row for row in rows if row["layer"] in FITTED):
        parts, places = cost.Parts(**row["parts"]), row["measured"]["places"]
        exact = parts.chain_luts + parts.popcount_luts
        exact += 2 * parts.chain_carries if family == "ecp5" else parts.carry_outs
        equations.append(np.array([[getattr(parts, f"{factor}_luts") / places for factor in FACTORS]]))
        targets.append(np.array([1 - exact / places]))
    found, *_ = np.linalg.lstsq(np.concatenate(equations), np.concatenate(targets), rcond=None)
    return dict(zip(FACTORS, found.round(2).tolist(), strict=True))


def finish(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The whole document: factors, and each row's estimate and error by them."""
    factors = {family: fit([row for row in rows if row["family"] == family]) for family in FAMILIES}
    cost.FACTORS.update(factors)
    for row in rows:
        estimated = cost.Parts(**row["parts"]).cells(row["family"])
        row["estimated"] = dataclasses.asdict(estimated)
        row["error_percent"] = round(100 * (estimated.places / row["measured"]["places"] - 1), 1)
        row["fitted"] = row["layer"] in FITTED
    errors = {
        family: [abs(row["error_percent"]) for row in rows if row["family"] == family and not row["fitted"]]
        for family in FAMILIES
    }
    return {
        "yosys": yosys_version(),
        "factors": factors,
        "error_percent": {family: int(np.ceil(max(errors[family]))) for family in FAMILIES},
        "mean_error_percent": {family: round(float(np.mean(errors[family])), 1) for family in FAMILIES},
        "rows": rows,
    }


def main() -> None:
    """Measure, fit and write the result; with ``--one``, print one row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit", action="store_true", help="fit again what was measured last")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one)))
        return
    if options.fit:
        rows = json.loads(RESULT.read_text(encoding="utf-8"))["rows"]
    else:
        names = [(n, s, f) for n in FITTED + HELD_OUT for s in STRATEGIES for f in FAMILIES]
        with ThreadPoolExecutor(PROCESSES) as pool:
            rows = list(pool.map(lambda name: apart(__file__, *name), names))
    document = finish(rows)
    RESULT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        kind = "fitted" if row["fitted"] else "held out"
        print(row["layer"], row["strategy"], row["family"], kind, row["error_percent"])
    print({key: document[key] for key in ("factors", "error_percent", "mean_error_percent")})


if __name__ == "__main__":
    main()
