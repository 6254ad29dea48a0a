"""What a user may choose for an exploration."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xnorweave.errors import ExploreError

__all__ = [
    "DEFAULT_BUILDS",
    "DEFAULT_OBJECTIVES",
    "STRATEGIES",
    "Effort",
    "ExploreOptions",
    "parse_budget",
    "unfinished",
]

STRATEGIES = ("auto", "kernel", "graph", "units")
# A faster clock lets a large chip beat every smaller one, unless the smaller chip counts for something.
DEFAULT_OBJECTIVES = ("fps", "luts", "chip")
DEFAULT_BUILDS = 12
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much may be built.

    Parameters
    ----------
    builds : int, optional
        Most builds.
    seconds : float, optional
        No build is waited for beyond that.
    """

    builds: int | None = DEFAULT_BUILDS
    seconds: float | None = None

    def document(self) -> dict[str, float]:
        """The one that is set."""
        every = {"builds": self.builds, "seconds": self.seconds}
        return {name: value for name, value in every.items() if value is not None}


def parse_budget(text: str) -> Effort:
    """Effort as a command line says it: builds (``20``), a time (``90s``, ``30m``, ``2h``), or ``all``.

    Raises
    ------
    ValueError
        Where it is none of these.
    """
    if text == "all":
        return Effort(builds=None)
    if re.fullmatch(r"[0-9]{1,9}", text):
        return Effort(builds=int(text))
    if match := re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smh])", text):
        return Effort(builds=None, seconds=float(match[1]) * _SECONDS[match[2]])
    raise ValueError(f"--budget {text!r}: is neither builds nor a time; give 20, 90s, 30m, 2h or all.")


@dataclass(frozen=True, kw_only=True)
class ExploreOptions:
    """What to sweep, and by what means.

    Parameters
    ----------
    boards : tuple of str
        Names in the catalogue.
    objectives : tuple of str
        Names of `search.OBJECTIVES`.
    effort : Effort
        How much to build.
    strategies : tuple of str
        How results are shared.
    clocks_mhz : tuple of float
        Clocks of the core; each board's own where empty.
    fps : tuple of float
        Frame rates to reach; those of one pixel in 1 to 32 cycles, and the highest that fits, where empty.
    seeds : int
        Seeds of placement to try, from 1 on, where a clock is missed.
    codes : tuple of int
        Sizes of codebooks.
    data : Path, optional
        Images with labels.
    workers : int, optional
        Processes on this machine; as many as it has CPUs where absent.
    scheduler : str, optional
        Address of a Dask scheduler to use instead.
    """

    boards: tuple[str, ...]
    objectives: tuple[str, ...] = DEFAULT_OBJECTIVES
    effort: Effort = field(default_factory=Effort)
    strategies: tuple[str, ...] = STRATEGIES
    clocks_mhz: tuple[float, ...] = ()
    fps: tuple[float, ...] = ()
    seeds: int = 3
    codes: tuple[int, ...] = ()
    data: Path | None = None
    workers: int | None = None
    scheduler: str | None = None


def unfinished(report: Mapping[str, Any]) -> ExploreError | None:
    """The error that an exploration ends with which could not try everything."""
    failures = report["exploration"].get("failures")
    if not failures:
        return None
    return ExploreError(
        f"{len(failures)} of the candidates tried have no result (the first: {failures[0]}); "
        "mend that and run the same command again: only these are tried then"
    )
