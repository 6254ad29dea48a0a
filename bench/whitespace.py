"""What free rows on an ECP5 do to place and route, with and without them in the same run.

Run as ``python bench/whitespace.py FOLDER [NETWORK:BOARD ...]``; FOLDER keeps the mapped cores, as bench/long_build.py
does. Each netlist is placed and routed by nextpnr with one seed, with and without fillers; results go to
bench/results/whitespace.json. A run that takes longer than the limit is ended, and its row says how far it came.
"""

import argparse
import json
import re
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from boards import NETWORKS, OPTIONS, Results, Row, clock_of, known
from long_build import emitted, kept, mapped, planned
from xnorweave.boards.catalogue import Board
from xnorweave.boards.catalogue import board as find_board
from xnorweave.boards.mapping import CellCounts, link_core
from xnorweave.boards.placement import place, places_of, read_report
from xnorweave.boards.tools import find_place_tools, tool_versions
from xnorweave.boards.top import BoardTop, plan_board
from xnorweave.boards.whitespace import add_fillers, free_rows
from xnorweave.errors import ToolchainError

RESULT = Path(__file__).parent / "results" / "whitespace.json"
PAIRS = ("fashion_mnist:ulx3s-85f", "lfcW1A1_mnist:ulx3s-85f", "cnvW1A1_cifar10:ulx3s-85f")
ITERATION = re.compile(r"iter=(\d+) .*overused=(\d+)")


def routed(
    board: Board, cells: CellCounts, argv: list[str], clock_mhz: float, folder: Path, *, fillers: int, limit_s: float
) -> Row:
    """Place and route the netlist in a folder."""
    start = time.perf_counter()
    row: dict[str, Any] = {"free_rows": len(free_rows(board.device, places_of(cells, board))) if fillers else 0}
    try:
        place(
            argv,
            find_place_tools(board.family),
            board,
            cells,
            folder,
            seed=1,
            timeout_s=limit_s,
            on_line=None,
            fillers=fillers,
        )
        row |= asdict(read_report(folder / "nextpnr.json", board, clock_mhz, fillers=fillers))
    except ToolchainError as error:
        row["failed"] = str(error).splitlines()[0]
    row["seconds"] = round(time.perf_counter() - start, 1)
    steps = ITERATION.findall((folder / "nextpnr.log").read_text("utf-8", "replace"))
    return row | {"router_iterations": len(steps), "overused_wires": [int(wires) for _, wires in steps]}


def compare(pair: str, folder: Path, limit_s: float) -> Row:
    """Both forms of one pair."""
    network, board = pair.split(":")[0], find_board(pair.split(":")[1])
    options = OPTIONS.get(pair, ())
    clock_mhz = clock_of(options)
    folder.mkdir(parents=True, exist_ok=True)
    kept(folder / "plan.json", lambda: planned(NETWORKS[network].net, board, options))
    design = emitted(NETWORKS[network].net, folder / "plan.json", board)
    board_plan = plan_board(board, clock_mhz)
    files = board.platform().prepare(BoardTop(design, board_plan), "top", emit_src=False).files
    cells = link_core(mapped(design, board, folder), design, files["top.il"], folder)
    argv = [word for word in json.loads(files["build_top.json"])["commands"][1][1:] if word != "--quiet"]
    row: Row = {"places": places_of(cells, board), "flip_flops": cells.flip_flops, "block_rams": cells.block_rams}
    for name in ("packed", "free_rows"):
        run = folder / name
        run.mkdir(exist_ok=True)
        shutil.copy(folder / "top.json", run)
        (run / "top.lpf").write_text(files["top.lpf"], encoding="utf-8")
        fillers = add_fillers(run / "top.json", board, row["places"]) if name == "free_rows" else 0
        row[name] = routed(board, cells, argv, board_plan.clock_mhz, run, fillers=fillers, limit_s=limit_s)
        print(pair, name, json.dumps(row[name]), flush=True)
    return row | {"clock_mhz": board_plan.clock_mhz, "tools": tool_versions(board.family)}


def main() -> None:
    """Measure the pairs named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("pairs", nargs="*", type=known, metavar="NETWORK:BOARD")
    parser.add_argument("--limit", type=float, default=3600, help="longest run of nextpnr, in seconds")
    arguments = parser.parse_args()
    for pair in arguments.pairs or PAIRS:
        row = compare(pair, arguments.folder.resolve() / pair.replace(":", "_"), arguments.limit)
        Results(RESULT).keep(pair, "comparison", row)


if __name__ == "__main__":
    main()
