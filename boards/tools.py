"""Find nextpnr and the bitstream packers: native ones where they are new enough, else the YoWASP wheels."""

import functools
import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

from xnorweave.boards.catalogue import Family
from xnorweave.errors import ToolchainError
from xnorweave.yosys import yosys_version

__all__ = ["PlaceTools", "find_place_tools", "tool_versions"]

_MINIMUM = (0, 8)
_PACKERS: dict[Family, str] = {"ice40": "icepack", "ecp5": "ecppack"}


@dataclass(frozen=True, kw_only=True)
class PlaceTools:
    """Commands of one family's place-and-route tool and packer.

    Parameters
    ----------
    nextpnr, packer : tuple of str
        Program and first arguments.
    version : str
        Of nextpnr.
    remedy : str
        How to install them.
    """

    nextpnr: tuple[str, ...]
    packer: tuple[str, ...]
    version: str
    remedy: str


def find_place_tools(family: Family) -> PlaceTools:
    """The tools for a family.

    Raises
    ------
    ToolchainError
        If there are none; says how to install them.
    """
    package = f"yowasp_nextpnr_{family}"
    remedy = f"pip install {package.replace('_', '-')}"
    program, packer = shutil.which(f"nextpnr-{family}"), shutil.which(_PACKERS[family])
    version = _native_version(program) if program and packer else None
    if program and packer and version:
        return PlaceTools(nextpnr=(program,), packer=(packer,), version=version, remedy=remedy)
    if importlib.util.find_spec(package) is None:
        raise ToolchainError(
            f"nextpnr-{family}: no {_PACKERS[family]} with a nextpnr-{family} of {_MINIMUM[0]}.{_MINIMUM[1]} or newer "
            f"on PATH, and no {package} package; remedy: {remedy}"
        )
    return PlaceTools(
        nextpnr=_wheel_command(package, f"nextpnr_{family}"),
        packer=_wheel_command(package, _PACKERS[family]),
        version=importlib.metadata.version(package),
        remedy=remedy,
    )


def tool_versions(family: Family) -> dict[str, str]:
    """Versions of the tools that a build for ``family`` runs, by their names.

    Raises
    ------
    ToolchainError
        If one is missing.
    """
    return {"yosys": yosys_version(), f"nextpnr-{family}": find_place_tools(family).version}


def _wheel_command(package: str, program: str) -> tuple[str, ...]:
    # Not the wheels' scripts: they need not be on PATH. -P keeps the working directory out of the import path.
    return sys.executable, "-P", "-c", f"import sys, {package}; sys.exit({package}.run_{program}(sys.argv[1:]))"


@functools.cache
def _native_version(program: str) -> str | None:
    """Version of a native nextpnr, if it is new enough."""
    try:
        result = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"nextpnr-((\d+)\.(\d+)\S*?)\)", result.stdout + result.stderr)
    if match is None or (int(match[2]), int(match[3])) < _MINIMUM:
        return None
    return match[1]
