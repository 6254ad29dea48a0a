"""The part that folded layers have in common: PE x SIMD XNOR-popcount lanes with weights in memory."""

from amaranth import C, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from xnorweave.hw.adder_graph import KernelUnit, balanced_sum, range_shape
from xnorweave.hw.codebook import Codebook, CodebookMemory
from xnorweave.hw.lookup import lookup
from xnorweave.hw.shared_module import place
from xnorweave.hw.stream_register import register_output
from xnorweave.hw.threshold import level_count
from xnorweave.hw.wide_cat import wide_cat
from xnorweave.hw.xnor_popcount import carries, input_code, weight_code

__all__ = ["InputEncoder", "ProcessingElements"]

_LOGIC_ROM_DEPTH = 16
"""A ROM of so few words takes one LUT for each bit of its width; biases in more words go into block RAM."""


class InputEncoder(wiring.Component):
    """Prefix parities of each bit of ``simd`` lanes, which `ProcessingElements` take.

    Latency 1 cycle; interval 1 cycle; holds its output while ``o`` is not ready. Linear: zeros stay zeros.

    Parameters
    ----------
    simd, input_bits : int
        Lanes per word and their width in bits.

    Members
    -------
    i : In(stream.Signature(simd * input_bits))
    o : Out(stream.Signature(simd * input_bits))
    """

    def __init__(self, *, simd: int, input_bits: int):
        self.simd, self.input_bits = simd, input_bits
        signature = stream.Signature(simd * input_bits)
        super().__init__({"i": In(signature), "o": Out(signature)})

    def elaborate(self, platform):
        m = Module()
        lanes = range(self.simd)
        planes = [
            input_code(m, [self.i.payload[lane * self.input_bits + bit] for lane in lanes])
            for bit in range(self.input_bits)
        ]
        register_output(
            m, wide_cat(planes[bit][lane] for lane in lanes for bit in range(self.input_bits)), self.i, self.o
        )
        return m


class ProcessingElements(wiring.Component):
    """Sums of ``pe`` rows of a {-1, +1} matrix for ``vectors`` vectors at once, ``simd`` lanes of each a word.

    A lane with weight +1 passes its input, one with -1 its complement; their sum, the bias and the accumulator give
    ``bias + sum`` for each output. Rows and columns that only fill up a fold add nothing. A vector's words come
    ``neuron_fold = ceil(outputs / pe)`` times, ``synapse_fold = ceil(inputs / simd)`` words each; after each time the
    next ``pe`` outputs leave. All vectors share what is read of the weights.

    Latency from the last word of a time to its outputs: 3 cycles; interval 1 cycle a word. Takes nothing in the first
    cycle after a reset or power-up, in which it reads the first weights, and in the second one where it decodes them
    from a codebook. Stops as a whole while ``o`` is valid and not ready.

    Parameters
    ----------
    weights : tuple of int
        One bit mask per output: bit ``i`` set where the weight of input ``i`` is +1.
    inputs : int
        Length of a vector.
    input_bits : int
        Width of one lane, in bits; inputs are unsigned.
    biases : tuple of tuple of int
        Added to the sums: one row for each value of a vector's tag, one value per output.
    fires : bool
        Give one bit per output, set where ``bias + sum >= 0``, instead of the sum; with ``steps`` the number of levels
        reached.
    pe, simd : int
        Outputs and inputs computed in parallel.
    vectors : int
        Vectors computed at once.
    steps : tuple of tuple of tuple of int
        Further levels of what ``fires``: for each row of biases and each output, ascending, what ``bias + sum`` must be
        at least; none where empty.
    block_ram : bool
        Keep weights in block RAM; in LUTs otherwise.
    codebook : Codebook, optional
        The same weights as indices of kernels: keep them so, in block RAM; ``simd`` divides its channels.
    factor : int
        What each lane counts: outputs are ``bias + factor * sum``.

    Attributes
    ----------
    sum_shape : Shape
        Shape of one sum.
    neuron_fold, synapse_fold : int
        See above.
    lane_bits : int
        Width of one output, in bits.

    Members
    -------
    i : In(stream.Signature(vectors * (simd * input_bits + tag bits)))
        A word of each vector as `InputEncoder` gives them, the first vector lowest; lanes beyond ``inputs`` must be
        zero before they are encoded. Above the words each vector's tag, the same for all its words.
    o : Out(stream.Signature(vectors * pe * lane bits))
        ``pe`` outputs of each vector, the first lowest; where ``fires``, lanes beyond the outputs are zero.

    Raises
    ------
    ValueError
        If there is not one bias per output, or ``pe`` or ``simd`` is beyond the matrix; if ``steps`` are not of the
        biases' shape or do not ascend from 0.

    References
    ----------
    Umuroglu et al., FINN, FPGA 2017, section 4.3 (matrix-vector-threshold unit, folding).
    """

    def __init__(
        self,
        *,
        weights: tuple[int, ...],
        inputs: int,
        input_bits: int,
        biases: tuple[tuple[int, ...], ...],
        fires: bool,
        pe: int,
        simd: int,
        vectors: int = 1,
        block_ram: bool = True,
        codebook: Codebook | None = None,
        steps: tuple[tuple[tuple[int, ...], ...], ...] = (),
        factor: int = 1,
    ):
        if not biases or any(len(row) != len(weights) for row in biases):
            found = len(next((row for row in biases if len(row) != len(weights)), ()))
            raise ValueError(f"{len(weights)} outputs need as many biases, not {found}")
        if not 1 <= pe <= len(weights) or not 1 <= simd <= inputs or vectors < 1:
            raise ValueError(
                f"pe={pe!r} and simd={simd!r} are not within 1..{len(weights)} and 1..{inputs}, or vectors={vectors!r} "
                "is not positive"
            )
        self.weights, self.inputs, self.input_bits, self.biases = weights, inputs, input_bits, biases
        self.fires, self.pe, self.simd, self.vectors, self.block_ram = fires, pe, simd, vectors, block_ram
        self.codebook, self.steps, self.factor = codebook, steps, factor
        _check_steps(steps, biases, fires)
        self.neuron_fold, self.synapse_fold = -(-len(weights) // pe), -(-inputs // simd)
        self.tag_bits = (len(biases) - 1).bit_length()
        self._spare = pe * self.neuron_fold - len(weights)
        top = factor * (2**input_bits - 1)
        lowest, highest = min(map(min, biases)), max(map(max, biases)) + inputs * top
        # With it, a row that only fills up a fold never fires; where sums are given, nobody looks at it.
        self._filler_bias = -1 - inputs * top if self._spare and fires else 0
        self.sum_shape = range_shape(min(lowest, self._filler_bias, -1 if fires else 0), max(highest, 0))
        levels = 1 + len(steps[0][0]) if steps else 1
        self.lane_bits = levels.bit_length() if fires else self.sum_shape.width
        super().__init__(
            {
                "i": In(stream.Signature(vectors * (simd * input_bits + self.tag_bits))),
                "o": Out(stream.Signature(vectors * pe * self.lane_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        advance, primed, taken = Signal(), Signal(), Signal()
        stages = [Signal(name=f"valid{k}") for k in range(3)]  # carries, counts, sums
        m.d.comb += [
            advance.eq(self.o.ready | ~self.o.valid),
            self.i.ready.eq(advance & primed),
            taken.eq(self.i.valid & self.i.ready),
            self.o.valid.eq(stages[2]),
        ]
        synapse, neuron = self._control(m, taken)
        weights = self._decoded(m, primed, taken) if self.codebook else self._weights(m, primed, taken)
        codes = [Signal(self.simd, name=f"weights{k}") for k in range(self.pe)]
        m.d.comb += Cat(codes).eq(weights)
        first = [Signal(name=f"first{k}", reset_less=True) for k in range(2)]
        last = [Signal(name=f"last{k}", reset_less=True) for k in range(2)]
        place_ = Signal.like(neuron, name="neuron_counted", reset_less=True)
        with m.If(advance):
            m.d.sync += [
                Cat(stages).eq(Cat(taken, stages[0], stages[1] & last[1])),
                Cat(first).eq(Cat(synapse == 0, first[0])),
                Cat(last).eq(Cat(synapse == self.synapse_fold - 1, last[0])),
                place_.eq(neuron),
            ]
        shared = None if self.tag_bits else self._limits(m, place_, None, 0, advance)
        results = []
        for vector in range(self.vectors):
            planes = self._planes(m, vector)
            biases, steps = shared or self._limits(m, place_, self._tag(m, vector, advance), vector, advance)
            for k in range(self.pe):
                partial = self._count(m, platform, planes, codes[k], f"{vector}_{k}", advance)
                partial = partial if self.factor == 1 else partial * self.factor
                total = Signal(self.sum_shape, name=f"accumulator{vector}_{k}", reset_less=True)
                with m.If(advance & stages[1]):
                    m.d.sync += total.eq(Mux(first[1], biases[k], total) + partial)
                reached = [~total[-1], *(total >= step for step in steps[k])]
                results.append(level_count(reached) if self.fires else total)
        m.d.comb += self.o.payload.eq(wide_cat(results))
        return m

    def _control(self, m, taken):
        """Counters over the words of a vector, and over the groups of outputs."""
        synapse = Signal(range(max(2, self.synapse_fold)))
        neuron = Signal(range(max(2, self.neuron_fold)))
        with m.If(taken):
            m.d.sync += synapse.eq(synapse + 1)
            with m.If(synapse == self.synapse_fold - 1):
                m.d.sync += [synapse.eq(0), neuron.eq(Mux(neuron == self.neuron_fold - 1, 0, neuron + 1))]
        return synapse, neuron

    def _weights(self, m, primed, taken):
        """The weights that belong to the word now at hand: they are read one word ahead."""
        m.d.sync += primed.eq(1)
        rows = self._rows()
        if len(rows) == 1:
            return C(rows[0], self.pe * self.simd)
        address = Signal(range(len(rows)))
        following = Signal.like(address)
        m.d.comb += following.eq(Mux(address == len(rows) - 1, 0, address + 1))
        with m.If(taken):
            m.d.sync += address.eq(following)
        style = {"ram_style": "block" if self.block_ram else "logic"}
        m.submodules.rom = rom = Memory(shape=self.pe * self.simd, depth=len(rows), init=rows, attrs=style)
        read = rom.read_port()
        m.d.comb += read.addr.eq(Mux(taken, following, address))
        return read.data

    def _decoded(self, m, primed, taken):
        """The same weights from a codebook."""
        m.submodules.codebook = memory = CodebookMemory(codebook=self.codebook, pe=self.pe, simd=self.simd)
        m.d.comb += [primed.eq(memory.o.valid), memory.o.ready.eq(taken)]
        return memory.o.payload

    def _rows(self) -> list[int]:
        """Weight codes in the order of use; PE ``k`` holds outputs ``k``, ``k + pe``, ...; filler weights are +1."""
        lanes = (1 << self.simd) - 1
        columns = (1 << self.simd * self.synapse_fold) - 1
        masks = [mask | columns >> self.inputs << self.inputs for mask in self.weights] + [columns] * self._spare
        return [
            sum(
                weight_code(masks[n * self.pe + k] >> s * self.simd & lanes, self.simd) << k * self.simd
                for k in range(self.pe)
            )
            for n in range(self.neuron_fold)
            for s in range(self.synapse_fold)
        ]

    def _planes(self, m, vector):
        """Each bit of a vector's lanes as a signal of its own, lane 0 lowest."""
        lanes = [(vector * self.simd + lane) * self.input_bits for lane in range(self.simd)]
        planes = [Signal(self.simd, name=f"inputs{vector}_{bit}") for bit in range(self.input_bits)]
        for bit, plane in enumerate(planes):
            m.d.comb += plane.eq(wide_cat(self.i.payload[lane + bit] for lane in lanes))
        return planes

    def _count(self, m, platform, planes, weights, place_name, advance):
        """Sum of one word's lanes for one PE: carries are registered, then their count."""
        counts = []
        for bit, plane in enumerate(planes):
            name = f"{place_name}_{bit}"
            parities = Signal(self.simd, name=f"parities{name}")
            m.d.comb += parities.eq(plane ^ weights)
            parity, bits = carries(parities)
            kept = Signal(1 + len(bits), name=f"carries{name}", reset_less=True)
            with m.If(advance):
                m.d.sync += kept.eq(wide_cat([parity, *bits]))
            count = kept[0]
            if bits:
                unit = KernelUnit(size=(1, len(bits)), pattern=(1 << len(bits)) - 1, input_bits=1)
                count = Cat(kept[0], place(m, platform, unit, f"count{name}", window=kept[1:]))
            counts.append(count << bit)
        partial = Signal(range(self.simd * (2**self.input_bits - 1) + 1), name=f"partial{place_name}", reset_less=True)
        with m.If(advance):
            m.d.sync += partial.eq(balanced_sum(counts))
        return partial

    def _tag(self, m, vector, advance):
        """The vector's tag, of the word whose carries are registered."""
        tag = Signal(self.tag_bits, name=f"tag{vector}", reset_less=True)
        tags = self.i.payload[self.vectors * self.simd * self.input_bits :]
        with m.If(advance):
            m.d.sync += tag.eq(tags.word_select(vector, self.tag_bits))
        return tag

    def _limits(self, m, neuron, tag, vector, advance):
        """Biases of the group whose counts are now at hand, and steps of the one whose sums are, for each PE."""
        biases = [Signal(self.sum_shape, name=f"bias{vector}_{k}", reset_less=True) for k in range(self.pe)]
        fill = [self._filler_bias] * self._spare
        rows = [[*row, *fill] for row in self.biases]
        self._rom(m, biases, rows, self.sum_shape.width, neuron, tag, f"bias_{{}}{vector}", advance)
        if not self.steps:
            return biases, [()] * self.pe
        summed = Signal.like(neuron, name=f"neuron_summed{vector}", reset_less=True)
        tag_summed = None if tag is None else Signal.like(tag, name=f"tag_summed{vector}", reset_less=True)
        with m.If(advance):
            m.d.sync += summed.eq(neuron)
            if tag is not None:
                m.d.sync += tag_summed.eq(tag)
        count, width = len(self.steps[0][0]), max(1, *(step[-1] for row in self.steps for step in row)).bit_length()
        packed = [
            [*(sum(value << k * width for k, value in enumerate(step)) for step in row), *[0] * self._spare]
            for row in self.steps
        ]
        steps = [Signal(count * width, name=f"steps{vector}_{k}", reset_less=True) for k in range(self.pe)]
        self._rom(m, steps, packed, count * width, summed, tag_summed, f"step_{{}}{vector}", advance)
        return biases, [[each.word_select(k, width) for k in range(count)] for each in steps]

    def _rom(self, m, values, rows, width, neuron, tag, name, advance):
        """Give ``values``, one for each PE, what ``rows`` have for a group: for each tag one of each output."""
        words = [
            sum((value & (1 << width) - 1) << k * width for k, value in enumerate(row[start : start + self.pe]))
            for row in rows
            for start in range(0, len(row), self.pe)
        ]
        if len(set(words)) == 1:
            m.d.comb += Cat(values).eq(words[0])
            return
        address = Signal(range(len(words)), name=name.format("address"))
        m.d.comb += address.eq(neuron if tag is None else neuron + tag * self.neuron_fold)
        if len(words) <= _LOGIC_ROM_DEPTH:
            with m.If(advance):
                m.d.sync += Cat(values).eq(lookup(address, [C(word, self.pe * width) for word in words]))
        else:
            memory = Memory(shape=self.pe * width, depth=len(words), init=words, attrs={"ram_style": "block"})
            m.submodules[name.format("rom")] = memory
            read = memory.read_port()
            m.d.comb += [read.addr.eq(address), read.en.eq(advance), Cat(values).eq(read.data)]


def _check_steps(steps, biases, fires):
    if not steps:
        return
    each = [step for row in steps for step in row]
    even = [len(row) for row in steps] == [len(row) for row in biases] and len({len(step) for step in each}) == 1
    if not fires or not even or not each[0]:
        raise ValueError("Steps are for outputs that fire, as many for each output as for the others")
    if any(list(step) != sorted(step) or step[0] < 0 for step in each):
        raise ValueError("Steps ascend from 0")
