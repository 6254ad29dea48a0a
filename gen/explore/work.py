"""What a worker does with a candidate: estimate it by the cost model, or build it. Needs no Dask.

Both give a document that depends on the candidate, the network and the versions of what computes it, and on nothing
else: neither on the machine nor on the order of the work.
"""

import functools
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xnorweave import __version__
from xnorweave.boards.catalogue import Board
from xnorweave.boards.catalogue import board as find_board
from xnorweave.boards.toolchain import synthesize
from xnorweave.boards.tools import tool_versions
from xnorweave.commands.networks import known_strategy
from xnorweave.commands.planning import board_levels, core_clock, room_for
from xnorweave.commands.planning import estimate as estimate_of
from xnorweave.cost import CostFamily
from xnorweave.emit import emit
from xnorweave.errors import DeviceError, DoesNotFitError, ExploreError
from xnorweave.explore.candidate import Candidate, content_digest
from xnorweave.lower import lower
from xnorweave.network import Network
from xnorweave.passes.choose_plan import Budget, Planner
from xnorweave.passes.plan_types import Plan
from xnorweave.passes.share import Form, LayerSharing, Strategy, share_network
from xnorweave.plan_file import plan_document

__all__ = ["Subject", "build", "build_versions", "estimate", "estimate_versions"]

# Those that anything is built with.
_FORMS: tuple[Form, ...] = ("none", "kernel", "graph", "units")
_KEPT_PLANNERS, _KEPT_LAYERS = 8, 256


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network with its digest, by which two are equal.

    Parameters
    ----------
    digest : str
        SHA-256 of the network's file content.
    network : Network
        What to build.
    """

    digest: str
    network: Network = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class _Planned:
    board: Board
    budget: Budget
    clock_mhz: float
    plan: Plan


def estimate_versions() -> dict[str, str]:
    """What an estimate depends on beside its candidate."""
    return {"xnorweave": __version__}


@functools.cache
def build_versions(family: str) -> dict[str, str]:
    """What a build depends on beside its candidate.

    Raises
    ------
    ToolchainError
        Where a tool is missing.
    """
    return {"xnorweave": __version__} | tool_versions("ecp5" if family == "ecp5" else "ice40")


def estimate(subject: Subject, candidate: Candidate, versions: Mapping[str, str]) -> dict[str, Any]:
    """Plan a candidate, and tell what it is thought to take: ``fits``, and its figures or the ``reason``.

    ``hardware`` is the digest of what would be built: candidates that have it in common are one design.

    Raises
    ------
    ExploreError
        Where this worker's versions are not those asked for.
    """
    _check_versions(versions, estimate_versions())
    try:
        planned = _plan(subject, candidate)
    except (DoesNotFitError, DeviceError) as e:
        return {"fits": False, "reason": str(e)}
    plan, board = planned.plan, planned.board
    rows = [_sharing(subject, name, board.family, plan.unit_levels) for name in _wired(plan)]
    forms = {row.name: _form(row, candidate.strategy) for row in rows}
    # The plan counts the best strategy: of any other one the sums' difference comes to it.
    further = sum(row.luts[_form(row, candidate.strategy)] - row.luts[_form(row, "auto")] for row in rows)
    full = estimate_of(plan, board, subject.network, planned.clock_mhz)
    figures = {name: full[name] for name in ("luts_available", "block_rams", "block_rams_available", "clock_mhz")}
    figures |= {"luts": full["luts"] + further, "interval_cycles": plan.interval_cycles}
    figures |= {"frames_per_second": full["frames_per_second"], "wired": forms}
    if plan.luts + further > planned.budget.luts:
        reason = f"{board.name}: takes about {plan.luts + further:,} LUTs, {planned.budget.luts:,} are free for it"
        return {"fits": False, "reason": reason} | figures
    hardware = content_digest(subject.digest, board.name, planned.clock_mhz, plan_document(plan), forms)
    return {"fits": True, "hardware": hardware} | figures


def build(
    subject: Subject, candidate: Candidate, versions: Mapping[str, str], folder: Path | None = None
) -> dict[str, Any]:
    """Synthesize, place and route a candidate: ``met``, and its figures or the ``reason`` why it is none.

    Parameters
    ----------
    subject, candidate
        What to build.
    versions : dict of str to str
        Of `build_versions`, as this worker has to have them.
    folder : Path, optional
        Where to make a folder to work in, which is removed at the end; the system's where absent.

    Raises
    ------
    ExploreError
        Where this worker's versions are not those asked for.
    ToolchainError
        Where a tool is missing, fails, or takes too long.
    """
    board = find_board(candidate.board)
    _check_versions(versions, build_versions(board.family))
    try:
        planned = _plan(subject, candidate)
        with tempfile.TemporaryDirectory(prefix="xnorweave-explore-", dir=folder) as working:
            done = _synthesize(subject.network, candidate, planned, Path(working))
    except (DoesNotFitError, DeviceError) as e:
        return {"met": False, "reason": str(e)}
    return {"met": True} | done


def _synthesize(network: Network, candidate: Candidate, planned: _Planned, folder: Path) -> dict[str, Any]:
    plan, family, strategy = planned.plan, planned.board.family, known_strategy(candidate.strategy)
    rows = share_network(
        network,
        _FORMS,
        layers=set(_wired(plan)),
        strategy=strategy,
        family=family,
        unit_levels=plan.unit_levels,
        keep=True,
    )
    graphs = {row.name: row.graph for row in rows if row.graph is not None}
    core = lower(network, strategy=strategy, plan=plan, graphs=graphs)
    design = emit(network, strategy=strategy, plan=plan, core=core)
    result = synthesize(design, planned.board, folder, seed=candidate.seed, clock_mhz=candidate.clock_mhz)
    figures = {name: getattr(result, name) for name in ("luts", "block_rams", "flip_flops", "fmax_mhz", "clock_mhz")}
    layer = (result.critical_path or {}).get("layer")
    return figures | {
        "interval_cycles": plan.interval_cycles,
        "frames_per_second": round(result.clock_mhz * 1e6 / plan.interval_cycles, 1),
        "critical_layer": layer,
    }


def _plan(subject: Subject, candidate: Candidate) -> _Planned:
    """The plan that the command line makes for the same options.

    Raises
    ------
    DoesNotFitError
        Where there is none.
    DeviceError
        Where the board cannot make the clock.
    """
    board, network = find_board(candidate.board), subject.network
    clock_mhz = core_clock(board, candidate.clock_mhz)
    levels, budget = board_levels(board, clock_mhz), room_for(network, board, clock_mhz)
    planner = _planner(subject, board.family, levels, board.family == "ecp5")
    cycles = candidate.interval_cycles
    if cycles is not None and cycles < planner.intervals[0]:
        raise DoesNotFitError(f"{board.name}: the network takes at least {planner.intervals[0]} cycles a frame")
    plan = planner.fastest(budget) if cycles is None else planner.smallest(budget, cycles)
    if plan is None or not budget.holds(plan):
        needs = planner.leanest(budget, planner.intervals[-1] if cycles is None else cycles)
        raise DoesNotFitError(
            f"{board.name}: takes about {needs.luts:,} LUTs and {needs.block_rams} block RAMs, "
            f"{budget.luts:,} and {budget.block_rams} are free for it"
        )
    return _Planned(board=board, budget=budget, clock_mhz=clock_mhz, plan=plan)


@functools.lru_cache(_KEPT_PLANNERS)
def _planner(subject: Subject, family: CostFamily, levels: int, free_running: bool) -> Planner:
    return Planner(subject.network, family, levels_per_register=levels, free_running=free_running)


def _wired(plan: Plan) -> list[str]:
    return [layer.name for layer in plan.layers if layer.engine == "spatial"]


@functools.lru_cache(_KEPT_LAYERS)
def _sharing(subject: Subject, layer: str, family: CostFamily, unit_levels: int) -> LayerSharing:
    (row,) = share_network(subject.network, _FORMS, layers={layer}, family=family, unit_levels=unit_levels)
    return row


def _form(row: LayerSharing, strategy: str) -> Strategy:
    """What a layer is built with; ``graph`` where ``units`` comes to the same."""
    named = known_strategy(strategy)
    chosen = row.strategy if named == "auto" else named
    if chosen == "units" and _counts(row, "units") == _counts(row, "graph"):
        return "graph"
    return chosen


def _counts(row: LayerSharing, form: Form) -> tuple[int, int, int]:
    return row.additions[form], row.adder_bits[form], row.luts[form]


def _check_versions(wanted: Mapping[str, str], here: Mapping[str, str]) -> None:
    for name, version in wanted.items():
        if here.get(name) != version:
            raise ExploreError(
                f"worker: has {name} {here.get(name, 'none')}, the exploration runs {version}; install the same on both"
            )
