"""``explore.json``: every candidate with its estimate, its build and its verdict. No times are in it: it repeats."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from xnorweave.commands import command_line
from xnorweave.explore.candidate import Candidate
from xnorweave.explore.networks import Variant
from xnorweave.explore.search import Design, Result, front_of, verdicts

__all__ = ["EXPLORE_FORMAT", "exploration"]

EXPLORE_FORMAT = "xnorweave-explore/1"


def exploration(
    variants: Sequence[Variant],
    estimates: Sequence[tuple[Candidate, Result]],
    designs: Sequence[Design],
    builds: Mapping[Candidate, Result],
    *,
    objectives: Sequence[str],
    budget: Mapping[str, float],
    versions: Mapping[str, str],
    failures: Sequence[str],
) -> dict[str, Any]:
    """The whole document.

    Parameters
    ----------
    variants : sequence of Variant
        The networks.
    estimates : sequence
        Candidates with their estimates, in order; that gives their numbers, from 1 on.
    designs : sequence of Design
        Those that fit, with their builds.
    builds : dict of Candidate to dict
        What was built.
    objectives : sequence of str
        What the front is of.
    budget : dict
        ``builds`` or ``seconds``.
    versions : dict of str to str
        Of the tools.
    failures : sequence of str
        Why there are candidates without a result.
    """
    numbers = {candidate: number for number, (candidate, _) in enumerate(estimates, 1)}
    files = {variant.subject.digest: variant for variant in variants}
    told = verdicts(estimates, designs, objectives)
    rows = [_row(numbers, candidate, estimate, told[candidate], builds, files) for candidate, estimate in estimates]
    front = [design.met[0] for design in front_of(designs, objectives) if design.met is not None]
    return {
        "networks": [_network(variant) for variant in variants],
        "objectives": list(objectives),
        "budget": dict(budget),
        "tools": dict(versions),
        "counts": {
            "candidates": len(rows),
            "designs": len(designs),
            "builds": len(builds),
            "by_status": dict(sorted(Counter(row["status"] for row in rows).items())),
        },
        "front": [numbers[candidate] for candidate in front],
        "candidates": rows,
    } | ({"failures": list(failures)} if failures else {})


def _network(variant: Variant) -> dict[str, Any]:
    row: dict[str, Any] = {"file": variant.file, "network_sha256": variant.subject.digest, "codes": variant.codes}
    if variant.accuracy_percent is not None:
        row |= {"images": variant.images, "correct": variant.correct, "accuracy_percent": variant.accuracy_percent}
    return row


def _row(
    numbers: Mapping[Candidate, int],
    candidate: Candidate,
    estimate: Result,
    verdict: Mapping[str, Any],
    builds: Mapping[Candidate, Result],
    files: Mapping[str, Variant],
) -> dict[str, Any]:
    variant = files[candidate.network]
    fields = candidate.document()
    del fields["network"]
    row = {"number": numbers[candidate], "codes": variant.codes} | fields | {"status": verdict["status"]}
    row |= {name: numbers[verdict[name]] for name in ("of", "by") if name in verdict}
    kept = {name: value for name, value in estimate.items() if name not in ("hardware", "family")}
    row["estimate"] = kept
    if candidate in builds:
        row["build"] = builds[candidate]
    if estimate["fits"]:
        row["command"] = _command(candidate, variant.file, estimate)
    return row


def _command(candidate: Candidate, file: str, estimate: Result) -> str:
    """What makes the whole build of a candidate, simulation included."""
    cycles = candidate.interval_cycles
    return command_line(
        "build",
        file,
        board=candidate.board,
        strategy=candidate.strategy,
        fps=None if cycles is None else estimate["clock_mhz"] * 1e6 / cycles,
        clock=candidate.clock_mhz,
        seed=candidate.seed,
        output="DIR",
    )
