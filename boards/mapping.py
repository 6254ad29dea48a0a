"""Map a core to a chip family's cells, and link it with what is around it on a board."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xnorweave.boards.catalogue import Family
from xnorweave.design import TOP_MODULE, Design
from xnorweave.errors import ToolchainError
from xnorweave.popcounts import popcount_verilog
from xnorweave.yosys import run_yosys, whole_verilog

__all__ = ["SYNTHESIS", "CellCounts", "CoreSynthesis", "count_cells", "link_core", "mapping_script", "synthesize_core"]

# Measured by bench/synthesis_options.py: modules are kept until their arithmetic is mapped, since the merging of adders
# undoes its structure; dissolving them before the LUTs are mapped saves 14 to 24 % (iCE40) and 31 to 33 % (ECP5) of the
# mapped cells, for one to five times the time. Placed, the small layers save 6 to 10 % and 22 to 25 %.
# Not of those measurements: ECP5's multipliers are left alone, since a plan counts the adders of products by constants.
SYNTHESIS: dict[Family, str] = {
    "ice40": "synth_ice40 -no-rw-check",
    "ecp5": "synth_ecp5 -nodsp -nowidelut -no-rw-check",
}
_LUTS = frozenset({"SB_LUT4", "LUT4"})
_CARRIES = frozenset({"SB_CARRY", "CCU2C"})
_BLOCK_RAM_PREFIXES = ("SB_RAM40_4K", "DP16KD", "PDPW16KD")
_FLIP_FLOP_PREFIXES = ("SB_DFF", "TRELLIS_FF")
# A distributed RAM takes the places of a slice: four LUTs.
_LUT_RAMS = frozenset({"TRELLIS_DPR16X4"})


@dataclass(frozen=True, kw_only=True)
class CellCounts:
    """Cells of a mapped design.

    Parameters
    ----------
    luts : int
        Four-input LUTs.
    carries : int
        Carry cells: SB_CARRY (shares a place with a LUT) or CCU2C (takes two LUT places).
    flip_flops, block_rams, lut_rams : int
        Of each; a LUT RAM (16 x 4 bits) takes four LUT places.
    """

    luts: int
    carries: int
    flip_flops: int
    block_rams: int
    lut_rams: int


@dataclass(frozen=True, kw_only=True)
class CoreSynthesis:
    """A core mapped to a family's cells.

    Parameters
    ----------
    family : {"ice40", "ecp5"}
        Whose cells.
    cells : CellCounts
        What it takes.
    netlist : Path
        Verilog of the mapped core for simulation with the family's cell models; module `TOP_MODULE`.
    rtlil : Path
        The same for `link_core`.
    """

    family: Family
    cells: CellCounts
    netlist: Path
    rtlil: Path


def synthesize_core(
    design: Design,
    family: Family,
    folder: Path,
    *,
    timeout_s: float = 3600,
    on_line: Callable[[str], None] | None = None,
) -> CoreSynthesis:
    """Map the core alone.

    Modules marked with ``keep_hierarchy`` are kept until their adders are carry chains and gates; LUTs are then mapped
    across them, and the netlist is flat. Writes ``design.v``, ``core.il``, ``core_netlist.v``, ``core_stat.json`` and
    ``core.log``.

    Parameters
    ----------
    design : Design
        The core.
    family : {"ice40", "ecp5"}
        Whose cells.
    folder : Path
        Where to work; must exist.
    timeout_s : float
        Longest run of Yosys, in seconds.
    on_line : callable, optional
        Called with every line of Yosys' output.

    Raises
    ------
    ToolchainError
        If Yosys is missing, fails, or takes too long.
    """
    (folder / "design.v").write_text(design.verilog, encoding="utf-8")
    script = [
        "read_verilog design.v",
        *mapping_script(design.popcounts, family, folder),
        "select *",
        "write_rtlil -selected core.il",
        "write_verilog -noattr core_netlist.v",
        "tee -q -o core_stat.json stat -json",
    ]
    run_yosys(script, folder=folder, log="core.log", timeout_s=timeout_s, on_line=on_line)
    whole_verilog(folder / "core_netlist.v")
    return CoreSynthesis(
        family=family,
        cells=count_cells(folder / "core_stat.json"),
        netlist=folder / "core_netlist.v",
        rtlil=folder / "core.il",
    )


def mapping_script(popcounts: Mapping[str, tuple[int, int, int]], family: Family, folder: Path) -> list[str]:
    """Yosys commands that map the design that was read, module `TOP_MODULE`, to a flat netlist of a family's cells.

    Popcounts are networks of LUTs from `popcounts.popcount_network`: they stay closed until everything else is mapped,
    since logic synthesis would take them apart and find no better ones. Their LUTs take complements as well.

    Parameters
    ----------
    popcounts : dict of str to (int, int, int)
        As in `Design`.
    family : {"ice40", "ecp5"}
        Whose cells.
    folder : Path
        Where Yosys runs; ``popcounts.v`` is written there.
    """
    synth = f"{SYNTHESIS[family]} -top {TOP_MODULE}"
    modules = (popcount_verilog(name, *shape) for name, shape in popcounts.items())
    (folder / "popcounts.v").write_text("".join(modules), encoding="utf-8")
    return [
        *(f"blackbox {name}" for name in popcounts),
        f"{synth} -run begin:map_luts",
        "setattr -mod -unset keep_hierarchy *",
        "flatten",
        "opt_clean -purge",
        f"{synth} -run map_luts:map_cells",
        *(f"delete ={name}" for name in popcounts),
        "read_verilog -icells popcounts.v",
        "hierarchy -check",
        "flatten",
        "opt_clean -purge",
        f"{synth} -run map_cells:",
        "opt_clean -purge",
    ]


def link_core(
    core: CoreSynthesis,
    design: Design,
    top_rtlil: str,
    folder: Path,
    *,
    timeout_s: float = 600,
    on_line: Callable[[str], None] | None = None,
) -> CellCounts:
    """Map what is around the core, put the mapped core in its place, and write ``top.json`` for nextpnr.

    Parameters
    ----------
    core : CoreSynthesis
        From `synthesize_core`, in the same folder.
    design : Design
        The core's ports.
    top_rtlil : str
        RTLIL of a module ``top`` with an instance of `TOP_MODULE`.
    folder : Path
        Where to work.
    timeout_s : float
        Longest run of Yosys, in seconds.
    on_line : callable, optional
        Called with every line of Yosys' output.

    Raises
    ------
    ToolchainError
        If Yosys is missing, fails, or takes too long.
    """
    (folder / "core_stub.v").write_text(_stub(design), encoding="utf-8")
    (folder / "top.il").write_text(top_rtlil, encoding="utf-8")
    script = [
        "read_verilog core_stub.v",
        "read_rtlil top.il",
        f"{SYNTHESIS[core.family]} -top top",
        f"delete ={TOP_MODULE}",
        f"read_rtlil {core.rtlil.name}",
        "hierarchy -check -top top",
        "flatten",
        "opt_clean -purge",
        "tee -q -o top_stat.json stat -json",
        "write_json top.json",
    ]
    run_yosys(script, folder=folder, log="top.log", timeout_s=timeout_s, on_line=on_line)
    return count_cells(folder / "top_stat.json")


def count_cells(path: Path) -> CellCounts:
    """Cells in a file of Yosys' ``stat -json``, for a flat design.

    Raises
    ------
    ToolchainError
        If the file is not one.
    """
    try:
        document: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        cells: Mapping[str, int] = document["design"]["num_cells_by_type"]
        return CellCounts(
            luts=sum(count for cell, count in cells.items() if cell in _LUTS),
            carries=sum(count for cell, count in cells.items() if cell in _CARRIES),
            flip_flops=sum(count for cell, count in cells.items() if cell.startswith(_FLIP_FLOP_PREFIXES)),
            block_rams=sum(count for cell, count in cells.items() if cell.startswith(_BLOCK_RAM_PREFIXES)),
            lut_rams=sum(count for cell, count in cells.items() if cell in _LUT_RAMS),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ToolchainError(
            f"yosys: {path} holds no cell counts ({error!r}); remedy: check the tools with `xnorweave doctor`"
        ) from error


def _stub(design: Design) -> str:
    """The core's ports without its content."""
    return (
        f"(* blackbox *) module {TOP_MODULE}(input clk, input rst,\n"
        f"  input [{design.input_bits - 1}:0] i__payload, input i__valid, output i__ready,\n"
        f"  output [{design.output_bits - 1}:0] o__payload, output o__valid, input o__ready);\nendmodule\n"
    )
