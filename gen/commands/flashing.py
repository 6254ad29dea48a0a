"""Bringing a finished build onto its board."""

import hashlib
from pathlib import Path
from typing import Any

from xnorweave.boards.loaders import loader_of
from xnorweave.build_folder import REPORT_FORMAT, read_report
from xnorweave.commands.source import Report
from xnorweave.console import Stages
from xnorweave.errors import DataError, DeviceError
from xnorweave.processes import run_tool, scratch

__all__ = ["flash"]

_TIMEOUT_S = 600.0


def flash(folder: Path, stages: Stages, *, permanent: bool = False, dry_run: bool = False) -> Report:
    """Load the bitstream of a build folder onto the board that it was built for.

    Parameters
    ----------
    folder : Path
        Written by ``build`` or ``synth``; its bitstream must be the one that its report names, byte for byte.
    stages : Stages
        Where the progress goes.
    permanent : bool
        Write the board's flash even where the chip could be loaded alone.
    dry_run : bool
        Run nothing; only tell the command.

    Raises
    ------
    BuildFolderError
        If the folder has no report of a build.
    DataError
        If that is of no build for a board, or the bitstream is not what was built.
    DeviceError
        If no loader is known for the board, or none for its flash.
    ToolchainError
        If the loader is missing or fails.
    """
    report = read_report(folder)
    synthesis = report.get("synthesis")
    if not isinstance(synthesis, dict) or "bitstream" not in synthesis:
        raise DataError(f"{folder}: has no bitstream; make one with `xnorweave build NET --board B -o DIR`")
    name, bitstream = synthesis["board"], _checked(folder, report, synthesis["bitstream"])
    loader = loader_of(name)
    if loader is None:
        raise DeviceError(f"{name}: no program is known that loads it; load {bitstream} with the board's own")
    command = loader.command(str(bitstream.resolve()), permanent=permanent)
    if not command:
        raise DeviceError(f"{name}: no way into its flash is known; leave out --permanent")
    if not dry_run:
        stages.start(f"loading {bitstream.name} onto {name} with {command[0]}")
        with scratch("flash") as work:
            run_tool(
                command,
                folder=work,
                log=f"{command[0]}.log",
                timeout_s=_TIMEOUT_S,
                tool=command[0],
                remedy=loader.remedy,
                on_line=stages.note,
            )
    written = permanent or not loader.to_ram
    loaded = {"board": name, "command": list(command), "into": "flash" if written else "chip", "done": not dry_run}
    return {"format": REPORT_FORMAT, "flash": loaded}


def _checked(folder: Path, report: dict[str, Any], name: str) -> Path:
    """The bitstream's path, once it is the very file that the report was written of."""
    wanted = next((each["sha256"] for each in report.get("files", ()) if each.get("name") == name), None)
    path = folder / name
    if wanted is None:
        raise DataError(f"{folder / 'report.json'}: does not list {name!r}; build it again")
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); build it again") from error
    if found != wanted:
        raise DataError(f"{path}: SHA-256 {found[:12]}... is not the report's {wanted[:12]}...; build it again")
    return path
