"""How many words wait in a residual shortcut, so that it holds up no layer and no layer waits for it.

A shortcut's word waits until the layers beside it give their word of the same place. They need later words for that:
a window's rows, and what their registers, FIFOs and row buffers hold besides. The room computed here is for all that
they can take in before they give a word. So the shortcut takes a word whenever they do: no wait is circular under any
pattern of stalls, and the network is as fast as the same chain without the addition. Additions and shortcuts on the way
change nothing about that, for the same reason.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xnorweave.folded_cost import least_buffer_rows
from xnorweave.hw.row_buffer import RowSteps
from xnorweave.passes.streamline import AddStage, ConvStage, PoolStage, Stage, ThresholdStage

__all__ = ["Held", "estimated_room_words", "held_folded", "held_in_windows", "room_words"]

# Groups of windows that a folded convolution has on their way at once, and words in its encoder's register.
_GROUPS, _ENCODED_WORDS = 2, 1
# Stages of which facts are kept.
_STAGES = 512


@dataclass(frozen=True, kw_only=True, eq=False)
class Held:
    """How far a stage's input can be ahead of its output.

    Parameters
    ----------
    taken : int array [words of an output frame]
        Entry ``n``: the most words that the stage has taken while ``n`` have left it, from the first frame's first on.
    input_words : int
        Of an input frame.
    """

    taken: NDArray[np.int64]
    input_words: int

    def before(self, given: NDArray[np.int64]) -> NDArray[np.int64]:
        """The most words taken while so many have left, over any number of frames."""
        frames, place = np.divmod(given, len(self.taken))
        return frames * self.input_words + self.taken[place]


def room_words(between: Sequence[Held], words: int) -> int:
    """Words that a shortcut past these stages, the first one first, has to hold, where a frame has ``words``."""
    given = taken = np.arange(words)
    for stage in reversed(between):
        taken = stage.before(taken)
    # The fork may give a word to the shortcut while the first of the stages has yet to take it.
    return int((taken - given).max()) + 1


def held_in_windows(stage: ConvStage | PoolStage | AddStage | ThresholdStage, registers: int) -> Held:
    """Of a stage with a sliding window, or of none, and ``registers`` words on their way behind it."""
    _, rows, columns = stage.input_shape
    if not isinstance(stage, (ConvStage, PoolStage)):
        return Held(taken=np.arange(rows * columns) + registers, input_words=rows * columns)
    kernel = stage.weights.shape[2:] if isinstance(stage, ConvStage) else (stage.size, stage.size)
    top, _, left, _ = stage.padding if isinstance(stage, ConvStage) else (0, 0, 0, 0)
    _, output_rows, output_columns = stage.output_shape
    # The window that does not leave keeps its last pixel waiting; all pixels before that are in.
    last_row = np.arange(output_rows) * stage.stride + kernel[0] - 1 - top
    last_column = np.arange(output_columns) * stage.stride + kernel[1] - 1 - left
    whole = np.clip(last_row, 0, rows) * columns
    within = np.clip(last_column, 0, columns)
    inside = (last_row >= 0) & (last_row < rows)
    windows = Held(taken=(whole[:, None] + inside[:, None] * within).reshape(-1), input_words=rows * columns)
    return Held(taken=windows.before(np.arange(len(windows.taken)) + registers), input_words=rows * columns)


def held_folded(stage: ConvStage, *, vectors: int, buffer_rows: int, waiting: int) -> Held:
    """Of a folded convolution with so many words ``waiting`` in front of its unpacker, 0 where it has none."""
    _, rows, columns = stage.input_shape
    _, output_rows, output_columns = stage.output_shape
    top, bottom, _, _ = stage.padding
    steps = RowSteps(rows, stage.weights.shape[2], stage.stride, top, bottom)
    groups = -(-output_columns // vectors)
    place = np.arange(output_rows * output_columns)
    # Rows go as output rows are read; the first group of windows that cannot begin tells how far that is.
    reading = (place // output_columns * groups + place % output_columns // vectors + _GROUPS) // groups
    gone = np.array([0, *itertools.accumulate(steps.freed)][:output_rows])
    frames, row = np.divmod(reading, output_rows)
    kept = (frames * rows + gone[row] + buffer_rows) * columns
    return Held(taken=kept + waiting + _ENCODED_WORDS, input_words=rows * columns)


@functools.lru_cache(maxsize=_STAGES)
def estimated_room_words(stage: AddStage) -> int:
    """Words of room before there is a plan: as if every convolution on the way were folded, which holds the most."""
    between = [_estimated(each) for each in stage.between]
    return room_words(between, math.prod(stage.output_shape[1:]))


def _estimated(stage: Stage) -> Held:
    if isinstance(stage, ConvStage):
        return held_folded(stage, vectors=1, buffer_rows=least_buffer_rows(stage), waiting=stage.input_shape[2])
    assert isinstance(stage, (PoolStage, AddStage, ThresholdStage)), "Network has no other stage beside a shortcut"
    return held_in_windows(stage, 1)
