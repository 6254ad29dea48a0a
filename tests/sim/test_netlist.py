"""Netlists of both families with every cell that matters (LUTs, carries, registers, block RAM of every width)."""

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from xnorweave.boards.mapping import synthesize_core
from xnorweave.design import Design
from xnorweave.emit import emit
from xnorweave.errors import MismatchError, ToolchainError
from xnorweave.lower import lower
from xnorweave.network import Dense, InputSpec, Network, Threshold
from xnorweave.passes.plan import make_plan
from xnorweave.sim import golden
from xnorweave.sim import netlist as netlist_module
from xnorweave.sim.amaranth_bench import run_amaranth
from xnorweave.sim.bench import Stimulus
from xnorweave.sim.netlist import cell_models, simulate_netlist
from xnorweave.sim.vectors import first_mismatch, input_words
from xnorweave.yosys import run_yosys

# name: (width, depth, whether it is written)
MEMORIES = {
    "bits": (1, 16384, False),
    "pairs": (2, 4096, False),
    "nibbles": (4, 2048, False),
    "bytes": (9, 2048, True),
    "words": (18, 1024, True),
    "rows": (36, 512, False),
    "row_buffer": (36, 512, True),
}


def contents(name, depth):
    rng = np.random.default_rng(len(name))
    return [int(value) for value in rng.integers(0, 1 << MEMORIES[name][0], depth)]


class MemoryCore(wiring.Component):
    """Each word looks up every memory, adds what it finds, and writes the sum back into the writable ones."""

    i: In(stream.Signature(14))
    o: Out(stream.Signature(20))

    def __init__(self, family):
        # The other widths are only there for the ECP5's model, which is our own.
        self.names = ["bytes", "row_buffer"] if family == "ice40" else list(MEMORIES)
        self.divisor = {"ice40": 8, "ecp5": 1}[family]
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        going, looked = Signal(), Signal()
        address = Signal(14)
        m.d.comb += [going.eq(~self.o.valid | self.o.ready), self.i.ready.eq(going)]
        with m.If(going):
            m.d.sync += [looked.eq(self.i.valid), self.o.valid.eq(looked), address.eq(self.i.payload)]
        found = []
        total = Signal(20)
        for name in self.names:
            width, depth, written = MEMORIES[name]
            depth //= self.divisor
            memory = m.submodules[name] = Memory(shape=width, depth=depth, init=contents(name, depth))
            read = memory.read_port()
            m.d.comb += [read.addr.eq(self.i.payload), read.en.eq(going)]
            found.append(read.data if width < 36 else Cat(read.data[:18] ^ read.data[18:]))
            if written:
                write = memory.write_port()
                m.d.comb += [write.addr.eq(address), write.data.eq(total ^ (total << 2)), write.en.eq(going & looked)]
        m.d.comb += total.eq(sum(found) + address)
        with m.If(going):
            m.d.sync += self.o.payload.eq(total)
        return m


SYNTHESIS = {"ice40": "synth_ice40 -top xnorweave_core", "ecp5": "synth_ecp5 -nowidelut -top xnorweave_core"}


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(3)
    # Addresses close to each other, so that written words are read again.
    return [[int(word) for word in rng.integers(0, 64, 8) * 257 % 16384] for _ in range(6)]


@pytest.fixture(scope="module", params=["ice40", "ecp5"])
def mapped(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "core.il").write_text(rtlil.convert(MemoryCore(request.param), name="xnorweave_core", emit_src=False))
    script = ["read_rtlil core.il", SYNTHESIS[request.param], "write_verilog -noattr netlist.v"]
    run_yosys(script, folder=folder, log="yosys.log", timeout_s=300)
    return request.param, (folder / "netlist.v").read_text()


@pytest.fixture(scope="module")
def expected(mapped, frames):
    core = MemoryCore(mapped[0])
    return run_amaranth(core, Stimulus(frames=frames, idle=0.2, stall=0.2), output_words=8).outputs


@pytest.fixture(scope="module")
def free_running_layer(tmp_path_factory):
    """A layer that takes a vector each cycle, its design, its netlist whose only memory is the FIFO, and a folder."""
    rng = np.random.default_rng(4)
    weights = rng.choice(np.array([-1, 1], np.int8), (9, 20))
    layers = (Dense(name="fc", weights=weights), Threshold(name="sign", thresholds=2 * rng.integers(-2, 3, 9)))
    network = Network(name="free", input=InputSpec(kind="bits", shape=(20, 1, 1)), layers=layers)
    plan = make_plan(network, levels_per_register=1, spatial=frozenset({"fc"}), free_running=True)
    core = lower(network, strategy="units", plan=plan, most_enabled_flip_flops=0)
    design = emit(network, strategy="units", plan=plan, core=core)
    folder = tmp_path_factory.mktemp("free")
    mapped = synthesize_core(design, "ecp5", folder)
    assert mapped.cells.lut_rams > 0
    assert mapped.cells.block_rams == 0
    return network, design, mapped.netlist.read_text(), folder


DESIGN = Design(verilog="", input_bits=14, output_bits=20, input_words=8, output_words=8, taps=())


def test_netlist_has_block_rams(mapped):
    family, netlist = mapped
    cell = {"ice40": "SB_RAM40_4K ", "ecp5": "DP16KD "}[family]
    assert netlist.count(cell) >= {"ice40": 2, "ecp5": len(MEMORIES)}[family]


@pytest.mark.parametrize("simulator", ["verilator", "icarus"])
def test_netlist_gives_the_component_s_words(mapped, frames, expected, need, simulator, tmp_path):
    need(simulator)
    family, netlist = mapped
    pattern = Stimulus(frames=frames, idle=0.2, stall=0.2)
    result = simulate_netlist(DESIGN, netlist, family, pattern, simulator=simulator, folder=tmp_path)
    assert result.outputs == expected


@pytest.mark.parametrize("stall", [0.0, 0.3, 0.85])
def test_a_free_running_pipeline_equals_golden(stall, free_running_layer, rng, need):
    need("verilator")
    network, design, netlist, folder = free_running_layer
    # More frames than there are credits: where the receiver stalls, the pipeline is full and stays so.
    frames = rng.integers(0, 2, (120, 20, 1, 1)).astype(np.uint8)
    pattern = Stimulus(frames=input_words(network, frames), stall=stall, seed=3)
    result = simulate_netlist(design, netlist, "ecp5", pattern, folder=folder)
    want = golden.run(network, frames, keep_layers=True).layers
    tap = design.taps[-1]
    assert first_mismatch(tap, result.outputs, want[tap.layer]) is None


def test_a_changed_cell_is_found(mapped, frames, expected, need):
    need("icarus")
    family, netlist = mapped
    kind, width = {"ice40": ("SB_LUT4", 16), "ecp5": ("LUT4", 16)}[family]
    at = netlist.rindex(f"{width}'h", 0, netlist.rindex(f"  {kind} #(") + 60)
    digit = netlist[at + 4]
    changed = netlist[: at + 4] + f"{int(digit, 16) ^ 15:x}" + netlist[at + 5 :]
    try:
        found = simulate_netlist(
            DESIGN, changed, family, Stimulus(frames=frames, patience_cycles=200), simulator="icarus"
        )
    except MismatchError:
        return
    assert found.outputs != expected


def test_missing_cell_models(monkeypatch):
    monkeypatch.setattr(netlist_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ToolchainError, match=r"ice40/cells_sim\.v is not in the package pyosys; .*'pip install pyosys'"
    ):
        cell_models("ice40")
