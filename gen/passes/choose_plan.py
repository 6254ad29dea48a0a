"""Choose each layer's engine and fold for a budget: the highest frame rate that fits, or the least that reaches a rate.

The frame rate is that of the slowest layer, so for a given interval every layer may take any of its ways to build it
that is no slower (`folds.StageOptions`). Layers touch each other only through the stream between them, so a dynamic
program over the layers, its state the stream, finds for every number of block RAMs the fewest LUTs of the network:
exact, the widths of folds being those of `folds`. Of these the smallest is taken: the one with the least sum of its
shares of the LUTs and of the block RAMs that there are. Fewest LUTs alone would spend the last block RAM to save one,
and a chip without a free one is hard to route. The interval is found by bisection over those that the layers can have:
a longer one leaves every layer all that it had, so what fits stays fitting.
"""

import bisect
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xnorweave.cost import CostFamily
from xnorweave.errors import DoesNotFitError, UnsupportedError
from xnorweave.network import Network
from xnorweave.passes.folds import Link, Options, StageOptions
from xnorweave.passes.plan_types import LayerPlan, Plan
from xnorweave.passes.streamline import streamline

__all__ = ["Budget", "PlanChoice", "Planner", "choose_plan"]

# How much slower or faster the neighbours are that a choice is shown with.
_STEP = 1.1
# Block RAMs are counted up to so many, to tell what a network needs that does not fit.
_RAM_REACH = 1024
_NONE = np.iinfo(np.int64).max // 4


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a core may take.

    Parameters
    ----------
    family : {"ice40", "ecp5"}
        Whose cells.
    luts, block_rams : int
        For the core alone.
    clock_mhz : float, optional
        Of the core; a frame rate needs one.
    name : str
        Of the board, for messages.
    """

    family: CostFamily
    luts: int
    block_rams: int
    clock_mhz: float | None = None
    name: str = "the budget"

    def rate(self, cycles: int) -> float:
        """Frames per second at an interval; needs a clock."""
        assert self.clock_mhz is not None
        return self.clock_mhz * 1e6 / cycles

    def cycles(self, fps: float) -> int:
        """Most cycles a frame at a rate, so that the `rate` of an interval gives it back; needs a clock."""
        assert self.clock_mhz is not None
        return int(self.clock_mhz * 1e6 / fps * (1 + 1e-9))

    def holds(self, plan: Plan) -> bool:
        """Whether a plan fits by its estimates."""
        return plan.luts <= self.luts and plan.block_rams <= self.block_rams

    def shares(self, luts: NDArray[np.int64] | int, block_rams: NDArray[np.int64] | int) -> NDArray[np.float64]:
        """Sum of the shares of LUTs and of block RAMs: how much of it something takes."""
        return np.asarray(np.divide(luts, max(1, self.luts)) + np.divide(block_rams, max(1, self.block_rams)))


@dataclass(frozen=True, kw_only=True)
class PlanChoice:
    """A plan and its neighbours.

    Parameters
    ----------
    plan : Plan
        The one chosen.
    smaller, larger : Plan or None
        The next slower one that takes less and the next faster one, whether or not it fits; None where there is none.
    """

    plan: Plan
    smaller: Plan | None
    larger: Plan | None


def choose_plan(
    network: Network,
    budget: Budget,
    *,
    fps: float | None = None,
    levels_per_register: int,
    free_running: bool = False,
    alternatives: Mapping[str, Budget] | None = None,
) -> PlanChoice:
    """Give every layer an engine and a fold: the highest frame rate that fits, or the smallest plan that has ``fps``.

    Optimal by the estimates of `xnorweave.folded_cost` and `xnorweave.stream_cost`.

    Parameters
    ----------
    network : Network
        One that `streamline` accepts.
    budget : Budget
        What it may take.
    fps : float, optional
        Frames per second to reach.
    levels_per_register, free_running
        As in `Plan`.
    alternatives : dict of str to Budget
        Boards to propose where this one is too small, smallest first.

    Raises
    ------
    DoesNotFitError
        With what the network needs, and what would make it fit.
    UnsupportedError
        For a network or an option without hardware.
    """
    planner = Planner(network, budget.family, levels_per_register=levels_per_register, free_running=free_running)
    found = planner.fastest(budget) if fps is None else planner.smallest(budget, _target_cycles(planner, budget, fps))
    if found is None or not budget.holds(found):
        raise _does_not_fit(planner, budget, fps, alternatives or {})
    return PlanChoice(plan=found, smaller=planner.smaller(found, budget), larger=planner.larger(found, budget))


def _target_cycles(planner: "Planner", budget: Budget, fps: float) -> int:
    if budget.clock_mhz is None:
        raise UnsupportedError(f"fps={fps:g}: a frame rate needs a clock; give one")
    if not 0 < fps < float("inf"):
        raise UnsupportedError(f"fps={fps:g}: give a number above 0")
    cycles = budget.cycles(fps)
    if cycles < planner.intervals[0]:
        top = budget.rate(planner.intervals[0])
        raise DoesNotFitError(
            f"{budget.name}: {fps:g} frames/s leave {cycles} cycles a frame at {budget.clock_mhz:g} MHz, the network "
            f"takes at least {planner.intervals[0]}; remedy: at most {top:.1f} frames/s, or a faster clock"
        )
    return cycles


def _does_not_fit(
    planner: "Planner", budget: Budget, fps: float | None, alternatives: Mapping[str, Budget]
) -> DoesNotFitError:
    cycles = planner.intervals[-1] if fps is None else _target_cycles(planner, budget, fps)
    needs = planner.leanest(budget, cycles)
    at = "at any rate" if fps is None else f"for {fps:g} frames/s"
    remedies = []
    slower = planner.fastest(budget) if fps is not None else None
    if slower is not None and budget.clock_mhz is not None:
        remedies.append(f"at most {int(budget.rate(slower.interval_cycles) * 10) / 10:g} frames/s, which fit")
    for name, other in alternatives.items():
        there = planner if other.family == budget.family else planner.on(other.family)
        plan = there.fastest(other) if fps is None else there.reaching(other, fps)
        if plan is not None:
            rate = f" ({other.rate(plan.interval_cycles):,.1f} frames/s)" if other.clock_mhz else ""
            remedies.append(f"a board such as {name}{rate}")
            break
    return DoesNotFitError(
        f"{budget.name}: the network does not fit: {at} it takes about {needs.luts:,} LUTs and {needs.block_rams} "
        f"block RAMs, and {budget.luts:,} and {budget.block_rams} are free for it; remedy: "
        f"{', or '.join(remedies) or 'a smaller network: no board of the catalogue holds it'}"
    )


class Planner:
    """Plans of one network for one family, by interval.

    Parameters
    ----------
    network : Network
        What to plan.
    family : {"ice40", "ecp5"}
        Whose cells.
    levels_per_register, free_running
        As in `Plan`.

    Attributes
    ----------
    intervals : list of int
        All that the network can have, shortest first.
    """

    def __init__(self, network: Network, family: CostFamily, *, levels_per_register: int, free_running: bool):
        self._network, self._levels, self._free = network, levels_per_register, free_running
        channels, height, width = network.input.shape
        self._input_cycles = height * width
        self._stages = streamline(network)
        self._first = Link(channels)
        self._options = self._all_options(family)
        floors = [min(p.interval_cycles for plans in by.values() for p in _all(plans)) for by in self._options]
        least = max(self._input_cycles, *floors)
        found = {p.interval_cycles for by in self._options for plans in by.values() for p in _all(plans)}
        self.intervals = sorted({least, *(cycles for cycles in found if cycles > least)})

    def on(self, family: CostFamily) -> "Planner":
        """The same network on another family."""
        return Planner(self._network, family, levels_per_register=self._levels, free_running=self._free)

    def _all_options(self, family: CostFamily) -> list[dict[Link, Options]]:
        """For each stage its options, by the stream before it."""
        options, before = [], {self._first}
        for stage in self._stages:
            every = StageOptions(stage, family, self._input_cycles)
            options.append({link: every.options(link) for link in before})
            before = {after for by_link in options[-1].values() for after in by_link}
        return options

    def fastest(self, budget: Budget) -> Plan | None:
        """The plan of the shortest interval that fits; None where none does."""

        def fits(cycles: int) -> bool:
            plan = self.smallest(budget, cycles)
            return plan is not None and budget.holds(plan)

        index = bisect.bisect_left(self.intervals, True, key=fits)
        return self.smallest(budget, self.intervals[index]) if index < len(self.intervals) else None

    def smallest(self, budget: Budget, cycles: int) -> Plan | None:
        """The plan within an interval that takes least of a budget; where LUTs are too few, that of the fewest LUTs.

        None where block RAMs are too few.
        """
        table = self._solve(cycles, budget.block_rams)
        if table is None:
            return None
        luts = table.best
        shares = budget.shares(luts, np.arange(len(luts)))
        fitting = np.flatnonzero(luts <= max(budget.luts, int(luts[-1])))
        return self._plan(table, int(fitting[np.argmin(shares[fitting])]))

    def reaching(self, budget: Budget, fps: float) -> Plan | None:
        """The smallest plan that reaches a frame rate, where it fits."""
        if budget.clock_mhz is None or (cycles := budget.cycles(fps)) < self.intervals[0]:
            return None
        plan = self.smallest(budget, cycles)
        return plan if plan is not None and budget.holds(plan) else None

    def leanest(self, budget: Budget, cycles: int) -> Plan:
        """What to tell of a network that does not fit within an interval.

        The fewest block RAMs with which its LUTs fit; where they never do, the fewest LUTs.
        """
        reach = max(_RAM_REACH, budget.block_rams)
        while (table := self._solve(cycles, reach)) is None:
            reach *= 4
        enough = np.flatnonzero(table.best <= max(budget.luts, int(table.best[-1])))
        return self._plan(table, int(enough[0]))

    def larger(self, plan: Plan, budget: Budget) -> Plan | None:
        """The next faster plan, whether or not it fits."""
        cycles = int(plan.interval_cycles / _STEP)
        if plan.interval_cycles <= self.intervals[0]:
            return None
        cycles = max(cycles, self.intervals[0])
        return self.smallest(budget, cycles) or self.leanest(budget, cycles)

    def smaller(self, plan: Plan, budget: Budget) -> Plan | None:
        """The next slower plan that takes less."""
        cycles, size = int(plan.interval_cycles * _STEP) + 1, budget.shares(plan.luts, plan.block_rams)
        while plan.interval_cycles < self.intervals[-1]:
            cycles = min(cycles, self.intervals[-1])
            found = self.smallest(budget, cycles)
            if found is not None and budget.shares(found.luts, found.block_rams) < size:
                return found
            if cycles == self.intervals[-1]:
                return None
            cycles = int(cycles * _STEP) + 1
        return None

    def _solve(self, cycles: int, block_rams: int) -> "_Table | None":
        """Fewest LUTs of the whole network for each number of block RAMs; None where there is no plan at all."""
        fronts = {self._first: _Front.empty(block_rams)}
        steps = []
        for by_link in self._options:
            following: dict[Link, _Front] = {}
            for before, front in fronts.items():
                for after, plans in by_link[before].items():
                    for number, plan in enumerate(plans):
                        if plan.interval_cycles > cycles or plan.block_rams > block_rams:
                            continue
                        if after not in following:
                            following[after] = _Front.none(block_rams)
                        following[after].add(front, plan, (before, number))
            fronts = {after: front for after, front in following.items() if front.luts[-1] < _NONE}
            if not fronts:
                return None
            steps.append(fronts)
        return _Table(steps)

    def _plan(self, table: "_Table", block_rams: int) -> Plan:
        """The plan that a table has for so many block RAMs."""
        layers: list[LayerPlan] = []
        link, left = table.last(block_rams), block_rams
        for by_link, fronts in zip(reversed(self._options), reversed(table.steps), strict=True):
            before, number = fronts[link].choice(left)
            layer = by_link[before][link][number]
            layers.append(layer)
            link, left = before, left - layer.block_rams
        return Plan(
            layers=tuple(reversed(layers)),
            input_cycles=self._input_cycles,
            levels_per_register=self._levels,
            free_running=self._free,
        )


class _Front:
    """Fewest LUTs of the stages up to one stream for at most each number of block RAMs, and how they come about."""

    def __init__(self, luts: NDArray[np.int64]):
        self.luts = luts
        self._choices: list[tuple[Link, int]] = []
        self._chosen = np.full(len(luts), -1, np.int64)

    @classmethod
    def empty(cls, block_rams: int) -> "_Front":
        """Before the first stage."""
        return cls(np.zeros(block_rams + 1, np.int64))

    @classmethod
    def none(cls, block_rams: int) -> "_Front":
        """No plan yet."""
        return cls(np.full(block_rams + 1, _NONE, np.int64))

    def add(self, before: "_Front", plan: LayerPlan, choice: tuple[Link, int]) -> None:
        """One more way to come here: a plan of the last stage behind those before it."""
        luts = before.luts[: len(before.luts) - plan.block_rams] + plan.luts
        here = self.luts[plan.block_rams :]
        better = luts < here
        if better.any():
            here[better] = luts[better]
            self._chosen[plan.block_rams :][better] = len(self._choices)
            self._choices.append(choice)

    def choice(self, block_rams: int) -> tuple[Link, int]:
        """Stream before the last stage and number of its plan."""
        return self._choices[self._chosen[block_rams]]


class _Table:
    """What `Planner` solved: for each stage the fronts by the stream behind it."""

    def __init__(self, steps: list[dict[Link, _Front]]):
        self.steps = steps

    @property
    def best(self) -> NDArray[np.int64]:
        """Fewest LUTs of the network for each number of block RAMs."""
        return np.min([front.luts for front in self.steps[-1].values()], axis=0)

    def last(self, block_rams: int) -> Link:
        """The last stream of the plan with the fewest LUTs."""
        return min(self.steps[-1], key=lambda link: int(self.steps[-1][link].luts[block_rams]))


def _all(options: Options) -> list[LayerPlan]:
    return [plan for plans in options.values() for plan in plans]
