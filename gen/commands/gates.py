"""The command that maps a core to standard cells."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from xnorweave.boards.liberty import CellLibrary, read_liberty
from xnorweave.boards.progress import GATES, Follower
from xnorweave.boards.standard_cells import GateSynthesis, map_to_gates
from xnorweave.build_folder import build_folder
from xnorweave.commands.hardware import emit_into, logs_kept, plan_of_no_board, shared, told_in_percent
from xnorweave.commands.options import GateOptions
from xnorweave.commands.source import Report
from xnorweave.console import Stages
from xnorweave.network import Network
from xnorweave.report import write_report
from xnorweave.yosys import yosys_version

__all__ = ["synth_gates"]

_LEFT_OUT = (
    "wires, clock tree and placement; the critical path also leaves out the flip-flops' clock-to-output and setup "
    "times and slopes at its start; memories are flip-flops and gates; nothing has an initial value before its reset"
)


def synth_gates(network: Network, output: Path, options: GateOptions, stages: Stages) -> Report:
    """Map a core to standard cells into the folder ``output``; gives ``synthesis``."""
    library = None if options.liberty is None else read_liberty(options.liberty)
    with build_folder(output, force=options.force) as folder, logs_kept(folder):
        made = plan_of_no_board(network, options.plan)
        report, graphs = shared(network, options.strategy, made, "ice40", stages, compressed=options.compressed)
        design = emit_into(network, folder, made, graphs, report, stages)
        stages.start(f"mapping to {'CMOS gates' if library is None else library.name}", 100)
        follow = Follower(told_in_percent(stages), GATES, begin=0.0, end=1.0)
        report["synthesis"] = _part(map_to_gates(design, library, folder, on_line=follow), library)
        report = write_report(folder, report)
    return report | {"folder": str(output)}


def _part(found: GateSynthesis, library: CellLibrary | None) -> dict[str, Any]:
    """``synthesis`` of the report: library, what it takes, and what the figures leave out."""
    if library is None:
        part: dict[str, Any] = {"cells_of": "cmos"}
    else:
        part = {"cells_of": library.name, "liberty": {"file": library.file, "sha256": library.sha256}}
    numbers = {name: value for name, value in asdict(found).items() if value is not None and name != "memory"}
    by_type = numbers.pop("cells_by_type")
    memory = {"ram_bits_as_flip_flops": found.memory.ram_bits, "rom_bits_as_gates": found.memory.rom_bits}
    left_out = {"left_out": _LEFT_OUT if library is not None else "everything but transistors of gates and flip-flops"}
    tools = {"yosys": yosys_version()}
    return part | numbers | memory | left_out | {"tools": tools, "cells_by_type": by_type}
