"""The shipped network through every simulator, and its netlists: each equals the golden model."""

import numpy as np
import pytest

from xnorweave import load
from xnorweave.boards.mapping import synthesize_core
from xnorweave.emit import emit
from xnorweave.images import load_images, shipped
from xnorweave.lower import lower
from xnorweave.passes.share import STRATEGIES
from xnorweave.sim import golden
from xnorweave.sim.bench import Stimulus
from xnorweave.sim.netlist import simulate_netlist
from xnorweave.sim.run import Pattern, simulate
from xnorweave.sim.vectors import input_words
from xnorweave.sim.verilator_bench import compile_bench


def each_or_slow(name, *slow):
    return pytest.param(name, marks=pytest.mark.slow) if name in slow else name


@pytest.fixture(scope="module")
def network():
    return load(shipped("fashion_mnist.npz"))


@pytest.fixture(scope="module")
def images(network):
    return load_images(shipped("fashion_mnist_test200.npz"), network)


@pytest.fixture(scope="module")
def design(network):
    return emit(network)


def test_amaranth_in_every_layer(network, images):
    report = simulate(
        network, images.frames[:2], simulator="amaranth", core=lower(network), labels=images.labels[:2], taps=True
    )
    assert report.mismatches == 0


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_verilog_in_every_layer_with_idle_and_stall(simulator, network, images, design, need):
    need(simulator)
    count = 2 if simulator == "icarus" else 8
    report = simulate(
        network,
        images.frames[:count],
        simulator=simulator,
        design=design,
        labels=images.labels[:count],
        taps=True,
        pattern=Pattern(idle=0.2, stall=0.2, seed=3),
    )
    assert report.mismatches == 0


@pytest.mark.parametrize("strategy", [each_or_slow(name, "none", "kernel") for name in STRATEGIES])
def test_all_shipped_images_in_verilator(strategy, network, images, need, tmp_path):
    need("verilator")
    bench = compile_bench(emit(network, strategy=strategy), tmp_path)
    want = golden.run(network, images.frames).outputs.tolist()
    steady = bench.run(Stimulus(frames=input_words(network, images.frames)))
    assert [words[0] for words in steady.outputs] == want
    assert steady.interval_cycles == 784
    rng = np.random.default_rng(5)
    resets = tuple(int(c) for c in np.sort(rng.choice(40_000, 30, replace=False)))
    disturbed = Stimulus(frames=input_words(network, images.frames[:40]), reset_at=resets, idle=0.1, stall=0.3, seed=9)
    result = bench.run(disturbed)
    assert [words[0] for words in result.outputs] == want[:40]
    assert result.resets == len(resets)


@pytest.mark.parametrize("family", [each_or_slow(name, "ecp5") for name in ("ice40", "ecp5")])
def test_netlist(family, network, images, design, need, tmp_path):
    need("verilator")
    mapped = synthesize_core(design, family, tmp_path)
    netlist = mapped.netlist.read_text()
    stimulus = Stimulus(frames=input_words(network, images.frames[:20]), idle=0.1, stall=0.1, seed=2)
    result = simulate_netlist(design, netlist, family, stimulus)
    assert [words[0] for words in result.outputs] == golden.run(network, images.frames[:20]).outputs.tolist()


@pytest.mark.parametrize("simulator", ["verilator"])
def test_a_planted_error_is_named(simulator, network, images, design, need):
    """One inverted pooling bit in the Verilog: the report names its layer, not a later one."""
    need(simulator)
    import dataclasses

    line = next(
        line
        for line in design.verilog.splitlines()
        if "layer_pool2__o__payload =" in line and line.startswith("  assign")
    )
    left, right = line.rstrip(";").split(" = ")
    # The tap alone is inverted, so the class stays right and only the tap comparison can tell.
    broken = design.verilog.replace(line, f"{left} = {right} ^ 16'h0020;")
    report = simulate(
        network,
        images.frames[:1],
        simulator=simulator,
        design=dataclasses.replace(design, verilog=broken),
        taps=True,
    )
    assert report.first_mismatch is not None
    assert (report.first_mismatch.layer, report.first_mismatch.row, report.first_mismatch.column) == ("pool2", 0, 0)
    assert report.first_mismatch.channel == 5
