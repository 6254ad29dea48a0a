"""One layer's sums as a graph of shared kernel units and two-input adders."""

from typing import NamedTuple

from amaranth import C, Cat, Module, Signal, signed, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from xnorweave.hw.segments import asap_segments, check_segments
from xnorweave.hw.shared_module import SharedUnit, place
from xnorweave.hw.wide_cat import wide_cat

__all__ = [
    "NARROW_BITS",
    "Adder",
    "AdderGraph",
    "AdderNode",
    "KernelNode",
    "KernelUnit",
    "balanced_sum",
    "gates_sum",
    "operations",
    "popcount_levels",
    "range_shape",
]

NARROW_BITS = 2
"""Unsigned operands up to this width are added without a carry chain."""


class KernelNode(NamedTuple):
    """A 2-D kernel of one input channel: the sum of the taps that ``pattern`` selects.

    Operand 0 is the constant zero and operand ``k`` is input ``k - 1``.

    Parameters
    ----------
    taps : tuple of int
        Operands of the whole window of the channel, row by row. The complement of a 1-bit input counts where it is 0.
    size : tuple of int
        Kernel height and width.
    pattern : int
        Bit ``t`` selects tap ``t``.
    """

    taps: tuple[int, ...]
    size: tuple[int, int]
    pattern: int

    @property
    def selected(self) -> tuple[int, ...]:
        """The taps that count."""
        return tuple(tap for t, tap in enumerate(self.taps) if self.pattern >> t & 1)

    @property
    def inverted(self) -> int:
        """Bit ``t`` is set where tap ``t`` counts and is a complement."""
        return sum(1 << t for t, tap in enumerate(self.taps) if tap < 0) & self.pattern


class AdderNode(NamedTuple):
    """``(lhs << lhs_shift) + rhs``, or minus ``rhs`` where ``subtract``.

    Operand 0 is the constant zero; operands 1 to ``inputs`` are inputs, then come the kernel nodes, then the adder
    nodes, each in order. Operand ``-k`` is the bitwise complement of operand ``k``, which must be unsigned: with b bits
    its value is ``2**b - 1 - x``, and it costs nothing in front of a LUT. ``low`` and ``high``
    bound the result over all inputs.
    """

    lhs: int
    rhs: int
    lhs_shift: int
    subtract: bool
    low: int
    high: int


def range_shape(low: int, high: int):
    """Narrowest shape for integers from ``low`` to ``high``; unsigned where none is negative."""
    if low >= 0:
        return unsigned(max(1, high.bit_length()))
    return signed(max(high.bit_length(), (~low).bit_length()) + 1)


def balanced_sum(terms):
    """Sum of the terms as a balanced tree, so that no carry is wider than it must be."""
    terms = list(terms)
    while len(terms) > 1:
        terms = [sum(terms[k + 1 : k + 2], terms[k]) for k in range(0, len(terms), 2)]
    return terms[0] if terms else C(0, 1)


def _shape_name(shape) -> str:
    return f"{'s' if shape.signed else 'u'}{shape.width}"


class KernelUnit(SharedUnit):
    """Popcount of the taps of a 2-D window that a kernel selects; for pixels, their sum.

    Combinational.

    Parameters
    ----------
    size : tuple of int
        Kernel height and width.
    pattern : int
        Bit ``t`` selects tap ``t``, row by row.
    input_bits : int
        Width of one tap, in bits.
    inverted : int
        Bit ``t`` is set where tap ``t``, one of those selected and of 1 bit, counts when it is 0.

    The input ``window`` has tap ``t`` at bit ``t * input_bits``; the output is just wide enough.

    Raises
    ------
    ValueError
        If the pattern selects no tap, or one that is not there; if a tap is inverted that is not selected, or a word.
    """

    def __init__(self, *, size: tuple[int, int], pattern: int, input_bits: int, inverted: int = 0):
        self.size, self.pattern, self.input_bits, self.inverted = size, pattern, input_bits, inverted
        taps = size[0] * size[1]
        if not 0 < pattern < 1 << taps:
            raise ValueError(f"Pattern {pattern:#x} does not select from {taps} taps")
        if inverted & ~pattern or (inverted and input_bits > 1):
            raise ValueError(f"Taps {inverted:#x} of {input_bits} bits cannot be inverted, with {pattern:#x} selected")
        digits = (taps + 3) // 4
        complement = f"_not_{inverted:0{digits}x}" if inverted else ""
        super().__init__(
            f"kernel_{size[0]}x{size[1]}_u{input_bits}_{pattern:0{digits}x}{complement}",
            {"window": unsigned(taps * input_bits)},
            range_shape(0, pattern.bit_count() * (2**input_bits - 1)),
        )

    def expression(self, window):
        """Balanced sum of the selected taps."""
        if self.inverted:
            window = window ^ self.inverted
        taps = [window.word_select(t, self.input_bits) for t in range(self.size[0] * self.size[1])]
        return balanced_sum(tap for t, tap in enumerate(taps) if self.pattern >> t & 1)


class Adder(SharedUnit):
    """``(a << shift) + b`` or ``(a << shift) - b``. Combinational.

    Parameters
    ----------
    a, b, o : Shape
        Shapes of the operands and the result; the result is exact whenever it fits.
    shift : int
        Left shift of ``a``, in bits.
    subtract : bool
        Subtract ``b``.

    """

    def __init__(self, *, a, b, o, shift: int, subtract: bool):
        self.shift, self.subtract = shift, subtract
        names = (_shape_name(a) + (f"x{1 << shift}" if shift else ""), _shape_name(b), _shape_name(o))
        super().__init__(f"{'sub' if subtract else 'add'}_{'_'.join(names)}", {"a": a, "b": b}, o)

    def expression(self, a, b):
        """The exact sum or difference; a carry chain unless both operands are narrow.

        A chain of three bits takes as many LUTs as gates do, and up to three places more at its ends.
        """
        unsigned_sum = not (self.shift or self.subtract or a.shape().signed or b.shape().signed)
        if unsigned_sum and max(len(a), len(b)) <= NARROW_BITS:
            return gates_sum(a, b, self.output.width)
        shifted = a << self.shift if self.shift else a
        return shifted - b if self.subtract else shifted + b


def gates_sum(a, b, width: int):
    """``a + b`` of two unsigned values, from full adders of gates."""
    bits, carry = [], C(0)
    for k in range(width):
        x, y = (value[k] if k < len(value) else C(0) for value in (a, b))
        bits.append(x ^ y ^ carry)
        carry = (x & y) | (carry & (x ^ y))
    return Cat(bits)


def popcount_levels(terms: int) -> int:
    """How many short adders a popcount is as deep as: in LUTs two for each."""
    return max(1, (3 * terms).bit_length() - 3)


def operations(inputs: int, input_bits: int, kernels: tuple[KernelNode, ...], nodes: tuple[AdderNode, ...]):
    """Each kernel and adder node as (operand number, operands it takes, levels it adds)."""
    first = inputs + 1
    for k, kernel in enumerate(kernels):
        terms = kernel.pattern.bit_count()
        # Words need a real tree.
        levels = (terms - 1).bit_length() if input_bits > 1 else popcount_levels(terms)
        yield first + k, tuple(map(abs, kernel.selected)), levels
    first += len(kernels)
    for k, node in enumerate(nodes):
        yield first + k, (abs(node.lhs), abs(node.rhs)), 1


class AdderGraph(wiring.Component):
    """All sums of a layer for one window per transfer.

    Every kernel node is one `KernelUnit`, every adder node one `Adder`; nodes used by several others are computed once.
    Pipelined: latency ``latency`` cycles, interval 1 cycle; stops as a whole while ``o`` is valid and not ready.

    Parameters
    ----------
    input_count, input_bits : int
        Number of inputs and the width of each, in bits.
    kernels : tuple of KernelNode
        See there.
    nodes : tuple of AdderNode
        In an order in which every operand comes before its use.
    outputs : tuple of int
        Operands that leave, one per channel.
    output_range : tuple of int
        Lowest and highest value of any output.
    levels_per_register : int
        Adders in a row between two registers.
    segments : tuple of int, optional
        Pipeline segment in which each operand is computed, operand 0 and the inputs in segment 0; as soon as possible
        where absent. An operand needed in a later segment goes there through a register for each segment between.
    tag_bits : int
        Bits that travel along with each window.

    Attributes
    ----------
    latency : int
        Cycles from a window to its sums: the last segment of an output, and one.

    Members
    -------
    i : In(stream.Signature(input_count * input_bits + tag_bits))
        Inputs, the first in the lowest bits, and the tag above them.
    o : Out(stream.Signature(len(outputs) * width + tag_bits))
        Sums, all of the shape of ``output_range``, and the tag above them.

    Raises
    ------
    ValueError
        If ``levels_per_register`` is not at least 1, or ``segments`` are not those of a legal pipeline.
    """

    def __init__(
        self,
        *,
        input_count: int,
        input_bits: int,
        kernels: tuple[KernelNode, ...],
        nodes: tuple[AdderNode, ...],
        outputs: tuple[int, ...],
        output_range: tuple[int, int],
        levels_per_register: int = 2,
        segments: tuple[int, ...] | None = None,
        tag_bits: int = 0,
    ):
        if levels_per_register < 1:
            raise ValueError(f"At least one level per register is needed, not {levels_per_register!r}")
        self.input_count, self.input_bits, self.tag_bits = input_count, input_bits, tag_bits
        self.kernels, self.nodes, self.outputs = kernels, nodes, outputs
        self.levels_per_register = levels_per_register
        self.output_shape = range_shape(*output_range)
        if segments is None:
            segments = asap_segments(input_count, self.operations(), levels_per_register)
        else:
            check_segments(segments, input_count, self.operations(), levels_per_register)
        self.segments = segments
        self.latency = 1 + max((segments[abs(k)] for k in outputs), default=0)
        super().__init__(
            {
                "i": In(stream.Signature(input_count * input_bits + tag_bits)),
                "o": Out(stream.Signature(len(outputs) * self.output_shape.width + tag_bits)),
            }
        )

    def operations(self):
        """Each kernel and adder node as (operand number, operands it takes, levels it adds)."""
        return operations(self.input_count, self.input_bits, self.kernels, self.nodes)

    def elaborate(self, platform):
        m = Module()
        advance, stages = Signal(), Signal(self.latency)
        m.d.comb += [
            advance.eq(self.o.ready | ~self.o.valid),
            self.i.ready.eq(advance),
            self.o.valid.eq(stages[-1]),
        ]
        with m.If(advance):
            m.d.sync += stages.eq(Cat(self.i.valid, stages))
        pipeline = _Pipeline(m, advance)
        for k in range(self.input_count):
            pipeline.define(k + 1, self.i.payload.word_select(k, self.input_bits), 0)
        self._kernels(m, platform, pipeline)
        self._adders(m, platform, pipeline)
        sums = []
        for channel, operand in enumerate(self.outputs):
            sums.append(total := Signal(self.output_shape, name=f"sum{channel}"))
            m.d.comb += total.eq(pipeline.at(operand, self.latency))
        pipeline.define("tag", self.i.payload[self.input_count * self.input_bits :], 0)
        m.d.comb += self.o.payload.eq(wide_cat([*sums, pipeline.at("tag", self.latency)]))
        return m

    def _kernels(self, m, platform, pipeline):
        units: dict[tuple, KernelUnit] = {}
        for k, node in enumerate(self.kernels):
            key = (node.size, node.pattern, node.inverted)
            if key not in units:
                units[key] = KernelUnit(
                    size=node.size, pattern=node.pattern, input_bits=self.input_bits, inverted=node.inverted
                )
            operand = self.input_count + 1 + k
            segment = self.segments[operand]
            # Taps that the kernel leaves out need no registers.
            window = wide_cat(
                pipeline.at(abs(tap), segment) if node.pattern >> t & 1 else C(0, self.input_bits)
                for t, tap in enumerate(node.taps)
            )
            pipeline.define(operand, place(m, platform, units[key], f"kernel{k}", window=window), segment)

    def _adders(self, m, platform, pipeline):
        units: dict[tuple, Adder] = {}
        for k, node in enumerate(self.nodes):
            operand = self.input_count + 1 + len(self.kernels) + k
            segment = self.segments[operand]
            a, b = pipeline.at(node.lhs, segment), pipeline.at(node.rhs, segment)
            shapes = (a.shape(), b.shape(), range_shape(node.low, node.high))
            key = (*((s.width, s.signed) for s in shapes), node.lhs_shift, node.subtract)
            if key not in units:
                units[key] = Adder(a=shapes[0], b=shapes[1], o=shapes[2], shift=node.lhs_shift, subtract=node.subtract)
            pipeline.define(operand, place(m, platform, units[key], f"n{k}", a=a, b=b), segment)


class _Pipeline:
    """Operands at each pipeline segment; a register chain is shared by all who need the operand late."""

    def __init__(self, m, advance):
        self.m, self.advance = m, advance
        self.values: dict[object, tuple[int, list]] = {0: (0, [C(0, 1)])}

    def define(self, operand, value, segment):
        self.values[operand] = (segment, [value])

    def at(self, operand, segment):
        if operand == 0:
            return C(0, 1)
        if isinstance(operand, int) and operand < 0:
            value = self.at(-operand, segment)
            return (~value)[: len(value)]
        first, chain = self.values[operand]
        while len(chain) <= segment - first:
            later = Signal(chain[-1].shape(), name=f"v{operand}_{first + len(chain)}", reset_less=True)
            with self.m.If(self.advance):
                self.m.d.sync += later.eq(chain[-1])
            chain.append(later)
        return chain[segment - first]
