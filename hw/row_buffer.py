"""Row buffer of a folded convolution: keeps rows of the input and reads them window by window."""

import itertools

from amaranth import C, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from xnorweave.hw.sliding_window import border_classes

__all__ = ["RowBuffer", "RowSteps"]


class RowSteps:
    """Which input rows each output row needs and frees.

    Parameters
    ----------
    rows : int
        Input rows of a frame.
    kernel, stride, before, after : int
        Window height, step, and padded rows at the top and at the bottom.

    Attributes
    ----------
    needed : tuple of int
        For each output row, how many rows from the first kept one must be there.
    freed : tuple of int
        For each output row, how many rows go once it is done; with the last one all that are left.
    least : int
        Fewest rows that a buffer must hold.
    steady : int
        Fewest rows with which reading never waits for writing that is as fast, at most those of two frames.
    """

    def __init__(self, rows: int, kernel: int, stride: int, before: int, after: int):
        starts = range(-before, rows + after - kernel + 1, stride)
        kept = [min(rows, max(0, start)) for start in starts] + [rows]
        self.freed = tuple(b - a for a, b in itertools.pairwise(kept))
        self.needed = tuple(
            max(min(rows, start + kernel) - first, freed)
            for start, first, freed in zip(starts, kept, self.freed, strict=False)
        )
        self.least = max(1, *self.needed)
        self.steady = min(2 * rows, max(self.least + max(self.freed), self._steady(rows)))

    def _steady(self, rows: int) -> int:
        """Rows that hold what evenly paced writing is ahead of evenly paced reading, over any number of frames.

        Of the input's ``rows`` a frame, ``rows / steps`` come during each step, that is each output row. Writing must
        be so far ahead that what a step needs is there when it begins; and before it ends, when nothing of it is free
        yet, all that has come must have room.
        """
        steps = len(self.freed)
        gone = [0, *itertools.accumulate(self.freed)]
        ahead = max((gone[step] + needed) * steps - step * rows for step, needed in enumerate(self.needed))
        kept = max((step + 1) * rows - gone[step] * steps for step in range(steps))
        return -(-(ahead + kept) // steps)


class RowBuffer(wiring.Component):
    """Keep ``buffer_rows`` rows of the input, and give every window ``repeats`` times, one word of each vector a cycle.

    ``vectors`` windows of adjacent output columns are given at once, each from a copy of the buffer; copies are written
    at places that differ so that one address reads all windows. The words of a window come row by row, pixel by pixel,
    ``words`` for each pixel; where a row of windows does not fill the last group, what is beyond means nothing. Words
    of padded positions are zero. Rows are written as long as one is free, over the ends of frames, and an output row
    begins when its input rows are whole.

    Latency from the last word of a row to the first of the windows that needed it: 2 cycles. Interval 1 cycle a word
    given. With `RowSteps.steady` rows, reading does not wait for evenly paced writing that is as fast; with fewer, a
    row may have to be read before the next can be written.

    Parameters
    ----------
    word_bits : int
        Width of a word, in bits.
    words : int
        Words of a pixel.
    size : tuple of int
        Height and width of a frame.
    kernel, stride, padding
        As of `SlidingWindow`.
    repeats : int
        How often each window is given.
    vectors : int
        Windows given at once.
    buffer_rows : int
        Rows kept, at least `RowSteps.least`.
    parts : int
        Parts of a pixel's words that are windows of their own: each is given ``repeats`` times, then the next.

    Attributes
    ----------
    groups : int
        Groups of windows in an output row.
    border_bits : int
        Width of a border number.

    Members
    -------
    i : In(stream.Signature(word_bits))
        Words of a pixel in order, pixels in raster order.
    o : Out(stream.Signature(vectors * (word_bits + border_bits)))
        A word of each vector, the first lowest; above them the border number of each window.
    go : In(1)
        A group of windows begins only while this is 1.
    begins : Out(1)
        A group of windows begins in this cycle.

    Raises
    ------
    ValueError
        If the window is larger than the padded frame, the buffer too small, or ``parts`` do not divide the words.
    """

    def __init__(
        self,
        *,
        word_bits: int,
        words: int,
        size: tuple[int, int],
        kernel: tuple[int, int],
        stride: int = 1,
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
        repeats: int = 1,
        vectors: int = 1,
        buffer_rows: int,
        parts: int = 1,
    ):
        top, bottom, left, right = padding
        if kernel[0] > size[0] + top + bottom or kernel[1] > size[1] + left + right:
            raise ValueError(f"Window {kernel!r} is larger than the padded frame of {size!r} with {padding!r}")
        self.steps = RowSteps(size[0], kernel[0], stride, top, bottom)
        if buffer_rows < self.steps.least:
            raise ValueError(f"buffer_rows={buffer_rows!r} are too few; give at least {self.steps.least}")
        if parts < 1 or words % parts:
            raise ValueError(f"parts={parts!r} do not divide the {words!r} words of a pixel")
        self.parts, self.part_words = parts, words // parts
        self.word_bits, self.words, self.size, self.kernel, self.stride = word_bits, words, size, kernel, stride
        self.padding, self.repeats, self.vectors, self.buffer_rows = padding, repeats, vectors, buffer_rows
        self.row_classes, self.column_classes = border_classes(size, kernel, stride, padding)
        self.border_bits = self.row_classes.bits + self.column_classes.bits
        self.output_rows, self.output_columns = len(self.row_classes.index), len(self.column_classes.index)
        self.groups = -(-self.output_columns // vectors)
        self.depth = buffer_rows * size[1] * words
        super().__init__(
            {
                "i": In(stream.Signature(word_bits)),
                "o": Out(stream.Signature(vectors * (word_bits + self.border_bits))),
                "go": In(1),
                "begins": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        valid, fetch, whole = Signal(), Signal(), Signal(range(self.buffer_rows + 1))
        place = _Place(self, m)
        freed = Signal(range(max(self.steps.freed) + 1))
        needed = Signal(range(max(self.steps.needed) + 1))
        m.d.comb += [
            needed.eq(_choice(place.row, self.steps.needed)),
            freed.eq(_choice(place.row, self.steps.freed)),
            fetch.eq((self.o.ready | ~valid) & (~place.first | (self.go & (whole >= needed)))),
            self.begins.eq(fetch & place.first),
            self.o.valid.eq(valid),
        ]
        with m.If(self.o.ready | ~valid):
            m.d.sync += valid.eq(fetch)
        address = self._read_address(m, place, fetch)
        row_written = self._write(m, whole, fetch, address)
        m.d.sync += whole.eq(whole + row_written - Mux(fetch & place.row_done, freed, 0))
        self._mask_and_tag(m, place, fetch)
        place.step(m, fetch)
        return m

    def _read_address(self, m, place, fetch):
        """Address of the next word; everything is modulo the buffer's depth, and so are the starts that it keeps."""
        across, down = self.stride * self.words, self.stride * self.size[1] * self.words
        row_words = self.size[1] * self.words
        origin = -(self.padding[0] * self.size[1] + self.padding[2]) * self.words
        frame = self.size[0] * row_words - (self.output_rows - 1) * down
        shape = range(max(2, self.depth))
        address, start, row_start = (
            Signal(shape, name=name, init=origin % self.depth) for name in ("address", "start", "row_start")
        )
        base = Mux(place.row_done, row_start, Mux(place.time_done, start, address))
        # Steps by what ends with this word, the longest last.
        step = C(1 % self.depth, address.shape())
        within = (self.kernel[1] - 1) * self.words + self.part_words - 1
        ends = [(place.word_last, row_words - within), (place.time_done, 0)]
        if self.parts > 1:
            ends = [(place.pixel_last, self.words - self.part_words + 1), *ends, (place.part_done, self.part_words)]
        ends += [
            (place.group_done, self.vectors * across - (self.parts - 1) * self.part_words),
            (place.row_done, down),
            (place.frame_done, frame),
        ]
        for done, length in ends:
            step = Mux(done, C(length % self.depth, address.shape()), step)
        following = Signal.like(address, name="following")
        m.d.comb += following.eq(_wrapped(base + step, self.depth))
        with m.If(fetch):
            m.d.sync += address.eq(following)
            with m.If(place.part_done):
                m.d.sync += start.eq(following)
            with m.If(place.row_done):
                m.d.sync += row_start.eq(following)
        return address

    def _write(self, m, whole, fetch, address):
        """Copies of the buffer, and their words; tells when a row is whole."""
        row_words = self.size[1] * self.words
        written = Signal(range(max(2, row_words)))
        last, taking = written == row_words - 1, Signal()
        m.d.comb += [self.i.ready.eq(whole < self.buffer_rows), taking.eq(self.i.valid & self.i.ready)]
        with m.If(taking):
            m.d.sync += written.eq(Mux(last, 0, written + 1))
        self._data = []
        for vector in range(self.vectors):
            memory = Memory(shape=self.word_bits, depth=max(2, self.depth), init=[])
            m.submodules[f"rows{vector}"] = memory
            write, read = memory.write_port(), memory.read_port()
            offset = -vector * self.stride * self.words % self.depth
            place = Signal(range(max(2, self.depth)), name=f"write_address{vector}", init=offset)
            with m.If(taking):
                m.d.sync += place.eq(Mux(place == self.depth - 1, 0, place + 1))
            m.d.comb += [
                write.addr.eq(place),
                write.data.eq(self.i.payload),
                write.en.eq(taking),
                read.addr.eq(address),
                read.en.eq(fetch),
            ]
            self._data.append(read.data)
        return taking & last

    def _mask_and_tag(self, m, place, fetch):
        """Zeros for padded positions, and each window's border number, beside the words that are read."""
        top, _, left, _ = self.padding
        words, tags = [], []
        row_outside = Signal()
        row_checks = [
            *([place.tap_row_padded < top] if top else []),
            *([place.tap_row_padded >= top + self.size[0]] if self.padding[1] else []),
        ]
        m.d.comb += row_outside.eq(Cat(row_checks).any() if row_checks else 0)
        for vector, data in enumerate(self._data):
            ahead = vector * self.stride
            # The first columns of a window may be left of the frame, and those of the last group may be far beyond.
            checks = [
                *([place.tap_column_padded + ahead < left] if left else []),
                *([place.tap_column_padded + ahead >= left + self.size[1]] if self.padding[3] else []),
            ]
            if checks or row_checks:
                outside = Signal(name=f"outside{vector}")
                with m.If(fetch):
                    m.d.sync += outside.eq(Cat(row_outside, *checks).any())
                data = Mux(outside, 0, data)
            words.append(data)
            if self.border_bits:
                tag = Signal(self.border_bits, name=f"border{vector}")
                column = Signal(self.column_classes.bits, name=f"column_class{vector}")
                row = Signal(self.row_classes.bits, name=f"row_class{vector}")
                classes = [
                    self.column_classes.index[min(group * self.vectors + vector, self.output_columns - 1)]
                    for group in range(self.groups)
                ]
                m.d.comb += [
                    column.eq(_choice(place.group, classes)),
                    row.eq(_choice(place.row, self.row_classes.index)),
                ]
                with m.If(fetch):
                    m.d.sync += tag.eq(Cat(column, row))
                tags.append(tag)
        m.d.comb += self.o.payload.eq(Cat(*words, *tags))


class _Place:
    """Counters over words, taps, repeats, groups and rows: what is read now, and what ends with it."""

    def __init__(self, buffer: RowBuffer, m):
        self.buffer = buffer
        lengths = {
            "word": buffer.part_words,
            "tap_column": buffer.kernel[1],
            "tap_row": buffer.kernel[0],
            "repeat": buffer.repeats,
            **({"part": buffer.parts} if buffer.parts > 1 else {}),
            "group": buffer.groups,
            "row": buffer.output_rows,
        }
        self._counters, self._lasts = [], []
        for name, length in lengths.items():
            counter = Signal(range(max(2, length)), name=name)
            setattr(self, name, counter)
            self._counters.append(counter)
            self._lasts.append(counter == length - 1 if length > 1 else C(1))
        ends = ["word_last", "time_done", "group_done", "row_done", "frame_done"]
        if buffer.parts > 1:
            ends = ["word_last", "time_done", "part_done", "group_done", "row_done", "frame_done"]
        for count, name in enumerate(ends, 2):
            end = Signal(name=name)
            setattr(self, name, end)
            m.d.comb += end.eq(Cat(self._lasts[:count]).all())
        self.pixel_last = self._lasts[0]
        # Without parts a group ends where its only one does.
        self.part_done = self.part_done if buffer.parts > 1 else self.group_done
        self.first = Signal(name="first")
        m.d.comb += self.first.eq(~Cat(self._counters[:-2]).any())
        self._padded_positions(m)

    def _padded_positions(self, m):
        """Position of the first vector's tap in the padded frame."""
        buffer = self.buffer
        across = buffer.vectors * buffer.stride
        rows = (buffer.output_rows - 1) * buffer.stride + buffer.kernel[0]
        columns = (buffer.groups - 1) * across + buffer.kernel[1]
        self.window_row = Signal(range(max(2, rows)), name="window_row")
        self.window_column = Signal(range(max(2, columns)), name="window_column")
        self.tap_row_padded = self.window_row + self.tap_row
        self.tap_column_padded = self.window_column + self.tap_column

    def step(self, m, fetch):
        """Count on with every word that is read."""
        with m.If(fetch):
            before = C(1)
            for counter, last in zip(self._counters, self._lasts, strict=True):
                with m.If(before):
                    m.d.sync += counter.eq(Mux(last, 0, counter + 1))
                before = before & last
            with m.If(self.group_done):
                across = self.buffer.vectors * self.buffer.stride
                m.d.sync += self.window_column.eq(Mux(self.row_done, 0, self.window_column + across))
            with m.If(self.row_done):
                m.d.sync += self.window_row.eq(Mux(self.frame_done, 0, self.window_row + self.buffer.stride))


def _choice(index, values):
    """``values[index]``: the usual value, unless the index is one of the others'."""
    usual = max(set(values), key=values.count)
    choice = C(usual)
    for number, value in enumerate(values):
        if value != usual:
            choice = Mux(index == number, value, choice)
    return choice


def _wrapped(value, modulus: int):
    """``value`` modulo ``modulus``, for a value below twice that."""
    if modulus & modulus - 1 == 0:
        return value[: modulus.bit_length() - 1] if modulus > 1 else C(0, 1)
    reduced = value - modulus
    return Mux(reduced[-1], value, reduced)
