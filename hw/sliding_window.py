"""Sliding window over a raster stream, from line buffers in block RAM."""

import itertools

from amaranth import C, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["BorderClasses", "SlidingWindow", "border_classes"]


class BorderClasses:
    """Which taps of a window lie on real data, for every output position along one axis.

    Positions with the same real taps are of one class; an axis without padding has one class.

    Parameters
    ----------
    size, kernel, stride : int
        Input positions, window length and step along the axis.
    before, after : int
        Padded positions at each end.

    Attributes
    ----------
    spans : tuple of (int, int)
        For each class the half-open range of taps on real data.
    index : tuple of int
        Class of every output position, in order.
    """

    def __init__(self, size: int, kernel: int, stride: int, before: int, after: int):
        starts = range(-before, size + after - kernel + 1, stride)
        spans = [(max(0, -start), max(0, min(kernel, size - start))) for start in starts]
        self.spans = tuple(dict.fromkeys(spans))
        self.index = tuple(self.spans.index(span) for span in spans)

    @property
    def bits(self) -> int:
        """Width of a class number, in bits; 0 where there is one class."""
        return (len(self.spans) - 1).bit_length()


def border_classes(
    size: tuple[int, int], kernel: tuple[int, int], stride: int, padding: tuple[int, int, int, int]
) -> tuple[BorderClasses, BorderClasses]:
    """Border classes of rows and of columns; the hardware's border number is ``Cat(column class, row class)``."""
    top, bottom, left, right = padding
    return (
        BorderClasses(size[0], kernel[0], stride, top, bottom),
        BorderClasses(size[1], kernel[1], stride, left, right),
    )


class SlidingWindow(wiring.Component):
    """Give the ``ky`` x ``kx`` window around every output position of a frame that comes in raster order.

    Latency 0 cycles: a window leaves in the cycle in which its last pixel enters. Interval: one padded position a
    cycle, ``(height + top + bottom) * (width + left + right)`` cycles a frame. Padded positions are zeros made here;
    they take a cycle each and no input. Frames may follow without a gap.

    Parameters
    ----------
    word_bits : int
        Width of one pixel, all channels, in bits.
    size : tuple of int
        Height and width of a frame.
    kernel : tuple of int
        ``ky`` and ``kx``.
    stride : int
        Step in both directions.
    padding : tuple of int
        Zeros on top, at the bottom, on the left, on the right.

    Members
    -------
    i : In(stream.Signature(word_bits))
        One pixel per transfer.
    o : Out(stream.Signature(ky * kx * word_bits + border bits))
        One window per transfer: tap (row, column) at bit ``(row * kx + column) * word_bits``; above the window the
        border number of `border_classes`.

    Raises
    ------
    ValueError
        If the window is larger than the padded frame.
    """

    def __init__(
        self,
        *,
        word_bits: int,
        size: tuple[int, int],
        kernel: tuple[int, int],
        stride: int = 1,
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    ):
        top, bottom, left, right = padding
        self.rows, self.columns = size[0] + top + bottom, size[1] + left + right
        if kernel[0] > self.rows or kernel[1] > self.columns:
            raise ValueError(f"Window {kernel!r} is larger than the padded frame {self.rows}x{self.columns}")
        self.word_bits, self.size, self.kernel, self.stride, self.padding = word_bits, size, kernel, stride, padding
        self.row_classes, self.column_classes = border_classes(size, kernel, stride, padding)
        self.window_bits = kernel[0] * kernel[1] * word_bits
        self.border_bits = self.row_classes.bits + self.column_classes.bits
        super().__init__(
            {
                "i": In(stream.Signature(word_bits)),
                "o": Out(stream.Signature(self.window_bits + self.border_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        row, column = Signal(range(max(2, self.rows))), Signal(range(max(2, self.columns)))
        step = Signal()
        padded = self._padded(m, row, column)
        phases = [self._phase(counter, name) for counter, name in ((row, "row_phase"), (column, "column_phase"))]
        complete = self._complete(m, (row, column), phases)
        m.d.comb += [
            self.o.valid.eq(complete & (self.i.valid | padded)),
            step.eq((self.i.valid | padded) & (self.o.ready | ~complete)),
            self.i.ready.eq((self.o.ready | ~complete) & ~padded),
        ]
        self._count(m, row, column, phases, step)
        pixel = Signal(self.word_bits)
        m.d.comb += pixel.eq(Mux(padded, 0, self.i.payload) if any(self.padding) else self.i.payload)
        lines = self._line_buffers(m, pixel, column, step)
        self._window(m, [*lines, pixel], row, column, step)
        return m

    def _padded(self, m, row, column):
        top, _, left, _ = self.padding
        padded = Signal()
        outside = [
            *([row < top] if top else []),
            *([row >= top + self.size[0]] if self.padding[1] else []),
            *([column < left] if left else []),
            *([column >= left + self.size[1]] if self.padding[3] else []),
        ]
        m.d.comb += padded.eq(Cat(outside).any() if outside else 0)
        return padded

    def _phase(self, counter, name):
        """The counter modulo the stride: its lowest bit, or a counter of its own."""
        if self.stride <= 2:
            return counter[: self.stride - 1]
        return Signal(range(self.stride), name=name)

    def _complete(self, m, counters, phases):
        complete = Signal()
        conditions = []
        for counter, phase, length in zip(counters, phases, self.kernel, strict=True):
            if length > 1:
                conditions.append(counter >= length - 1)
            if self.stride > 1:
                conditions.append(phase == (length - 1) % self.stride)
        m.d.comb += complete.eq(Cat(conditions).all() if conditions else 1)
        return complete

    def _count(self, m, row, column, phases, step):
        last_column, last_row = column == self.columns - 1, row == self.rows - 1
        with m.If(step):
            m.d.sync += column.eq(Mux(last_column, 0, column + 1))
            with m.If(last_column):
                m.d.sync += row.eq(Mux(last_row, 0, row + 1))
        if self.stride > 2:
            for phase, restart, moved in zip(phases, (last_row, last_column), (last_column, 1), strict=True):
                with m.If(step & moved):
                    m.d.sync += phase.eq(Mux(restart | (phase == self.stride - 1), 0, phase + 1))

    def _line_buffers(self, m, pixel, column, step):
        """Pixels of the rows above at this column, oldest first; all lines share one memory, a word per column."""
        count = self.kernel[0] - 1
        if count == 0:
            return []
        stored, shifted = Signal(count * self.word_bits, reset_less=True), Signal(count * self.word_bits)
        m.d.comb += shifted.eq(Cat(stored[self.word_bits :], pixel))
        if self.columns == 1:
            with m.If(step):
                m.d.sync += stored.eq(shifted)
        else:
            m.submodules.lines = lines = Memory(shape=count * self.word_bits, depth=self.columns, init=[])
            write, read = lines.write_port(), lines.read_port()
            after = Mux(column == self.columns - 1, 0, column + 1)
            m.d.comb += [
                read.addr.eq(Mux(step, after, column)),
                stored.eq(read.data),
                write.addr.eq(column),
                write.data.eq(shifted),
                write.en.eq(step),
            ]
        return [stored.word_select(i, self.word_bits) for i in range(count)]

    def _window(self, m, newest, row, column, step):
        """Window from the newest column and the ``kx - 1`` columns before it, which are kept in registers."""
        height, width = self.kernel
        columns = [Signal(height * self.word_bits, name=f"column{k}", reset_less=True) for k in range(width - 1)]
        columns.append(Cat(newest))
        for older, newer in itertools.pairwise(columns):
            with m.If(step):
                m.d.sync += older.eq(newer)
        taps = [columns[x][y * self.word_bits : (y + 1) * self.word_bits] for y in range(height) for x in range(width)]
        border = Cat(
            self._class(m, self.column_classes, column, self.kernel[1]),
            self._class(m, self.row_classes, row, self.kernel[0]),
        )
        m.d.comb += self.o.payload.eq(Cat(*taps, border))

    def _class(self, m, classes, counter, length):
        """Class of the output position; ``counter`` is the padded position of the window's last tap."""
        number = Signal(classes.bits)
        interior = classes.index[len(classes.index) // 2]
        m.d.comb += number.eq(interior)
        with m.Switch(counter):
            for position, border in enumerate(classes.index):
                if border != interior:
                    with m.Case(C(position * self.stride + length - 1, counter.shape())):
                        m.d.comb += number.eq(border)
        return number
