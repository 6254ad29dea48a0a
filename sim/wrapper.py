"""Verilog around a core that registers what each clock edge transfers, so that benches look once a cycle.

Inputs are to change while the clock is low or falls; outputs are valid after the rising edge until the next. The
wrapper also checks that every stream holds its word, and sees unknown bits where the simulator has them.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from xnorweave.design import TOP_MODULE, Design, Tap
from xnorweave.errors import ToolchainError

__all__ = ["BENCH_MODULE", "CellModels", "flag_bits", "wrap", "write_sources"]

BENCH_MODULE = "xnorweave_bench"

_INSTANCE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PARTS = ("o__payload", "o__valid", "o__ready")


@dataclass(frozen=True, kw_only=True)
class CellModels:
    """Verilog that a core needs besides its own text.

    Parameters
    ----------
    text : str
        Modules, such as a device's cells.
    defines : tuple of str
        Macros that the text wants defined.
    """

    text: str = ""
    defines: tuple[str, ...] = ()


def flag_bits(streams: int) -> int:
    """Width of ``flags``: bit 0 is a transfer on ``i``, then for each stream transfer, not held, unknown bits."""
    return 1 + 3 * streams


def wrap(design: Design, taps: tuple[Tap, ...]) -> str:
    """Text of the module `BENCH_MODULE` around the core.

    Parameters
    ----------
    design : Design
        Gives the widths.
    taps : tuple of Tap
        Streams to watch besides ``o``; stream 0 is ``o``, stream 1 the first tap.
    """
    streams = [_stream(0, "o_payload", "o_valid", "o_ready", design.output_bits)]
    for number, tap in enumerate(taps, start=1):
        payload, valid, ready = _tap_signals(design.verilog, tap)
        streams.append(_stream(number, payload, valid, ready, tap.lanes * tap.lane_bits))
    widths = [design.output_bits, *(tap.lanes * tap.lane_bits for tap in taps)]
    words = "".join(f",\n  output reg [{bits - 1}:0] word{n} {_PUBLIC}" for n, bits in enumerate(widths))
    return _TEMPLATE.format(
        bench=BENCH_MODULE,
        top=TOP_MODULE,
        public=_PUBLIC,
        input_top=design.input_bits - 1,
        output_top=design.output_bits - 1,
        flags_top=flag_bits(len(streams)) - 1,
        words=words,
        streams="".join(streams),
    )


def write_sources(folder: Path, design: Design, taps: tuple[Tap, ...], models: CellModels) -> list[Path]:
    """Write cells, core and wrapper into a folder; gives their paths in this order."""
    texts = {"cells.v": models.text, "design.v": design.verilog, "bench.v": wrap(design, taps)}
    paths = []
    for name, text in texts.items():
        if text:
            (folder / name).write_text(text, encoding="utf-8")
            paths.append(folder / name)
    return paths


def _tap_signals(verilog: str, tap: Tap) -> tuple[str, str, str]:
    """Hierarchical names of a tap's payload, valid and ready.

    Wires ``INSTANCE__o__payload`` and so on in the top module come before ports of the instance: Amaranth renames ports
    of inner modules, and a name that is merely found in the instance may be another stream's.
    """
    if not _INSTANCE.match(tap.instance):
        raise ToolchainError(f"tap {tap.layer}: {tap.instance!r} is not an instance name; use letters, digits, _")
    top = re.search(rf"^module {TOP_MODULE}\b.*?^endmodule", verilog, re.S | re.M)
    text = top[0] if top else ""
    wires = [f"{tap.instance}__{part}" for part in _PARTS]
    if all(re.search(rf"\bwire\s(?:\[\d+:0\]\s)?\s*{wire}\s*[;=]", text) for wire in wires):
        return f"core.{wires[0]}", f"core.{wires[1]}", f"core.{wires[2]}"
    ports = re.search(rf"\b{tap.instance}\s*\(\s*\.(.*?)\);", text, re.S)
    if ports is None or not all(re.search(rf"(?:^|\.){part}\s*\(", ports[1]) for part in _PARTS):
        raise ToolchainError(
            f"tap {tap.layer}: the top module has neither wires {', '.join(wires)} nor an instance {tap.instance} with "
            f"ports {', '.join(_PARTS)}; emit the design with one of them"
        )
    return f"core.{tap.instance}.o__payload", f"core.{tap.instance}.o__valid", f"core.{tap.instance}.o__ready"


def _stream(number: int, payload: str, valid: str, ready: str, bits: int) -> str:
    return _STREAM.format(n=number, payload=payload, valid=valid, ready=ready, top=bits - 1, at=1 + 3 * number)


_PUBLIC = "/* verilator public_flat_rw */"

_TEMPLATE = """`timescale 1ns/1ps
module {bench}(
  input clk {public},
  input rst {public},
  input i_valid {public},
  input [{input_top}:0] i_payload {public},
  input o_ready {public},
  output reg [{flags_top}:0] flags {public}{words}
);
  wire i_ready;
  wire o_valid;
  wire [{output_top}:0] o_payload;
  {top} core (
    .clk(clk), .rst(rst),
    .i__payload(i_payload), .i__valid(i_valid), .i__ready(i_ready),
    .o__payload(o_payload), .o__valid(o_valid), .o__ready(o_ready)
  );
  always @(posedge clk) flags[0] <= !rst && i_valid && i_ready === 1'b1;
{streams}endmodule
"""

_STREAM = """
  reg held{n};
  wire valid{n} = {valid};
  wire ready{n} = {ready};
  wire [{top}:0] payload{n} = {payload};
  always @(posedge clk) begin
    word{n} <= payload{n};
    held{n} <= !rst && valid{n} === 1'b1 && ready{n} === 1'b0;
    flags[{at}] <= !rst && valid{n} === 1'b1 && ready{n} === 1'b1;
    flags[{at} + 1] <= !rst && held{n} === 1'b1 && (valid{n} !== 1'b1 || payload{n} !== word{n});
    flags[{at} + 2] <= !rst && ((^{{valid{n}, ready{n}}}) === 1'bx || (valid{n} === 1'b1 && (^payload{n}) === 1'bx));
  end
"""
