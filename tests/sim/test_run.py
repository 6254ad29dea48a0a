import dataclasses

import numpy as np
import pytest

from xnorweave.errors import DataError, ToolchainError
from xnorweave.network import ArgMax, Dense, InputSpec, Network
from xnorweave.sim import golden
from xnorweave.sim import run as run_module
from xnorweave.sim.run import Pattern, simulate, usable_simulators


def test_golden_alone_reports_accuracy():
    weights = np.array([[1, 1], [-1, -1]], np.int8)
    layers = (Dense(name="d", weights=weights), ArgMax(name="a"))
    network = Network(name="n", input=InputSpec(kind="bits", shape=(2, 1, 1)), layers=layers)
    frames = np.array([[1, 1], [0, 0], [1, 1]], np.uint8).reshape(3, 2, 1, 1)
    report = simulate(network, frames, simulator="golden", labels=np.array([0, 1, 1]))
    assert report.outputs.tolist() == [0, 1, 0]
    assert report.report() == {
        "simulation": {"simulator": "golden", "images": 3, "mismatches": 0},
        "accuracy": {"images": 3, "correct": 2, "percent": 66.6667},
    }


@pytest.mark.parametrize("simulator", ["amaranth", "icarus", "verilator"])
def test_a_right_design(tiny, tiny_core, need, simulator, tmp_path):
    if simulator != "amaranth":
        need(simulator)
    frames = tiny.frames(10)
    done = []
    report = simulate(
        tiny.network,
        frames,
        simulator=simulator,
        design=tiny.design,
        core=tiny_core() if simulator == "amaranth" else None,
        taps=True,
        folder=tmp_path,
        progress=lambda *counts: done.append(counts),
    )
    assert (report.mismatches, report.first_mismatch) == (0, None)
    assert (report.cycles_per_image, report.first_latency_cycles) == (6, 7)
    np.testing.assert_array_equal(report.outputs, golden.run(tiny.network, frames).outputs)
    assert done[-1] == (10, 10)
    parts = report.report()
    assert simulator in parts["simulation"].pop("simulator")
    assert parts == {"simulation": {"images": 10, "mismatches": 0, "cycles_per_image": 6, "first_latency_cycles": 7}}


@pytest.mark.parametrize("simulator", ["amaranth", "icarus"])
@pytest.mark.parametrize(
    "pattern", [Pattern(idle=0.4, stall=0.4, seed=3), Pattern(stall=0.5, burst=3, reset_at=(4, 20))]
)
def test_patterns_change_nothing(tiny, tiny_core, need, simulator, pattern):
    if simulator == "icarus":
        need(simulator)
    report = simulate(
        tiny.network,
        tiny.frames(5),
        simulator=simulator,
        design=tiny.design,
        core=tiny_core() if simulator == "amaranth" else None,
        taps=True,
        pattern=pattern,
    )
    assert report.mismatches == 0


def independent_mismatch(tiny, frames):
    """Of the broken design: filter 1 takes input bit 0 inverted, so its sum is off by 2 everywhere."""
    sums = golden.run(tiny.network, frames, keep_layers=True).layers["conv"]
    return int(sums[0, 1, 0, 0]), int(sums[0, 1, 0, 0]) + (2 if frames[0, 0, 0, 0] else -2)


def test_taps_name_the_first_layer_that_differs(tiny, need):
    need("icarus")
    frames = tiny.frames(10)
    report = simulate(tiny.network, frames, simulator="icarus", design=tiny.broken(), taps=True)
    mismatch = report.first_mismatch
    assert mismatch is not None
    assert (mismatch.layer, mismatch.frame, mismatch.row, mismatch.column, mismatch.channel) == ("conv", 0, 0, 0, 1)
    assert (mismatch.expected, mismatch.found) == independent_mismatch(tiny, frames)
    assert report.mismatches == int(_wrong(tiny, report, frames).sum()) > 0
    assert report.report()["simulation"]["first_mismatch"].startswith(
        "frame 0: layer conv, row 0, column 0, channel 1: "
    )


def _wrong(tiny, report, frames):
    return (report.outputs != golden.run(tiny.network, frames).outputs).any(axis=(1, 2, 3))


def test_without_taps_the_output_is_named(tiny, tiny_core):
    frames = tiny.frames(10)
    report = simulate(tiny.network, frames, simulator="amaranth", core=tiny_core(masks=(0b0110, 0b1011)))
    assert report.first_mismatch is not None
    assert report.first_mismatch.layer == "act"
    assert report.first_mismatch.frame == int(np.argmax(_wrong(tiny, report, frames)))
    assert report.mismatches == int(_wrong(tiny, report, frames).sum()) > 0


def test_a_mistake_behind_a_layer_leaves_that_layer_alone(tiny, tiny_core):
    report = simulate(tiny.network, tiny.frames(10), simulator="amaranth", core=tiny_core(limits=(2, 2)), taps=True)
    assert report.first_mismatch is not None
    assert (report.first_mismatch.layer, report.first_mismatch.channel) == ("act", 1)


def test_batches_of_the_verilated_bench(tiny, need, monkeypatch, tmp_path):
    need("verilator")
    monkeypatch.setattr(run_module, "_BATCH_FRAMES", 7)
    done = []
    report = simulate(
        tiny.network,
        tiny.frames(20),
        simulator="verilator",
        design=tiny.design,
        pattern=Pattern(idle=0.3, stall=0.3),
        folder=tmp_path,
        progress=lambda *counts: done.append(counts),
    )
    assert (report.images, report.mismatches) == (20, 0)
    assert done == [(7, 20), (14, 20), (20, 20)]


def test_mistakes_of_the_caller(tiny):
    frames = tiny.frames(2)
    with pytest.raises(DataError, match="simulator icarus: the emitted design is not given"):
        simulate(tiny.network, frames, simulator="icarus")
    with pytest.raises(DataError, match="simulator amaranth: the Amaranth core is not given"):
        simulate(tiny.network, frames, simulator="amaranth", design=tiny.design)
    with pytest.raises(DataError, match="simulator 'vcs': not one of golden, amaranth, icarus, verilator"):
        simulate(tiny.network, frames, simulator="vcs", design=tiny.design)
    with pytest.raises(DataError, match="3 labels for 2 images"):
        simulate(tiny.network, frames, simulator="golden", labels=np.zeros(3, int))


def test_usable_simulators(monkeypatch):
    def missing():
        raise ToolchainError("gone")

    monkeypatch.setattr(run_module, "find_verilator", missing)
    monkeypatch.setattr(run_module, "find_icarus", lambda: "11.0")
    assert usable_simulators() == ("golden", "amaranth", "icarus")
    monkeypatch.setattr(run_module, "find_icarus", missing)
    assert usable_simulators() == ("golden", "amaranth")


def test_a_report_s_fields_are_fixed(tiny):
    report = simulate(tiny.network, tiny.frames(1), simulator="golden")
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.mismatches = 1
