"""The ways to build each stage, with their estimated cost: what plans are chosen from, and plan files are held to."""

import bisect
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from xnorweave.cost import CostFamily
from xnorweave.errors import UnsupportedError
from xnorweave.folded_cost import Resources, distinct_kernels, folded_resources, least_buffer_rows, sum_bits
from xnorweave.hw.folded_conv2d import group_cycles
from xnorweave.hw.scale import scale_cycles
from xnorweave.passes.plan_types import LayerPlan, Storage
from xnorweave.passes.streamline import (
    AddStage,
    ArgMaxStage,
    ConvStage,
    DenseStage,
    GlobalSumStage,
    PoolStage,
    ScaleStage,
    Stage,
    TableStage,
)
from xnorweave.passes.sums import ThresholdStage
from xnorweave.stream_cost import (
    adapter,
    add_resources,
    argmax_resources,
    global_sum_resources,
    pool_resources,
    scale_resources,
    table_resources,
    threshold_resources,
    wired_resources,
)

__all__ = [
    "MOST_KERNELS",
    "MOST_SIMD",
    "MOST_VECTORS",
    "Link",
    "Options",
    "StageOptions",
    "fold_outputs",
    "fold_widths",
    "folded",
    "links",
    "spatial",
    "storages",
    "unfolded",
    "waiting_words",
]

# Wider words make the popcount behind them the slowest path; more windows at once hardly make a layer faster.
MOST_SIMD, MOST_VECTORS = 64, 8
# Weights in LUTs pay up to so many words of a memory; beyond, they cost more than the lanes that read them.
_MOST_LOGIC_WORDS = 64
MOST_KERNELS = 16
"""With more, indices and first taps are 6 of a 3x3 kernel's 9 bits, and each lane has a multiplexer of so many."""


@dataclass(frozen=True)
class Link:
    """The stream in front of a stage.

    Parameters
    ----------
    lanes : int
        Values of a word.
    burst : int
        Words that may come at once, where that is known; else 0.
    gap : int
        Fewest cycles from one burst to the next, rounded down to a power of two of at most `MOST_SIMD`; else 0.
    sum_bits : int
        Width of a value where it is a sum, or a class's score, in bits; else 0.
    """

    lanes: int
    burst: int = 0
    gap: int = 0
    sum_bits: int = 0


Options = dict[Link, list[LayerPlan]]
"""Plans of one stage by the stream that leaves it."""


def links(stage: Stage, plan: LayerPlan, before: Link) -> Link:
    """The stream that leaves a stage behind the one before it."""
    burst = gap = 0
    if isinstance(stage, ConvStage) and plan.engine == "folded":
        burst, gap = plan.vectors, group_cycles(*_fold_counts(stage, plan.pe, plan.simd), plan.vectors)
    elif isinstance(stage, PoolStage) and before.burst:
        # In rows in which windows end one ends at least a stride behind another.
        burst, gap = -(-before.burst // stage.stride), before.gap * (stage.stride if before.burst == 1 else 1)
    elif isinstance(stage, (AddStage, ThresholdStage)):
        burst, gap = before.burst, before.gap
    gap = 1 << min(gap, MOST_SIMD).bit_length() - 1 if gap else 0
    bits = 0
    if isinstance(stage, ScaleStage):
        bits = stage.highest.bit_length()
    elif isinstance(stage, DenseStage) and not stage.fires:
        bits = sum_bits(stage)
    return Link(plan.lanes, burst, gap, bits)


def unfolded(
    stage: TableStage | PoolStage | GlobalSumStage | AddStage | ThresholdStage | ScaleStage | ArgMaxStage,
    before: Link,
    family: CostFamily | None,
) -> LayerPlan:
    """The one way to build a stage without weights; without a family no cost is estimated."""
    match stage:
        case TableStage():
            cost = table_resources(stage) if family else Resources()
            cycles, lanes = stage.pixels, stage.channels
        case PoolStage():
            cost = pool_resources(stage, family) if family else Resources()
            cycles, lanes = math.prod(stage.input_shape[1:]), before.lanes
        case GlobalSumStage():
            cost = global_sum_resources(stage) if family else Resources()
            cycles, lanes = stage.positions, before.lanes
        case ScaleStage():
            cost = scale_resources(stage, before.lanes, family) if family else Resources()
            words = -(-len(stage.factors) // before.lanes)
            cycles, lanes = scale_cycles(words, stage.sum_range), before.lanes
        case AddStage():
            cost = add_resources(stage, family) if family else Resources()
            cycles, lanes = math.prod(stage.output_shape[1:]), before.lanes
        case ThresholdStage():
            cost = threshold_resources(stage) if family else Resources()
            cycles, lanes = math.prod(stage.output_shape[1:]), before.lanes
        case ArgMaxStage():
            cost = argmax_resources(stage, before.lanes, before.sum_bits) if family else Resources()
            cycles, lanes = -(-stage.classes // before.lanes), 1
    return LayerPlan(
        name=stage.name,
        engine="stream",
        interval_cycles=cycles,
        lanes=lanes,
        luts=cost.luts,
        block_rams=cost.block_rams,
    )


def spatial(stage: ConvStage | DenseStage, before: Link, family: CostFamily | None) -> LayerPlan:
    """A stage wired for its weights."""
    inputs = stage.weights.shape[1]
    if isinstance(stage, ConvStage):
        top, bottom, left, right = stage.padding
        cycles = (stage.input_shape[1] + top + bottom) * (stage.input_shape[2] + left + right)
        joined = before.lanes
    else:
        cycles = -(-inputs // before.lanes)
        joined = cycles * before.lanes
    cost = Resources()
    if family:
        cost = wired_resources(stage, family)
        cost += adapter(before.lanes, joined, stage.encoding.bits, cycles, before.burst, family)
    return LayerPlan(
        name=stage.name,
        engine="spatial",
        interval_cycles=cycles,
        lanes=len(stage.weights),
        luts=cost.luts,
        block_rams=cost.block_rams,
    )


def folded(
    stage: ConvStage | DenseStage,
    before: Link,
    family: CostFamily | None,
    *,
    pe: int,
    simd: int,
    vectors: int = 1,
    storage: Storage = "block",
    buffer_rows: int = 0,
) -> LayerPlan:
    """A folded stage.

    Raises
    ------
    UnsupportedError
        If it cannot be built so.
    """
    _check_fold(stage, before, pe, simd, vectors, buffer_rows)
    if storage == "codebook":
        _check_codebook(stage)
    plan = LayerPlan(
        name=stage.name,
        engine="folded",
        interval_cycles=_folded_cycles(stage, pe, simd, vectors),
        pe=pe,
        simd=simd,
        vectors=vectors,
        storage=storage,
        buffer_rows=buffer_rows,
        lanes=len(stage.weights) if isinstance(stage, ConvStage) else pe,
    )
    if family is None:
        return plan
    cost = _adapter(stage, before, simd, family) + _folded_cost(stage, plan, family)
    return replace(plan, luts=cost.luts, block_rams=cost.block_rams)


def _folded_cost(stage: ConvStage | DenseStage, plan: LayerPlan, family: CostFamily) -> Resources:
    return folded_resources(
        stage,
        family,
        pe=plan.pe,
        simd=plan.simd,
        vectors=plan.vectors,
        storage=plan.storage,
        buffer_rows=plan.buffer_rows,
    )


def waiting_words(stage: ConvStage | DenseStage, before: Link, simd: int) -> int:
    """Words that wait in front of a folded stage's unpacker, so that the stage before it is not held up.

    Those that may come at once: a burst, where it is unpacked before the next one; else a dense layer's whole vector,
    or of a convolution, whose row buffer takes any number of words, a row. Of a single one the next is taken while it
    is unpacked.
    """
    if before.burst and before.burst * before.lanes <= before.gap * simd:
        return max(2, before.burst)
    return max(2, stage.input_shape[2] if isinstance(stage, ConvStage) else -(-stage.weights.shape[1] // before.lanes))


def _adapter(stage: ConvStage | DenseStage, before: Link, simd: int, family: CostFamily) -> Resources:
    if isinstance(stage, ConvStage):
        words = math.prod(stage.input_shape[1:])
    else:
        words = -(-stage.weights.shape[1] // before.lanes)
    return adapter(before.lanes, simd, stage.encoding.bits, words, waiting_words(stage, before, simd), family)


def _fold_counts(stage: ConvStage | DenseStage, pe: int, simd: int) -> tuple[int, int]:
    """``neuron_fold`` and ``synapse_fold``."""
    return -(-len(stage.weights) // pe), -(-stage.weights[0].size // simd)


def _folded_cycles(stage: ConvStage | DenseStage, pe: int, simd: int, vectors: int) -> int:
    """Cycles a frame, as `hw.folded_conv2d` and `hw.matrix_vector` document them."""
    neuron_fold, synapse_fold = _fold_counts(stage, pe, simd)
    if isinstance(stage, DenseStage):
        return neuron_fold * synapse_fold
    _, rows, columns = stage.output_shape
    reading = rows * -(-columns // vectors) * group_cycles(neuron_fold, synapse_fold, vectors)
    writing = math.prod(stage.input_shape) // simd
    return max(reading, writing)


def _check_fold(
    stage: ConvStage | DenseStage, before: Link, pe: int, simd: int, vectors: int, buffer_rows: int
) -> None:
    outputs = len(stage.weights)
    if not 1 <= pe <= outputs:
        raise UnsupportedError(f"{stage.name}: pe={pe} is not within 1 to its {outputs} outputs")
    if isinstance(stage, DenseStage):
        inputs = stage.weights.shape[1]
        if vectors != 1 or buffer_rows:
            what, value = ("vectors", vectors) if vectors != 1 else ("buffer_rows", buffer_rows)
            raise UnsupportedError(f"{stage.name}: {what}={value} is for convolutions; leave it out of a dense layer")
        if not 1 <= simd <= inputs or (simd % before.lanes and before.lanes % simd):
            near = _nearest(simd, _simd_choices(before.lanes, inputs, inputs))
            raise UnsupportedError(
                f"{stage.name}: simd={simd} is neither a multiple nor a divisor of the {before.lanes} lanes before it "
                f"up to its {inputs} inputs; nearest: {near}"
            )
        return
    channels, columns = stage.weights.shape[1], stage.output_shape[2]
    each = "" if stage.groups == 1 else " of a group"
    if simd < 1 or channels % simd:
        near = _nearest(simd, _divisors(channels))
        raise UnsupportedError(
            f"{stage.name}: simd={simd} does not divide its {channels} input channels{each}; nearest: {near}"
        )
    if stage.groups > 1 and outputs // stage.groups % pe:
        near = _nearest(pe, _divisors(outputs // stage.groups))
        raise UnsupportedError(
            f"{stage.name}: pe={pe} does not divide its {outputs // stage.groups} outputs of a group; nearest: {near}"
        )
    if not 1 <= vectors <= columns:
        raise UnsupportedError(f"{stage.name}: vectors={vectors} is not within 1 to its {columns} output columns")
    least = least_buffer_rows(stage)
    if not least <= buffer_rows <= 2 * stage.input_shape[1]:
        raise UnsupportedError(
            f"{stage.name}: buffer_rows={buffer_rows} is not within {least} to {2 * stage.input_shape[1]}, "
            f"the fewest that keep no layer waiting and those of two frames"
        )


def _check_codebook(stage: ConvStage | DenseStage) -> None:
    remedy = 'give "block" or "logic"'
    if isinstance(stage, DenseStage):
        raise UnsupportedError(f"{stage.name}: storage='codebook' is for convolutions' kernels; {remedy}")
    if stage.groups > 1:
        raise UnsupportedError(f"{stage.name}: storage='codebook' is not for its {stage.groups} groups; {remedy}")
    if stage.weights[0, 0].size == 1:
        raise UnsupportedError(f"{stage.name}: storage='codebook' saves nothing of 1x1 kernels; {remedy}")
    if (count := distinct_kernels(stage)) > MOST_KERNELS:
        raise UnsupportedError(
            f"{stage.name}: storage='codebook' is for at most {MOST_KERNELS} distinct kernels up to inversion, and it "
            f"has {count}; {remedy}"
        )


def storages(stage: ConvStage | DenseStage) -> tuple[Storage, ...]:
    """The places where a folded stage can keep its weights."""
    if isinstance(stage, DenseStage) or stage.groups > 1 or stage.weights[0, 0].size == 1:
        return ("block", "logic")
    return ("block", "logic", "codebook") if distinct_kernels(stage) <= MOST_KERNELS else ("block", "logic")


def fold_widths(stage: ConvStage) -> list[int]:
    """Channels that a folded convolution can take at once: the divisors of a group's."""
    return _divisors(stage.weights.shape[1])


def fold_outputs(stage: ConvStage | DenseStage) -> list[int]:
    """Outputs that a folded stage can compute at once: any number, but of groups the divisors of one's."""
    outputs = len(stage.weights)
    if isinstance(stage, ConvStage) and stage.groups > 1:
        return _divisors(outputs // stage.groups)
    return list(range(1, outputs + 1))


def _nearest(value: int, choices: Iterable[int]) -> str:
    ordered = sorted(set(choices))
    below = [c for c in ordered if c < value][-1:]
    above = [c for c in ordered if c > value][:1]
    return " or ".join(map(str, below + above))


class StageOptions:
    """Every way to build a stage that no other way beats in interval, LUTs and block RAMs at once.

    Parameters
    ----------
    stage : Stage
        Which.
    family : {"ice40", "ecp5"}
        Whose cells.
    least_cycles : int
        What is faster than this counts as fast as this: the network cannot be faster.
    """

    def __init__(self, stage: Stage, family: CostFamily, least_cycles: int):
        self.stage, self.least_cycles = stage, least_cycles
        self.family: CostFamily = family
        self._costs: dict[int, list[tuple[LayerPlan, Resources]]] = {}

    def options(self, before: Link) -> Options:
        """The options behind a stream, by the stream that leaves."""
        stage = self.stage
        if not isinstance(stage, (ConvStage, DenseStage)):
            return self._front([unfolded(stage, before, self.family)], before)
        plans = [spatial(stage, before, self.family)]
        if isinstance(stage, ConvStage):
            choices: Iterable[int] = [d for d in fold_widths(stage) if d <= MOST_SIMD]
        else:
            choices = set(_simd_choices(before.lanes, stage.weights.shape[1], MOST_SIMD))
        for simd in choices:
            extra = _adapter(stage, before, simd, self.family)
            for plan, cost in self._by_simd(simd):
                both = cost + extra
                plans.append(replace(plan, luts=both.luts, block_rams=both.block_rams))
        return self._front(plans, before)

    def _by_simd(self, simd: int) -> list[tuple[LayerPlan, Resources]]:
        """Undominated folds of one width, and their cost without what stands before them."""
        if simd not in self._costs:
            assert isinstance(self.stage, (ConvStage, DenseStage))
            before = Link(simd)
            plans = [
                replace(plan, luts=cost.luts, block_rams=cost.block_rams)
                for plan in self._folds(before, simd)
                for cost in (_folded_cost(self.stage, plan, self.family),)
            ]
            kept = [plan for group in self._front(plans, before).values() for plan in group]
            self._costs[simd] = [(p, Resources(luts=p.luts, block_rams=p.block_rams)) for p in kept]
        return self._costs[simd]

    def _folds(self, before: Link, simd: int) -> Iterator[LayerPlan]:
        stage = self.stage
        assert isinstance(stage, (ConvStage, DenseStage))
        if isinstance(stage, DenseStage):
            shapes = [(1, 0)]
        else:
            rows, columns = least_buffer_rows(stage), stage.output_shape[2]
            shapes = [(vectors, rows) for vectors in _fewest_for_each_fold(columns) if vectors <= MOST_VECTORS]
        synapse_fold = -(-stage.weights[0].size // simd)
        few = set(_fewest_for_each_fold(len(stage.weights)))
        for pe in (pe for pe in fold_outputs(stage) if pe in few):
            logic = -(-len(stage.weights) // pe) * synapse_fold <= _MOST_LOGIC_WORDS
            places: list[Storage] = [place for place in storages(stage) if logic or place != "logic"]
            for vectors, buffer_rows in shapes:
                for storage in places:
                    yield folded(
                        stage,
                        before,
                        None,
                        pe=pe,
                        simd=simd,
                        vectors=vectors,
                        storage=storage,
                        buffer_rows=buffer_rows,
                    )

    def _front(self, plans: list[LayerPlan], before: Link) -> Options:
        """Undominated plans by the stream that leaves, fastest first."""
        by_link: dict[Link, tuple[list[LayerPlan], _Staircase]] = {}
        for plan in sorted(plans, key=lambda p: (max(p.interval_cycles, self.least_cycles), p.luts, p.block_rams)):
            link = links(self.stage, plan, before)
            if link not in by_link:
                by_link[link] = [], _Staircase()
            kept, stairs = by_link[link]
            if stairs.lower(plan.luts, plan.block_rams):
                kept.append(plan)
        return {link: kept for link, (kept, _) in by_link.items()}


class _Staircase:
    """Pairs of LUTs and block RAMs of which none is as small as another in both."""

    def __init__(self) -> None:
        self._luts: list[int] = []
        self._rams: list[int] = []

    def lower(self, luts: int, rams: int) -> bool:
        """Add a pair; tells whether it was not dominated."""
        place = bisect.bisect_right(self._rams, rams)
        if place and self._luts[place - 1] <= luts:
            return False
        first = place - 1 if place and self._rams[place - 1] == rams else place
        last = first
        while last < len(self._luts) and self._luts[last] >= luts:
            last += 1
        self._luts[first:last], self._rams[first:last] = [luts], [rams]
        return True


def _fewest_for_each_fold(count: int) -> list[int]:
    """Fewest in parallel for every fold that there is."""
    return sorted({-(-count // fold) for fold in range(1, count + 1)})


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


def _simd_choices(lanes: int, inputs: int, most: int) -> Iterator[int]:
    """Widths that a packer or an unpacker reaches from ``lanes``."""
    yield from (d for d in _divisors(lanes) if d <= min(inputs, most))
    yield from range(lanes, min(inputs, most) + 1, lanes)
