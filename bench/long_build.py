"""A pair of bench/boards.py built step by step, so that a run that was killed goes on where it was.

Run as ``python bench/long_build.py NETWORK:BOARD FOLDER [--images N]``, as often as it takes: the plan, the mapped
design, what nextpnr made of it and the simulation stay in FOLDER, and each step is skipped whose result is there. Takes
the options of the pair (`boards.OPTIONS`) and the steps of `xnorweave build`, with its arguments; ends with the pair's
row in bench/results/boards.json. FINN's CNV for CIFAR-10 takes more than an hour.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from boards import NETWORKS, OPTIONS, RESULT, Results, Row, errors, known, plan, run
from xnorweave.boards.catalogue import board as find_board
from xnorweave.boards.mapping import count_cells, link_core, synthesize_core
from xnorweave.boards.placement import check_placed, place, read_report
from xnorweave.boards.tools import find_place_tools, tool_versions
from xnorweave.boards.top import BoardTop, plan_board
from xnorweave.commands.source import find_images, find_network
from xnorweave.design import Design
from xnorweave.emit import emit
from xnorweave.lower import lower
from xnorweave.passes.share import share_layer
from xnorweave.passes.streamline import ConvStage, DenseStage, streamline
from xnorweave.plan_file import load_plan
from xnorweave.processes import run_tool
from xnorweave.sim.run import simulate

_TIMEOUT_S = 6 * 3600


def planned(pair: str, folder: Path) -> None:
    """``plan.json``."""
    network, board = pair.split(":")
    options = OPTIONS.get(pair, ())
    run("plan", NETWORKS[network].net, "--board", board, *options, "-o", str(folder / "plan.json"))


def emitted(pair: str, folder: Path) -> Design:
    """The core, shared as for the board's family."""
    name, board = pair.split(":")
    family = find_board(board).family
    network = find_network(NETWORKS[name].net).network
    made = load_plan(folder / "plan.json", network, family)
    wired = {layer.name for layer in made.layers if layer.engine == "spatial"}
    graphs = {
        stage.name: share_layer(stage, "auto", family=family, unit_levels=made.unit_levels)
        for stage in streamline(network)
        if isinstance(stage, (ConvStage, DenseStage)) and stage.name in wired
    }
    return emit(network, strategy="auto", plan=made, core=lower(network, strategy="auto", plan=made, graphs=graphs))


def mapped(pair: str, folder: Path, design: Design, clock_mhz: float | None) -> list[list[str]]:
    """``top.json`` for nextpnr; the commands that the board's platform gives."""
    board = find_board(pair.split(":")[1])
    files = board.platform().prepare(BoardTop(design, plan_board(board, clock_mhz)), "top", emit_src=False).files
    if not (folder / "top.json").exists():
        core = synthesize_core(design, board.family, folder)
        link_core(core, design, files["top.il"], folder)
        for file, text in files.items():
            if file.endswith((".pcf", ".lpf")):
                (folder / file).write_text(text, encoding="utf-8")
    return json.loads(files["build_top.json"])["commands"]


def placed(pair: str, folder: Path, commands: list[list[str]], clock_mhz: float | None) -> Row:
    """The routed design and its bitstream; ``synthesis`` of a report."""
    board = find_board(pair.split(":")[1])
    tools, cells = find_place_tools(board.family), count_cells(folder / "top_stat.json")
    if not (folder / "nextpnr.json").exists():
        argv = [argument for argument in commands[1][1:] if argument != "--quiet"]
        place(argv, tools, board, cells, folder, seed=1, timeout_s=_TIMEOUT_S, on_line=None)
    clock = plan_board(board, clock_mhz).clock_mhz
    placement = read_report(folder / "nextpnr.json", board, clock)
    check_placed(placement, board, clock)
    pack = commands[2]
    remedy = tools.remedy
    run_tool([*tools.packer, *pack[1:]], folder=folder, log="pack.log", timeout_s=600, tool=pack[0], remedy=remedy)
    bitstream = next(folder.glob("top.bi[tn]"))
    row: Row = asdict(placement) | {"clock_mhz": clock, "flip_flops": cells.flip_flops}
    return row | {"bitstream_bytes": bitstream.stat().st_size, "tools": tool_versions(board.family)}


def simulated(pair: str, folder: Path, design: Design, images: int) -> Row:
    """What Verilator gives for the emitted Verilog in every layer, beside the golden model."""
    kept = folder / f"simulation{images}.json"
    if not kept.exists():
        case = NETWORKS[pair.split(":")[0]]
        source = find_network(case.net)
        frames = find_images(source, case.data).frames[:images]
        report = simulate(source.network, frames, simulator="verilator", design=design, taps=True)
        kept.write_text(json.dumps(asdict(report), default=str), encoding="utf-8")
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    row = {name: found[name] for name in ("simulator", "images", "mismatches")}
    return row | {"interval_cycles_measured": found["cycles_per_image"]}


def main() -> None:
    """Do what is missing, and keep the row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pair", type=known)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, help="to simulate, where not as many as in bench/boards.py")
    arguments = parser.parse_args()
    pair, folder = arguments.pair, arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    case, start = NETWORKS[pair.split(":")[0]], time.perf_counter()
    options = OPTIONS.get(pair, ())
    clock_mhz = float(options[options.index("--clock") + 1]) if "--clock" in options else None
    if not (folder / "plan.json").exists():
        planned(pair, folder)
    design = emitted(pair, folder)
    commands = mapped(pair, folder, design, clock_mhz)
    row = simulated(pair, folder, design, arguments.images or case.images)
    row |= placed(pair, folder, commands, clock_mhz)
    interval = json.loads((folder / "plan.json").read_text(encoding="utf-8"))["interval_cycles"]
    row |= {"interval_cycles": interval, "options": list(options), "in_steps": True}
    row["frames_per_second"] = round(row["clock_mhz"] * 1e6 / max(row["interval_cycles_measured"], interval), 1)
    row["seconds_of_last_run"] = round(time.perf_counter() - start, 1)
    before = plan(case, pair.split(":")[1], options)
    results = Results(RESULT)
    results.keep(pair, "plan", before)
    results.keep(pair, "build", row | {"planned": before, "error_percent": errors(before, row)})


if __name__ == "__main__":
    main()
