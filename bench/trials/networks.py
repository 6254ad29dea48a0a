"""Random networks, plans, frames and stalls: the golden model, and a simulator or a netlist, give the same."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trials.records import Case, Trial, versions
from xnorweave.boards.mapping import synthesize_core
from xnorweave.core import Core
from xnorweave.design import Design
from xnorweave.emit import emit
from xnorweave.errors import MismatchError, UnsupportedError
from xnorweave.hw.conv2d import Conv2D
from xnorweave.hw.dense import Dense
from xnorweave.lower import lower
from xnorweave.network import Network
from xnorweave.passes.plan_types import Plan
from xnorweave.passes.share import STRATEGIES
from xnorweave.sim import golden
from xnorweave.sim.bench import Stimulus
from xnorweave.sim.netlist import Family, simulate_netlist
from xnorweave.sim.random_networks import random_frames, random_network, random_plan
from xnorweave.sim.run import Pattern, SimulationReport, SimulatorName, simulate
from xnorweave.sim.vectors import first_mismatch, input_words

__all__ = ["AMARANTH", "ICARUS", "NETLIST", "ODD_RUN_FREE", "VERILATOR", "Draw", "draw", "faults_in", "parts"]

FRAMES = 4
ODD_RUN_FREE = "adder graphs of odd seeds run free"
_MOST_DRAWS = 50
_FAMILIES: tuple[Family, Family] = ("ice40", "ecp5")


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What a seed gives.

    Parameters
    ----------
    network : Network
        The network.
    plan : Plan
        Its engines and folds, and whether its adder graphs run free.
    strategy : str
        How results are shared.
    frames : uint8 array [N, channels, height, width]
        Images.
    pattern : Pattern
        How they are offered and taken.
    """

    network: Network
    plan: Plan
    strategy: str
    frames: np.ndarray
    pattern: Pattern

    def core(self) -> Core:
        """The hardware; graphs as small as these run free as well, where the plan has that."""
        return lower(self.network, strategy=self.strategy, plan=self.plan, most_enabled_flip_flops=0)

    def design(self, core: Core) -> Design:
        """Its Verilog."""
        return emit(self.network, strategy=self.strategy, plan=self.plan, core=core)


def draw(seed: int, *, largest_side: int = 12, largest_channels: int = 9) -> Draw:
    """The first network of a seed's that there is hardware for; what is refused is drawn again.

    Adder graphs of odd seeds run free, as on ECP5; those of even ones have a common enable, as on iCE40.
    """
    for turn in range(_MOST_DRAWS):
        rng = np.random.default_rng([seed, turn])
        network = random_network(rng, largest_side=largest_side, largest_channels=largest_channels)
        try:
            plan = replace(random_plan(rng, network), free_running=seed % 2 == 1)
        except UnsupportedError:
            continue
        strategy = str(rng.choice(STRATEGIES))
        idle, stall = ((0.0, 0.0), tuple(rng.uniform(0.1, 0.9, 2)), (0.0, 0.9))[seed % 3]
        pattern = Pattern(idle=float(idle), stall=float(stall), seed=seed)
        frames = random_frames(rng, network, FRAMES)
        return Draw(network=network, plan=plan, strategy=strategy, frames=frames, pattern=pattern)
    raise RuntimeError(f"seed {seed}: nothing with hardware in {_MOST_DRAWS} draws")


def parts(core: Core) -> dict[str, int]:
    """How many of each engine and converter a core has, and how many adder graphs run free."""
    counts = Counter(type(part).__name__ for _, part in core.parts)
    free = sum(part.sums.free_running for _, part in core.parts if isinstance(part, Conv2D | Dense))
    return {**counts, "free-running": free} if free else dict(counts)


def faults_of(drawn: Draw, report: SimulationReport) -> list[str]:
    """Where a simulation differs, by the first layer that does."""
    if not report.mismatches and report.first_mismatch is None:
        return []
    return [f"{report.mismatches} of {report.images} images differ; {report.first_mismatch}; {drawn.strategy}"]


def faults_in(name: str, drawn: Draw, *, simulator: SimulatorName, pattern: Pattern, **built: Any) -> list[str]:
    """What is wrong under ``pattern``, each line begun by ``name``; ``built`` is the core or design for `simulate`."""
    try:
        report = simulate(drawn.network, drawn.frames, simulator=simulator, taps=True, pattern=pattern, **built)
    except MismatchError as e:
        return [f"{name}: {e}"]
    return [f"{name}: {failure}" for failure in faults_of(drawn, report)]


def _run(simulator: SimulatorName, seed: int, _: Path) -> Case:
    drawn = draw(seed)
    core = drawn.core()
    counts = parts(core)
    built = {"core": core} if simulator == "amaranth" else {"design": drawn.design(core)}
    report = simulate(drawn.network, drawn.frames, simulator=simulator, taps=True, pattern=drawn.pattern, **built)
    return Case(failures=tuple(faults_of(drawn, report)), counts={"images": report.images, **counts})


def _netlist(seed: int, folder: Path) -> Case:
    """Smaller networks: mapping and compiling take nearly all of the time."""
    drawn = draw(seed, largest_side=7, largest_channels=4)
    failures, counts = [], Counter[str]()
    wanted = golden.run(drawn.network, drawn.frames).outputs
    stimulus = Stimulus(
        frames=input_words(drawn.network, drawn.frames), idle=drawn.pattern.idle, stall=drawn.pattern.stall, seed=seed
    )
    for family in _FAMILIES:
        # As boards of the family are built.
        built = replace(drawn, plan=replace(drawn.plan, free_running=family == "ecp5"))
        core = built.core()
        design = built.design(core)
        place = folder / f"{family}-{seed}"
        place.mkdir()
        netlist = synthesize_core(design, family, place).netlist.read_text("utf-8")
        result = simulate_netlist(design, netlist, family, stimulus)
        mismatch = first_mismatch(design.taps[-1], result.outputs, wanted)
        if mismatch is not None:
            failures.append(f"{family}: {mismatch}; {drawn.strategy}")
        counts.update({"images": len(drawn.frames), **parts(core)})
    return Case(failures=tuple(failures), counts=counts)


_EVERY_LAYER = f"every value of every layer that can be watched; payloads are held; {ODD_RUN_FREE}"


def _trial(
    name: str, title: str, full: int, run: Callable[[int, Path], Case], *tools: str, checked: str = _EVERY_LAYER
) -> Trial:
    return Trial(
        name=f"networks-{name}",
        title=f"random networks, engines, folds and stalls: golden model = {title}",
        full=full,
        checked=f"{FRAMES} frames; {checked}",
        run=run,
        tools=partial(versions, "amaranth", "numpy", *tools),
    )


AMARANTH = _trial("amaranth", "Amaranth", 500, partial(_run, "amaranth"))
ICARUS = _trial("icarus", "emitted Verilog in Icarus", 500, partial(_run, "icarus"), "icarus", "yosys")
VERILATOR = _trial("verilator", "emitted Verilog in Verilator", 50, partial(_run, "verilator"), "verilator", "yosys")
NETLIST = _trial(
    "netlist",
    "netlists of iCE40 and ECP5 in Verilator",
    100,
    _netlist,
    "verilator",
    "yosys",
    checked="for each family as its boards are built, ECP5 with adder graphs that run free; every output; payloads "
    "are held",
)
