"""Free rows on an ECP5: room for wires between the cells of a placed design.

nextpnr 0.11 packs cells as densely as they go around the pins, however large the chip is, and has no option that holds
it back: its ``--placer-heap-beta`` changes nothing on an ECP5. A network's wires then run out where the cells are,
while half of the chip lies empty. A filler is a LUT without connections, fixed to one place. Fillers on every second or
third row of slices keep the placer from it, so the design spreads over the chip and its wires cross the free rows.
Carry chains run along a row and stay whole. Measured by bench/whitespace.py.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xnorweave.boards.catalogue import Board
from xnorweave.errors import ToolchainError

__all__ = ["FULLEST_ROWS", "SLICE_PLACES", "Die", "add_fillers", "die_of", "free_rows"]

SLICE_PLACES = tuple(f"SLICE{letter}.K{bit}" for letter in "ABCD" for bit in (0, 1))
"""Places of a LUT in one tile, as nextpnr names them."""

FULLEST_ROWS = 0.75
"""Share of the rows that are left to a design, which it may take."""


@dataclass(frozen=True)
class Die:
    """Where the slices of an ECP5 lie: whole rows of tiles, but for rows of block RAMs and multipliers.

    Parameters
    ----------
    last_row, last_column : int
        Of the tiles with slices; the first of both is 2.
    other_rows : tuple of int
        Rows between them that have no slices.
    """

    last_row: int
    last_column: int
    other_rows: tuple[int, ...]

    @property
    def rows(self) -> list[int]:
        """Rows of slices, ascending."""
        return [row for row in range(2, self.last_row + 1) if row not in self.other_rows]

    @property
    def row_places(self) -> int:
        """Places of a LUT in one row."""
        return len(SLICE_PLACES) * (self.last_column - 1)


# Project Trellis' database, tilegrid.json of each device: tiles of type PLC2.
_DIES = {
    "25F": Die(48, 70, (13, 25, 37)),
    "45F": Die(69, 88, (10, 22, 34, 46, 58)),
    "85F": Die(93, 124, (10, 22, 34, 46, 58, 70, 82)),
}
_DIES["12F"] = _DIES["25F"]


def die_of(device: str) -> Die:
    """The die of a device such as ``LFE5U-85F``."""
    return _DIES[device.rpartition("-")[2]]


def free_rows(device: str, places: int) -> list[int]:
    """Rows to keep free of a design: every second, every third, or none, as its places leave them.

    Parameters
    ----------
    device : str
        Such as ``LFE5U-85F``.
    places : int
        Places of a LUT that the design takes.
    """
    die = die_of(device)
    for every in (2, 3):
        free = die.rows[1::every]
        if places <= FULLEST_ROWS * die.row_places * (len(die.rows) - len(free)):
            return free
    return []


def add_fillers(path: Path, board: Board, places: int) -> int:
    """Put fillers on the free rows into a netlist for nextpnr; gives their number.

    Parameters
    ----------
    path : Path
        A file of Yosys' ``write_json``; replaced as a whole.
    board : Board
        With an ECP5.
    places : int
        Places of a LUT that the design takes.

    Raises
    ------
    ToolchainError
        If the file is no netlist with one top module.
    """
    columns = range(2, die_of(board.device).last_column + 1)
    names = [
        f"X{column}/Y{row}/{place}"
        for row in free_rows(board.device, places)
        for column in columns
        for place in SLICE_PLACES
    ]
    if not names:
        return 0
    try:
        netlist: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        (top,) = (module for module in netlist["modules"].values() if int(module["attributes"].get("top", "0"), 2))
        top["cells"] |= {f"$filler/{name}": _filler(name) for name in names}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ToolchainError(
            f"yosys: {path} is no netlist with one top module ({error!r}); "
            "remedy: check the tools with `xnorweave doctor`"
        ) from error
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    beside.write_text(json.dumps(netlist), encoding="utf-8")
    beside.replace(path)
    return len(names)


def _filler(place: str) -> dict[str, Any]:
    """A LUT that gives 0, fixed to a place."""
    return {
        "hide_name": 1,
        "type": "LUT4",
        "parameters": {"INIT": "0" * 16},
        "attributes": {"BEL": place},
        "port_directions": {"A": "input", "B": "input", "C": "input", "D": "input", "Z": "output"},
        "connections": {},
    }
