"""Idle and stalled cycles on every stream, in every pattern, over networks of all engines and converters."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from trials.networks import ODD_RUN_FREE, Draw, draw, faults_in, parts
from trials.records import Case, Trial, versions
from xnorweave.core import Core
from xnorweave.sim.run import Pattern

__all__ = ["PATTERNS", "TRIAL", "faults_under"]

_PATIENCE_CYCLES = 3000
_NEVER, _ALWAYS = 0.0, 0.5  # cyclic patterns know no other probabilities


def _patterns() -> dict[str, Pattern]:
    patterns = {"none": Pattern()}
    for burst in (1, 5):
        for idle, stall in ((_ALWAYS, _NEVER), (_NEVER, _ALWAYS), (_ALWAYS, _ALWAYS)):
            name = f"cyclic {burst}{' idle' if idle else ''}{' stalled' if stall else ''}"
            patterns[name] = Pattern(idle=idle, stall=stall, burst=burst, cyclic=True)
    for percent in (10, 50, 90):
        share = percent / 100
        patterns[f"random {percent} % idle"] = Pattern(idle=share)
        patterns[f"random {percent} % stalled"] = Pattern(stall=share)
        patterns[f"random {percent} % of both"] = Pattern(idle=share, stall=share)
    patterns["bursts of 40 idle"] = Pattern(idle=0.1, burst=40)
    patterns["bursts of 40 stalled"] = Pattern(stall=0.1, burst=40)
    patterns["bursts of 40 of both"] = Pattern(idle=0.1, stall=0.1, burst=40)
    return patterns


PATTERNS = _patterns()


def faults_under(drawn: Draw, core: Core, name: str, seed: int) -> list[str]:
    """What is wrong with one network under one pattern."""
    pattern = replace(PATTERNS[name], seed=seed, patience_cycles=_PATIENCE_CYCLES)
    return faults_in(name, drawn, simulator="amaranth", pattern=pattern, core=core)


def run(seed: int, _: Path) -> Case:
    """One network under every pattern; every stream between its parts is watched."""
    drawn = draw(seed, largest_side=6, largest_channels=4)
    core = drawn.core()
    failures = [failure for name in PATTERNS for failure in faults_under(drawn, core, name, seed)]
    return Case(failures=tuple(failures), counts={"runs": len(PATTERNS), **parts(core)})


TRIAL = Trial(
    name="stalls",
    title="idle and stalled cycles: none, cyclic, random 10 to 90 %, bursts",
    full=200,
    checked=f"a random network of any engines and folds under {len(PATTERNS)} patterns in Amaranth: every layer's "
    f"values; every stream between parts holds its payload; none is still for {_PATIENCE_CYCLES:,} cycles; "
    f"{ODD_RUN_FREE}",
    run=run,
    tools=partial(versions, "amaranth"),
)
