"""What a plan is: the engine, the fold and the memory of each stage."""

from dataclasses import dataclass
from typing import Literal

from xnorweave.passes.cse import UNIT_LEVELS

__all__ = ["Engine", "LayerPlan", "Plan", "Storage"]

Engine = Literal["spatial", "folded", "stream"]
Storage = Literal["block", "logic", "codebook"]


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """How one stage is built.

    Parameters
    ----------
    name : str
        Layer that starts the stage.
    engine : {"spatial", "folded", "stream"}
        Wired for its weights; one matrix-vector unit with weights in memory; no weights at all.
    interval_cycles : int
        Cycles from frame to frame when the stage works alone.
    pe, simd : int
        Outputs and inputs computed in parallel, of a folded stage; else 0.
    vectors : int
        Windows computed at once, of a folded convolution.
    storage : {"block", "logic", "codebook"}
        Where a folded stage keeps its weights: block RAM, LUTs, or block RAM as indices of a convolution's kernels.
    buffer_rows : int
        Rows of its input that a folded convolution keeps.
    lanes : int
        Values per word of the stage's output.
    luts, block_rams : int
        Estimated, with what brings the stream before it to its width; 0 where nobody has.
    """

    name: str
    engine: Engine
    interval_cycles: int
    pe: int = 0
    simd: int = 0
    vectors: int = 1
    storage: Storage = "block"
    buffer_rows: int = 0
    lanes: int = 1
    luts: int = 0
    block_rams: int = 0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a network is built.

    Parameters
    ----------
    layers : tuple of LayerPlan
        One for each stage of `streamline`, in order.
    input_cycles : int
        Cycles in which a frame comes in, one pixel each.
    levels_per_register : int
        Adders in a row between two registers in spatial layers.
    free_running : bool
        Whether spatial layers of very many registers are pipelines without an enable, with a FIFO behind for each word
        on its way (`hw.sum_pipeline`). Where small memories are LUTs that frees the clock of a slow net; where they are
        block RAM the FIFO takes more of that than the clock gains.
    """

    layers: tuple[LayerPlan, ...]
    input_cycles: int
    levels_per_register: int
    free_running: bool = False

    @property
    def unit_levels(self) -> int:
        """Depth of popcount units, which no register can divide."""
        return min(UNIT_LEVELS, self.levels_per_register)

    @property
    def luts(self) -> int:
        """LUT places of all layers, estimated."""
        return sum(layer.luts for layer in self.layers)

    @property
    def block_rams(self) -> int:
        """Block RAMs of all layers, estimated."""
        return sum(layer.block_rams for layer in self.layers)

    @property
    def interval_cycles(self) -> int:
        """Cycles from frame to frame: the slowest stage's, or the input's.

        Exact without padding, given room at the output. Where padded convolutions follow each other, one may wait while
        the next makes its padding, and a frame may take longer; simulation tells how long.
        """
        return max(self.input_cycles, *(layer.interval_cycles for layer in self.layers))
