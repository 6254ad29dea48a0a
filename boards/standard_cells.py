"""Map a core to standard cells: those of a Liberty file, or CMOS gates of no technology with their transistors.

Measured on the shipped network with IHP's SG13G2 (bench/standard_cells.py, docs/how-to/standard_cells.md): ABC gets one
module; whether adders keep theirs until their arithmetic is gates makes no difference in area, but saves a third of
the time. Popcounts are Yosys' full adders: networks that are small in LUTs are 2 % larger in gates. ``amap`` gives the
least area, and buffers with sizing behind it cost 2 % and divide the critical path by fifteen: a mapper for area
leaves nets of thousands of gates to one cell.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xnorweave.boards.liberty import CellLibrary
from xnorweave.design import TOP_MODULE, Design
from xnorweave.errors import DoesNotFitError, ToolchainError
from xnorweave.yosys import run_yosys

__all__ = ["AREA_SCRIPT", "MOST_RAM_BITS", "MOST_ROM_BITS", "GateSynthesis", "Memory", "map_to_gates"]

MOST_RAM_BITS = 1 << 16
MOST_ROM_BITS = 1 << 18
AREA_SCRIPT = (
    "strash; &get -n; &fraig -x; &put; scorr; dc2; strash; dch; amap -m; topo; "
    "buffer -N 16; topo; upsize; dnsize; stime"
)
"""For ABC, with a library."""
_REMEDY = "give a library with a D flip-flop on a rising edge, an inverter and gates of two inputs"
_DELAY = re.compile(r"\bArea =\s*[\d.]+.*?\bDelay =\s*([\d.]+) ps")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memories of a core, which standard cells have none for.

    Parameters
    ----------
    ram_bits : int
        Become a flip-flop each.
    rom_bits : int
        Become gates.
    """

    ram_bits: int
    rom_bits: int


@dataclass(frozen=True, kw_only=True)
class GateSynthesis:
    """A core in gates; what does not go with its kind of cells is None.

    Parameters
    ----------
    cells, flip_flops : int
        How many; flip-flops are among the cells.
    area, sequential_area, combinational_area : float or None
        In the library's unit, mostly square micrometres.
    critical_path_ps : float or None
        Longest path between registers by ABC's estimate.
    transistors : int or None
        By Yosys' estimate for static CMOS.
    memory : Memory
        What of it was memory.
    cells_by_type : dict of str to int
        Cells by their names.
    """

    cells: int
    flip_flops: int
    area: float | None
    sequential_area: float | None
    combinational_area: float | None
    critical_path_ps: float | None
    transistors: int | None
    memory: Memory
    cells_by_type: dict[str, int]


def map_to_gates(
    design: Design,
    library: CellLibrary | None,
    folder: Path,
    *,
    timeout_s: float = 7200,
    on_line: Callable[[str], None] | None = None,
) -> GateSynthesis:
    """Map a core to a library's cells, or without one to CMOS gates. ``core_netlist.v`` and logs stay in the folder.

    Initial values of registers and memories are not built: the core starts with its reset.

    Parameters
    ----------
    design : Design
        The core.
    library : CellLibrary, optional
        From `read_liberty`.
    folder : Path
        Where to work; must exist.
    timeout_s : float
        Longest run of Yosys, in seconds.
    on_line : callable, optional
        Called with every line of Yosys' output.

    Raises
    ------
    DoesNotFitError
        Where the core has more memory than can sensibly be gates.
    ToolchainError
        If Yosys is missing, fails or takes too long, or finds no cell for what is needed.
    """
    (folder / "design.v").write_text(design.verilog, encoding="utf-8")
    run_yosys(_FRONT, folder=folder, log="core.log", timeout_s=timeout_s, on_line=on_line)
    memory = _memory(folder / "core_memory.json")
    _check_memory(memory)
    delays: list[float] = []

    def watch(line: str) -> None:
        delays.extend(float(found) for found in _DELAY.findall(line))
        if on_line is not None:
            on_line(line)

    try:
        script = _cmos_script() if library is None else _library_script(library, folder)
        run_yosys(script, folder=folder, log="gates.log", timeout_s=timeout_s, on_line=watch)
    except ToolchainError as e:
        if library is None:
            raise
        raise ToolchainError(f"library {library.name} of {library.file}: cannot map to it: {e}, or {_REMEDY}") from e
    finally:
        for name in ("core.il", "core_memory.json", *(path.name for path in folder.glob("cells_*.lib"))):
            (folder / name).unlink(missing_ok=True)
    result = _result(_statistics(folder / "core_stat.json"), memory, delays[-1] if delays else None, library)
    _check_mapped(result, library)
    return result


_FRONT = [
    "read_verilog design.v",
    f"synth -top {TOP_MODULE} -run begin:fine",
    "write_rtlil core.il",
    "select t:$mem*",
    "write_json -selected core_memory.json",
]
# To one module of gates of Yosys' own.
_GATES = [
    "read_rtlil core.il",
    f"synth -top {TOP_MODULE} -noabc -run fine:check",
    "setattr -mod -unset keep_hierarchy *",
    "flatten",
    "opt -fast -full",
]
_END = ["opt_clean -purge", "setattr -unset init w:*", "write_verilog -noattr core_netlist.v"]


def _library_script(library: CellLibrary, folder: Path) -> list[str]:
    # Yosys keeps what it reads of a library by the file's name: other content, other name.
    cells = f"cells_{library.sha256[:16]}.lib"
    (folder / cells).write_bytes(library.content)
    (folder / "gates.abc").write_text(AREA_SCRIPT + "\n", encoding="utf-8")
    return [
        *_GATES,
        f"dfflibmap -liberty {cells}",
        "opt",
        f"abc -liberty {cells} -script gates.abc",
        *_END,
        f"tee -q -o core_stat.json stat -json -liberty {cells}",
    ]


def _cmos_script() -> list[str]:
    return [
        *_GATES,
        "dfflegalize -cell $_DFF_P_ 01",
        "opt_clean",
        "abc -g cmos",
        *_END,
        "tee -q -o core_stat.json stat -json -tech cmos",
    ]


def _memory(path: Path) -> Memory:
    """Bits of the memories in a file of Yosys' ``write_json``."""
    ram_bits = rom_bits = 0
    document: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for module in document["modules"].values():
        for cell in module["cells"].values():
            size, width, writes = (int(cell["parameters"][name], 2) for name in ("SIZE", "WIDTH", "WR_PORTS"))
            ram_bits += size * width if writes else 0
            rom_bits += 0 if writes else size * width
    return Memory(ram_bits=ram_bits, rom_bits=rom_bits)


def _check_memory(memory: Memory) -> None:
    for kind, bits, most, becomes in (
        ("ram", memory.ram_bits, MOST_RAM_BITS, "flip-flops"),
        ("rom", memory.rom_bits, MOST_ROM_BITS, "gates"),
    ):
        if bits > most:
            raise DoesNotFitError(
                f"standard cells: the core has {bits:,} bits of {kind.upper()}, which would become {becomes}; at most "
                f"{most:,} are taken; remedy: a smaller network, a --plan with its large layers wired, or "
                "`xnorweave generate` and memory macros of your own"
            )


def _statistics(path: Path) -> Mapping[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["design"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ToolchainError(
            f"yosys: {path} holds no statistics ({error!r}); remedy: check the tools with `xnorweave doctor`"
        ) from error


def _result(
    found: Mapping[str, Any], memory: Memory, delay_ps: float | None, library: CellLibrary | None
) -> GateSynthesis:
    by_type: dict[str, int] = dict(sorted(found["num_cells_by_type"].items()))
    area = sequential = combinational = transistors = None
    if library is None:
        transistors = int(found["estimated_num_transistors"])
        flip_flops = by_type.get("$_DFF_P_", 0)
    else:
        area, sequential = round(float(found["area"]), 2), round(float(found["sequential_area"]), 2)
        combinational = round(area - sequential, 2)
        flip_flops = sum(count for name, count in by_type.items() if name in library.flip_flops)
    return GateSynthesis(
        cells=sum(by_type.values()),
        flip_flops=flip_flops,
        area=area,
        sequential_area=sequential,
        combinational_area=combinational,
        critical_path_ps=delay_ps,
        transistors=transistors,
        memory=memory,
        cells_by_type=by_type,
    )


def _check_mapped(result: GateSynthesis, library: CellLibrary | None) -> None:
    if library is None:
        return
    left = [name for name in result.cells_by_type if name.startswith("$")]
    if left:
        raise ToolchainError(
            f"library {library.name} of {library.file}: no cell of it does {', '.join(left[:5])}; remedy: {_REMEDY}"
        )
