"""What a user may choose for a simulation and a build."""

from dataclasses import dataclass, field
from pathlib import Path

from xnorweave.importers import PixelRule
from xnorweave.wrappers import WrapperKind

__all__ = ["BuildOptions", "GateOptions", "GenerateOptions", "ImportOptions", "PlanOptions", "SimulationOptions"]


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
    """

    liberty: Path | None
    strategy: str = "auto"
    plan: Path | None = None
    force: bool = False


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
    """

    strategy: str = "auto"
    plan: Path | None = None
    wrapper: WrapperKind | None = None
    force: bool = False


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
    """

    board: str
    strategy: str = "auto"
    seed: int = 1
    force: bool = False
    plan: PlanOptions = field(default_factory=PlanOptions)
