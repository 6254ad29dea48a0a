"""What a user may choose for a simulation and a build."""

from dataclasses import dataclass

__all__ = ["BuildOptions", "SimulationOptions"]


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
    """

    simulator: str = "golden"
    strategy: str = "auto"
    taps: bool = False
    idle: float = 0.0
    stall: float = 0.0
    seed: int = 0


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
    """

    board: str
    strategy: str = "auto"
    seed: int = 1
    force: bool = False
