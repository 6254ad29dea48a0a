"""What a user may choose for a simulation and a build."""

import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from xnorweave.boards.link_format import LinkKind
from xnorweave.importers import PixelRule
from xnorweave.wrappers import WrapperKind

if TYPE_CHECKING:
    from xnorweave.commands.compression_file import Compressed

__all__ = [
    "BuildOptions",
    "ClassifyOptions",
    "GateOptions",
    "GenerateOptions",
    "ImportOptions",
    "PlanOptions",
    "SimulationOptions",
    "build_options",
    "command_line",
]


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """How to import.

    Parameters
    ----------
    pixels : {"auto", "unit", "raw"}
        What the float input of another tool's network is for a pixel.
    images : int
        Random images to check an ONNX graph with; 0 for none.
    seed : int
        Of these.
    data : Path, optional
        File of more images to check with.
    """

    pixels: PixelRule = "auto"
    images: int = 20
    seed: int = 0
    data: Path | None = None


@dataclass(frozen=True, kw_only=True)
class GateOptions:
    """How to map to standard cells.

    Parameters
    ----------
    liberty : Path or None
        Library of cells; CMOS gates of no technology where there is none.
    strategy : str
        How results are shared; ``auto`` is the fewest estimated places in each layer.
    plan : Path, optional
        A plan file to build by.
    force : bool
        Replace a folder that is no build of ours.
    compressed : Compressed, optional
        How the network was compressed, for the report.
    """

    liberty: Path | None
    strategy: str = "auto"
    plan: Path | None = None
    force: bool = False
    compressed: "Compressed | None" = None


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """How to write a core's Verilog.

    Parameters
    ----------
    strategy : str
        How results are shared; ``auto`` is the fewest estimated places in each layer.
    plan : Path, optional
        A plan file to build by.
    wrapper : {"axi-stream", "wishbone"}, optional
        A bus to put the core behind, in a file of its own.
    force : bool
        Replace a folder that is no build of ours.
    compressed : Compressed, optional
        How the network was compressed, for the report.
    """

    strategy: str = "auto"
    plan: Path | None = None
    wrapper: WrapperKind | None = None
    force: bool = False
    compressed: "Compressed | None" = None


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """How to plan.

    Parameters
    ----------
    fps : float, optional
        Frames per second to reach with the smallest design; the highest rate that fits where absent.
    clock_mhz : float, optional
        Clock of the core, made by the chip's PLL; the board's own where absent.
    file : Path, optional
        A plan to take as it is.
    """

    fps: float | None = None
    clock_mhz: float | None = None
    file: Path | None = None


@dataclass(frozen=True, kw_only=True)
class SimulationOptions:
    """How to simulate.

    Parameters
    ----------
    simulator : str
        ``golden``, ``amaranth``, ``icarus`` or ``verilator``.
    strategy : str
        How the simulated design shares results; ``auto`` is the fewest estimated places in each layer.
    taps : bool
        Compare every layer's stream.
    idle, stall : float
        Share of cycles in which the input and the output rest.
    seed : int
        Of idle and stall.
    plan : Path, optional
        A plan file to build the simulated design by.
    """

    simulator: str = "golden"
    strategy: str = "auto"
    taps: bool = False
    idle: float = 0.0
    stall: float = 0.0
    seed: int = 0
    plan: Path | None = None


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """How to synthesize.

    Parameters
    ----------
    board : str
        Name in the catalogue.
    strategy : str
        How results are shared; ``auto`` is the fewest estimated places in each layer.
    seed : int
        Of placement.
    force : bool
        Replace a folder that is no build of ours.
    plan : PlanOptions
        How to plan.
    link : {"uart", "spi"}
        What carries the bytes between host and board.
    command : str
        The command line that asks for this, for the report; see `command_line`.
    compressed : Compressed, optional
        How the network was compressed, for the report.
    """

    board: str
    strategy: str = "auto"
    seed: int = 1
    force: bool = False
    plan: PlanOptions = field(default_factory=PlanOptions)
    link: LinkKind = "uart"
    command: str = ""
    compressed: "Compressed | None" = None


@dataclass(frozen=True, kw_only=True)
class ClassifyOptions:
    """Which board to ask, and how.

    Parameters
    ----------
    port : str, optional
        Serial port or SPI device of a board; a simulated board where absent.
    baud : int
        Of the port.
    timeout_s : float
        Longest silence of the board.
    simulator : str, optional
        Of a simulated board: ``golden``, ``amaranth`` or ``verilator``; the fastest that counts cycles where absent.
    """

    port: str | None = None
    baud: int = 1_000_000
    timeout_s: float = 1.0
    simulator: str | None = None


def command_line(command: str, net: str, **options: object) -> str:
    """A command as a shell takes it, with the options that are not None; of paths only the last part.

    Where files lie differs between machines that make the same build, and is nobody's business who reads its report.

    Parameters
    ----------
    command : str
        E.g. ``build``.
    net : str
        A shipped network's word, or a file.
    **options : object
        Values by the option's name.
    """
    words = ["xnorweave", command, os.path.basename(os.path.normpath(net))]  # noqa: PTH119 -- may be no path
    for name, value in options.items():
        if value is not None:
            text = os.path.basename(os.path.abspath(value)) if isinstance(value, Path) else f"{value}"  # noqa: PTH100, PTH119
            words += [f"--{name}", text]
    return shlex.join(words)


def build_options(
    command: str,
    net: str,
    board: str,
    strategy: str,
    plan: PlanOptions,
    seed: int,
    force: bool,
    *,
    link: LinkKind = "uart",
    compressed: "Compressed | None" = None,
    **own: object,
) -> BuildOptions:
    """Options of a build, with the command line that asks for the same.

    Parameters
    ----------
    command, net : str
        As in `command_line`.
    board, strategy, plan, seed, force, link, compressed
        As in `BuildOptions`.
    **own : object
        What else the command takes.
    """
    given = {"fps": plan.fps, "clock": plan.clock_mhz, "plan": plan.file, "strategy": strategy, "seed": seed}
    given |= {} if link == "uart" else {"link": link}
    line = command_line(command, net, board=board, **own, **given)
    return BuildOptions(
        board=board,
        strategy=strategy,
        plan=plan,
        seed=seed,
        link=link,
        force=force,
        command=line,
        compressed=compressed,
    )
