import re
import subprocess
import sys

import numpy as np
import pytest
from amaranth import Module, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from xnorweave.emit import emit, emit_verilog, popcounts
from xnorweave.hw.adder_graph import Adder, KernelUnit
from xnorweave.network import ArgMax, Conv2D, Dense, InputSpec, MaxPool, Network, Threshold
from xnorweave.network_file import network_digest
from xnorweave.passes.share import STRATEGIES
from xnorweave.popcounts import MOST_BITS

HOSTILE = 'x"; exec rm -rf / # `$(id)` \\'


def make(rng: np.random.Generator, names: tuple[str, ...] = ("conv", "sign", "pool", "fc", "top")) -> Network:
    conv, sign, pool, fc, top = names
    kernel = rng.choice(np.array([-1, 1], np.int8), (6, 1, 3, 3))
    layers = (
        Conv2D(name=conv, weights=np.concatenate([kernel, kernel[::-1]], 1)),
        Threshold(name=sign, thresholds=rng.integers(-3, 4, 6).astype(np.int32)),
        MaxPool(name=pool),
        Dense(name=fc, weights=rng.choice(np.array([-1, 1], np.int8), (4, 24))),
        ArgMax(name=top),
    )
    return Network(name=HOSTILE, input=InputSpec(kind="bits", shape=(2, 6, 6)), layers=layers, classes=(HOSTILE,) * 4)


@pytest.fixture
def network(rng) -> Network:
    return make(rng)


def test_ports_are_the_contract(network):
    design = emit(network)
    top = re.search(r"module xnorweave_core\((.*?)\);", design.verilog, re.DOTALL)
    assert top is not None
    assert set(re.split(r",\s*", top[1].strip())) == {
        "clk",
        "rst",
        "i__payload",
        "i__valid",
        "i__ready",
        "o__payload",
        "o__valid",
        "o__ready",
    }
    assert (design.input_bits, design.output_bits, design.input_words, design.output_words) == (2, 2, 36, 1)


def test_modules_are_named_after_layers(network):
    modules = re.findall(r"^module (\S+)\(", emit(network).verilog, re.MULTILINE)
    assert {"layer_conv", "layer_conv__window", "layer_conv__sums", "layer_pool", "layer_fc", "layer_top"} <= {*modules}
    assert len(modules) == len(set(modules))


def test_popcounts_are_the_units_that_count_two_bits_or_more():
    units = {
        "one": KernelUnit(size=(1, 2), pattern=0b10, input_bits=1),
        "two": KernelUnit(size=(1, 2), pattern=0b11, input_bits=1, inverted=0b01),
        "most": KernelUnit(size=(1, MOST_BITS), pattern=(1 << MOST_BITS) - 1, input_bits=1),
        "more": KernelUnit(size=(1, MOST_BITS + 1), pattern=(2 << MOST_BITS) - 1, input_bits=1),
        "words": KernelUnit(size=(3, 3), pattern=0b111, input_bits=2),
        "adder": Adder(a=unsigned(4), b=unsigned(4), o=unsigned(5), shift=0, subtract=False),
    }
    assert popcounts(units) == {"two": (2, 0b11, 0b01), "most": (MOST_BITS, (1 << MOST_BITS) - 1, 0)}


def test_a_kernel_unit_is_one_module_used_by_every_channel(network):
    verilog = emit(network, strategy="kernel").verilog
    modules = re.findall(r"^module (kernel_3x3_u1_\w+)\(", verilog, re.MULTILINE)
    uses = re.findall(r"^  (kernel_3x3_u1_\w+) ", verilog, re.MULTILINE)
    assert len(modules) == len(set(modules))
    assert set(uses) == set(modules)
    # Both channels have the same kernels, filter by filter reversed.
    assert all(uses.count(module) >= 2 for module in modules)
    assert verilog.count("keep_hierarchy") == len(re.findall(r"^module (?:kernel|add|sub)_", verilog, re.MULTILINE))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_bytes_every_time_and_under_any_hash_seed(strategy, tmp_path, rng):
    from xnorweave.network_file import save_network

    network = make(rng)
    save_network(network, tmp_path / "n.npz")
    program = (
        "import sys; from xnorweave import load; from xnorweave.emit import emit;"
        "sys.stdout.write(emit(load(sys.argv[1]), strategy=sys.argv[2]).verilog)"
    )
    texts = {emit(network, strategy=strategy).verilog}
    for seed in ("0", "1", "77"):
        run = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "n.npz"), strategy],
            env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        texts.add(run.stdout)
    assert len(texts) == 1


def test_user_text_does_not_reach_the_verilog(network):
    verilog = emit(network).verilog
    assert "exec" not in verilog
    assert "$(id)" not in verilog
    assert network_digest(network).hex() in verilog


def test_layers_named_as_verilog_keywords(rng, need):
    need("icarus")
    from xnorweave.sim import golden
    from xnorweave.sim.bench import Stimulus
    from xnorweave.sim.cocotb_bench import run_cocotb
    from xnorweave.sim.random_networks import random_frames
    from xnorweave.sim.vectors import input_words

    network = make(rng, ("module", "endmodule", "reg", "wire", "always"))
    frames = random_frames(rng, network, 3)
    result = run_cocotb(emit(network), Stimulus(frames=input_words(network, frames)), simulator="icarus")
    assert [words[0] for words in result.outputs] == golden.run(network, frames).outputs.tolist()


@pytest.mark.parametrize("standard", ["2005", "2012"])
def test_a_block_whose_inputs_never_change_is_evaluated(standard, tmp_path, need):
    """In Verilog and in SystemVerilog, whose rules for what a declaration sets differ."""
    need("icarus")

    class Switched(wiring.Component):
        never: In(1)
        o: Out(4)

        def elaborate(self, platform):
            m = Module()
            index = Signal(2)
            with m.If(self.never):
                m.d.sync += index.eq(index + 1)
            with m.Switch(index):
                for place, value in enumerate((9, 5, 3, 6)):
                    with m.Case(place):
                        m.d.comb += self.o.eq(value)
            return m

    bench = (
        "module bench; wire [3:0] o; reg clk = 0; always #1 clk = ~clk;"
        "switched dut (.clk(clk), .rst(1'b0), .never(1'b0), .o(o));"
        'initial #9 begin $display("%b", o); $finish; end endmodule'
    )
    (tmp_path / "bench.v").write_text(emit_verilog(Switched(), "switched", []) + bench)
    compiled = ["iverilog", f"-g{standard}", "-o", "bench.vvp", "bench.v"]
    subprocess.run(compiled, cwd=tmp_path, check=True)
    told = subprocess.run(["vvp", "-n", "bench.vvp"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["1001"]
