"""Place, route and pack a linked design, and read what nextpnr reports."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xnorweave.boards.catalogue import Board, boards_that_fit
from xnorweave.boards.mapping import CellCounts
from xnorweave.boards.timing import critical_path
from xnorweave.boards.tools import PlaceTools
from xnorweave.errors import DoesNotFitError, ToolchainError
from xnorweave.processes import run_tool

__all__ = ["Placement", "check_fits", "check_placed", "place", "places_of", "read_report"]

_LUT_CELL = {"ice40": "ICESTORM_LC", "ecp5": "TRELLIS_COMB"}
_BLOCK_RAM_CELL = {"ice40": "ICESTORM_RAM", "ecp5": "DP16KD"}
_PLL_CELL = {"ice40": "ICESTORM_PLL", "ecp5": "EHXPLLL"}
_FULL = re.compile(
    r"ERROR: .*(no (more )?Bels? remaining|no BELs|find legal placement|Unable to place|expand region)", re.IGNORECASE
)
_CONSTRAINT_TOLERANCE = 0.02


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What nextpnr reports of a routed design.

    Parameters
    ----------
    luts, luts_available : int
        Places of a four-input LUT, taken and on the chip.
    block_rams, block_rams_available : int
        Taken and on the chip.
    plls : int
        Taken.
    fmax_mhz : float
        Fastest clock that the routed design's logic allows.
    critical_path : dict, optional
        What limits it, as `xnorweave.boards.timing.critical_path` gives it.
    """

    luts: int
    luts_available: int
    block_rams: int
    block_rams_available: int
    plls: int
    fmax_mhz: float
    critical_path: dict[str, Any] | None = None


def check_fits(cells: CellCounts, board: Board) -> None:
    """Refuse a mapped design that cannot fit, before nextpnr takes its time.

    Raises
    ------
    DoesNotFitError
        With the numbers, and the boards that are large enough.
    """
    luts = max(places_of(cells, board), cells.flip_flops)
    if luts > board.luts or cells.block_rams > board.block_rams:
        raise _does_not_fit(board, luts, cells.block_rams)


def places_of(cells: CellCounts, board: Board) -> int:
    """Places of a LUT that mapped cells take: a carry cell of an ECP5 takes two, one of an iCE40 shares a LUT's."""
    return cells.luts + 4 * cells.lut_rams + (2 * cells.carries if board.family == "ecp5" else 0)


def check_placed(placement: Placement, board: Board, clock_mhz: float) -> None:
    """Refuse a routed design that misses its clock.

    Raises
    ------
    DoesNotFitError
        With the clock asked and reached.
    """
    if placement.fmax_mhz < clock_mhz:
        raise DoesNotFitError(
            f"{board.name}: the clock of {clock_mhz:g} MHz is missed, {placement.fmax_mhz:.2f} MHz reached; "
            f"remedy: another seed, a faster board, or a clock of at most {_round_down(placement.fmax_mhz):g} MHz"
        )


def place(
    argv: list[str],
    tools: PlaceTools,
    board: Board,
    cells: CellCounts,
    folder: Path,
    *,
    seed: int,
    timeout_s: float,
    on_line: Callable[[str], None] | None,
    fillers: int = 0,
) -> None:
    """Run nextpnr with the platform's arguments ``argv``; writes ``nextpnr.json`` and the placed design.

    ``fillers`` is how many LUTs of the netlist only hold rows free (`whitespace.add_fillers`): they are not counted.

    Raises
    ------
    DoesNotFitError
        If there are too few places.
    ToolchainError
        If nextpnr is missing, fails otherwise, or takes too long.
    """
    router = ["--router", "router2"] if board.family == "ecp5" else []
    options = ["--seed", str(seed), "--report", "nextpnr.json", "--timing-allow-fail", *router]
    try:
        run_tool(
            [*tools.nextpnr, *argv, *options],
            folder=folder,
            log="nextpnr.log",
            timeout_s=timeout_s,
            tool=f"nextpnr-{board.family}",
            remedy=tools.remedy,
            on_line=on_line,
        )
    except ToolchainError as error:
        if _FULL.search(str(error)) is None:
            raise
        luts = _used(folder / "nextpnr.log", _LUT_CELL[board.family], cells.luts + fillers) - fillers
        block_rams = _used(folder / "nextpnr.log", _BLOCK_RAM_CELL[board.family], cells.block_rams)
        raise _does_not_fit(board, luts, block_rams) from error


def read_report(path: Path, board: Board, clock_mhz: float, *, fillers: int = 0) -> Placement:
    """Read a file of nextpnr's ``--report``; ``fillers`` as in `place`.

    Raises
    ------
    ToolchainError
        If the file is not one, or tells nothing of the clock.
    """
    try:
        document: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        luts = document["utilization"][_LUT_CELL[board.family]]
        block_rams = document["utilization"][_BLOCK_RAM_CELL[board.family]]
        reached = [
            float(clock["achieved"])
            for clock in document["fmax"].values()
            if abs(clock["constraint"] - clock_mhz) <= _CONSTRAINT_TOLERANCE * clock_mhz
        ]
        return Placement(
            luts=int(luts["used"]) - fillers,
            luts_available=int(luts["available"]),
            block_rams=int(block_rams["used"]),
            block_rams_available=int(block_rams["available"]),
            plls=int(document["utilization"][_PLL_CELL[board.family]]["used"]),
            fmax_mhz=min(reached),
            critical_path=critical_path(document),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ToolchainError(
            f"nextpnr-{board.family}: {path} is no report of a design with a clock of {clock_mhz:g} MHz ({error!r}); "
            "remedy: check the tools with `xnorweave doctor`"
        ) from error


def _does_not_fit(board: Board, luts: int, block_rams: int) -> DoesNotFitError:
    larger = [
        each.name
        for each in boards_that_fit(luts=luts, block_ram_bits=block_rams * board.block_ram_bits)
        if each.luts > board.luts or each.block_rams > board.block_rams
    ]
    remedy = f"a board such as {', '.join(larger[:3])}" if larger else "no board of the catalogue is large enough"
    within = luts <= board.luts and block_rams <= board.block_rams
    trouble = "is too full to be placed" if within else "does not fit"
    return DoesNotFitError(
        f"{board.name}: {trouble}: {luts} of {board.luts} LUTs, {block_rams} of {board.block_rams} block RAMs; "
        f"remedy: {remedy}, or a smaller network"
    )


def _used(log: Path, cell: str, otherwise: int) -> int:
    """Cells that nextpnr wanted, from its log's table of utilisation."""
    match = re.search(rf"{cell}:\s*(\d+)\s*/", log.read_text(encoding="utf-8", errors="replace"))
    return int(match[1]) if match else otherwise


def _round_down(mhz: float) -> float:
    """Three places at most, never above."""
    return int(mhz * 10) / 10 if mhz < 100 else float(int(mhz))
