"""Folded matrix-vector unit: PE x SIMD XNOR-popcount lanes, weights in memory."""

from amaranth import Array, C, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from xnorweave.hw.adder_graph import balanced_sum, range_shape
from xnorweave.hw.lanes import Replay

__all__ = ["MatrixVector"]

_LOGIC_ROM_BITS = 256
"""Biases of at most so many bits are wired; more go into block RAM."""


class MatrixVector(wiring.Component):
    """Products of a {-1, +1} matrix with a vector that comes ``simd`` lanes a word.

    A lane with weight +1 passes its input, one with -1 its complement; their sum, the bias and the accumulator give
    ``bias + sum`` for each output. Rows and columns that only fill up a fold add nothing.

    ``neuron_fold = ceil(outputs / pe)``, ``synapse_fold = ceil(inputs / simd)``; interval
    ``neuron_fold * synapse_fold`` cycles a vector. Latency from a vector's last word to its first outputs: 2 cycles, or
    ``synapse_fold + 3`` where the vector is replayed, that is where ``neuron_fold > 1``. Takes nothing in the first
    cycle after a reset or power-up, in which it reads the first weights. Stops as a whole while ``o`` is valid and not
    ready.

    Parameters
    ----------
    weights : tuple of int
        One bit mask per output: bit ``i`` set where the weight of input ``i`` is +1.
    inputs : int
        Length of the vector.
    input_bits : int
        Width of one lane, in bits; inputs are unsigned.
    biases : tuple of int
        One per output, added to its sum.
    fires : bool
        Give one bit per output, set where ``bias + sum >= 0``, instead of the sum.
    pe, simd : int
        Outputs and inputs computed in parallel.

    Attributes
    ----------
    sum_shape : Shape
        Shape of one sum.

    Members
    -------
    i : In(stream.Signature(simd * input_bits))
        ``simd`` inputs per transfer, the first lowest; lanes beyond ``inputs`` must be zero.
    o : Out(stream.Signature(pe * lane bits))
        ``pe`` outputs per transfer, the first lowest; where ``fires``, lanes beyond the outputs are zero.

    Raises
    ------
    ValueError
        If there is not one bias per output, or ``pe`` or ``simd`` is beyond the matrix.

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
        biases: tuple[int, ...],
        fires: bool,
        pe: int,
        simd: int,
    ):
        if len(biases) != len(weights):
            raise ValueError(f"{len(weights)} outputs need as many biases, not {len(biases)}")
        if not 1 <= pe <= len(weights) or not 1 <= simd <= inputs:
            raise ValueError(f"pe={pe!r} and simd={simd!r} are not within 1..{len(weights)} and 1..{inputs}")
        self.weights, self.inputs, self.input_bits, self.biases = weights, inputs, input_bits, biases
        self.fires, self.pe, self.simd = fires, pe, simd
        self.neuron_fold, self.synapse_fold = -(-len(weights) // pe), -(-inputs // simd)
        highest = max(biases) + inputs * (2**input_bits - 1)
        self._filler_bias = min(*biases, 0) - 1 - (simd * self.synapse_fold) * (2**input_bits - 1) if self._spare else 0
        self.sum_shape = range_shape(min(*biases, self._filler_bias, -1 if fires else 0), max(highest, 0))
        super().__init__(
            {
                "i": In(stream.Signature(simd * input_bits)),
                "o": Out(stream.Signature(pe * (1 if fires else self.sum_shape.width))),
            }
        )

    @property
    def _spare(self) -> int:
        return self.pe * self.neuron_fold - len(self.weights)

    def elaborate(self, platform):
        m = Module()
        advance, valid, done = Signal(), Signal(), Signal()
        first, last = Signal(reset_less=True), Signal(reset_less=True)
        primed = Signal()
        m.d.sync += primed.eq(1)
        m.d.comb += [advance.eq(self.o.ready | ~self.o.valid), self.o.valid.eq(done)]
        words = self._source(m, advance & primed)
        taken = Signal()
        m.d.comb += taken.eq(words.valid & words.ready)
        synapse, neuron, weights = self._control(m, taken)
        with m.If(advance):
            m.d.sync += [
                valid.eq(taken),
                first.eq(synapse == 0),
                last.eq(synapse == self.synapse_fold - 1),
                done.eq(valid & last),
            ]
        biases = self._biases(m, neuron, advance)
        results = []
        for k, bias in enumerate(biases):
            total = Signal(self.sum_shape, name=f"accumulator{k}", reset_less=True)
            partial = Signal(range(self.simd * (2**self.input_bits - 1) + 1), name=f"partial{k}", reset_less=True)
            with m.If(advance):
                m.d.sync += partial.eq(self._popcount(words.payload, weights, k))
                with m.If(valid):
                    m.d.sync += total.eq(Mux(first, bias, total) + partial)
            results.append(~total[-1] if self.fires else total)
        m.d.comb += self.o.payload.eq(Cat(results))
        return m

    def _source(self, m, ready):
        """Stream of the vector's words, once for each group of ``pe`` outputs; taken while ``ready``."""
        if self.neuron_fold > 1:
            m.submodules.replay = replay = Replay(
                word_bits=self.simd * self.input_bits, words=self.synapse_fold, repeats=self.neuron_fold
            )
            wiring.connect(m, wiring.flipped(self.i), replay.i)
            words = replay.o
        else:
            words = self.i
        m.d.comb += words.ready.eq(ready)
        return words

    def _control(self, m, taken):
        """Counters, and the weights that belong to the word now at hand: they are read one word ahead."""
        synapse = Signal(range(max(2, self.synapse_fold)))
        neuron = Signal(range(max(2, self.neuron_fold)))
        rows = self._rows()
        address = Signal(range(max(2, len(rows))))
        following = Signal.like(address)
        m.d.comb += following.eq(Mux(address == len(rows) - 1, 0, address + 1))
        with m.If(taken):
            m.d.sync += [address.eq(following), synapse.eq(synapse + 1)]
            with m.If(synapse == self.synapse_fold - 1):
                m.d.sync += [synapse.eq(0), neuron.eq(Mux(neuron == self.neuron_fold - 1, 0, neuron + 1))]
        if len(rows) == 1:
            return synapse, neuron, C(rows[0], self.pe * self.simd)
        m.submodules.rom = rom = Memory(shape=self.pe * self.simd, depth=len(rows), init=rows)
        read = rom.read_port()
        m.d.comb += read.addr.eq(Mux(taken, following, address))
        return synapse, neuron, read.data

    def _rows(self) -> list[int]:
        """Weight words in the order of use; PE ``k`` holds outputs ``k``, ``k + pe``, ...; filler weights are +1."""
        lanes = (1 << self.simd) - 1
        columns = (1 << self.simd * self.synapse_fold) - 1
        masks = [mask | columns >> self.inputs << self.inputs for mask in self.weights] + [columns] * self._spare
        return [
            sum((masks[n * self.pe + k] >> s * self.simd & lanes) << k * self.simd for k in range(self.pe))
            for n in range(self.neuron_fold)
            for s in range(self.synapse_fold)
        ]

    def _popcount(self, word, weights, k):
        terms = []
        for lane in range(self.simd):
            value = word.word_select(lane, self.input_bits)
            keep = weights[k * self.simd + lane]
            terms.append(value ^ (~keep).replicate(self.input_bits))
        return balanced_sum(terms)

    def _biases(self, m, neuron, advance):
        """Biases of the group whose partial sums are now at hand, one for each PE."""
        values = [*self.biases, *[self._filler_bias] * self._spare]
        biases = [Signal(self.sum_shape, name=f"bias{k}", reset_less=True) for k in range(self.pe)]
        width = self.sum_shape.width
        rows = [
            sum((value & (1 << width) - 1) << k * width for k, value in enumerate(values[start : start + self.pe]))
            for start in range(0, len(values), self.pe)
        ]
        if len(set(rows)) == 1:
            m.d.comb += Cat(biases).eq(rows[0])
        elif len(rows) * len(biases) * width <= _LOGIC_ROM_BITS:
            with m.If(advance):
                m.d.sync += Cat(biases).eq(Array(C(row, self.pe * width) for row in rows)[neuron])
        else:
            m.submodules.bias_rom = memory = Memory(
                shape=self.pe * width, depth=len(rows), init=rows, attrs={"ram_style": "block"}
            )
            read = memory.read_port()
            m.d.comb += [read.addr.eq(neuron), read.en.eq(advance), Cat(biases).eq(read.data)]
        return biases
