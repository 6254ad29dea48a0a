"""Cores in standard cells: what is counted, that the cells compute the network, and libraries that are none."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyosys
import pytest
from small_library import DFF_AREA, small_library

from xnorweave import cli, tables
from xnorweave.boards import standard_cells
from xnorweave.boards.liberty import read_liberty
from xnorweave.boards.standard_cells import GateSynthesis, map_to_gates
from xnorweave.console import result_console
from xnorweave.design import Design
from xnorweave.emit import emit
from xnorweave.errors import DataError, DoesNotFitError, ToolchainError
from xnorweave.network import ArgMax, Conv2D, Dense, InputSpec, Network, Threshold
from xnorweave.network_file import save_network
from xnorweave.sim import golden
from xnorweave.sim.bench import Stimulus
from xnorweave.sim.cocotb_bench import run_cocotb
from xnorweave.sim.vectors import input_words, tap_words
from xnorweave.sim.wrapper import CellModels
from xnorweave.yosys import run_yosys

REAL = "liberty/sg13g2_stdcell_typ_1p20V_25C.lib"


def signs(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.choice(np.array([-1, 1], np.int8), shape)


@pytest.fixture(scope="module")
def network() -> Network:
    rng = np.random.default_rng(1)
    layers = (
        Conv2D(name="conv", weights=signs(rng, 4, 2, 3, 3)),
        Threshold(name="sign", thresholds=np.zeros(4, np.int32)),
        Dense(name="fc", weights=signs(rng, 5, 16)),
        ArgMax(name="top"),
    )
    return Network(name="c", input=InputSpec(kind="bits", shape=(2, 4, 4)), layers=layers)


@pytest.fixture(scope="module")
def design(network) -> Design:
    return emit(network, strategy="units")


@pytest.fixture
def library(tmp_path) -> Path:
    path = tmp_path / "small.lib"
    path.write_text(small_library())
    return path


def models(library: Path, folder: Path) -> CellModels:
    """The library's cells by their functions, from Yosys, as Verilog."""
    (folder / "models.lib").write_bytes(library.read_bytes())
    run_yosys(
        ["read_liberty -ignore_miss_func models.lib", "proc", "write_verilog -noattr models.v"],
        folder=folder,
        log="models.log",
        timeout_s=60,
    )
    return CellModels(text=(folder / "models.v").read_text())


def check_by_simulation(network: Network, design: Design, folder: Path, cells: CellModels) -> None:
    """No register starts with a value in the netlist, and the simulator sees unknown bits."""
    frames = np.random.default_rng(3).integers(0, 2, (6, *network.input.shape), dtype=np.uint8)
    mapped = replace(design, verilog=(folder / "core_netlist.v").read_text(), taps=())
    stimulus = Stimulus(frames=input_words(network, frames), idle=0.3, stall=0.3, seed=1)
    result = run_cocotb(mapped, stimulus, models=cells)
    tap = design.taps[-1]
    assert result.outputs == tap_words(tap, golden.run(network, frames, keep_layers=True).layers[tap.layer])


def check_counts(found: GateSynthesis) -> None:
    assert found.area is not None
    assert found.sequential_area is not None
    assert found.combinational_area is not None
    assert found.cells == sum(found.cells_by_type.values())
    assert found.area == pytest.approx(found.sequential_area + found.combinational_area, abs=0.02)
    assert found.critical_path_ps
    assert 0 < found.critical_path_ps < 1e6


def test_a_small_library(need, network, design, library, tmp_path):
    need("icarus")
    found = map_to_gates(design, read_liberty(library), tmp_path)
    check_counts(found)
    areas = {"inv": 2, "buf": 3, "nand2": 4, "nor2": 4, "xor2": 8, "dff": DFF_AREA}
    assert found.area == sum(areas[name] * count for name, count in found.cells_by_type.items())
    assert found.sequential_area == DFF_AREA * found.flip_flops == DFF_AREA * found.cells_by_type["dff"]
    assert not list(tmp_path.glob("cells_*"))
    check_by_simulation(network, design, tmp_path, models(library, tmp_path))


def test_cmos_gates_count_transistors(need, network, design, tmp_path):
    need("icarus")
    found = map_to_gates(design, None, tmp_path)
    each = {"NOT": 2, "NAND": 4, "NOR": 4, "DFF_P": 16, "AOI3": 6, "OAI3": 6, "AOI4": 8, "OAI4": 8}
    each |= {"XOR": 12, "XNOR": 12, "MUX": 12, "NMUX": 10, "AND": 6, "OR": 6, "ANDNOT": 6, "ORNOT": 6}
    assert found.transistors == sum(each[name.strip("$_")] * n for name, n in found.cells_by_type.items())
    assert found.flip_flops == found.cells_by_type["$_DFF_P_"]
    assert (found.area, found.critical_path_ps) == (None, None)
    share = Path(pyosys.__file__).parent / "share" / "simcells.v"
    check_by_simulation(network, design, tmp_path, CellModels(text=share.read_text()))


@pytest.mark.slow
def test_a_real_library_and_sharing(need, network, shared, tmp_path):
    need("icarus")
    if not (shared / REAL).is_file():
        pytest.skip(f"{shared / REAL} is absent")
    library = read_liberty(shared / REAL)
    assert (library.cells, sorted(library.flip_flops)[0]) == (78, "sg13g2_dfrbp_1")
    areas = []
    for strategy in ("none", "units"):
        folder = tmp_path / strategy
        folder.mkdir()
        design = emit(network, strategy=strategy)
        areas.append(found := map_to_gates(design, library, folder))
        check_counts(found)
        check_by_simulation(network, design, folder, models(shared / REAL, folder))
    assert areas[1].combinational_area < areas[0].combinational_area


def test_memories_beyond_reason_are_refused(design, library, tmp_path, monkeypatch):
    bits = map_to_gates(design, None, tmp_path).memory.ram_bits
    assert bits > 0
    monkeypatch.setattr(standard_cells, "MOST_RAM_BITS", bits - 1)
    with pytest.raises(
        DoesNotFitError, match=rf"core has {bits} bits of RAM, .* flip-flops; at most {bits - 1} are taken"
    ):
        map_to_gates(design, read_liberty(library), tmp_path)


def edited(old: str, new: str) -> Callable[[], str]:
    text = small_library()
    assert old in text
    return lambda: text.replace(old, new, 1)


HOSTILE: dict[str, tuple[Callable[[], str | bytes], str]] = {
    "empty": (lambda: "", r"line 1: no library in it"),
    "garbage": (lambda: bytes(np.random.default_rng(1).integers(0, 256, 20_000, np.uint8)), r"line \d+: "),
    "text": (lambda: "-- VHDL, not Liberty\nentity x is end;\n", r"line 1: no library in it"),
    "json": (lambda: '{"library": 1}', r"line 1: '\{' without a name before the library"),
    "truncated in a table": (lambda: small_library()[:2000], r"line \d+: the file ends within "),
    "truncated in a string": (lambda: small_library().rpartition('"')[0], r"line \d+: \" without its end"),
    "comment without end": (lambda: small_library() + "/*", r"line \d+: /\* without its end"),
    "one brace more": (lambda: small_library() + "}", r"line \d+: '\}' that closes nothing"),
    "two libraries": (lambda: small_library() * 2, r"line \d+: 'library' outside of the library"),
    "no flip-flop": (lambda: small_library(without=("dff",)), r"has 0 flip-flops and 5 gates"),
    "one gate": (lambda: small_library(without=("inv", "buf", "nor2", "xor2")), r"has 1 flip-flops and 1 gates"),
    "no areas": (lambda: small_library().replace("area :", "size :"), r"has 0 flip-flops and 0 gates"),
    "area is no number": (edited("area : 4;", "area : nan;"), r"line \d+: area 'nan' of cell nand2 is no number"),
    "area below 0": (edited("area : 4;", "area : -4;"), r"line \d+: area '-4' of cell nand2 is no number"),
    "a name with a command": (edited("(nor2)", '("x; exec touch pwn")'), r"cell name 'x; exec touch pwn' is not"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_files_that_are_no_library(tmp_path, kind):
    content, message = HOSTILE[kind]
    made = content()
    path = tmp_path / "x.lib"
    path.write_bytes(made if isinstance(made, bytes) else made.encode())
    with pytest.raises(DataError, match=message) as caught:
        read_liberty(path)
    assert str(path) in str(caught.value)
    assert "give a library of standard cells in Liberty format" in str(caught.value)


def test_paths_that_are_no_file(tmp_path):
    with pytest.raises(DataError, match=r"absent: cannot be read \(No such file or directory\); give"):
        read_liberty(tmp_path / "absent")
    with pytest.raises(DataError, match=r"is no file; give"):
        read_liberty(tmp_path)


@pytest.mark.parametrize(
    ("without", "edit", "message"),
    [
        ((), ("rising_edge", "falling_edge"), None),
        (
            (),
            ('clocked_on : "CK"', 'clocked_on : "CK*D"'),
            r"small of small\.lib: cannot map to it: .*D flip-flops are not supported.*, or give a library with a D",
        ),
        (
            ("inv", "buf", "nand2", "nor2"),
            ("(dff)", "(xor) { area : 1; } cell (dff)"),
            r"small of small\.lib: .* library with a D flip-flop",
        ),
    ],
)
def test_libraries_that_read_well_and_do_not_map(design, library, tmp_path, without, edit, message):
    text = small_library(without=without)
    assert edit[0] in text
    library.write_text(text.replace(*edit))
    if message is None:
        check_counts(map_to_gates(design, read_liberty(library), tmp_path))
        return
    with pytest.raises(ToolchainError, match=message):
        map_to_gates(design, read_liberty(library), tmp_path)


def test_the_command_line(capfd, network, library, tmp_path):
    net, out = tmp_path / "net.npz", tmp_path / "out"
    save_network(network, net)
    command = ["synth", str(net), "--liberty", str(library), "-o", str(out)]
    assert cli.main([*command, "--strategy", "kernel", "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    part = report["synthesis"]
    assert (part["cells_of"], part["liberty"]["file"], report["strategy"]) == ("small", "small.lib", "kernel")
    assert part["area"] == part["sequential_area"] + part["combinational_area"]
    assert "wires" in part["left_out"]
    assert "Area, in the library" in (out / "report.html").read_text()
    assert json.loads((out / "report.json").read_text())["synthesis"] == part
    library.write_text(library.read_text()[:-40])
    assert cli.main(command) == 1
    said = capfd.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith(f"error: {library}: line ")
    assert said.out == ""
    assert json.loads((out / "report.json").read_text())["synthesis"] == part  # the older build stays


def test_the_table(capfd):
    part = {"cells_of": "small", "area": 1234.5, "left_out": "wires", "cells_by_type": {"inv": 2, "dff": 1000}}
    tables.show({"synthesis": part}, result_console())
    said = capfd.readouterr().out
    assert "1,234.50" in said
    assert "Left out: wires." in said
    assert said.index("1,000") < said.index("inv")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give one of --board, --liberty and --cells"),
        (("--cells", "cmos", "--board", "icebreaker"), "give one of --board, --liberty and --cells"),
        (("--cells", "cmos", "--fps", "3"), "--fps, --clock, --seed and --link need --board"),
    ],
)
def test_usage(capfd, tmp_path, options, message):
    assert cli.main(["synth", "fashion_mnist", "-o", str(tmp_path / "out"), *options]) == 2
    assert message in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
