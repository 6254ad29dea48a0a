"""A bank of combinational units as one emitted core, the same arithmetic written down anew in Verilog, and Yosys' SAT
solver to compare the two."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from amaranth import Cat, Module, Shape
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from xnorweave.boards.mapping import synthesize_core
from xnorweave.design import TOP_MODULE, Design, Tap
from xnorweave.emit import emit_core
from xnorweave.hw.adder_graph import Adder, KernelUnit
from xnorweave.hw.shared_module import SharedUnit, place
from xnorweave.sim.netlist import cell_models
from xnorweave.yosys import run_yosys

SECONDS = 300


class Alone(wiring.Component):
    """One combinational part, with what a core has besides, so that it is emitted as one."""

    taps = (
        Tap(
            layer="part",
            instance="part",
            channels=1,
            lanes=1,
            lane_bits=1,
            signed=False,
            words=1,
            scale=1,
            offsets=(0,),
        ),
    )
    input_words = 1

    def __init__(self, part: wiring.Component):
        self.part = part
        super().__init__(part.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.part = self.part
        wiring.connect(m, wiring.flipped(self.i), self.part.i)
        wiring.connect(m, self.part.o, wiring.flipped(self.o))
        return m


class Bank(wiring.Component):
    """Units side by side, none with an input of another."""

    def __init__(self, units: Sequence[SharedUnit]):
        self.units = tuple(units)
        inputs = sum(shape.width for unit in self.units for shape in unit.inputs.values())
        outputs = sum(unit.output.width for unit in self.units)
        super().__init__({"i": In(stream.Signature(inputs)), "o": Out(stream.Signature(outputs))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready)]
        results, at = [], 0
        for k, unit in enumerate(self.units):
            ports = {}
            for name, shape in unit.inputs.items():
                value = self.i.payload[at : at + shape.width]
                ports[name] = value.as_signed() if shape.signed else value
                at += shape.width
            results.append(place(m, platform, unit, f"unit{k}", **ports))
        m.d.comb += self.o.payload.eq(Cat(results))
        return m


@dataclass(frozen=True, kw_only=True)
class Emitted:
    """A core of combinational logic, and what it has to be."""

    design: Design
    specification: str


def declare(name: str, shape: Shape, value: str) -> str:
    return f"  wire {'signed ' if shape.signed else ''}[{shape.width - 1}:0] {name} = {value};"


def describe(k: int, unit: SharedUnit) -> list[str]:
    """Verilog of the value ``r<k>`` of a unit whose inputs are ``<name>_<k>``, from its parameters alone."""
    if isinstance(unit, KernelUnit):
        assert unit.input_bits == 1
        taps = [
            f"{'!' if unit.inverted >> t & 1 else ''}window_{k}[{t}]"
            for t in range(unit.size[0] * unit.size[1])
            if unit.pattern >> t & 1
        ]
        return [declare(f"r{k}", unit.output, " + ".join(taps))]
    assert isinstance(unit, Adder)
    lines = []
    for name in ("a", "b"):
        # Wide and signed before anything is added, so that Verilog's rules for mixed operands have no say.
        value = f"{name}_{k}" if unit.inputs[name].signed else f"$signed({{1'b0, {name}_{k}}})"
        lines.append(declare(f"wide_{name}_{k}", Shape(40, signed=True), value))
    sign = "-" if unit.subtract else "+"
    lines.append(declare(f"r{k}", unit.output, f"wide_a_{k} * {1 << unit.shift} {sign} wide_b_{k}"))
    return lines


def specify(units: Sequence[SharedUnit]) -> str:
    """A module with the ports of the units' bank."""
    lines, at, out = [], 0, 0
    for k, unit in enumerate(units):
        for name, shape in unit.inputs.items():
            lines.append(declare(f"{name}_{k}", shape, f"i__payload[{at + shape.width - 1}:{at}]"))
            at += shape.width
        lines += describe(k, unit)
        lines.append(f"  assign o__payload[{out + unit.output.width - 1}:{out}] = r{k};")
        out += unit.output.width
    return specification_module(at, out, lines)


def specification_module(input_bits: int, output_bits: int, lines: Sequence[str]) -> str:
    return "\n".join(
        [
            f"module specification(input [{input_bits - 1}:0] i__payload, input i__valid, output i__ready,",
            f"  output [{output_bits - 1}:0] o__payload, output o__valid, input o__ready);",
            "  assign o__valid = i__valid, i__ready = o__ready;",
            *lines,
            "endmodule\n",
        ]
    )


def emit_alone(part: wiring.Component) -> Design:
    return emit_core(Alone(part), [])


def emit_bank(units: Sequence[SharedUnit]) -> Emitted:
    return Emitted(design=emit_alone(Bank(units)), specification=specify(units))


def combinational_models(family: str) -> str:
    """Yosys' models of a family's LUTs and carries alone; it takes minutes to read those of the memories."""
    models = cell_models(family)
    names = {"ice40": "SB_LUT4|SB_CARRY", "ecp5": "LUT4|LUT2|CCU2C"}[family]
    found = re.findall(rf"^module (?:{names})\s*\(.*?^endmodule$", models.text, re.MULTILINE | re.DOTALL)
    assert len(found) == len(names.split("|"))
    # Default values of ports, which need a preamble: the netlist connects every port.
    return re.sub(r" `ICE40_DEFAULT_ASSIGNMENT_\w+", "", "\n".join(found))


def prove_equal(emitted: Emitted, folder: Path, netlist: str | None = None, family: str | None = None) -> None:
    """Prove that the emitted core, or a netlist of it, gives the specified outputs for every input.

    Raises ToolchainError where it does not. A cell or process without a model would end the run, too: what is left of
    one after `proc` is found by `hierarchy -check`, by `sat`, or by the first `select`.
    """
    (folder / "core.v").write_text(emitted.design.verilog if netlist is None else netlist)
    (folder / "specification.v").write_text(emitted.specification)
    (folder / "models.v").write_text("" if family is None else combinational_models(family))
    script = [
        "read_verilog models.v",
        "read_verilog core.v",
        f"hierarchy -check -top {TOP_MODULE}",
        "setattr -mod -unset keep_hierarchy *",
        "proc",
        "flatten",
        "read_verilog specification.v",
        "proc",
        "select -assert-none p:*",
        f"miter -equiv -flatten specification {TOP_MODULE} miter",
        "sat -verify -prove trigger 0 miter",
    ]
    run_yosys(script, folder=folder, log="proof.log", timeout_s=SECONDS)
    assert "SAT proof finished - no model found: SUCCESS!" in (folder / "proof.log").read_text()


def prove_mapped(emitted: Emitted, family: str, folder: Path) -> str:
    """Map the core as a build does, prove the netlist, and give it back."""
    netlist = synthesize_core(emitted.design, family, folder, timeout_s=SECONDS).netlist.read_text()
    prove_equal(emitted, folder, netlist, family)
    return netlist


@dataclass(frozen=True, kw_only=True)
class Formal:
    """The functions above, for test modules that can import nothing from each other."""

    emit_bank: Callable[..., Emitted] = emit_bank
    emit_alone: Callable[..., Design] = emit_alone
    specification_module: Callable[..., str] = specification_module
    prove_equal: Callable[..., None] = prove_equal
    prove_mapped: Callable[..., str] = prove_mapped
    emitted: type[Emitted] = Emitted


@pytest.fixture(scope="session")
def formal() -> Formal:
    return Formal()


@pytest.fixture(scope="session")
def every_kernel() -> Emitted:
    """One unit for each 3x3 kernel but the empty one, for which there is no unit, pattern 1 first."""
    return emit_bank([KernelUnit(size=(3, 3), pattern=pattern, input_bits=1) for pattern in range(1, 512)])
