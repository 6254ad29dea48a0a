"""Weights of a folded convolution as indices of its distinct 2-D kernels.

A kernel is kept up to inversion, as the taps where it differs from its first one. So a weight is the first tap's weight
of its kernel, times -1 where the kernel with its index has the present tap. In the prefix parities that
`ProcessingElements` take (`xnor_popcount`) a product is a sum: the codes of the first tap's weights are read from
memory as they are, and only the bits that the indices select go through a parallel prefix network.
"""

from amaranth import C, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Out

from xnorweave.hw.lookup import lookup
from xnorweave.hw.wide_cat import wide_cat
from xnorweave.hw.xnor_popcount import input_code, weight_code

__all__ = ["Codebook", "CodebookMemory"]


class Codebook:
    """Distinct kernels of a layer up to inversion, and the kernel of each output and input channel.

    Parameters
    ----------
    weights : tuple of int
        One bit mask per output over a window, tap by tap, channels innermost: set where a weight is +1.
    channels, taps : int
        Input channels, and taps of a kernel.

    Attributes
    ----------
    kernels : tuple of int
        For each distinct kernel a bit mask of the taps where it differs from its first one.
    indices : tuple of tuple of int
        For each output the number of each channel's kernel.
    firsts : tuple of int
        For each output a bit mask over the channels: set where the first tap of the kernel is +1.
    index_bits : int
        Width of a number.
    """

    def __init__(self, weights: tuple[int, ...], channels: int, taps: int):
        self.channels, self.taps = channels, taps
        lanes = (1 << channels) - 1
        self.firsts = tuple(mask & lanes for mask in weights)
        patterns = []
        for mask, first in zip(weights, self.firsts, strict=True):
            rows = [mask >> tap * channels & lanes ^ first for tap in range(taps)]
            patterns.append([sum((row >> c & 1) << t for t, row in enumerate(rows)) for c in range(channels)])
        self.kernels = tuple(sorted({kernel for row in patterns for kernel in row}))
        number = {kernel: k for k, kernel in enumerate(self.kernels)}
        self.indices = tuple(tuple(number[kernel] for kernel in row) for row in patterns)
        self.index_bits = (len(self.kernels) - 1).bit_length()

    def words(self, pe: int, simd: int) -> list[int]:
        """Words of a memory in the order of use, without the repeats for each tap.

        PE ``k`` has outputs ``k``, ``k + pe``, ... In a word's low ``pe * simd`` bits are the codes of the first taps,
        above them the index of each lane; what only fills up a fold is kernel 0.
        """
        spare = -len(self.firsts) % pe
        lanes = (1 << simd) - 1
        firsts, indices = (*self.firsts, *[-1] * spare), (*self.indices, *[(0,) * self.channels] * spare)
        words = []
        for start in range(0, len(firsts), pe):
            for low in range(0, self.channels, simd):
                codes = [weight_code(first >> low & lanes, simd) for first in firsts[start : start + pe]]
                numbers = [number for row in indices[start : start + pe] for number in row[low : low + simd]]
                word = sum(code << k * simd for k, code in enumerate(codes))
                words.append(word | sum(n << pe * simd + k * self.index_bits for k, n in enumerate(numbers)))
        return words

    def slices(self) -> list[int]:
        """For each tap a bit mask of the kernels that have it."""
        return [sum((kernel >> tap & 1) << k for k, kernel in enumerate(self.kernels)) for tap in range(self.taps)]


class CodebookMemory(wiring.Component):
    """Weight codes of ``pe * simd`` lanes, over and over: outputs by ``pe``, then taps, then channels by ``simd``.

    A word of block RAM holds the lanes' indices and the codes of their first taps; it is read again for each tap, and
    decoded into a register. Latency: the first word is there 2 cycles after a reset or power-up; interval 1 cycle.

    Parameters
    ----------
    codebook : Codebook
        What to give.
    pe, simd : int
        Outputs and channels of a word; ``simd`` divides the channels.

    Members
    -------
    o : Out(stream.Signature(pe * simd))
        Prefix parities of each output's weights, as `weight_code` gives them.
    """

    def __init__(self, *, codebook: Codebook, pe: int, simd: int):
        if codebook.channels % simd:
            raise ValueError(f"simd={simd!r} does not divide the {codebook.channels!r} channels")
        self.codebook, self.pe, self.simd = codebook, pe, simd
        super().__init__({"o": Out(stream.Signature(pe * simd))})

    def elaborate(self, platform):
        m = Module()
        step, filled = Signal(), Signal(2)
        m.d.comb += [self.o.valid.eq(filled[1]), step.eq(self.o.ready | ~self.o.valid)]
        address, tap = self._place(m, step)
        slices = self.codebook.slices()
        kernels = Signal(len(self.codebook.kernels), reset_less=True)
        code = Signal(self.pe * self.simd, reset_less=True)
        word = self._read(m, address, step)
        decoded = self._decode(m, word, kernels)
        with m.If(step):
            m.d.sync += [
                filled.eq(Cat(1, filled[0])),
                kernels.eq(lookup(tap, [C(kept, len(kernels)) for kept in slices])),
                code.eq(decoded),
            ]
        m.d.comb += self.o.payload.eq(code)
        return m

    def _place(self, m, step):
        """Address of the word to read next, and the tap that it is for."""
        channel_words, taps = self.codebook.channels // self.simd, self.codebook.taps
        words = -(-len(self.codebook.firsts) // self.pe) * channel_words
        word, tap = Signal(range(max(2, channel_words))), Signal(range(max(2, taps)))
        address, start = (Signal(range(max(2, words)), name=name) for name in ("address", "start"))
        following = Signal.like(address)
        word_last, tap_last = word == channel_words - 1, tap == taps - 1
        m.d.comb += following.eq(Mux(address == words - 1, 0, address + 1))
        with m.If(step):
            m.d.sync += [word.eq(Mux(word_last, 0, word + 1)), address.eq(following)]
            with m.If(word_last):
                m.d.sync += tap.eq(Mux(tap_last, 0, tap + 1))
                with m.If(tap_last):
                    m.d.sync += start.eq(following)
                with m.Else():
                    m.d.sync += address.eq(start)
        return address, tap

    def _read(self, m, address, step):
        words = self.codebook.words(self.pe, self.simd)
        width = self.pe * self.simd * (1 + self.codebook.index_bits)
        if len(words) == 1:
            return C(words[0], width)
        m.submodules.rom = rom = Memory(shape=width, depth=len(words), init=words, attrs={"ram_style": "block"})
        read = rom.read_port()
        m.d.comb += [read.addr.eq(address), read.en.eq(step)]
        return read.data

    def _decode(self, m, word, kernels):
        """Weight codes: the first taps' where the selected bits are even up to a lane, else inverted."""
        lanes, bits = self.pe * self.simd, self.codebook.index_bits
        indices = word[lanes:]
        selected = [lookup(indices[k * bits : (k + 1) * bits], list(kernels)) for k in range(lanes)]
        parities = [input_code(m, selected[k : k + self.simd]) for k in range(0, lanes, self.simd)]
        return word[:lanes] ^ wide_cat(parities)
