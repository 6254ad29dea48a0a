"""Estimated cells and block RAMs of what is not folded: wired layers by their size, pooling, tables, converters, links.

Quick estimates for choosing a plan: sharing a large layer's sums, which `xnorweave.cost` counts exactly, takes longer
than all of the choice.
"""

from collections import Counter

from xnorweave.cost import CostFamily
from xnorweave.folded_cost import Resources, block_rams, memory, rom_luts
from xnorweave.hw.adder_graph import range_shape
from xnorweave.hw.scale import LOGIC_ROM_DEPTH
from xnorweave.passes.shortcuts import estimated_room_words
from xnorweave.passes.streamline import (
    AddStage,
    ArgMaxStage,
    ConvStage,
    DenseStage,
    GlobalSumStage,
    PoolStage,
    ScaleStage,
    TableStage,
    ThresholdStage,
)

__all__ = [
    "adapter",
    "add_resources",
    "argmax_resources",
    "global_sum_resources",
    "link_resources",
    "pool_resources",
    "scale_resources",
    "table_resources",
    "threshold_resources",
    "wired_resources",
]

# Of a wired layer's sums and thresholds: so many LUT places for each weight to this power, and so much more for each
# further bit of an input. Best strategy of each layer in bench/results/cost.json: 226 places on iCE40 for 36 x 8
# weights, 710 for 72 x 16, 1,230 to 1,420 for 144 x 16, 2,378 for 144 x 32, 13,455 without thresholds for 576 x 64;
# 296 for 9 x 16 with inputs of 4 bits, 3,584 for 27 x 64 with inputs of 8 bits.
_PLACES_PER_WEIGHT: dict[CostFamily, float] = {"ice40": 1.85, "ecp5": 1.96}
_WEIGHTS_POWER, _SHARE_PER_BIT = 0.85, 0.37
_COMPARE_BITS_PER_LUT = 3
# Counters, valid and ready of one unit.
_CONTROL_LUTS = 40
# Of a table's output bit, by the input bits that it depends on; beyond that, as of 8.
_TABLE_LUTS = (0, 0, 1, 1, 1, 3, 5, 10, 18)
# UART, link, LEDs and reset: places of the link and its UART for words of 8 bits, and for each further bit of a word.
_LINK_LUTS: dict[CostFamily, int] = {"ice40": 750, "ecp5": 620}
_LINK_FLIP_FLOPS = 330
_LINK_LUTS_PER_BIT: dict[CostFamily, float] = {"ice40": 4, "ecp5": 0.5}


def _register_luts(bits: int, family: CostFamily) -> int:
    """Places of registers without logic: on iCE40 each takes a logic cell, on ECP5 they lie beside the LUTs."""
    return bits if family == "ice40" else 0


def wired_resources(stage: ConvStage | DenseStage, family: CostFamily) -> Resources:
    """A layer that is wired for its weights, with its window."""
    bits = stage.encoding.bits
    groups = stage.groups if isinstance(stage, ConvStage) else 1
    sums = groups * (stage.weights.size / groups) ** _WEIGHTS_POWER
    luts = _PLACES_PER_WEIGHT[family] * sums * (1 + _SHARE_PER_BIT * (bits - 1))
    sums = Resources(luts=round(luts), flip_flops=round(luts / 3) + len(stage.weights)) + _further_levels(stage)
    if isinstance(stage, ConvStage) and stage.sums is not None:
        # Instead of a comparison, whose result is a bit, an addition and a register of all bits.
        kept = len(stage.weights) * stage.sums.encoding.bits
        sums += Resources(luts=kept, flip_flops=kept)
    if isinstance(stage, DenseStage):
        return sums
    channels, _, columns = stage.input_shape
    _, _, left, right = stage.padding
    return sums + _window(bits * channels, columns + left + right, stage.weights.shape[2:], family)


def _further_levels(stage: ConvStage | DenseStage) -> Resources:
    """Comparisons beyond the first of each output, and the bits of how many hold."""
    if stage.levels == 1:
        return Resources()
    outputs, top = len(stage.weights), 2**stage.encoding.bits - 1
    compare = -(-(stage.weights[0].size * top).bit_length() // _COMPARE_BITS_PER_LUT)
    bits = stage.levels.bit_length() - 1
    return Resources(luts=outputs * ((stage.levels - 1) * compare + bits), flip_flops=outputs * bits)


def _window(word_bits: int, columns: int, kernel: tuple[int, int], family: CostFamily) -> Resources:
    """`hw.sliding_window`."""
    kept = kernel[0] * (kernel[1] - 1) * word_bits
    lines = memory((kernel[0] - 1) * word_bits, columns, family) if kernel[0] > 1 else Resources()
    return lines + Resources(luts=_CONTROL_LUTS + _register_luts(kept, family), flip_flops=kept + 20)


def pool_resources(stage: PoolStage, family: CostFamily) -> Resources:
    """Max pooling."""
    channels, _, columns = stage.input_shape
    bits, others = stage.encoding.bits, stage.size**2 - 1
    # Three more bits of an OR fit into a LUT; both bits of a maximum depend on four; beyond, comparison and choice.
    each = -(-others // 3) if bits == 1 else others * (2 if bits == 2 else 2 * bits)
    window = _window(bits * channels, columns, (stage.size, stage.size), family)
    return window + Resources(luts=each * channels, flip_flops=bits * channels)


def global_sum_resources(stage: GlobalSumStage) -> Resources:
    """Sums over all positions: an accumulator for each channel, and what lets it begin anew."""
    bits = stage.input_shape[0] * stage.output_encoding.bits
    return Resources(luts=2 * bits + 20, flip_flops=bits + stage.positions.bit_length())


def add_resources(stage: AddStage, family: CostFamily) -> Resources:
    """A residual addition, with the fork behind its source and the words that wait in its shortcut."""
    channels = stage.output_shape[0]
    sums = channels * stage.output_encoding.bits
    waiting = memory(channels * stage.shortcut.bits, estimated_room_words(stage), family)
    return waiting + Resources(luts=sums + _CONTROL_LUTS, flip_flops=sums + 30)


def threshold_resources(stage: ThresholdStage) -> Resources:
    """Thresholds on a stream of sums."""
    outputs, bits = stage.output_shape[0], stage.output_encoding.bits
    compare = -(-stage.encoding.bits // _COMPARE_BITS_PER_LUT)
    counted = bits if stage.levels > 1 else 0
    return Resources(luts=outputs * (stage.levels * compare + counted) + 4, flip_flops=outputs * bits)


def table_resources(stage: TableStage) -> Resources:
    """A pixel table, by the input bits that each output bit depends on."""
    luts = 0
    for table, channels in Counter(stage.entries).items():
        for bit in range(stage.encoding.bits):
            values = [entry >> bit & 1 for entry in table]
            support = sum(any(values[k] != values[k ^ 1 << place] for k in range(256)) for place in range(8))
            luts += channels * _TABLE_LUTS[support]
    return Resources(luts=luts + 4, flip_flops=stage.channels * stage.encoding.bits)


def scale_resources(stage: ScaleStage, lanes: int, family: CostFamily) -> Resources:
    """Serial multipliers, one a lane: an adder, the bits of a sum, and constants where there are several words.

    Of twelve that were synthesized (10 classes in 1, 2, 5 and 10 lanes, 100 in 4; 97 to 331 places) up to a tenth above
    what they took, but up to a third where a lane has only 2 to 5 words.
    """
    low, high = stage.sum_range
    bits = range_shape(low, high).width
    factor = max(map(abs, stage.factors)).bit_length()
    # An accumulator starts with the offset, and with what a sign bit counts.
    start = stage.highest if low < 0 else max(stage.offsets)
    upper = max(start.bit_length(), factor + 1)
    words = -(-len(stage.factors) // lanes)
    luts, flip_flops = lanes * (upper + 1 + bits) + 25, lanes * (upper + bits) + 10
    if words == 1:
        return Resources(luts=luts, flip_flops=flip_flops)
    # A bit that the adder takes depends on a bit of the factor and one of the start: of few words they are often alike.
    luts, constants = luts + lanes * min(upper, 4 ** min(words, 8)), lanes * (factor + upper)
    if words > LOGIC_ROM_DEPTH:
        return Resources(luts=luts, flip_flops=flip_flops, block_rams=block_rams(constants, words, family))
    return Resources(luts=luts + rom_luts(constants, words), flip_flops=flip_flops + constants)


def argmax_resources(stage: ArgMaxStage, lanes: int, bits: int) -> Resources:
    """Index of the largest of sums of ``bits`` bits that come ``lanes`` a word."""
    # A table from index to class, of a LUT for 16 entries of a bit.
    index_bits = max(1, (stage.classes - 1).bit_length())
    table = 0 if stage.order is None else index_bits * -(-stage.classes // 16)
    return Resources(luts=round(2.5 * lanes * bits) + 20 + table, flip_flops=bits + 8)


def adapter(lanes: int, simd: int, lane_bits: int, words: int, waiting: int, family: CostFamily) -> Resources:
    """What brings words of ``lanes`` lanes to words of ``simd``: a packer, or a FIFO and an unpacker.

    Parameters
    ----------
    lanes, simd : int
        Before and after; one divides the other.
    lane_bits : int
        Width of a lane, in bits.
    words : int
        Words per frame, before.
    waiting : int
        Words that have a place in front of an unpacker, at least 2.
    family : {"ice40", "ecp5"}
        Whose cells.
    """
    if simd == lanes:
        return Resources()
    if simd > lanes:
        bits = simd * lane_bits
        # Words that may end early are put in place one by one, with a multiplexer.
        luts = bits if words % (simd // lanes) else _register_luts(bits, family)
        return Resources(luts=luts + 12, flip_flops=bits + 8)
    factor = lanes // simd
    # A LUT6's worth of a 4:1 multiplexer is two LUT4s.
    luts = round(simd * lane_bits * (factor - 1) * 0.7) + 30
    return memory(lanes * lane_bits, waiting, family) + Resources(luts=luts, flip_flops=lanes * lane_bits + 20)


def link_resources(memory_bytes: int, word_bits: int, family: CostFamily) -> Resources:
    """A board's serial link.

    Parameters
    ----------
    memory_bytes : int
        Of its memory, as `boards.link.link_memory_bytes` tells.
    word_bits : int
        Width of the core's input words, in whole bytes.
    family : {"ice40", "ecp5"}
        Whose cells.
    """
    further = max(0, word_bits - 8)
    luts = _LINK_LUTS[family] + round(_LINK_LUTS_PER_BIT[family] * further)
    return memory(8, memory_bytes, family) + Resources(luts=luts, flip_flops=_LINK_FLIP_FLOPS + further)
