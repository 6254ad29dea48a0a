"""Explore: many candidates estimated, the promising ones built, on this machine or a Dask cluster; resumable."""

from typing import TYPE_CHECKING

from xnorweave.explore.options import (
    DEFAULT_BUILDS,
    DEFAULT_OBJECTIVES,
    STRATEGIES,
    Effort,
    ExploreOptions,
    parse_budget,
    unfinished,
)
from xnorweave.late import late_names

if TYPE_CHECKING:
    from xnorweave.explore.dry_run import dry_explore
    from xnorweave.explore.run import explore
    from xnorweave.explore.search import OBJECTIVES

__all__ = [
    "DEFAULT_BUILDS",
    "DEFAULT_OBJECTIVES",
    "OBJECTIVES",
    "STRATEGIES",
    "Effort",
    "ExploreOptions",
    "dry_explore",
    "explore",
    "parse_budget",
    "unfinished",
]

__getattr__ = late_names(__name__, {"dry_run": ("dry_explore",), "run": ("explore",), "search": ("OBJECTIVES",)})
