"""Folded convolution: windows read from a row buffer, PE x SIMD lanes with weights in memory, pixels gathered."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from xnorweave.hw.codebook import Codebook
from xnorweave.hw.processing_elements import InputEncoder, ProcessingElements
from xnorweave.hw.row_buffer import RowBuffer
from xnorweave.hw.wide_cat import wide_cat

__all__ = ["FoldedConv2D", "PixelGather", "group_cycles"]

# Cycles of a group of windows beside its reading and its leaving, from its credit's use to its return.
_LOOP_CYCLES = 5
_CREDITS = 2


def group_cycles(neuron_fold: int, synapse_fold: int, vectors: int) -> int:
    """Most cycles from one group of windows to the next: those of its words, unless they are very few.

    Two groups are on their way at once; each is read, counted, and given pixel by pixel.
    """
    reading = neuron_fold * synapse_fold
    return max(reading, vectors, -(-(reading + vectors + _LOOP_CYCLES) // _CREDITS))


class PixelGather(wiring.Component):
    """Make whole pixels of groups of outputs that come ``pe`` channels of ``vectors`` pixels at a time.

    A group that is whole moves to the output's registers as soon as the one before has left. The caller must see that
    no more than two groups are on their way. Latency 2 cycles from a group's last word; interval 1 cycle a pixel.

    Parameters
    ----------
    channels, pe, vectors : int
        Channels of a pixel, and of each pixel in a word; pixels in a word.
    columns : int
        Pixels of a row; of a row's last group only so many leave.
    lane_bits : int
        Width of a channel, in bits.

    Members
    -------
    i : In(stream.Signature(vectors * pe * lane_bits))
        Always ready.
    o : Out(stream.Signature(channels * lane_bits))
        One pixel per transfer, channel 0 lowest.
    done : Out(1)
        A group's last pixel leaves in this cycle.
    """

    def __init__(self, *, channels: int, pe: int, vectors: int, columns: int, lane_bits: int = 1):
        self.vectors, self.columns, self.neuron_fold = vectors, columns, -(-channels // pe)
        self.pixel_bits, self.part_bits = channels * lane_bits, pe * lane_bits
        super().__init__(
            {
                "i": In(stream.Signature(vectors * self.part_bits)),
                "o": Out(stream.Signature(self.pixel_bits)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        whole, move = Signal(), Signal()
        left = Signal(range(self.vectors + 1))
        leaving = self.o.valid & self.o.ready
        m.d.comb += [
            self.i.ready.eq(1),
            self.o.valid.eq(left != 0),
            self.done.eq(leaving & (left == 1)),
            move.eq(whole & ((left == 0) | self.done)),
        ]
        pixels = self._collect(m, whole, move)
        given = Signal(self.vectors * self.pixel_bits, reset_less=True)
        m.d.comb += self.o.payload.eq(given[: self.pixel_bits])
        with m.If(move):
            m.d.sync += [given.eq(Cat(pixels)), left.eq(self._count(m, move))]
        with m.Elif(leaving):
            m.d.sync += [given.eq(given[self.pixel_bits :]), left.eq(left - 1)]
        return m

    def _collect(self, m, whole, move):
        """Words of a group, the first lowest once all are there."""
        pixels = []
        for vector in range(self.vectors):
            collected = Signal(self.neuron_fold * self.part_bits, name=f"pixel{vector}", reset_less=True)
            new = self.i.payload.word_select(vector, self.part_bits)
            with m.If(self.i.valid):
                m.d.sync += collected.eq(Cat(collected[self.part_bits :], new))
            pixels.append(collected[: self.pixel_bits])
        place = Signal(range(max(2, self.neuron_fold)))
        last = place == self.neuron_fold - 1
        with m.If(move):
            m.d.sync += whole.eq(0)
        with m.If(self.i.valid):
            m.d.sync += place.eq(Mux(last, 0, place + 1))
            with m.If(last):
                m.d.sync += whole.eq(1)
        return pixels

    def _count(self, m, move):
        """Pixels of the group that moves."""
        rest = self.columns % self.vectors
        if not rest:
            return self.vectors
        groups = -(-self.columns // self.vectors)
        group = Signal(range(max(2, groups)))
        last = group == groups - 1
        with m.If(move):
            m.d.sync += group.eq(Mux(last, 0, group + 1))
        return Mux(last, rest, self.vectors)


class FoldedConv2D(wiring.Component):
    """Convolution and thresholds with ``pe * simd`` lanes for each of ``vectors`` windows at once.

    Pixels come in words of ``simd`` channels and are kept in a `RowBuffer`; `ProcessingElements` count. Nothing behind
    the buffer ever waits: a group of windows begins only when there is room for its pixels.

    ``neuron_fold = ceil(outputs / pe)``, ``synapse_fold = ky * kx * channels / groups / simd``. Interval: at most the
    larger of ``output rows * ceil(output columns / vectors) * group_cycles`` and a frame's words, where the buffer
    holds `RowSteps.steady` rows and they come evenly paced. Holds its output while ``o`` is not ready.

    Parameters
    ----------
    weights : tuple of int
        One bit mask per output over its group's window in the order row, column, channel.
    channels, input_bits : int
        Of an input pixel; values are unsigned.
    thresholds : dict of int to tuple of int
        By border number ``levels`` per output, output by output, ascending: an output is the number of those that the
        sum of ``weight * input`` over real positions reaches.
    size : tuple of int
        Height and width of a frame.
    kernel, stride, padding
        As of `SlidingWindow`.
    pe, simd, vectors : int
        Outputs, inputs of a window, and windows computed in parallel; ``simd`` divides the channels of a group, and
        where there are several groups ``pe`` the outputs of one.
    buffer_rows : int
        Rows of input kept; see `RowBuffer`.
    block_ram : bool
        Keep weights in block RAM; in LUTs otherwise.
    codebook : bool
        Keep weights in block RAM as indices of the layer's distinct 2-D kernels.
    levels : int
        Thresholds of an output.
    groups : int
        Parts that outputs and channels are divided into; each output sees the channels of its own.
    biases : dict of int to tuple of int
        Without ``thresholds``, by border number one per output: an output is ``factor * sum + bias``.
    factor, sum_bits : int
        See ``biases``; width of such an output, which is unsigned, in bits.

    Members
    -------
    i : In(stream.Signature(simd * input_bits))
        ``simd`` channels of a pixel per transfer, the first lowest.
    o : Out(stream.Signature(outputs * lane bits))
        One pixel per transfer, channel 0 lowest.

    Raises
    ------
    ValueError
        If ``simd`` or ``pe`` does not divide as it must, there is a codebook of groups, or a part refuses.
    """

    def __init__(
        self,
        *,
        weights: tuple[int, ...],
        channels: int,
        input_bits: int,
        thresholds: dict[int, tuple[int, ...]],
        size: tuple[int, int],
        kernel: tuple[int, int],
        stride: int = 1,
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
        pe: int,
        simd: int,
        vectors: int = 1,
        buffer_rows: int,
        block_ram: bool = True,
        codebook: bool = False,
        levels: int = 1,
        groups: int = 1,
        biases: dict[int, tuple[int, ...]] | None = None,
        factor: int = 1,
        sum_bits: int = 0,
    ):
        if simd < 1 or channels // groups % simd:
            raise ValueError(f"simd={simd!r} does not divide the {channels // groups!r} channels")
        if groups > 1 and (codebook or len(weights) // groups % pe):
            raise ValueError(
                f"pe={pe!r} does not divide {len(weights)} outputs in {groups} groups, or a codebook is asked for"
            )
        inputs = kernel[0] * kernel[1] * channels // groups
        fires = biases is None
        # A lane with weight -1 gives the complement of its input: so much more than the sum that limits are for.
        complements = [factor * (2**input_bits - 1) * (inputs - weight.bit_count()) for weight in weights]
        by_border = thresholds if biases is None else biases
        # Numbers between two borders' are never given; any row will do for them.
        rows = [by_border.get(border, by_border[0]) for border in range(max(by_border) + 1)]
        firsts = [tuple(-t for t in row[::levels]) if fires else row for row in rows]
        steps = tuple(
            tuple(tuple(t - row[k] for t in row[k + 1 : k + levels]) for k in range(0, len(row), levels))
            for row in rows
        )
        self.elements = ProcessingElements(
            weights=weights,
            inputs=inputs,
            input_bits=input_bits,
            biases=tuple(tuple(bias - c for bias, c in zip(row, complements, strict=True)) for row in firsts),
            fires=fires,
            pe=pe,
            simd=simd,
            vectors=vectors,
            block_ram=block_ram,
            codebook=Codebook(weights, channels, kernel[0] * kernel[1]) if codebook else None,
            steps=steps if levels > 1 else (),
            factor=factor,
        )
        self.lane_bits = self.elements.lane_bits if fires else sum_bits
        self.buffer = RowBuffer(
            word_bits=simd * input_bits,
            words=channels // simd,
            size=size,
            kernel=kernel,
            stride=stride,
            padding=padding,
            repeats=self.elements.neuron_fold // groups,
            vectors=vectors,
            buffer_rows=buffer_rows,
            parts=groups,
        )
        self.gather = PixelGather(
            channels=len(weights),
            pe=pe,
            vectors=vectors,
            columns=self.buffer.output_columns,
            lane_bits=self.lane_bits,
        )
        self.encoder = InputEncoder(simd=simd, input_bits=input_bits)
        self.interval_cycles = max(
            self.buffer.output_rows
            * self.buffer.groups
            * group_cycles(self.elements.neuron_fold, self.elements.synapse_fold, vectors),
            size[0] * size[1] * channels // simd,
        )
        super().__init__({"i": In(stream.Signature(simd * input_bits)), "o": Out(self.gather.o.signature)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.encoder, m.submodules.buffer = self.encoder, self.buffer
        m.submodules.elements, m.submodules.gather = self.elements, self.gather
        wiring.connect(m, wiring.flipped(self.i), self.encoder.i)
        wiring.connect(m, self.encoder.o, self.buffer.i)
        used = Signal(range(_CREDITS + 1))
        m.d.comb += [
            self.buffer.go.eq(used != _CREDITS),
            self.elements.i.payload.eq(self.buffer.o.payload),
            self.elements.i.valid.eq(self.buffer.o.valid),
            self.buffer.o.ready.eq(self.elements.i.ready),
        ]
        m.d.sync += used.eq(used + self.buffer.begins - self.gather.done)
        # Sums are kept with a sign until they are whole; what leaves has none.
        lanes = len(self.elements.o.payload) // self.elements.lane_bits
        words = [self.elements.o.payload.word_select(k, self.elements.lane_bits) for k in range(lanes)]
        if self.lane_bits == self.elements.lane_bits:
            wiring.connect(m, self.elements.o, self.gather.i)
        else:
            m.d.comb += [
                self.gather.i.payload.eq(wide_cat(word[: self.lane_bits] for word in words)),
                self.gather.i.valid.eq(self.elements.o.valid),
                self.elements.o.ready.eq(self.gather.i.ready),
            ]
        wiring.connect(m, self.gather.o, wiring.flipped(self.o))
        return m
