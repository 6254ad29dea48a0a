"""A reset in any cycle: what comes behind it is exact."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

import xnorweave
from trials.networks import ODD_RUN_FREE, draw
from trials.records import Case, Trial, versions
from xnorweave.boards.catalogue import board
from xnorweave.commands import PlanOptions
from xnorweave.commands.planning import choice_for
from xnorweave.emit import emit
from xnorweave.network import Network
from xnorweave.sim import golden
from xnorweave.sim.bench import Stimulus
from xnorweave.sim.random_networks import random_frames
from xnorweave.sim.vectors import first_mismatch, input_words
from xnorweave.sim.verilator_bench import CompiledBench, compile_bench

__all__ = ["EVERY", "RANDOM", "Subject"]

_FRAMES = 3
_LARGER = Path(xnorweave.__file__).parent / "networks" / "fashion_mnist.npz"
_LARGER_BOARD = "icebreaker"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network's core, compiled, and frames with their answers.

    Parameters
    ----------
    compiled : CompiledBench
        The core.
    words : words per frame
        What is sent.
    wanted : array
        The golden model's outputs.
    """

    compiled: CompiledBench
    words: list[list[int]]
    wanted: np.ndarray

    def faults_at(self, cycle: int, *, idle: float = 0.0, stall: float = 0.0, seed: int = 0) -> list[str]:
        """What is wrong where this cycle is a reset; the frame that it interrupts is sent again."""
        stimulus = Stimulus(
            frames=self.words, idle=idle, stall=stall, seed=seed, reset_at=(cycle,), patience_cycles=20_000
        )
        result = self.compiled.run(stimulus)
        mismatch = first_mismatch(self.compiled.design.taps[-1], result.outputs, self.wanted)
        if result.resets != 1:
            return [f"reset in cycle {cycle}: {result.resets} took place"]
        return [f"reset in cycle {cycle}: {mismatch}"] if mismatch is not None else []


def _subject(network: Network, compiled: CompiledBench, seed: int) -> Subject:
    frames = random_frames(np.random.default_rng(seed), network, _FRAMES)
    return Subject(compiled=compiled, words=input_words(network, frames), wanted=golden.run(network, frames).outputs)


def small(seed: int, folder: Path) -> Subject:
    """A random network of any engines and folds."""
    drawn = draw(seed, largest_side=6, largest_channels=4)
    return _subject(drawn.network, compile_bench(drawn.design(drawn.core()), folder), seed)


def larger(folder: Path) -> Subject:
    """The network that is shipped, as it is built for a small board."""
    network = xnorweave.load(_LARGER)
    plan = choice_for(network, board(_LARGER_BOARD), PlanOptions()).plan
    return _subject(network, compile_bench(emit(network, strategy="units", plan=plan), folder), 0)


def every(seed: int, folder: Path) -> Case:
    """One small network, and a reset in every cycle of a run, one run for each."""
    subject = small(seed, folder)
    cycles = subject.compiled.run(Stimulus(frames=subject.words)).cycles
    failures = [failure for cycle in range(cycles) for failure in subject.faults_at(cycle)]
    return Case(failures=tuple(failures[:5]), counts={"resets": cycles})


_larger: dict[Path, tuple[Subject, int]] = {}


def at_random(seed: int, folder: Path) -> Case:
    """One reset of the larger network; every other case with idle and stalled cycles besides."""
    if folder not in _larger:
        subject = larger(folder)
        _larger.clear()
        _larger[folder] = subject, subject.compiled.run(Stimulus(frames=subject.words)).cycles
    subject, cycles = _larger[folder]
    share = 0.3 if seed % 2 else 0.0
    cycle = int(np.random.default_rng(seed).integers(cycles))
    return Case(failures=tuple(subject.faults_at(cycle, idle=share, stall=share, seed=seed)), counts={"resets": 1})


def _trial(name: str, title: str, full: int, checked: str, run: object) -> Trial:
    tools = partial(versions, "amaranth", "verilator", "yosys")
    return Trial(name=name, title=title, full=full, checked=checked, run=run, tools=tools)


EVERY = _trial(
    "resets-every",
    "a reset in every cycle of a small network",
    20,
    f"a random network of any engines and folds, {_FRAMES} frames: for each cycle of their run a run of its own with a "
    f"reset there; the frame interrupted is sent again, and all are exact (Verilator); {ODD_RUN_FREE}",
    every,
)
RANDOM = _trial(
    "resets-random",
    "a reset in a random cycle of a larger network",
    2000,
    f"the shipped Fashion-MNIST network as for `{_LARGER_BOARD}`, {_FRAMES} frames: one run with a reset, half of them "
    "with idle and stalled cycles; the frame interrupted is sent again, and all are exact (Verilator)",
    at_random,
)
