"""Estimated cells and block RAMs of folded layers, and of what stands between layers, without synthesis.

A folded layer is counted in parts of one kind each (`folded_parts`); its LUTs are the sum of the parts, each times a
factor that bench/folded.py fits on synthesized layers. Memories are counted exactly, by the shapes that Yosys gives
them. bench/results/folded_cost.json has the error on layers that were not fitted.
"""

import functools
from dataclasses import dataclass, fields

import numpy as np

from xnorweave.cost import CostFamily
from xnorweave.hw.row_buffer import RowSteps
from xnorweave.hw.sliding_window import border_classes
from xnorweave.passes.plan_types import Storage
from xnorweave.passes.streamline import ConvStage, DenseStage
from xnorweave.popcounts import MOST_BITS, popcount_network

__all__ = [
    "DECODER_FACTORS",
    "ERROR_PERCENT",
    "FACTORS",
    "FoldedParts",
    "Resources",
    "block_rams",
    "decoder_luts",
    "distinct_kernels",
    "folded_parts",
    "folded_resources",
    "least_buffer_rows",
    "memory",
    "rom_luts",
    "sum_bits",
]

# Shapes of one block RAM, widest first.
_BLOCK_SHAPES: dict[CostFamily, tuple[tuple[int, int], ...]] = {
    "ice40": ((16, 256), (8, 512), (4, 1024), (2, 2048)),
    "ecp5": ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384)),
}
# As Yosys 0.70 maps memories that are written: on iCE40 it takes registers for up to so many bits or two words, on
# ECP5 LUT RAMs of 16 x 4 bits as long as there are no more of them than this for each block RAM that they save.
_ICE40_REGISTER_BITS, _REGISTER_WORDS = 64, 2
_ECP5_LUT_RAMS_PER_BLOCK = 21
_LUT_RAM_BITS, _LUT_RAM_WORDS, _LUT_RAM_PLACES = 4, 16, 4
# Biases of at most so many words are logic, as in hw.processing_elements.
_LOGIC_BIAS_WORDS = 16
# LUTs of a popcount beyond a network of our own, for each of its bits.
_WIDE_POPCOUNT_LUTS = 1.9
# A comparison for a further level, as a share of an accumulator of the same bits.
_COMPARED_SHARE = 2
# Stages of which facts are kept.
_STAGES = 512


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What something takes of a chip.

    Parameters
    ----------
    luts : int
        Places of a four-input LUT.
    block_rams : int
        Block RAMs.
    flip_flops : int
        Registers, of which most share a place with a LUT.
    """

    luts: int = 0
    block_rams: int = 0
    flip_flops: int = 0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(
            luts=self.luts + other.luts,
            block_rams=self.block_rams + other.block_rams,
            flip_flops=self.flip_flops + other.flip_flops,
        )


@dataclass(frozen=True, kw_only=True)
class FoldedParts:
    """What a folded layer is made of, by kind; each kind has a factor.

    Parameters
    ----------
    lanes : int
        LUTs of parities, carries and popcounts.
    planes : int
        Bits in which counts of an input's bits are added.
    accumulators : int
        Bits of sums.
    encoder : int
        LUTs of the prefix parities.
    registers : int
        Bits kept without logic.
    shifts : int
        Bits that shift or are loaded.
    control : int
        Bits of counters and addresses.
    masks : int
        Bits that are zero at padded positions.
    rom : int
        LUTs of memories that are logic.
    fixed : int
        1.
    """

    lanes: int
    planes: int
    accumulators: int
    encoder: int
    registers: int
    shifts: int
    control: int
    masks: int
    rom: int
    fixed: int = 1


# Fitted by bench/folded.py.
FACTORS: dict[CostFamily, dict[str, float]] = {
    "ice40": {
        "lanes": 1.17,
        "planes": 1.731,
        "accumulators": 0.572,
        "encoder": 0.837,
        "registers": 1.253,
        "shifts": 0.778,
        "control": 1.229,
        "masks": 3.491,
        "rom": 1.1,
        "fixed": 87.088,
    },
    "ecp5": {
        "lanes": 1.308,
        "planes": 1.64,
        "accumulators": 0.467,
        "encoder": 0.05,
        "registers": 0.281,
        "shifts": 0.778,
        "control": 1.176,
        "masks": 2.001,
        "rom": 1.05,
        "fixed": 36.989,
    },
}
# LUTs that kernel indices take beyond weights in block RAM, for each of `decoder_luts`; fitted by bench/codebook.py.
DECODER_FACTORS: dict[CostFamily, float] = {"ice40": 1.301, "ecp5": 1.229}
# Largest error of the LUTs estimated for a layer that was not fitted, from bench/results/folded_cost.json.
ERROR_PERCENT: dict[CostFamily, int] = {"ice40": 9, "ecp5": 15}


def block_rams(width: int, depth: int, family: CostFamily) -> int:
    """Block RAMs of a memory of ``depth`` words of ``width`` bits, in the shape that takes the fewest."""
    return _block_memory(width, depth, family).block_rams


@functools.cache
def _block_memory(width: int, depth: int, family: CostFamily) -> Resources:
    """Block RAMs, and the multiplexers where several of them share the words of a bit."""
    counts = [(-(-width // bits) * -(-depth // words), -(-depth // words)) for bits, words in _BLOCK_SHAPES[family]]
    count, deep = min(counts)
    return Resources(luts=width * (deep - 1), block_rams=count)


@functools.cache
def memory(width: int, depth: int, family: CostFamily) -> Resources:
    """A memory that is written: block RAM, or what Yosys takes instead where it is small."""
    blocks = block_rams(width, depth, family)
    if family == "ice40":
        if width * depth <= _ICE40_REGISTER_BITS or depth <= _REGISTER_WORDS:
            # A register each, and a multiplexer.
            return Resources(luts=2 * width * depth, flip_flops=width * depth)
    else:
        units = -(-width // _LUT_RAM_BITS) * -(-depth // _LUT_RAM_WORDS)
        if units <= _ECP5_LUT_RAMS_PER_BLOCK * blocks:
            select = width * (-(-depth // _LUT_RAM_WORDS) - 1)
            return Resources(luts=_LUT_RAM_PLACES * units + select, flip_flops=width)
    return _block_memory(width, depth, family)


def rom_luts(width: int, depth: int) -> int:
    """LUTs of a memory of constants that is logic: one for 16 words of each bit, and multiplexers.

    Bits that are equal in all words are one: of few words there are only ``2**depth`` different ones.
    """
    if depth <= 1:
        return 0
    leaves = -(-depth // 16)
    return min(width, 2**depth) * (2 * leaves - 1)


@functools.lru_cache(maxsize=_STAGES)
def sum_bits(stage: ConvStage | DenseStage, *, filled: bool = False) -> int:
    """Width of a folded layer's sums, in bits: that of their range, biases included.

    ``filled`` tells whether rows that never fire fill up its fold.
    """
    inputs = stage.weights[0].size
    top = inputs * (2**stage.encoding.bits - 1)
    if isinstance(stage, ConvStage) and stage.sums is not None:
        top *= stage.sums.factor
    if isinstance(stage, DenseStage):
        low, high = min(0, *stage.biases), max(stage.biases) + top
        low = min(low, -top - 1) if filled and stage.fires else low
    else:
        low, high = -top - 1, top
    return max(abs(low), abs(high)).bit_length() + 1


@functools.lru_cache(maxsize=_STAGES)
def least_buffer_rows(stage: ConvStage) -> int:
    """Fewest rows that the row buffer of a folded convolution may hold: with fewer it would keep the others waiting."""
    top, bottom, _, _ = stage.padding
    return RowSteps(stage.input_shape[1], stage.weights.shape[2], stage.stride, top, bottom).steady


def folded_resources(
    stage: ConvStage | DenseStage,
    family: CostFamily,
    *,
    pe: int,
    simd: int,
    vectors: int = 1,
    storage: Storage = "block",
    buffer_rows: int = 0,
) -> Resources:
    """Estimated cells and block RAMs of a folded layer.

    Parameters
    ----------
    stage : ConvStage or DenseStage
        Which.
    family : {"ice40", "ecp5"}
        Whose cells.
    pe, simd, vectors : int
        Its fold.
    storage : {"block", "logic", "codebook"}
        Where its weights are.
    buffer_rows : int
        Of a convolution.
    """
    parts, memories = folded_parts(
        stage, family, pe=pe, simd=simd, vectors=vectors, storage=storage, buffer_rows=buffer_rows
    )
    factors = FACTORS[family]
    luts = sum(factors[each.name] * getattr(parts, each.name) for each in fields(parts))
    if storage == "codebook":
        luts += DECODER_FACTORS[family] * decoder_luts(stage, pe, simd)
    return memories + Resources(luts=round(luts), flip_flops=_flip_flops(parts))


def _flip_flops(parts: FoldedParts) -> int:
    # Every second LUT of the lanes is a carry or a parity that is registered.
    return round(parts.lanes / 3) + parts.accumulators + parts.registers + parts.shifts + parts.control


def folded_parts(
    stage: ConvStage | DenseStage,
    family: CostFamily,
    *,
    pe: int,
    simd: int,
    vectors: int = 1,
    storage: Storage = "block",
    buffer_rows: int = 0,
) -> tuple[FoldedParts, Resources]:
    """Parts of a folded layer, and its memories; parameters as of `folded_resources`."""
    bits, outputs, inputs = stage.encoding.bits, len(stage.weights), stage.weights[0].size
    neuron_fold, synapse_fold = -(-outputs // pe), -(-inputs // simd)
    width, lanes = sum_bits(stage, filled=outputs % pe > 0), vectors * pe
    plane = simd + _popcount_luts(simd // 2)
    control = _bits(neuron_fold) + _bits(synapse_fold) + 2 * _bits(neuron_fold * synapse_fold)
    rom, memories = _constants(stage, family, pe, simd, vectors, storage)
    registers, shifts, masks = _bits(simd) * lanes * bits, 0, 0
    lane_bits = stage.output_encoding.bits
    if isinstance(stage, ConvStage):
        control += _buffer_control(stage, simd, vectors, buffer_rows)
        rows = memory(simd * bits, max(2, buffer_rows * stage.input_shape[2] * stage.input_shape[0] // simd), family)
        memories += _times(rows, vectors)
        collected, pixel = neuron_fold * pe * vectors * lane_bits, outputs * lane_bits
        registers += collected + (pixel if vectors == 1 else 0)
        shifts += vectors * pixel if vectors > 1 else 0
        masks = vectors * simd * bits if any(stage.padding) else 0
    elif neuron_fold > 1:
        control += 4 * _bits(synapse_fold) + _bits(neuron_fold)
        memories += memory(simd * bits, 2 << _bits(synapse_fold), family)
    parts = FoldedParts(
        lanes=lanes * bits * plane,
        planes=lanes * (bits - 1) * (_bits(simd) + 1),
        accumulators=lanes * width * (_COMPARED_SHARE * (stage.levels - 1) + 1),
        encoder=bits * (simd + simd * _bits(simd) // 2),
        registers=registers,
        shifts=shifts,
        control=control,
        masks=masks,
        rom=rom,
    )
    return parts, memories


def _constants(
    stage: ConvStage | DenseStage, family: CostFamily, pe: int, simd: int, vectors: int, storage: Storage
) -> tuple[int, Resources]:
    """LUTs of constants that are logic, and memories of the others: weights, and biases."""
    inputs, outputs = stage.weights[0].size, len(stage.weights)
    neuron_fold, synapse_fold = -(-outputs // pe), -(-inputs // simd)
    rom, memories = 0, Resources()
    depth = neuron_fold * synapse_fold
    if storage == "codebook":
        assert isinstance(stage, ConvStage)
        words = neuron_fold * (stage.input_shape[0] // simd)
        width = pe * simd * (1 + _index_bits(stage))
        memories += _block_memory(width, words, family) if words > 1 else Resources()
    elif storage == "block" and depth > 1:
        memories += _block_memory(pe * simd, depth, family)
    else:
        rom += rom_luts(pe * simd, depth)
    borders = max(stage.limits) + 1 if isinstance(stage, ConvStage) else 1
    words, bias_bits = borders * neuron_fold, sum_bits(stage, filled=outputs % pe > 0)
    copies = vectors if borders > 1 else 1
    for width in (pe * bias_bits, pe * (stage.levels - 1) * _step_bits(stage)):
        if words <= _LOGIC_BIAS_WORDS:
            rom += copies * rom_luts(width, words)
        elif width:
            memories += _times(_block_memory(width, words, family), copies)
    return rom, memories


@functools.lru_cache(maxsize=_STAGES)
def _step_bits(stage: ConvStage | DenseStage) -> int:
    """Width of what a further level is above the first, in bits, where there are several."""
    if isinstance(stage, DenseStage):
        steps = [row[-1] for row in stage.steps]
    else:
        rows, last = stage.thresholds.values(), stage.levels - 1
        steps = [row[k + last] - row[k] for row in rows for k in range(0, len(row), stage.levels)]
    return max([1, *steps]).bit_length()


@functools.lru_cache(maxsize=_STAGES)
def distinct_kernels(stage: ConvStage) -> int:
    """How many 2-D kernels a convolution has, up to inversion."""
    kernels = stage.weights.reshape(-1, stage.weights[0, 0].size)
    return len(np.unique(np.packbits(kernels != kernels[:, :1], axis=1), axis=0))


def _index_bits(stage: ConvStage) -> int:
    return (distinct_kernels(stage) - 1).bit_length()


def decoder_luts(stage: ConvStage | DenseStage, pe: int, simd: int) -> int:
    """LUTs that turn kernel indices into weight codes, counted by their kinds; all windows share them.

    For each lane a multiplexer of the kernels' bits of the present tap (four inputs of it are two LUTs), for each
    output the prefix parities of its lanes.
    """
    assert isinstance(stage, ConvStage)
    kernels = distinct_kernels(stage)
    select = -(-2 * (kernels - 1) // 3)
    return pe * (simd * select + simd * _bits(simd) // 2) + rom_luts(kernels, stage.weights[0, 0].size)


def _buffer_control(stage: ConvStage, simd: int, vectors: int, buffer_rows: int) -> int:
    """Bits of a row buffer's counters and addresses."""
    channels, _, columns = stage.input_shape
    words = channels // simd
    address = _bits(buffer_rows * columns * words)
    counters = sum(map(_bits, (words, *stage.weights.shape[2:], *stage.output_shape[1:], columns * words, buffer_rows)))
    return 5 * address + 2 * counters + vectors * (2 * address + 2 * _border_bits(stage))


@functools.lru_cache(maxsize=_STAGES)
def _border_bits(stage: ConvStage) -> int:
    classes = border_classes(stage.input_shape[1:], stage.weights.shape[2:], stage.stride, stage.padding)
    return sum(each.bits for each in classes)


def _times(resources: Resources, copies: int) -> Resources:
    return Resources(
        luts=copies * resources.luts,
        block_rams=copies * resources.block_rams,
        flip_flops=copies * resources.flip_flops,
    )


def _bits(values: int) -> int:
    return max(1, (values - 1).bit_length())


@functools.cache
def _popcount_luts(bits: int) -> int:
    if bits < 2:
        return 0
    return len(popcount_network(bits).luts) if bits <= MOST_BITS else round(_WIDE_POPCOUNT_LUTS * bits)
