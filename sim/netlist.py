"""Simulate a core after synthesis: a netlist of a device's cells, with Yosys' models of the cells."""

import dataclasses
import importlib.util
import re
from importlib import resources
from pathlib import Path
from typing import Literal

from xnorweave.design import Design
from xnorweave.errors import ToolchainError
from xnorweave.sim.bench import BenchResult, Stimulus
from xnorweave.sim.cocotb_bench import run_cocotb
from xnorweave.sim.verilator_bench import run_verilator
from xnorweave.sim.wrapper import CellModels

__all__ = ["Family", "cell_models", "simulate_netlist"]

Family = Literal["ice40", "ecp5"]


def simulate_netlist(
    design: Design,
    netlist: str,
    family: Family,
    stimulus: Stimulus,
    *,
    simulator: Literal["verilator", "icarus"] = "verilator",
    folder: Path | None = None,
) -> BenchResult:
    """Send the stimulus through a netlist of the core.

    Parameters
    ----------
    design : Design
        The core before synthesis, for its ports; its taps are gone in a netlist.
    netlist : str
        Verilog from ``synth_ice40`` or ``synth_ecp5``.
    family : {"ice40", "ecp5"}
        Whose cells.
    stimulus : Stimulus
        What to send.
    simulator : {"verilator", "icarus"}
        Verilator is some hundred times faster once compiled; Icarus also sees registers that are read before anything
        is written.
    folder : Path, optional
        Where a compiled Verilator bench is kept for the next call.

    Raises
    ------
    MismatchError
        As of the benches.
    ToolchainError
        Where the simulator or the cell models are missing, or do not take the netlist.
    """
    models = cell_models(family)
    mapped = dataclasses.replace(design, verilog=netlist, taps=())
    if simulator == "icarus":
        return run_cocotb(mapped, stimulus, simulator="icarus", models=models)
    return run_verilator(mapped, stimulus, models=models, folder=folder)


def cell_models(family: Family) -> CellModels:
    """Models of a family's cells from the ``pyosys`` package; ECP5's block RAM, which it leaves empty, is our own."""
    if family == "ice40":
        # Icarus 11 does not know default values of ports; synth_ice40 connects every port.
        return CellModels(text=_share("ice40/cells_sim.v"), defines=("NO_ICE40_DEFAULT_ASSIGNMENTS",))
    # TRELLIS_COMB comes only from nextpnr, and Icarus 11 does not parse it.
    common = re.sub(r"^module TRELLIS_COMB\(.*?^endmodule", "", _share("lattice/common_sim.vh"), flags=re.S | re.M)
    block_ram = (resources.files("xnorweave.sim") / "ecp5_block_ram.v").read_text(encoding="utf-8")
    return CellModels(text="\n".join([common, _share("lattice/ccu2c_sim.vh"), block_ram]), defines=("NO_INCLUDES",))


def _share(name: str) -> str:
    spec = importlib.util.find_spec("pyosys")
    path = Path(spec.origin or "").parent / "share" / name if spec else None
    if path is None or not path.exists():
        raise ToolchainError(f"cell models: {name} is not in the package pyosys; install it with 'pip install pyosys'")
    return path.read_text(encoding="utf-8")
