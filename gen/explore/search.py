"""Which candidates are worth a build, and what became of each: a function of the results alone.

Candidates that would be the same hardware are one design. A design is known by its estimate, within the bounds that
estimates keep to, until a build of it meets its clock; then it is known exactly. A design that another one dominates
for certain is not built. The others are built in rounds: each round takes those that are on the front by the
figures at hand, so that what is measured can spare what is uncertain. Seeds are tried in order, until one meets the
clock: the others would be the same netlist again.

Nothing here depends on the order in which results came, so an exploration that lost workers ends as one that did not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xnorweave.explore.candidate import Candidate
from xnorweave.explore.pareto import Bounds, dominators, spread, undominated

__all__ = ["OBJECTIVES", "Design", "designs_of", "front_of", "next_round", "note_builds", "verdicts"]

Result = dict[str, Any]

# What each objective is called in results, and whether more of it is better.
OBJECTIVES: dict[str, tuple[str, bool]] = {
    "fps": ("frames_per_second", True),
    "luts": ("luts", False),
    "block-rams": ("block_rams", False),
    "chip": ("luts_available", False),
    "accuracy": ("accuracy_percent", True),
}
_ESTIMATED = ("luts", "block-rams")
# Of whole designs, placed and routed: bench/results/boards.json has errors of up to 2.3 % on iCE40, where explorations
# found one of 7.8 %, and of up to 19.8 % on ECP5.
_LUTS_ERROR_PERCENT = {"ice40": 10, "ecp5": 20}
# No layer measured took more block RAMs than estimated, and some one or two fewer.
_FEWER_BLOCK_RAMS = 2


@dataclass(frozen=True, kw_only=True)
class Design:
    """Candidates that come to the same hardware, and what is known of it.

    Parameters
    ----------
    seeds : tuple of Candidate
        The first candidate of each seed, in the order in which they are tried.
    members : tuple of Candidate
        Every candidate.
    estimate : dict
        As `work.estimate` gives it, with ``family`` and ``accuracy_percent`` where there is one.
    builds : dict of int to dict
        By seed, as `work.build` gives it.
    """

    seeds: tuple[Candidate, ...]
    members: tuple[Candidate, ...]
    estimate: Result
    builds: dict[int, Result] = field(default_factory=dict[int, Result])

    @property
    def met(self) -> tuple[Candidate, Result] | None:
        """The first seed that met the clock, and its figures."""
        found = ((each, self.builds.get(each.seed)) for each in self.seeds)
        return next(((each, result) for each, result in found if result and result["met"]), None)

    @property
    def untried(self) -> Candidate | None:
        """What to build next; None where a seed has met the clock, or none is left."""
        if self.met is not None:
            return None
        return next((each for each in self.seeds if each.seed not in self.builds), None)

    @property
    def hopeless(self) -> bool:
        """Whether no seed has met the clock, and none is left."""
        return self.met is None and self.untried is None

    def bounds(self, objectives: Sequence[str]) -> Bounds:
        """The figures that count, less being better: exact where built, else as estimates keep to."""
        return tuple(self._bound(name) for name in objectives)

    def point(self, objectives: Sequence[str]) -> list[float]:
        """The figures that count, less being better: built, or estimated."""
        return [_oriented(name, self._figure(name)) for name in objectives]

    def _figure(self, objective: str) -> float:
        key, _ = OBJECTIVES[objective]
        return self.estimate[key] if self.met is None or key not in self.met[1] else self.met[1][key]

    def _bound(self, objective: str) -> tuple[float, float]:
        figure = _oriented(objective, self._figure(objective))
        if self.met is not None or objective not in _ESTIMATED:
            return figure, figure
        if objective == "block-rams":
            return max(0.0, figure - _FEWER_BLOCK_RAMS), figure
        share = _LUTS_ERROR_PERCENT[self.estimate["family"]] / 100
        # An estimate is so many percent of the truth off, not of itself.
        return figure / (1 + share), figure / (1 - share)


def _oriented(objective: str, figure: float) -> float:
    return -float(figure) if OBJECTIVES[objective][1] else float(figure)


def designs_of(estimates: Sequence[tuple[Candidate, Result]]) -> list[Design]:
    """The designs that fit, in the order in which their first candidates come."""
    grouped: dict[str, list[tuple[Candidate, Result]]] = {}
    for candidate, estimate in estimates:
        if estimate["fits"]:
            grouped.setdefault(estimate["hardware"], []).append((candidate, estimate))
    return [_design(group) for group in grouped.values()]


def _design(group: Sequence[tuple[Candidate, Result]]) -> Design:
    firsts: dict[int, Candidate] = {}
    for candidate, _ in group:
        firsts.setdefault(candidate.seed, candidate)
    members = tuple(candidate for candidate, _ in group)
    return Design(seeds=tuple(firsts.values()), members=members, estimate=group[0][1])


def next_round(designs: Sequence[Design], objectives: Sequence[str], most: int | None = None) -> list[Candidate]:
    """What to build next, best first; empty where every design on the front is built.

    Parameters
    ----------
    designs : sequence of Design
        With what has been built of them.
    objectives : sequence of str
        Names of `OBJECTIVES`.
    most : int, optional
        Builds left.
    """
    living = [design for design in designs if not design.hopeless]
    kept = [living[number] for number in undominated([design.bounds(objectives) for design in living])]
    open_ones = [(design, design.untried) for design in kept if design.untried is not None]
    points = [design.point(objectives) for design, _ in open_ones]
    likely = undominated([tuple((figure, figure) for figure in point) for point in points])
    order = [likely[number] for number in spread([points[number] for number in likely])]
    chosen = [candidate for _, candidate in (open_ones[number] for number in order) if candidate is not None]
    return chosen if most is None else chosen[:most]


def front_of(designs: Sequence[Design], objectives: Sequence[str]) -> list[Design]:
    """The Pareto front of what was built and met its clock, the best of the first objective first."""
    built = [design for design in designs if design.met is not None]
    front = [built[number] for number in undominated([design.bounds(objectives) for design in built])]
    return sorted(front, key=lambda design: design.point(objectives))


def verdicts(
    estimates: Sequence[tuple[Candidate, Result]], designs: Sequence[Design], objectives: Sequence[str]
) -> dict[Candidate, dict[str, Any]]:
    """What became of every candidate: ``status``, and what explains it.

    Statuses are ``front``, ``built`` (another one is better), ``missed`` (its build missed the clock, or did not fit),
    ``seed not needed``, ``same design`` (with the candidate ``of`` it), ``dominated`` (``by`` that candidate),
    ``not built`` (the budget was spent), and ``does not fit``.
    """
    told: dict[Candidate, dict[str, Any]] = {
        candidate: {"status": "does not fit"} for candidate, estimate in estimates if not estimate["fits"]
    }
    living = [design for design in designs if not design.hopeless]
    above = dominators([design.bounds(objectives) for design in living])
    by = {id(design): living[number] for design, number in zip(living, above, strict=True) if number is not None}
    front = {id(design) for design in front_of(designs, objectives)}
    for design in designs:
        for candidate in design.members:
            told[candidate] = _verdict(design, candidate, id(design) in front, by.get(id(design)))
    return told


def _verdict(design: Design, candidate: Candidate, on_front: bool, better: Design | None) -> dict[str, Any]:
    if candidate not in design.seeds:
        same = next(each for each in design.seeds if each.seed == candidate.seed)
        return {"status": "same design", "of": same}
    result = design.builds.get(candidate.seed)
    if result is not None and not result["met"]:
        return {"status": "missed"}
    if design.met is not None:
        if candidate != design.met[0]:
            return {"status": "seed not needed"}
        return {"status": "front" if on_front else "built"}
    return {"status": "dominated", "by": better.seeds[0]} if better is not None else {"status": "not built"}


def note_builds(designs: Sequence[Design], results: Mapping[Candidate, Result]) -> None:
    """Note what was built, in the designs."""
    for design in designs:
        for candidate in design.seeds:
            if candidate in results:
                design.builds[candidate.seed] = results[candidate]
