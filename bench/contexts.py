"""LUTs per weight between wired and folded: a dense layer whose weights change with a phase counter.

Run as ``python bench/contexts.py``; writes bench/results/contexts.json. A folded layer with its weights in LUTs and so
few words of them that each is a function of the phase alone is wired for that many contexts. It stands beside the same
fold with weights in block RAM, and beside the layer wired for one context.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import folded
from layers import FAMILIES
from xnorweave.boards.catalogue import Family
from xnorweave.boards.mapping import synthesize_core
from xnorweave.core import Core
from xnorweave.design import Tap
from xnorweave.emit import emit_core
from xnorweave.hw.dense import Dense
from xnorweave.hw.threshold import ThresholdUnit
from xnorweave.lower import graph_unit
from xnorweave.passes.share import share_layer
from xnorweave.passes.streamline import DenseStage
from xnorweave.yosys import yosys_version

RESULT = Path(__file__).parent / "results" / "contexts.json"
LAYERS = ((64, 64), (128, 64))  # inputs, outputs
CONTEXTS = (2, 4, 8, 16, 32)


def wired(stage: DenseStage, family: Family) -> dict[str, int]:
    """Places and block RAMs of the layer wired, with its thresholds, a register every three levels."""
    graph = share_layer(stage, "units", family)
    sums = graph_unit(graph, levels_per_register=3)
    limits = tuple(-(bias - c) for bias, c in zip(stage.linear_biases, graph.constants, strict=True))
    last = ThresholdUnit(thresholds={0: limits}, sum_shape=sums.output_shape)
    layer = Dense(graph=sums, last=last, lanes=stage.weights.shape[1])
    outputs = len(stage.weights)
    tap = Tap(
        layer="c", instance="layer", channels=outputs, lanes=outputs, lane_bits=1, signed=False, words=1, scale=2,
        offsets=(-1,) * outputs,
    )  # fmt: skip
    core = Core(parts=[("layer", layer)], taps=(tap,), input_words=1, latencies={})
    with tempfile.TemporaryDirectory() as folder:
        cells = synthesize_core(emit_core(core, ["a wired layer"]), family, Path(folder)).cells
    places = cells.luts + (2 * cells.carries + 4 * cells.lut_rams if family == "ecp5" else 0)
    return {"places": places, "block_rams": cells.block_rams}


def row(shape: str, weights: int, contexts: int, place: str, fold: str, family: Family) -> dict[str, Any]:
    """One fold of a layer."""
    measured = folded.measure(f"{shape} {fold} {place}", family)["measured"]
    return {
        "layer": shape,
        "family": family,
        "contexts": contexts,
        "weights_in": place,
        "places": measured["places"],
        "block_rams": measured["block_rams"],
        "places_per_weight": round(measured["places"] / weights, 3),
    }


def main() -> None:
    """Measure, write and print."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rows: list[dict[str, Any]] = []
    for inputs, outputs in LAYERS:
        shape, weights = f"dense-{inputs}x{outputs}-1", inputs * outputs
        stage = folded.stage_of(shape)
        assert isinstance(stage, DenseStage)
        for family in FAMILIES:
            found = wired(stage, family)
            share = round(found["places"] / weights, 3)
            head = {"layer": shape, "family": family, "contexts": 1, "weights_in": "wires"}
            rows.append(head | found | {"places_per_weight": share})
            print(rows[-1], flush=True)
            for contexts in CONTEXTS:
                for place in ("logic", "block"):
                    fold = f"{outputs // contexts}x{inputs}x1"
                    rows.append(row(shape, weights, contexts, place, fold, family))
                    print(rows[-1], flush=True)
    RESULT.write_text(json.dumps({"yosys": yosys_version(), "rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
