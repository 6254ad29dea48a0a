"""From a core to a board's bitstream."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xnorweave.boards.bitstream import check_bitstream, check_configuration
from xnorweave.boards.catalogue import Board
from xnorweave.boards.link_format import LinkKind
from xnorweave.boards.mapping import CellCounts, CoreSynthesis, link_core, synthesize_core
from xnorweave.boards.placement import Placement, check_fits, check_placed, place, places_of, read_report
from xnorweave.boards.progress import LINKING, MAPPING, Follower, PlaceFollower, Progress, silent
from xnorweave.boards.tools import PlaceTools, find_place_tools, tool_versions
from xnorweave.boards.top import BoardPlan, BoardTop, plan_board
from xnorweave.boards.whitespace import add_fillers
from xnorweave.design import Design
from xnorweave.errors import UnsupportedError
from xnorweave.processes import run_tool

__all__ = ["BITSTREAMS", "CoreSynthesis", "Progress", "Synthesis", "synthesize", "synthesize_core"]

_TOP = "top"
_CONSTRAINTS = (".pcf", ".lpf")
BITSTREAMS = {"ice40": "top.bin", "ecp5": "top.bit"}
_CONFIGURATIONS = {"ice40": "top.asc", "ecp5": "top.config"}
# Shares of the whole that are done when each tool begins, and when nextpnr ends.
_LINK, _PLACE, _PACK = 0.3, 0.4, 0.97


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """A finished bitstream and what it takes of its board; fields as ``synthesis`` of ``report.json``.

    Parameters
    ----------
    board, device : str
        Names of the board and its chip.
    luts, luts_available : int
        Places of a four-input LUT with its flip-flop, after place and route, and on the chip.
    flip_flops : int
        After mapping.
    block_rams, block_rams_available : int
        After place and route, and on the chip.
    fmax_mhz, clock_mhz : float
        Fastest clock of the routed design, and the clock that the board gives it.
    baud : int
        Of the serial link.
    baud_error_percent : float
        How much faster than that the board really is.
    bitstream : str
        File name in the build folder.
    tools : dict of str to str
        Versions of the tools, by name.
    link : {"uart", "spi"}
        What carries the link's bytes.
    critical_path : dict, optional
        What limits the clock: ``layer``, ``net_delay_ns``, ``logic_delay_ns``, ``steps``, ``from`` and ``to``.
    """

    board: str
    device: str
    luts: int
    luts_available: int
    flip_flops: int
    block_rams: int
    block_rams_available: int
    fmax_mhz: float
    clock_mhz: float
    baud: int
    baud_error_percent: float
    bitstream: str
    tools: dict[str, str]
    link: LinkKind = "uart"
    critical_path: dict[str, Any] | None = None


def synthesize(
    design: Design,
    board: Board,
    folder: Path,
    *,
    seed: int = 1,
    clock_mhz: float | None = None,
    progress: Progress | None = None,
    timeout_s: float = 7200,
    core: CoreSynthesis | None = None,
    link: LinkKind = "uart",
) -> Synthesis:
    """Map, place, route and pack a core with its link for a board.

    The same design, board, seed, clock and tools give the same bitstream. ``folder`` also gets the tools' logs,
    the constraints and the mapped core (``core_netlist.v``), which is what the bitstream holds.

    Parameters
    ----------
    design : Design
        The core.
    board : Board
        Where it goes.
    folder : Path
        Where to work; must exist. Existing files of ours are overwritten.
    seed : int
        Of placement.
    clock_mhz : float, optional
        A clock made by the chip's PLL; the board's own if not given.
    progress : callable, optional
        Called with the stage's name and the share of the work that is done, where it is known.
    timeout_s : float
        Longest run of each tool, in seconds.
    core : CoreSynthesis, optional
        The mapped core, where `synthesize_core` has made it in ``folder`` already.
    link : {"uart", "spi"}
        What carries the link's bytes.

    Raises
    ------
    DoesNotFitError
        If the board has too little, or the clock is missed; names boards that would do.
    ToolchainError
        If a tool is missing, fails, or takes too long.
    DeviceError
        If the board has no pins for the link, or its chip cannot make the clock.
    UnsupportedError
        If the core gives more than one word a frame: the link answers with one.
    """
    if design.output_words != 1:
        raise UnsupportedError(
            f"{board.name}: the network gives {design.output_words} words a frame, the link answers with one; "
            "end the network with an ArgMax, or use `xnorweave generate`"
        )
    tell: Progress = progress if progress is not None else silent
    board_plan = plan_board(board, clock_mhz, link)
    tools, versions = find_place_tools(board.family), tool_versions(board.family)
    if core is None:
        tell("mapping", 0.0)
        mapping = Follower(tell, MAPPING, begin=0.0, end=_LINK)
        core = synthesize_core(design, board.family, folder, timeout_s=timeout_s, on_line=mapping)
    check_fits(core.cells, board)
    tell("linking", _LINK)
    files = board.platform().prepare(BoardTop(design, board_plan), _TOP, emit_src=False).files
    linking = Follower(tell, LINKING, begin=_LINK, end=_PLACE)
    cells = link_core(core, design, files[f"{_TOP}.il"], folder, timeout_s=timeout_s, on_line=linking)
    check_fits(cells, board)
    placement = _place_and_pack(files, tools, board, cells, folder, seed, board_plan.clock_mhz, timeout_s, tell)
    tell("done", 1.0)
    return _result(board_plan, placement, cells, versions)


def _place_and_pack(
    files: dict[str, str],
    tools: PlaceTools,
    board: Board,
    cells: CellCounts,
    folder: Path,
    seed: int,
    clock_mhz: float,
    timeout_s: float,
    tell: Progress,
) -> Placement:
    """Run nextpnr and the packer with the arguments that the board's platform gives them."""
    for name, text in files.items():
        if name.endswith(_CONSTRAINTS):
            (folder / name).write_text(text, encoding="utf-8")
    commands: list[list[str]] = json.loads(files[f"build_{_TOP}.json"])["commands"]
    fillers = add_fillers(folder / f"{_TOP}.json", board, places_of(cells, board)) if board.family == "ecp5" else 0
    nextpnr_argv = [argument for argument in commands[1][1:] if argument != "--quiet"]
    place(
        nextpnr_argv,
        tools,
        board,
        cells,
        folder,
        seed=seed,
        timeout_s=timeout_s,
        on_line=PlaceFollower(tell, begin=_PLACE, end=_PACK),
        fillers=fillers,
    )
    placement = read_report(folder / "nextpnr.json", board, clock_mhz, fillers=fillers)
    check_placed(placement, board, clock_mhz)
    configuration = folder / _CONFIGURATIONS[board.family]
    check_configuration(
        configuration, board.family, block_rams=placement.block_rams, plls=placement.plls, remedy=tools.remedy
    )
    tell("packing the bitstream", _PACK)
    packer_argv = commands[2]
    run_tool(
        [*tools.packer, *packer_argv[1:]],
        folder=folder,
        log="pack.log",
        timeout_s=timeout_s,
        tool=packer_argv[0],
        remedy=tools.remedy,
    )
    check_bitstream(folder / BITSTREAMS[board.family], board.family, tools.remedy)
    return placement


def _result(plan: BoardPlan, placement: Placement, cells: CellCounts, versions: dict[str, str]) -> Synthesis:
    return Synthesis(
        board=plan.board.name,
        device=plan.board.device,
        luts=placement.luts,
        luts_available=placement.luts_available,
        flip_flops=cells.flip_flops,
        block_rams=placement.block_rams,
        block_rams_available=placement.block_rams_available,
        fmax_mhz=placement.fmax_mhz,
        clock_mhz=plan.clock_mhz,
        baud=plan.baud,
        baud_error_percent=round(plan.baud_error_percent, 3),
        bitstream=BITSTREAMS[plan.board.family],
        tools=versions,
        link=plan.link,
        critical_path=placement.critical_path,
    )
