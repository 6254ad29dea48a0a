"""A core behind a standard bus, as one more Verilog file beside ``design.v``."""

# Amaranth's members carry no types.
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false

from typing import Literal

from amaranth.hdl import ClockDomain, ClockSignal, Instance, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from xnorweave.design import TOP_MODULE, Design
from xnorweave.emit import emit_verilog
from xnorweave.hw.axi_stream import AxiStream
from xnorweave.hw.wishbone import Wishbone

__all__ = ["WRAPPER_MODULES", "WrapperKind", "emit_wrapper"]

WrapperKind = Literal["axi-stream", "wishbone"]

WRAPPER_MODULES: dict[WrapperKind, str] = {"axi-stream": "xnorweave_axi", "wishbone": "xnorweave_wishbone"}
"""Names of the modules; the files have the suffix ``.v``."""


class _Wrapped(wiring.Component):
    """A core and what joins it to a bus, with the bus's own names for clock and reset.

    Members
    -------
    (clock), (reset) : In(1)
        As the bus names them.
    (bus) : In or Out
        Members of the adapter that are not streams of the core.
    """

    def __init__(self, adapter: wiring.Component, *, name: str, clock: str, reset: str, active_low: bool) -> None:
        self._adapter, self._name, self._clock, self._reset, self._active_low = adapter, name, clock, reset, active_low
        self._bus = {name: member for name, member in adapter.signature.members.items() if not name.startswith("core_")}
        super().__init__({clock: In(1), reset: In(1), **self._bus})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = domain = ClockDomain("sync")
        reset = getattr(self, self._reset)
        m.d.comb += [domain.clk.eq(getattr(self, self._clock)), domain.rst.eq(~reset if self._active_low else reset)]
        adapter = self._adapter
        m.submodules[self._name] = adapter  # the name becomes a module's, beside those of the core
        for name, member in self._bus.items():
            inner, outer = getattr(adapter, name), getattr(self, name)
            m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        m.submodules.core = Instance(
            TOP_MODULE,
            i_clk=ClockSignal(),
            i_rst=ResetSignal() | getattr(adapter, "core_reset", 0),
            i_i__payload=adapter.core_i.payload,
            i_i__valid=adapter.core_i.valid,
            o_i__ready=adapter.core_i.ready,
            o_o__payload=adapter.core_o.payload,
            o_o__valid=adapter.core_o.valid,
            i_o__ready=adapter.core_o.ready,
        )
        return m


def emit_wrapper(design: Design, kind: WrapperKind) -> str:
    """Verilog of the module ``WRAPPER_MODULES[kind]``, which has the core as an instance.

    Parameters
    ----------
    design : Design
        The core.
    kind : {"axi-stream", "wishbone"}
        Which bus.

    Raises
    ------
    ToolchainError
        Where Yosys, which writes the Verilog, is missing or fails.
    """
    sizes = {name: getattr(design, name) for name in ("input_bits", "output_bits", "input_words", "output_words")}
    module = WRAPPER_MODULES[kind]
    name = f"{module}_adapter"
    if kind == "axi-stream":
        wrapped = _Wrapped(AxiStream(**sizes), name=name, clock="aclk", reset="aresetn", active_low=True)
    else:
        wrapped = _Wrapped(Wishbone(**sizes), name=name, clock="wb_clk_i", reset="wb_rst_i", active_low=False)
    title = [
        f"{TOP_MODULE} of design.v behind a bus: module {module}, written by xnorweave; do not edit.",
        f"{sizes['input_words']} words of {sizes['input_bits']} bits a frame in, "
        f"{sizes['output_words']} of {sizes['output_bits']} out",
    ]
    return emit_verilog(wrapped, module, title)
