import sys
from dataclasses import replace

import pytest

from xnorweave.errors import MismatchError, ToolchainError
from xnorweave.sim import cocotb_bench, simulators
from xnorweave.sim.bench import Stimulus
from xnorweave.sim.cocotb_bench import run_cocotb
from xnorweave.sim.wrapper import wrap


def check(summing, simulator, **fields):
    frames = summing.frames(8)
    result = run_cocotb(summing.design, Stimulus(frames=frames, **fields), simulator=simulator, taps=(summing.tap,))
    assert result.outputs == summing.summed(frames)
    assert result.taps == {"plus_one": summing.plus_one(frames)}
    return result


@pytest.mark.parametrize(("idle", "stall", "burst"), [(0.0, 0.7, 1), (0.6, 0.0, 3), (0.4, 0.4, 2)])
def test_icarus_under_patterns(summing, need, idle, stall, burst):
    need("icarus")
    check(summing, "icarus", idle=idle, stall=stall, burst=burst)


def test_icarus_counts_cycles(summing, need):
    need("icarus")
    result = check(summing, "icarus")
    assert (result.first_latency_cycles, result.interval_cycles, result.cycles) == (5, 4, 4 * 8 + 2)
    assert result.simulator.startswith("cocotb, icarus 1")


def test_icarus_reset_interrupts_a_frame(summing, need):
    need("icarus")
    assert check(summing, "icarus", stall=0.2, reset_at=(0, 9, 10, 25)).resets == 4


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("unheld", r"icarus: cycle \d+: payload changed or valid fell .*: o at frame 2, 0 of 1 words"),
        ("valid_falls", r"payload changed or valid fell"),
        ("unknown", r"cycle \d+: unknown bits \(x or z\): o at frame 2, 0 of 1 words"),
        ("deadlock", r"no transfer for 50 cycles, deadlocked: i at frame 3, 1 of 4 words; o at frame 3, 0 of 1 words"),
        ("surplus", r"a word too many: o at frame 3, 0 of 1 words"),
    ],
)
def test_icarus_names_planted_faults(summing, need, fault, message):
    need("icarus")
    frames = summing.frames(3 if fault == "surplus" else 5, fault=fault)
    with pytest.raises(MismatchError, match=message):
        run_cocotb(summing.design, Stimulus(frames=frames, stall=0.7, seed=2, patience_cycles=50))


def test_verilator_agrees_with_icarus_to_the_cycle(summing, need):
    need("icarus", "verilator")
    fields = {"idle": 0.3, "stall": 0.3, "burst": 2, "reset_at": (12, 30)}
    verilator, icarus = (check(summing, simulator, **fields) for simulator in ("verilator", "icarus"))
    assert replace(verilator, simulator="") == replace(icarus, simulator="")


def test_missing_icarus(summing, monkeypatch):
    monkeypatch.setattr(simulators.shutil, "which", lambda tool: None)
    with pytest.raises(ToolchainError, match="iverilog is not on PATH; install it with 'apt-get install iverilog'"):
        run_cocotb(summing.design, Stimulus(frames=summing.frames(1)))


def test_missing_cocotb(summing, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ToolchainError, match=r"cocotb is not installed; install it with 'pip install xnorweave\[sim\]'"
    ):
        run_cocotb(summing.design, Stimulus(frames=summing.frames(1)))


def test_a_design_that_does_not_compile(summing, need):
    need("icarus")
    broken = replace(summing.design, verilog=summing.design.verilog.replace("assign r =", "assign r = = "))
    with pytest.raises(ToolchainError, match=r"(?s)iverilog: exit status.*design\.v:\d+: .*error") as caught:
        run_cocotb(broken, Stimulus(frames=summing.frames(1)))
    assert "build.log" in str(caught.value)


def test_a_tap_name_that_is_no_instance(summing, need):
    need("icarus")
    bad = replace(summing.tap, instance="a; $finish")
    with pytest.raises(ToolchainError, match=r"tap plus_one: 'a; \$finish' is not an instance name"):
        run_cocotb(summing.design, Stimulus(frames=summing.frames(1)), taps=(bad,))


def test_a_tap_that_amaranth_has_renamed(summing):
    """A port of another name must not be taken for the stream, even where the wanted name exists inside."""
    verilog = summing.design.verilog.replace(".o__payload(p)", ".\\o__payload$3 (p)")
    with pytest.raises(ToolchainError, match=r"neither wires plus_one__o__payload, .* nor an instance plus_one with"):
        wrap(replace(summing.design, verilog=verilog), (summing.tap,))


def test_wires_of_the_top_module_come_first(summing):
    wires = "".join(f"  wire plus_one__{part};\n" for part in ("o__payload", "o__valid", "o__ready"))
    verilog = summing.design.verilog.replace("  wire v, r;\n", f"  wire v, r;\n{wires}")
    text = wrap(replace(summing.design, verilog=verilog), (summing.tap,))
    assert "= core.plus_one__o__payload;" in text
    assert "= core.plus_one.o__payload;" in wrap(summing.design, (summing.tap,))


@pytest.mark.parametrize(("said", "found"), [("Icarus Verilog version 10.3 (stable)", "10.3"), ("", "not working")])
def test_an_old_icarus_is_refused(monkeypatch, said, found):
    monkeypatch.setattr(simulators.shutil, "which", lambda tool: f"/bin/{tool}")
    monkeypatch.setattr(simulators, "_said", lambda _: said)
    with pytest.raises(ToolchainError, match=rf"icarus: iverilog is {found}, older than 11\.0; install it with"):
        simulators.find_icarus()


@pytest.mark.parametrize("content", [b'{"outputs": [', b"\xbe\xff"])
def test_a_result_that_is_none_is_named(summing, need, monkeypatch, content):
    need("icarus")

    def spoilt(arguments, *, folder, **options):
        simulators.command(arguments, folder=folder, **options)
        if "vvp" in options["what"]:
            (folder / "result.json").write_bytes(content)

    monkeypatch.setattr(cocotb_bench, "command", spoilt)
    with pytest.raises(ToolchainError, match=r"icarus under cocotb: .*result\.json is no result \("):
        run_cocotb(summing.design, Stimulus(frames=summing.frames(1)))


def test_a_simulator_that_never_ends_is_stopped(summing, need, monkeypatch):
    need("icarus")

    def stuck(arguments, *, what, **options):
        if what == "vvp":
            arguments, options["timeout_s"] = [sys.executable, "-c", "import time; time.sleep(60)"], 1
        simulators.command(arguments, what=what, **options)

    monkeypatch.setattr(cocotb_bench, "command", stuck)
    with pytest.raises(ToolchainError, match=r"vvp: not done after 1 s and was stopped"):
        run_cocotb(summing.design, Stimulus(frames=summing.frames(1)))
