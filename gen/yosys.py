"""Run Yosys: a native one where it is new enough, else the ``pyosys`` wheel."""

import functools
import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from xnorweave.errors import ToolchainError
from xnorweave.processes import run_tool

__all__ = ["run_yosys", "whole_verilog", "yosys_version"]

_MINIMUM = (0, 40)
_REMEDY = "pip install pyosys"
_SHIM = Path(__file__).with_name("yosys_shim.py")


def run_yosys(
    script: Sequence[str],
    *,
    folder: Path,
    log: str,
    timeout_s: float,
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Run Yosys commands in a child process, in ``folder``.

    The commands are kept beside the log, in a file of its name with the suffix ``.ys``, so that a run can be repeated.

    Parameters
    ----------
    script : sequence of str
        One command each. File names in them are our own, relative to ``folder``: Yosys scripts can run programs, so
        nothing that a user wrote may come in here.
    folder : Path
        Working directory; must exist.
    log : str
        Name of the log file within ``folder``.
    timeout_s : float
        Longest run, in seconds.
    on_line : callable, optional
        Called with every line of output.

    Raises
    ------
    ToolchainError
        If Yosys is missing, fails, or is not done after ``timeout_s``.
    ValueError
        If a command holds a line end or would run a program.
    """
    for command in script:
        if "\n" in command or re.match(r"\s*(!|exec\b)", command):
            raise ValueError(f"not a Yosys command of our own: {command!r}")
    script_name = Path(log).with_suffix(".ys").name
    (folder / script_name).write_text("".join(f"{command}\n" for command in script), encoding="utf-8")
    run_tool(
        [*_command(), script_name],
        folder=folder,
        log=log,
        timeout_s=timeout_s,
        tool="yosys",
        remedy=_REMEDY,
        on_line=on_line,
    )


def whole_verilog(path: Path) -> str:
    """Text of a file that Yosys wrote with ``write_verilog``.

    Raises
    ------
    ToolchainError
        If it is not there, or is no text of whole modules: Yosys said that all was well.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _not_whole(path, str(error)) from error
    begun, ended = (len(re.findall(rf"^{word}\b", text, re.MULTILINE)) for word in ("module", "endmodule"))
    if not begun or begun != ended or not text.endswith("endmodule\n"):
        raise _not_whole(path, f"{begun} modules begin, {ended} end")
    return text


def _not_whole(path: Path, why: str) -> ToolchainError:
    return ToolchainError(
        f"yosys: {path.name} is no whole Verilog ({why}); remedy: free some space on the disk, and check the tools "
        "with `xnorweave doctor`"
    )


def yosys_version() -> str:
    """Version of the Yosys that `run_yosys` runs, e.g. ``0.70``.

    Raises
    ------
    ToolchainError
        If there is none.
    """
    native = _native()
    if native is not None:
        return native[1]
    _command()
    return importlib.metadata.version("pyosys")


def _command() -> list[str]:
    """Program and first arguments; the script's name comes after them."""
    native = _native()
    if native is not None:
        return [native[0], "-s"]
    if importlib.util.find_spec("pyosys") is None:
        raise ToolchainError(
            f"yosys: no `yosys` of {_MINIMUM[0]}.{_MINIMUM[1]} or newer on PATH and no `pyosys` package; "
            f"remedy: {_REMEDY}"
        )
    # -P: neither the script's folder (this package's modules) nor the working directory may shadow others.
    return [sys.executable, "-P", str(_SHIM)]


def _native() -> tuple[str, str] | None:
    """Path and version of a native Yosys that is new enough."""
    path = shutil.which("yosys")
    return _native_at(path) if path else None


@functools.cache
def _native_at(path: str) -> tuple[str, str] | None:
    try:
        output = subprocess.run([path, "-V"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.match(r"Yosys ((\d+)\.(\d+)\S*)", output)
    if match is None or (int(match[2]), int(match[3])) < _MINIMUM:
        return None
    return path, match[1]
