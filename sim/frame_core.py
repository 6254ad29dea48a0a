"""Cores that are given one frame after another, as a board gets them, instead of all at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xnorweave.design import Design
from xnorweave.errors import UnsupportedError
from xnorweave.network import ArgMax, Network
from xnorweave.sim import golden
from xnorweave.sim.amaranth_bench import AmaranthBench
from xnorweave.sim.bench import BenchResult, Stimulus
from xnorweave.sim.verilator_bench import compile_bench

__all__ = ["FrameAnswer", "FrameCore", "amaranth_core", "golden_core", "verilator_core"]


@dataclass(frozen=True, kw_only=True)
class FrameAnswer:
    """What a core gave for a frame.

    Parameters
    ----------
    word : int
        Its one output word.
    cycles : int
        From the frame's first word taken to the result; 0 from the golden model, which has no clock.
    """

    word: int
    cycles: int


FrameCore = Callable[[Sequence[int]], FrameAnswer]
"""Takes a frame's input words."""


def golden_core(network: Network) -> FrameCore:
    """The golden model as a core.

    Raises
    ------
    UnsupportedError
        Where the network does not end in an ArgMax: how the values of others lie in a word is the hardware's business.
    """
    if not isinstance(network.layers[-1], ArgMax):
        last = network.layers[-1].name
        raise UnsupportedError(
            f"{last}: the golden model answers with the class of an ArgMax, and here is none; "
            "take amaranth or verilator"
        )
    channels, height, width = network.input.shape
    step = 8 if network.input.kind == "pixels" else 1

    def run(words: Sequence[int]) -> FrameAnswer:
        lanes = [word >> step * channel & (1 << step) - 1 for word in words for channel in range(channels)]
        frame = np.array(lanes, np.uint8).reshape(1, height, width, channels).transpose(0, 3, 1, 2)
        return FrameAnswer(word=int(golden.run(network, frame).outputs[0]), cycles=0)

    return run


def amaranth_core(core: Any) -> FrameCore:
    """The Amaranth core (`xnorweave.lower.Core`) in Amaranth's simulator, reset before each frame.

    Raises
    ------
    UnsupportedError
        Where the core gives more than one word a frame.
    """
    words = core.taps[-1].words
    _check_one_word(words)
    bench = AmaranthBench(core, output_words=words)
    return lambda frame: _answer(bench.run(Stimulus(frames=[frame])))


def verilator_core(design: Design, folder: Path) -> FrameCore:
    """The emitted core in Verilator, compiled in the folder and reset before each frame.

    Raises
    ------
    UnsupportedError
        Where the core gives more than one word a frame.
    ToolchainError
        Where Verilator or the C++ compiler is missing or fails.
    """
    _check_one_word(design.output_words)
    bench = compile_bench(design, folder)
    return lambda frame: _answer(bench.run(Stimulus(frames=[frame])))


def _answer(result: BenchResult) -> FrameAnswer:
    return FrameAnswer(word=result.outputs[0][0], cycles=result.first_latency_cycles)


def _check_one_word(words: int) -> None:
    if words != 1:
        raise UnsupportedError(
            f"the core gives {words} words a frame, a board answers with one; end the network in an ArgMax"
        )
