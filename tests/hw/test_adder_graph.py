import itertools
import re

import numpy as np
import pytest
from amaranth import Cat, Module, Signal, signed, unsigned
from amaranth.back import rtlil
from amaranth.sim import Simulator

from xnorweave.hw.adder_graph import (
    NARROW_BITS,
    Adder,
    AdderGraph,
    AdderNode,
    KernelNode,
    KernelUnit,
    balanced_sum,
    range_shape,
)
from xnorweave.hw.shared_module import UnitComponent


def evaluate(units, inputs, vectors):
    """Outputs of combinational units that share their inputs, for each vector of input values."""
    m = Module()
    outputs = []
    for unit in units:
        m.submodules += (component := UnitComponent(unit))
        for name, signal in inputs.items():
            m.d.comb += getattr(component, name).eq(signal)
        outputs.append(component.o)
    packed = Signal(sum(len(o) for o in outputs))
    m.d.comb += packed.eq(Cat(outputs))
    results = []

    async def bench(ctx):
        for vector in vectors:
            for name, value in vector.items():
                ctx.set(inputs[name], value)
            await ctx.delay(1e-9)
            results.append([ctx.get(o) for o in outputs])

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    return np.array(results)


def test_every_3x3_kernel_on_every_window():
    units = [KernelUnit(size=(3, 3), pattern=pattern, input_bits=1) for pattern in range(1, 512)]
    got = evaluate(units, {"window": Signal(9)}, [{"window": window} for window in range(512)])
    want = [[(window & unit.pattern).bit_count() for unit in units] for window in range(512)]
    assert np.array_equal(got, want)


def test_kernel_units_of_other_sizes_and_of_words(rng):
    for size, bits in [((1, 1), 1), ((2, 3), 1), ((5, 5), 1), ((7, 7), 1), ((3, 3), 8), ((2, 2), 3)]:
        taps = size[0] * size[1]
        pattern = int(rng.integers(1, 1 << taps, dtype=np.uint64))
        unit = KernelUnit(size=size, pattern=pattern, input_bits=bits)
        values = rng.integers(0, 1 << bits, (50, taps))
        values[0], values[1] = 0, (1 << bits) - 1
        windows = [sum(int(v) << t * bits for t, v in enumerate(row)) for row in values]
        got = evaluate([unit], {"window": Signal(taps * bits)}, [{"window": w} for w in windows])
        mask = np.array([pattern >> t & 1 for t in range(taps)])
        assert np.array_equal(got[:, 0], values @ mask)


@pytest.mark.parametrize(
    ("a", "b", "options", "gates"),
    [
        (NARROW_BITS, NARROW_BITS, {}, True),
        (1, NARROW_BITS, {}, True),
        (NARROW_BITS, NARROW_BITS + 1, {}, False),
        (NARROW_BITS + 1, 1, {}, False),
        (NARROW_BITS, NARROW_BITS, {"shift": 1}, False),
        (NARROW_BITS, NARROW_BITS, {"subtract": True}, False),
    ],
)
def test_narrow_sums_alone_are_gates(a, b, options, gates):
    """Where a plan counts gates, there is no adder for Yosys to make a carry chain of, and elsewhere there is."""
    unit = Adder(a=unsigned(a), b=unsigned(b), o=signed(6), **{"shift": 0, "subtract": False} | options)
    text = rtlil.convert(UnitComponent(unit), emit_src=False)
    assert (re.search(r"cell \$(add|sub) ", text) is None) == gates


def test_kernel_units_with_complements(rng):
    for size in [(1, 1), (2, 3), (3, 3), (1, 20)]:
        taps = size[0] * size[1]
        pattern = (1 << taps) - 1 if size[0] < 3 else 0x1B7
        inverted = pattern & int(rng.integers(1, 1 << taps))
        unit = KernelUnit(size=size, pattern=pattern, input_bits=1, inverted=inverted)
        windows = [0, (1 << taps) - 1, *(int(w) for w in rng.integers(0, 1 << taps, 50))]
        got = evaluate([unit], {"window": Signal(taps)}, [{"window": w} for w in windows])
        assert got[:, 0].tolist() == [((w ^ inverted) & pattern).bit_count() for w in windows]


@pytest.mark.parametrize(("pattern", "inverted", "bits"), [(0x0F, 0x10, 1), (0x0F, 0x01, 2), (0x0F, -1, 1)])
def test_kernel_unit_refuses_complements_of_words_and_of_what_does_not_count(pattern, inverted, bits):
    with pytest.raises(ValueError, match=f"of {bits} bits cannot be inverted, with 0xf selected"):
        KernelUnit(size=(3, 3), pattern=pattern, input_bits=bits, inverted=inverted)


@pytest.mark.parametrize("pattern", [0, 1 << 9, -1])
def test_kernel_unit_refuses_patterns_off_the_window(pattern):
    with pytest.raises(ValueError, match="does not select from 9 taps"):
        KernelUnit(size=(3, 3), pattern=pattern, input_bits=1)


@pytest.mark.parametrize(("shift", "subtract"), list(itertools.product((0, 1), (False, True))))
def test_adders_on_all_operands(shift, subtract):
    for a_shape, b_shape in [(unsigned(3), unsigned(2)), (signed(3), unsigned(3)), (unsigned(1), signed(4))]:
        a_values = range(-4, 4) if a_shape.signed else range(1 << a_shape.width)
        b_values = range(-8, 8) if b_shape.signed else range(1 << b_shape.width)
        b_values = [b for b in b_values if b_shape.width == 4 or b < 1 << b_shape.width]
        unit = Adder(a=a_shape, b=b_shape, o=signed(7), shift=shift, subtract=subtract)
        pairs = list(itertools.product(a_values, b_values))
        got = evaluate([unit], {"a": Signal(a_shape), "b": Signal(b_shape)}, [{"a": a, "b": b} for a, b in pairs])
        assert got[:, 0].tolist() == [(a << shift) - b if subtract else (a << shift) + b for a, b in pairs]


def test_module_names_tell_units_apart():
    names = {
        Adder(a=unsigned(3), b=unsigned(2), o=unsigned(4), shift=0, subtract=False).module_name: "add_u3_u2_u4",
        Adder(a=unsigned(3), b=unsigned(2), o=signed(4), shift=1, subtract=True).module_name: "sub_u3x2_u2_s4",
        KernelUnit(size=(3, 3), pattern=0x1A3, input_bits=1).module_name: "kernel_3x3_u1_1a3",
        KernelUnit(size=(1, 7), pattern=0x7F, input_bits=1, inverted=0x60).module_name: "kernel_1x7_u1_7f_not_60",
    }
    assert list(names) == list(names.values())


def test_range_shape_is_the_narrowest():
    assert [range_shape(0, 0), range_shape(0, 7), range_shape(0, 8)] == [unsigned(1), unsigned(3), unsigned(4)]
    assert [range_shape(-1, 0), range_shape(-4, 3), range_shape(-5, 3), range_shape(-4, 4)] == [
        signed(1),
        signed(3),
        signed(4),
        signed(4),
    ]


def test_balanced_sum_of_constants():
    assert len(balanced_sum([])) == 1
    assert len(balanced_sum([Signal(4) for _ in range(16)])) == 8


def small_graph(levels: int, tag_bits: int = 0, segments: tuple[int, ...] | None = None) -> AdderGraph:
    """4 inputs: x1 + x2 + x4, its double minus x3, and the complement of x2."""
    return AdderGraph(
        input_count=4,
        input_bits=2,
        kernels=(KernelNode((1, 2), (1, 2), 0b11),),
        nodes=(AdderNode(5, 4, 0, False, 0, 9), AdderNode(6, 3, 1, True, -3, 18)),
        outputs=(6, 7, -2),
        output_range=(-3, 18),
        levels_per_register=levels,
        segments=segments,
        tag_bits=tag_bits,
    )


LATENCIES = [
    (1, None, 3),
    (2, None, 2),
    (3, None, 1),
    (9, None, 1),
    (1, (0, 0, 0, 0, 0, 0, 1, 2), 3),
    (2, (0, 0, 0, 0, 0, 1, 1, 2), 3),
    (1, (0, 0, 0, 0, 0, 1, 3, 5), 6),
    (3, (0, 0, 0, 0, 0, 2, 2, 2), 3),
]


@pytest.mark.parametrize(("levels", "segments", "latency"), LATENCIES)
def test_graph_values_and_latency(levels, segments, latency, pace, stream, rng):
    unit = small_graph(levels, tag_bits=3, segments=segments)
    assert unit.latency == latency
    xs, tags = rng.integers(0, 4, (20, 4)), rng.integers(0, 8, 20)
    words = [
        [sum(int(x) << 2 * k for k, x in enumerate(row)) | int(tag) << 8] for row, tag in zip(xs, tags, strict=True)
    ]
    result = stream(unit, words, 1, pace)
    for (word,), (x1, x2, x3, x4), tag in zip(result.outputs, xs, tags, strict=True):
        lanes = [word >> 6 * k & 63 for k in range(3)]
        sums = [x1 + x2 + x4, 2 * (x1 + x2 + x4) - x3, 3 - x2]
        assert [lane - 64 if lane >= 32 else lane for lane in lanes] == sums
        assert word >> 18 == tag
    if pace == (0.0, 0.0):
        assert (result.first_latency_cycles, result.interval_cycles) == (latency, 1)


def test_graph_refuses_no_levels():
    with pytest.raises(ValueError, match="At least one level per register is needed, not 0"):
        small_graph(0)


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ((0, 0, 0, 0, 0, 0, 1), r"Segments are needed for 8 operands, not for 7"),
        ((0, 0, 1, 0, 0, 1, 2, 3), r"Operand 2 is an input and in segment 0, not 1"),
        ((1, 0, 0, 0, 0, 1, 2, 3), r"Operand 0 is an input and in segment 0, not 1"),
        ((0, 0, 0, 0, 0, 2, 1, 3), r"Operand 6 is in segment 1, before a source's, 2"),
        ((0, 0, 0, 0, 0, -1, 1, 2), r"Operand 5 is in segment -1, before a source's, 0"),
        ((0, 0, 0, 0, 0, 0, 0, 1), r"Operand 6 ends a path of 2 levels within segment 0; at most 1 are allowed"),
        ((0, 0, 0, 0, 0, 0, 1, 1), r"Operand 7 ends a path of 2 levels within segment 1; at most 1 are allowed"),
        ((0, 0, 0, 0, 0, 0, 1, 2.5), r"Operand 7 is in segment 2.5, which is no whole number"),
    ],
)
def test_graph_refuses_segments_that_are_no_pipeline(segments, message):
    with pytest.raises(ValueError, match=message):
        small_graph(1, segments=segments)
