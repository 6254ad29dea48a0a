"""What sharing saves, in additions, adder bits, LUTs, time and memory: writes bench/results/sharing.json.

Run as ``python bench/sharing.py [--luts]`` with FINN's CNV for CIFAR-10 in the folder that XNORWEAVE_SHARED names.
Every convolution is measured beside a random matrix of its shape, each in a process of its own, so that the peak of
its memory is its own; seconds are those of a process that has the compiled code at hand. ``--luts`` also maps whole
layers, sums and thresholds, to iCE40 and ECP5.
"""

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from xnorweave import adder_graph
from xnorweave.boards.mapping import count_cells
from xnorweave.design import TOP_MODULE
from xnorweave.emit import core_rtlil
from xnorweave.hw.adder_graph import AdderGraph
from xnorweave.hw.threshold import ThresholdUnit
from xnorweave.importers import load_any
from xnorweave.network import Conv2D, InputSpec, Network, Threshold
from xnorweave.passes.cse import share_sums
from xnorweave.passes.share import share_layer
from xnorweave.passes.streamline import ConvStage, streamline
from xnorweave.yosys import run_yosys, yosys_version

SHARED = Path(os.environ.get("XNORWEAVE_SHARED") or Path(__file__).parents[2] / "shared")
RESULT = Path(__file__).parent / "results" / "sharing.json"
LAYERS = tuple(f"conv{k}" for k in range(6))
STRATEGIES = ("none", "kernel", "graph")
# Channels and filters of 3x3 layers, the seed of their random weights: the layers that are mapped to cells.
MAPPED = ((8, 16, 1), (16, 32, 1), (64, 64, 0))
SYNTHESIS = {"ice40": "synth_ice40 -no-rw-check", "ecp5": "synth_ecp5 -nowidelut -no-rw-check"}


def random_stage(channels: int, filters: int, seed: int) -> ConvStage:
    """A 3x3 layer of bits whose matrix, inputs by outputs, is ``default_rng(seed).choice([-1, 1], shape)``."""
    matrix = np.random.default_rng(seed).choice([-1, 1], (9 * channels, filters)).astype(np.int8)
    layers = (
        Conv2D(name="c", weights=matrix.reshape(3, 3, channels, filters).transpose(3, 2, 0, 1)),
        Threshold(name="t", thresholds=np.zeros(filters, np.int32)),
    )
    spec = InputSpec(kind="bits", shape=(channels, 3, 3))
    (stage,) = streamline(Network(name="n", input=spec, layers=layers))
    assert isinstance(stage, ConvStage)
    return stage


def find_stage(name: str) -> ConvStage:
    """``convK`` of CNV, ``random-convK`` of its shape, or ``random-CHANNELSxFILTERSxSEED``."""
    if name.startswith("random-") and "x" in name:
        channels, filters, seed = (int(n) for n in name.removeprefix("random-").split("x"))
        return random_stage(channels, filters, seed)
    network = load_any(SHARED / "nets" / "cnvW1A1_cifar10.npz")
    stages = [stage for stage in streamline(network) if isinstance(stage, ConvStage)]
    stage = stages[LAYERS.index(name.removeprefix("random-"))]
    if name.startswith("random-"):
        weights = np.random.default_rng(0).choice(np.array([-1, 1], np.int8), stage.weights.shape)
        stage = dataclasses.replace(stage, weights=weights)
    return stage


def graph_of(stage: ConvStage, strategy: str) -> adder_graph.AdderGraph:
    """The layer's certified graph."""
    if strategy == "graph":
        return share_sums(stage.matrix, stage.encoding.bits)
    return share_layer(stage, strategy)  # pyright: ignore[reportArgumentType]


def graph_depth(graph: adder_graph.AdderGraph) -> int:
    """Adders in a row, a kernel unit counted as its tree."""
    depth = [0] * (graph.inputs + 1)
    depth += [(kernel.pattern.bit_count() - 1).bit_length() for kernel in graph.kernels]
    for node in graph.nodes:
        depth.append(1 + max(depth[abs(node.lhs)], depth[abs(node.rhs)]))
    return max(depth[abs(operand)] for operand in graph.outputs)


def measure(name: str, strategy: str) -> dict[str, Any]:
    """One graph's counts, its time and this process' peak memory."""
    stage = find_stage(name)
    graph_of(random_stage(2, 4, 0), strategy)  # loads the compiled code
    start = time.perf_counter()
    graph = graph_of(stage, strategy)
    return {
        "additions": adder_graph.graph_additions(graph),
        "adder_bits": adder_graph.graph_adder_bits(graph),
        "depth": graph_depth(graph),
        "seconds": round(time.perf_counter() - start, 2),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }


class _Layer(wiring.Component):
    """The sums of a graph, all between two registers, and thresholds in the middle of their reach."""

    def __init__(self, stage: ConvStage, graph: adder_graph.AdderGraph):
        self.sums = AdderGraph(
            input_count=graph.inputs,
            input_bits=graph.input_bits,
            kernels=graph.kernels,
            nodes=graph.nodes,
            outputs=graph.outputs,
            output_range=graph.output_range,
            levels_per_register=1000,
        )
        rows = {k: tuple(np.add(row, graph.constants).tolist()) for k, row in stage.thresholds.items()}
        self.thresholds = ThresholdUnit(thresholds=rows, sum_shape=self.sums.output_shape)
        super().__init__({"i": In(stream.Signature(graph.inputs)), "o": Out(stream.Signature(len(graph.outputs)))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sums, m.submodules.thresholds = self.sums, self.thresholds
        connect(m, flipped(self.i), self.sums.i)
        connect(m, self.sums.o, self.thresholds.i)
        connect(m, self.thresholds.o, flipped(self.o))
        return m


def map_layer(name: str, strategy: str, family: str) -> dict[str, Any]:
    """Cells of a whole layer, mapped as `boards.mapping` maps a core."""
    stage = find_stage(name)
    graph = graph_of(stage, strategy)
    text, modules = core_rtlil(_Layer(stage, graph))  # pyright: ignore[reportArgumentType]
    script = [
        "read_rtlil layer.il",
        *(f"setattr -mod -set keep_hierarchy 1 {module}" for module in modules),
        f"{SYNTHESIS[family]} -top {TOP_MODULE} -run begin:map_luts",
        "setattr -mod -unset keep_hierarchy *",
        "flatten",
        "opt_clean -purge",
        f"{SYNTHESIS[family]} -top {TOP_MODULE} -run map_luts:",
        "opt_clean -purge",
        "tee -q -o stat.json stat -json",
    ]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "layer.il").write_text(text, encoding="utf-8")
        start = time.perf_counter()
        run_yosys(script, folder=Path(folder), log="yosys.log", timeout_s=1800)
        seconds = time.perf_counter() - start
        cells = count_cells(Path(folder) / "stat.json")
    return {
        "luts": cells.luts,
        "carries": cells.carries,
        "places": cells.luts + (2 * cells.carries if family == "ecp5" else 0),
        "flip_flops": cells.flip_flops,
        "additions": adder_graph.graph_additions(graph),
        "yosys_seconds": round(seconds, 1),
    }


def apart(*arguments: str) -> dict[str, Any]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--one", *arguments]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(*arguments, result, flush=True)
    return result


def main() -> None:
    """Measure and write the result; with ``--one``, print one measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--luts", action="store_true", help="map whole layers, too: takes some ten minutes")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps((map_layer if len(options.one) == 3 else measure)(*options.one)))
        return
    document: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    names = [prefix + layer for layer in LAYERS for prefix in ("", "random-")] + ["random-64x64x0"]
    document["layers"] = {
        name: {"shape": list(find_stage(name).matrix.shape)} | {s: apart(name, s) for s in STRATEGIES} for name in names
    }
    if options.luts:
        document["yosys"] = yosys_version()
        document["mapped"] = {
            name: {strategy: {family: apart(name, strategy, family) for family in SYNTHESIS} for strategy in STRATEGIES}
            for name in (f"random-{channels}x{filters}x{seed}" for channels, filters, seed in MAPPED)
        }
    RESULT.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
