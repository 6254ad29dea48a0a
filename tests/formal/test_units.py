"""Every adder, kernel unit and comparison is, for all operands, what a second text says: as emitted, and as mapped."""

import dataclasses
import subprocess

import numpy as np
import pytest
from amaranth import Module, Shape, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

from xnorweave import load
from xnorweave.adder_graph import AdderGraph, GraphBuilder
from xnorweave.errors import ToolchainError
from xnorweave.hw import stream_register
from xnorweave.hw.adder_graph import Adder, KernelUnit, range_shape
from xnorweave.hw.shared_module import SharedUnit
from xnorweave.hw.stream_register import StreamRegister
from xnorweave.hw.threshold import ThresholdUnit
from xnorweave.images import shipped
from xnorweave.importers import load_any
from xnorweave.passes.share import STRATEGIES, share_layer
from xnorweave.passes.streamline import ConvStage, streamline

FAMILIES = ["ice40", "ecp5"]


@pytest.fixture(scope="module")
def shipped_stages():
    stages = [stage for stage in streamline(load(shipped("fashion_mnist.npz"))) if isinstance(stage, ConvStage)]
    assert len(stages) == 2
    return stages


def units_of(graph: AdderGraph) -> dict[str, SharedUnit]:
    """The modules of a graph by name, but for 3x3 kernels and popcounts out of the solver's quick reach."""

    def shape(operand: int) -> Shape:
        return range_shape(*graph.operand_range(abs(operand)))

    units: list[SharedUnit] = [
        KernelUnit(size=kernel.size, pattern=kernel.pattern, input_bits=graph.input_bits, inverted=kernel.inverted)
        for kernel in graph.kernels
        if kernel.size != (3, 3) and kernel.pattern.bit_count() <= 16
    ]
    units += (
        Adder(
            a=shape(node.lhs),
            b=shape(node.rhs),
            o=range_shape(node.low, node.high),
            shift=node.lhs_shift,
            subtract=node.subtract,
        )
        for node in graph.nodes
    )
    return {unit.module_name: unit for unit in units}


def units_of_stages(stages) -> list[SharedUnit]:
    found: dict[str, SharedUnit] = {}
    for stage in stages:
        for strategy in STRATEGIES:
            found |= units_of(share_layer(stage, strategy))
    print(f"{len(found)} modules: {sorted(found)}")
    return list(found.values())


@pytest.fixture(scope="module")
def shipped_adders(shipped_stages, formal):
    """Every adder module of the shipped network by each strategy, and signed ones, which it does without."""
    others = [
        Adder(a=signed(4), b=unsigned(3), o=signed(6), shift=1, subtract=True),
        Adder(a=unsigned(3), b=signed(5), o=signed(6), shift=0, subtract=True),
        Adder(a=signed(5), b=signed(4), o=signed(6), shift=0, subtract=False),
        Adder(a=unsigned(4), b=unsigned(4), o=signed(5), shift=0, subtract=True),
        Adder(a=unsigned(2), b=signed(2), o=signed(4), shift=0, subtract=False),
        Adder(a=signed(2), b=unsigned(2), o=signed(4), shift=0, subtract=False),
    ]
    units = units_of_stages(shipped_stages) + others
    assert len(units) > 40
    return formal.emit_bank(units)


BENCH = """
module bench;
  reg [4598:0] i; wire [1404:0] o; integer window;
  xnorweave_core core(.i__payload(i), .i__valid(1'b1), .o__ready(1'b1), .o__payload(o));
  initial for (window = 0; window < 512; window = window + 1) begin
    i = {511{window[8:0]}}; #1 $display("%b", o);
  end
endmodule
"""


def test_every_emitted_3x3_kernel_on_every_window(every_kernel, need, tmp_path):
    need("icarus")
    (tmp_path / "bench.v").write_text(BENCH)
    (tmp_path / "core.v").write_text(every_kernel.design.verilog)
    subprocess.run(["iverilog", "-g2012", "-o", "bench", "bench.v", "core.v"], cwd=tmp_path, check=True)
    said = subprocess.run(["vvp", "-n", "bench"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    words = [int(line, 2) for line in said.split()]
    assert len(words) == 512
    at = 0
    for pattern in range(1, 512):
        bits = pattern.bit_count().bit_length()
        got = [word >> at & (1 << bits) - 1 for word in words]
        assert got == [(window & pattern).bit_count() for window in range(512)], f"kernel {pattern:#x}"
        at += bits


def test_the_empty_kernel_is_the_constant_zero():
    assert GraphBuilder(9, 1).kernel(tuple(range(1, 10)), (3, 3), 0) == 0


@pytest.mark.slow
def test_every_emitted_3x3_kernel_is_proven(every_kernel, formal, tmp_path):
    formal.prove_equal(every_kernel, tmp_path)


@pytest.fixture(scope="module")
def some_kernels(formal):
    """Kernels of every number of taps, complements among them, and the largest popcounts within quick reach."""
    rng = np.random.default_rng(9)
    patterns = [
        p for ones in range(1, 10) for p in rng.permutation([p for p in range(512) if p.bit_count() == ones])[:4]
    ]
    units = [KernelUnit(size=(3, 3), pattern=int(pattern), input_bits=1) for pattern in patterns]
    units += [
        KernelUnit(size=(3, 3), pattern=int(p), input_bits=1, inverted=int(p) & int(rng.integers(1, 512)))
        for p in patterns
    ]
    for taps, complements in ((1, 1), (2, 1), (3, 3), (7, 4), (10, 1), (12, 7), (15, 9)):
        every = (1 << taps) - 1
        units.append(KernelUnit(size=(1, taps), pattern=every, input_bits=1, inverted=every >> complements ^ every))
    units += [KernelUnit(size=(4, 4), pattern=p, input_bits=1) for p in (0xFFFF, 0xBEEF, 0x8421)]
    return formal.emit_bank([*units, KernelUnit(size=(5, 5), pattern=0x0E5F3B6, input_bits=1)])


def test_emitted_kernels_are_proven(some_kernels, formal, tmp_path):
    formal.prove_equal(some_kernels, tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_mapped_kernels_are_proven(family, some_kernels, formal, tmp_path):
    formal.prove_mapped(some_kernels, family, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_mapped_3x3_kernel_is_proven(family, every_kernel, formal, tmp_path):
    formal.prove_mapped(every_kernel, family, tmp_path)


@pytest.mark.slow
def test_the_popcount_of_a_5x5_window_is_proven(formal, tmp_path):
    formal.prove_equal(formal.emit_bank([KernelUnit(size=(5, 5), pattern=(1 << 25) - 1, input_bits=1)]), tmp_path)


def test_emitted_adders_are_proven(shipped_adders, formal, tmp_path):
    formal.prove_equal(shipped_adders, tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_mapped_adders_are_proven(family, shipped_adders, formal, tmp_path):
    netlist = formal.prove_mapped(shipped_adders, family, tmp_path)
    # One LUT turned over, whose table may have entries that nothing reaches: the proof must not go through.
    at = netlist.index("16'h", netlist.index({"ice40": "SB_LUT4 #(", "ecp5": "LUT4 #("}[family])) + len("16'h")
    broken = netlist[:at] + f"{int(netlist[at : at + 4], 16) ^ 0xFFFF:04x}" + netlist[at + 4 :]
    with pytest.raises(ToolchainError, match="proof did fail"):
        formal.prove_equal(shipped_adders, tmp_path, broken, family)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_adders_of_a_large_layer_are_proven(family, shared, formal, tmp_path):
    network = load_any(shared / "nets" / "cnvW1A1_cifar10.npz")
    stages = [stage for stage in streamline(network) if isinstance(stage, ConvStage)][:2]
    emitted = formal.emit_bank(units_of_stages(stages))
    formal.prove_equal(emitted, tmp_path)
    formal.prove_mapped(emitted, family, tmp_path)


class NoCarry(Adder):
    def expression(self, a, b):
        return a ^ b


class WrongAtOnce(Adder):
    """Wrong for a single pair of operands."""

    def expression(self, a, b):
        return super().expression(a, b) ^ ((a == 77) & (b == 5))


class OneTapShort(KernelUnit):
    def expression(self, window):
        return super().expression(window & 0b111_101_111)


class OneTapTurned(KernelUnit):
    def expression(self, window):
        return super().expression(window ^ 0b000_010_000)


ADDER = {"a": unsigned(7), "b": unsigned(6), "o": unsigned(8), "shift": 0, "subtract": False}
PLANTED = [
    NoCarry(**ADDER),
    WrongAtOnce(**ADDER),
    OneTapShort(size=(3, 3), pattern=0x1FF, input_bits=1),
    OneTapTurned(size=(3, 3), pattern=0x1FF, input_bits=1, inverted=0x1F0),
]


@pytest.mark.parametrize("planted", PLANTED, ids=lambda unit: type(unit).__name__)
def test_a_wrong_unit_among_right_ones_is_found(planted, formal, tmp_path):
    right = [Adder(**ADDER | {"a": unsigned(5)}), KernelUnit(size=(3, 3), pattern=0x0AB, input_bits=1)]
    formal.prove_equal(formal.emit_bank(right), tmp_path)
    with pytest.raises(ToolchainError, match="proof did fail"):
        formal.prove_equal(formal.emit_bank([*right, planted]), tmp_path)


# --- comparisons with constants


class Wires(wiring.Component):
    """In place of the register behind the comparisons, so that the solver sees these alone."""

    def __init__(self, *, word_bits: int):
        super().__init__(StreamRegister(word_bits=word_bits).signature)

    def elaborate(self, platform):
        m = Module()
        connect(m, flipped(self.i), flipped(self.o))
        return m


def emit_thresholds(unit: ThresholdUnit, formal):
    """The unit as emitted, and ``>=`` in Verilog for each channel and border number."""
    shape, borders = unit.sum_shape, unit.thresholds
    sign = "signed " if shape.signed else ""
    top = len(unit.i.payload) - 1
    lines = []
    for c in range(unit.channels):
        lines.append(f"  wire {sign}[{shape.width - 1}:0] sum{c} = i__payload[{c * shape.width} +: {shape.width}];")
        wide = f"sum{c}" if shape.signed else f"$signed({{1'b0, sum{c}}})"
        lines.append(f"  wire signed [39:0] wide{c} = {wide};")
        value = f"wide{c} >= {signed_literal(next(iter(borders.values()))[c])}"
        for number, row in borders.items():
            if unit.border_bits:
                border = f"i__payload[{top}:{top - unit.border_bits + 1}]"
                value = f"{border} == {number} ? wide{c} >= {signed_literal(row[c])} : {value}"
        lines.append(f"  assign o__payload[{c}] = {value};")
    text = formal.specification_module(top + 1, unit.channels, lines)
    return formal.emitted(design=formal.emit_alone(unit), specification=text)


def signed_literal(value: int) -> str:
    return f"{'-' if value < 0 else ''}40'sd{abs(value)}"


@pytest.fixture
def no_register(monkeypatch):
    monkeypatch.setattr(stream_register, "StreamRegister", Wires)


@pytest.mark.parametrize("shape", [unsigned(4), signed(4)], ids=str)
def test_every_threshold_of_short_sums_is_proven(shape, formal, no_register, tmp_path):
    unit = ThresholdUnit(thresholds={0: tuple(range(-18, 19))}, sum_shape=shape)
    emitted = emit_thresholds(unit, formal)
    formal.prove_equal(emitted, tmp_path)
    shifted = ThresholdUnit(thresholds={0: (*range(-18, 3), 4, *range(4, 19))}, sum_shape=shape)
    wrong = dataclasses.replace(emitted, design=emit_thresholds(shifted, formal).design)
    with pytest.raises(ToolchainError, match="proof did fail"):
        formal.prove_equal(wrong, tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_thresholds_of_the_shipped_network_are_proven(family, shipped_stages, formal, no_register, tmp_path):
    """Both layers, of which the second has border classes."""
    for number, stage in enumerate(shipped_stages):
        graph = share_layer(stage, "graph")
        rows = {border: tuple(np.add(row, graph.constants).tolist()) for border, row in stage.thresholds.items()}
        bits = max(rows).bit_length()
        unit = ThresholdUnit(thresholds=rows, sum_shape=range_shape(*graph.output_range), border_bits=bits)
        emitted = emit_thresholds(unit, formal)
        (folder := tmp_path / str(number)).mkdir()
        formal.prove_equal(emitted, folder)
        formal.prove_mapped(emitted, family, folder)
