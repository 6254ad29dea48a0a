"""Which engine and fold each stage gets."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from xnorweave.errors import UnsupportedError
from xnorweave.network import Network
from xnorweave.passes.cse import UNIT_LEVELS
from xnorweave.passes.streamline import ArgMaxStage, ConvStage, DenseStage, PoolStage, Stage, TableStage, streamline

__all__ = ["Engine", "LayerPlan", "Plan", "Storage", "make_plan"]

Engine = Literal["spatial", "folded", "stream"]
Storage = Literal["block", "logic"]

# Of a folded layer. Its weights are logic up to so many bits, where Yosys takes that to be cheaper than block RAM.
_LUTS_PER_LANE = 2.4
_LUTS_PER_ACCUMULATOR_BIT = 2.2
_CONTROL_LUTS = 40
_LUTS_PER_LOGIC_ROM_BIT = 0.15
_LOGIC_ROM_BITS = 8192
# Of a wired layer, thresholds included: 1.5 * weights**0.9, and 0.4 times that for each further bit of an input. Mapped
# to iCE40 with strategy graph: 120 SB_LUT4 for 16 x 8 weights, 233 for 72 x 4, 491 for 64 x 10, 2,652 for 64 x 64,
# 19,639 for 576 x 64, and 2,837 for 64 x 16 with inputs of 8 bits.
_LUTS_PER_WIRED_WEIGHT, _WIRED_WEIGHTS_POWER, _WIRED_SHARE_PER_BIT = 1.5, 0.9, 0.4


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
    storage : {"block", "logic"}
        Where a folded stage keeps its weights: block RAM or LUTs.
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
        A layer that cannot be so fast by folding is unfolded wholly, or wired where that is faster.
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
    slowest = max([height * width, *(_window_cycles(s) for s in stages if isinstance(s, (ConvStage, PoolStage)))])
    target = interval_cycles or slowest
    layers: list[LayerPlan] = []
    lanes = channels
    for stage in stages:
        layers.append(_plan_stage(stage, lanes, target, wired=stage.name in spatial))
        lanes = layers[-1].lanes
    return Plan(
        layers=tuple(layers),
        input_cycles=height * width,
        levels_per_register=levels_per_register,
        free_running=free_running,
    )


def _window_cycles(stage: ConvStage | PoolStage) -> int:
    _, height, width = stage.input_shape
    top, bottom, left, right = stage.padding if isinstance(stage, ConvStage) else (0, 0, 0, 0)
    return (height + top + bottom) * (width + left + right)


def _plan_stage(stage: Stage, lanes: int, target: int, *, wired: bool) -> LayerPlan:
    match stage:
        case TableStage():
            return LayerPlan(name=stage.name, engine="stream", interval_cycles=stage.pixels, lanes=stage.channels)
        case ConvStage():
            return LayerPlan(
                name=stage.name, engine="spatial", interval_cycles=_window_cycles(stage), lanes=len(stage.weights)
            )
        case PoolStage():
            return LayerPlan(name=stage.name, engine="stream", interval_cycles=_window_cycles(stage), lanes=lanes)
        case DenseStage():
            return _wire(stage, lanes)[0] if wired else _plan_dense(stage, lanes, target)
        case ArgMaxStage():
            return LayerPlan(name=stage.name, engine="stream", interval_cycles=-(-stage.classes // lanes))


def _plan_dense(stage: DenseStage, lanes: int, target: int) -> LayerPlan:
    """The cheaper engine by estimated LUTs of those that keep up with ``target``; the faster one where none does."""
    engines = (_fold(stage, lanes, target), _wire(stage, lanes))
    # No engine is faster than its vector comes in: one word a cycle.
    enough = max(target, -(-stage.weights.shape[1] // lanes))
    plan, _ = min(engines, key=lambda engine: (max(engine[0].interval_cycles, enough), engine[1]))
    return plan


def _wire(stage: DenseStage, lanes: int) -> tuple[LayerPlan, float]:
    """Every weight wired, and estimated LUTs."""
    outputs, inputs = stage.weights.shape
    words = -(-inputs // lanes)
    luts = _LUTS_PER_WIRED_WEIGHT * stage.weights.size**_WIRED_WEIGHTS_POWER
    luts *= 1 + _WIRED_SHARE_PER_BIT * (stage.encoding.bits - 1)
    if words > 1:
        luts += inputs * stage.encoding.bits  # registers that join words
    return LayerPlan(name=stage.name, engine="spatial", interval_cycles=words, lanes=outputs), luts


def _fold(stage: DenseStage, lanes: int, target: int) -> tuple[LayerPlan, float]:
    """Cheapest fold by estimated LUTs that keeps up with ``target``, the fastest one where none does; and its LUTs."""
    outputs, inputs = stage.weights.shape
    accumulator_bits = (inputs * (2**stage.encoding.bits - 1)).bit_length() + 1
    candidates = [
        (-(-outputs // pe) * -(-inputs // simd), pe, simd)
        for simd in _simd_choices(lanes, inputs)
        for pe in _pe_choices(outputs)
    ]
    fast = [candidate for candidate in candidates if candidate[0] <= target] or [min(candidates)]

    def cost(candidate: tuple[int, int, int]) -> tuple[float, int]:
        cycles, pe, simd = candidate
        luts = _LUTS_PER_LANE * pe * simd * stage.encoding.bits + _LUTS_PER_ACCUMULATOR_BIT * pe * accumulator_bits
        if simd > lanes:
            luts += simd * stage.encoding.bits  # registers that join words
        return luts, cycles

    cycles, pe, simd = best = min(fast, key=cost)
    plan = LayerPlan(name=stage.name, engine="folded", interval_cycles=cycles, pe=pe, simd=simd, lanes=pe)
    rom_bits = stage.weights.size if stage.weights.size <= _LOGIC_ROM_BITS else 0
    return plan, cost(best)[0] + _CONTROL_LUTS + _LUTS_PER_LOGIC_ROM_BIT * rom_bits


def _simd_choices(lanes: int, inputs: int) -> Iterator[int]:
    """Widths that a packer or an unpacker reaches from ``lanes``, up to 64."""
    for factor in range(1, 65):
        if lanes % factor == 0:
            yield lanes // factor
        if factor > 1 and lanes * factor <= min(inputs, 64):
            yield lanes * factor


def _pe_choices(outputs: int) -> list[int]:
    """Fewest parallel outputs for every fold that there is."""
    return sorted({-(-outputs // fold) for fold in range(1, outputs + 1)})
