"""Explore: many candidates estimated, the promising ones built, on this machine or a Dask cluster; resumable."""

from xnorweave.explore.dry_run import dry_explore
from xnorweave.explore.run import (
    DEFAULT_BUILDS,
    DEFAULT_OBJECTIVES,
    STRATEGIES,
    Effort,
    ExploreOptions,
    explore,
    parse_budget,
    unfinished,
)
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
