"""Combinational units that stand once in the emitted Verilog, however often they are used.

Amaranth writes one module for every submodule. `place` instead makes an instance of a module that is named by the
unit's parameters when the design is elaborated for a `ModuleLibrary`; elsewhere (Amaranth's simulator) it puts the
unit's expression in place. Both come from the same ``expression``.
"""

from amaranth import Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ModuleLibrary", "SharedUnit", "UnitComponent", "place"]


class SharedUnit:
    """Description of a combinational unit with one output ``o``; subclasses give ``expression``.

    Parameters
    ----------
    module_name : str
        Same name, same logic.
    inputs : dict of str to Shape
        Input ports.
    output : Shape
        Shape of ``o``.
    """

    def __init__(self, module_name, inputs, output):
        self.module_name, self.inputs, self.output = module_name, inputs, output

    def expression(self, **inputs):
        """Value of ``o`` for the given input values."""
        raise NotImplementedError(f"{type(self).__name__} gives no expression")


class UnitComponent(wiring.Component):
    """A shared unit as a module of its own.

    Latency 0 cycles.

    Parameters
    ----------
    unit : SharedUnit
        What it computes.

    Members
    -------
    (inputs) : In
        As the unit names them.
    o : Out
        Follows the inputs within the cycle.
    """

    def __init__(self, unit: SharedUnit):
        self.unit = unit
        super().__init__({**{name: In(shape) for name, shape in unit.inputs.items()}, "o": Out(unit.output)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(self.unit.expression(**{name: getattr(self, name) for name in self.unit.inputs}))
        return m


class ModuleLibrary:
    """Platform that collects the shared units a design uses.

    Attributes
    ----------
    units : dict of str to SharedUnit
        By module name, in order of first use.
    """

    def __init__(self):
        self.units: dict[str, SharedUnit] = {}


def place(m: Module, platform, unit: SharedUnit, name: str, **inputs) -> Signal:
    """Use ``unit`` once in ``m`` as ``name``; returns the signal of its output."""
    o = Signal(unit.output, name=name)
    if isinstance(platform, ModuleLibrary):
        platform.units.setdefault(unit.module_name, unit)
        ports = {}
        for port, value in inputs.items():
            # An instance connects bits: bring each operand to the port's shape, sign included.
            wire = Signal(unit.inputs[port], name=f"{name}_{port}")
            m.d.comb += wire.eq(value)
            ports[f"i_{port}"] = wire
        m.submodules[f"u_{name}"] = Instance(unit.module_name, **ports, o_o=o)
    else:
        m.d.comb += o.eq(unit.expression(**inputs))
    return o
