"""A pair of bench/boards.py built step by step, so that a run that was killed goes on where it was.

Run as ``python bench/long_build.py NETWORK:BOARD FOLDER [--images N]``, as often as it takes: the plan, the mapped
core, the simulation and the bitstream stay in FOLDER, and each step is skipped whose result is there. Takes the options
of the pair (`boards.OPTIONS`) and the steps of `xnorweave build`; ends with the pair's row in
bench/results/boards.json. FINN's CNV for CIFAR-10 takes more than an hour.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from boards import NETWORKS, OPTIONS, RESULT, Results, Row, clock_of, errors, known, plan, run
from xnorweave.boards.catalogue import Board
from xnorweave.boards.catalogue import board as find_board
from xnorweave.boards.mapping import CoreSynthesis, count_cells, synthesize_core
from xnorweave.boards.toolchain import synthesize
from xnorweave.commands.source import find_images, find_network
from xnorweave.design import Design
from xnorweave.emit import emit
from xnorweave.lower import lower
from xnorweave.passes.share import share_layer
from xnorweave.passes.streamline import ConvStage, DenseStage, streamline
from xnorweave.plan_file import load_plan
from xnorweave.sim.run import simulate

_TIMEOUT_S = 6 * 3600


def kept(path: Path, make: Callable[[], Row]) -> Row:
    """What a step gave: read where it is there, else made and written, whole or not at all."""
    if not path.exists():
        beside = path.with_suffix(".part")
        beside.write_text(json.dumps(make(), default=str), encoding="utf-8")
        beside.replace(path)
    return json.loads(path.read_text(encoding="utf-8"))


def planned(net: str, board: Board, options: tuple[str, ...]) -> Row:
    """``plan`` as `xnorweave plan` gives it."""
    document, why = run("plan", net, "--board", board.name, *options)
    if document is None:
        raise SystemExit(json.dumps(why))
    return document["plan"]


def emitted(net: str, plan_file: Path, board: Board) -> Design:
    """The core, shared as for the board's family."""
    network = find_network(net).network
    made = load_plan(plan_file, network, board.family)
    wired = {layer.name for layer in made.layers if layer.engine == "spatial"}
    graphs = {
        stage.name: share_layer(stage, "auto", family=board.family, unit_levels=made.unit_levels)
        for stage in streamline(network)
        if isinstance(stage, (ConvStage, DenseStage)) and stage.name in wired
    }
    return emit(network, strategy="auto", plan=made, core=lower(network, strategy="auto", plan=made, graphs=graphs))


def mapped(design: Design, board: Board, folder: Path) -> CoreSynthesis:
    """The mapped core; Yosys writes its counts last."""
    if not (folder / "core_stat.json").exists():
        return synthesize_core(design, board.family, folder)
    return CoreSynthesis(
        family=board.family,
        cells=count_cells(folder / "core_stat.json"),
        netlist=folder / "core_netlist.v",
        rtlil=folder / "core.il",
    )


def simulated(network: str, design: Design, images: int) -> Row:
    """What Verilator gives for the emitted Verilog in every layer, beside the golden model."""
    case = NETWORKS[network]
    source = find_network(case.net)
    frames = find_images(source, case.data).frames[:images]
    return simulate(source.network, frames, simulator="verilator", design=design, taps=True).report()["simulation"]


def build(pair: str, folder: Path, images: int | None) -> Row:
    """Do what is missing; gives the row of bench/boards.py."""
    network, board = pair.split(":")[0], find_board(pair.split(":")[1])
    case, options = NETWORKS[network], OPTIONS.get(pair, ())
    clock_mhz = clock_of(options)
    count = images or case.images
    made = kept(folder / "plan.json", lambda: planned(case.net, board, options))
    design = emitted(case.net, folder / "plan.json", board)
    simulation = kept(folder / f"simulation{count}.json", lambda: simulated(network, design, count))
    core = mapped(design, board, folder)
    synthesis: dict[str, Any] = kept(
        folder / "synthesis.json",
        lambda: asdict(synthesize(design, board, folder, clock_mhz=clock_mhz, timeout_s=_TIMEOUT_S, core=core)),
    )
    left_out = ("board", "device", "bitstream", "baud", "baud_error_percent")
    row = {name: value for name, value in synthesis.items() if name not in left_out}
    row |= {name: simulation[name] for name in ("simulator", "images", "mismatches")}
    row |= {"interval_cycles": made["interval_cycles"], "interval_cycles_measured": simulation["cycles_per_image"]}
    row["frames_per_second"] = round(row["clock_mhz"] * 1e6 / row["interval_cycles_measured"], 1)
    return row | {"options": list(options), "in_steps": True}


def main() -> None:
    """Build, and keep the row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pair", type=known)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, help="to simulate, where not as many as in bench/boards.py")
    arguments = parser.parse_args()
    pair, folder = arguments.pair, arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    row = build(pair, folder, arguments.images)
    row["seconds_of_last_run"] = round(time.perf_counter() - start, 1)
    network, board = pair.split(":")
    before = plan(NETWORKS[network], board, OPTIONS.get(pair, ()))
    results = Results(RESULT)
    results.keep(pair, "plan", before)
    results.keep(pair, "build", row | {"planned": before, "error_percent": errors(before, row)})


if __name__ == "__main__":
    main()
