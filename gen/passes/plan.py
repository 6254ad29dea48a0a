"""A plan without a board: convolutions wired, dense layers folded as far as the frame rate allows."""

from dataclasses import replace

from xnorweave.cost import CostFamily
from xnorweave.errors import UnsupportedError
from xnorweave.network import Network
from xnorweave.passes.folds import Link, StageOptions, links, spatial, unfolded
from xnorweave.passes.plan_types import LayerPlan, Plan
from xnorweave.passes.streamline import ConvStage, DenseStage, GlobalSumStage, PoolStage, Stage, streamline

__all__ = ["make_plan"]

# Whose cells tell folding from wiring where no board is named, as for the strategy ``auto``.
_FAMILY: CostFamily = "ice40"


def make_plan(
    network: Network,
    *,
    interval_cycles: int | None = None,
    levels_per_register: int = 3,
    spatial: frozenset[str] = frozenset(),
    free_running: bool = False,
) -> Plan:
    """Wire convolutions, and fold dense layers as far as the frame rate allows, unless wiring them is cheaper.

    Parameters
    ----------
    network : Network
        One that `streamline` accepts.
    interval_cycles : int, optional
        Most cycles from frame to frame that a dense layer may take; where absent, as many as the slowest other stage.
        A layer that cannot be so fast is as fast as its words come in.
    levels_per_register : int
        Adders in a row between two registers in spatial layers.
    spatial : frozenset of str
        Dense layers to wire whatever that costs.
    free_running : bool
        As in `Plan`: for chips with LUT RAM.

    Raises
    ------
    UnsupportedError
        For a network or an option without hardware.
    """
    for what, value in (("levels_per_register", levels_per_register), ("interval_cycles", interval_cycles)):
        if value is not None and value < 1:
            raise UnsupportedError(f"{what}={value}: give at least 1")
    stages = streamline(network)
    if unknown := spatial - {stage.name for stage in stages if isinstance(stage, DenseStage)}:
        raise UnsupportedError(f"spatial: {min(unknown)!r} is no dense layer of the network; leave it out")
    channels, height, width = network.input.shape
    target = interval_cycles or max([height * width, *map(_window_cycles, stages)])
    layers, before = list[LayerPlan](), Link(channels)
    for stage in stages:
        layers.append(_plan_stage(stage, before, target, wired=stage.name in spatial))
        before = links(stage, layers[-1], before)
    return Plan(
        layers=tuple(layers),
        input_cycles=height * width,
        levels_per_register=levels_per_register,
        free_running=free_running,
    )


def _window_cycles(stage: Stage) -> int:
    """Interval of a stage that takes a position a cycle, whatever the stream before it; 0 of the others."""
    match stage:
        case ConvStage():
            return spatial(stage, Link(1), None).interval_cycles
        case PoolStage() | GlobalSumStage():
            return unfolded(stage, Link(1), None).interval_cycles
        case _:
            return 0


def _plan_stage(stage: Stage, before: Link, target: int, *, wired: bool) -> LayerPlan:
    if isinstance(stage, DenseStage) and not wired:
        return _plan_dense(stage, before, target)
    if isinstance(stage, (ConvStage, DenseStage)):
        return spatial(stage, before, None)
    return unfolded(stage, before, None)


def _plan_dense(stage: DenseStage, before: Link, target: int) -> LayerPlan:
    """The way of the fewest estimated LUTs of those that keep up with ``target``; the fastest where none does."""
    # No engine is faster than its vector comes in: one word a cycle.
    enough = max(target, -(-stage.weights.shape[1] // before.lanes))
    options = StageOptions(stage, _FAMILY, enough).options(before)
    best = min(
        (plan for plans in options.values() for plan in plans),
        key=lambda plan: (max(plan.interval_cycles, enough), plan.luts, plan.block_rams, plan.interval_cycles),
    )
    return replace(best, luts=0, block_rams=0)
