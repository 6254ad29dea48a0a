"""Folded dense layer: a matrix-vector unit of PE x SIMD XNOR-popcount lanes, weights in memory."""

from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from xnorweave.hw.lanes import Replay
from xnorweave.hw.processing_elements import InputEncoder, ProcessingElements

__all__ = ["MatrixVector"]


class MatrixVector(wiring.Component):
    """Products of a {-1, +1} matrix with a vector that comes ``simd`` lanes a word.

    The sums are those of `ProcessingElements`. Interval ``neuron_fold * synapse_fold`` cycles a vector. Latency from a
    vector's last word to its first outputs: 4 cycles, or ``synapse_fold + 5`` where the vector is replayed, that is
    where ``neuron_fold > 1``. Holds its output while ``o`` is not ready.

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
        Give one bit per output, set where ``bias + sum >= 0``, instead of the sum; with ``steps`` the number of levels
        reached.
    pe, simd : int
        Outputs and inputs computed in parallel.
    block_ram : bool
        Keep weights in block RAM; in LUTs otherwise.
    steps : tuple of tuple of int
        Further levels of each output, as of `ProcessingElements`.

    Attributes
    ----------
    sum_shape : Shape
        Shape of one sum.
    neuron_fold, synapse_fold : int
        ``ceil(outputs / pe)`` and ``ceil(inputs / simd)``.

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
        block_ram: bool = True,
        steps: tuple[tuple[int, ...], ...] = (),
    ):
        self.elements = ProcessingElements(
            weights=weights,
            inputs=inputs,
            input_bits=input_bits,
            biases=(biases,),
            fires=fires,
            pe=pe,
            simd=simd,
            block_ram=block_ram,
            steps=(steps,) if steps else (),
        )
        self.inputs, self.input_bits, self.fires, self.pe, self.simd = inputs, input_bits, fires, pe, simd
        self.neuron_fold, self.synapse_fold = self.elements.neuron_fold, self.elements.synapse_fold
        self.sum_shape = self.elements.sum_shape
        super().__init__({"i": In(stream.Signature(simd * input_bits)), "o": Out(self.elements.o.signature)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.encoder = encoder = InputEncoder(simd=self.simd, input_bits=self.input_bits)
        m.submodules.elements = self.elements
        wiring.connect(m, wiring.flipped(self.i), encoder.i)
        words = encoder.o
        if self.neuron_fold > 1:
            m.submodules.replay = replay = Replay(
                word_bits=self.simd * self.input_bits, words=self.synapse_fold, repeats=self.neuron_fold
            )
            wiring.connect(m, encoder.o, replay.i)
            words = replay.o
        wiring.connect(m, words, self.elements.i)
        wiring.connect(m, self.elements.o, wiring.flipped(self.o))
        return m
