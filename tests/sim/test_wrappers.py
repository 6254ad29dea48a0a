"""The emitted wrappers against other people's models of their buses, in Icarus."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xnorweave.design import Design
from xnorweave.emit import emit
from xnorweave.hw.axi_stream import AxiStream
from xnorweave.hw.wishbone import IDENTITY, WORD_BITS, Register, Wishbone
from xnorweave.network import ArgMax, Conv2D, Dense, InputSpec, Network, Threshold
from xnorweave.sim import golden
from xnorweave.sim.simulators import command
from xnorweave.sim.vectors import input_words, tap_words
from xnorweave.wrappers import WRAPPER_MODULES, WrapperKind, emit_wrapper

slow = pytest.mark.slow

INPUT_READY, OUTPUT_VALID, IN_FRAME, OVERRUN, UNDERRUN = 1, 2, 4, 16, 32
RESET, IRQ_ENABLE = 1, 2


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network's core with frames and their answers."""

    network: Network
    design: Design

    def frames(self, rng: np.random.Generator, count: int) -> tuple[list[list[int]], list[list[int]]]:
        """Input words and the words of the golden model's answers."""
        images = rng.integers(0, 2, (count, *self.network.input.shape), dtype=np.uint8)
        found = golden.run(self.network, images, keep_layers=True)
        tap = self.design.taps[-1]
        return input_words(self.network, images), tap_words(tap, found.layers[tap.layer])


def signs(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.choice(np.array([-1, 1], np.int8), shape)


def case(network: Network) -> Case:
    return Case(network=network, design=emit(network))


def every_second_pixel(name: str, *, seed: int, filters: int, shape: tuple[int, int, int]) -> Case:
    """A filter's sign for every second pixel of every second row."""
    layers = (
        Conv2D(name="conv", weights=signs(np.random.default_rng(seed), filters, shape[0], 1, 1), stride=2),
        Threshold(name="sign", thresholds=np.zeros(filters, np.int32)),
    )
    return case(Network(name=name, input=InputSpec(kind="bits", shape=shape), layers=layers))


@pytest.fixture(scope="module")
def classifier() -> Case:
    """Sixteen words of two bits, one class; the frame's last words are used by nothing."""
    rng = np.random.default_rng(1)
    layers = (
        Conv2D(name="conv", weights=signs(rng, 3, 2, 3, 3)),
        Threshold(name="sign", thresholds=np.zeros(3, np.int32)),
        Dense(name="fc", weights=signs(rng, 5, 12)),
        ArgMax(name="top"),
    )
    return case(Network(name="c", input=InputSpec(kind="bits", shape=(2, 4, 4)), layers=layers))


@pytest.fixture(scope="module")
def wide() -> Case:
    """Words of 40 bits in and 35 out: more than a register. The last row and column of a frame are used by nothing."""
    return every_second_pixel("w", seed=2, filters=35, shape=(40, 4, 4))


@pytest.fixture(scope="module")
def nine() -> Case:
    """Nine words in and five out: their counters need a bit more than those of one word less."""
    return every_second_pixel("n", seed=3, filters=3, shape=(2, 9, 1))


@pytest.fixture
def bench(need, tmp_path, rng):
    """Run a job against the wrapper of a case."""
    need("icarus")
    for package in ("cocotb", "cocotbext.axi", "cocotbext.wishbone"):
        pytest.importorskip(package, reason=f"{package} is absent: pip install -e '.[sim,dev]'")

    def run(case: Case, kind: WrapperKind, **job: Any) -> Any:
        module = WRAPPER_MODULES[kind]
        (tmp_path / "design.v").write_text(case.design.verilog)
        (tmp_path / f"{module}.v").write_text(emit_wrapper(case.design, kind))
        (tmp_path / "time.v").write_text("`timescale 1ns/1ps\n")
        line = ["iverilog", "-g2012", "-o", "sim.vvp", "-s", module, "time.v", f"{module}.v", "design.v"]
        command(line, folder=tmp_path, log="build.log", what="iverilog")
        job |= {"bus": kind, "seed": int(rng.integers(1 << 30)), "result": str(tmp_path / "result.json")}
        return simulated(tmp_path, module, job)

    return run


def simulated(folder: Path, module: str, job: dict[str, Any]) -> Any:
    from cocotb_tools.runner import get_runner

    (folder / "job.json").write_text(json.dumps(job))
    runner = get_runner("icarus")
    runner.build_dir = folder
    runner.test(
        test_module="wrapper_bench",
        hdl_toplevel=module,
        hdl_toplevel_lang="verilog",
        build_dir=folder,
        test_dir=folder,
        results_xml=str(folder / "results.xml"),
        extra_env={"WRAPPER_JOB": str(folder / "job.json"), "COCOTB_LOG_LEVEL": "WARNING"},
        log_file=folder / "simulation.log",
    )
    result = folder / "result.json"
    assert result.exists(), (folder / "simulation.log").read_text()[-2000:]
    return json.loads(result.read_text())


def answers(words: list[list[int]], wrong: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    """What the master gives: tuser is on the last word of frames of a wrong length, and nowhere else."""
    return [
        {"words": frame, "user": [0] * (len(frame) - 1) + [int(number in wrong)]} for number, frame in enumerate(words)
    ]


def littered(rng: np.random.Generator, frames: list[list[int]], bits: int) -> list[list[int]]:
    """The words with other bits set above them, as far as whole bytes go."""
    spare = -bits % 8
    return [[word | int(rng.integers(1 << spare)) << bits for word in frame] for frame in frames]


@pytest.mark.parametrize(
    ("name", "idle", "stall"),
    [
        ("classifier", 0.4, 0.5),
        ("wide", 0.0, 0.7),
        ("nine", 0.2, 0.2),
        pytest.param("classifier", 0.0, 0.0, marks=slow),
        pytest.param("classifier", 0.6, 0.0, marks=slow),
        pytest.param("classifier", 0.0, 0.9, marks=slow),
        pytest.param("wide", 0.0, 0.0, marks=slow),
        pytest.param("wide", 0.6, 0.0, marks=slow),
        pytest.param("wide", 0.5, 0.5, marks=slow),
    ],
)
def test_axi_stream_answers_every_frame(request, bench, rng, name, idle, stall):
    case = request.getfixturevalue(name)
    frames, expected = case.frames(rng, 7)
    sent = littered(rng, frames, case.design.input_bits)
    found = bench(case, "axi-stream", idle=idle, stall=stall, phases=[{"frames": sent}])
    assert found["phases"] == [answers(expected)]
    assert (found["faults"], found["frame_errors"]) == ([], 0)


@pytest.mark.parametrize(
    ("name", "idle", "stall"),
    [
        ("classifier", 0.4, 0.6),
        ("wide", 0.0, 0.0),
        pytest.param("classifier", 0.0, 0.0, marks=slow),
        pytest.param("wide", 0.4, 0.6, marks=slow),
    ],
)
def test_axi_stream_marks_frames_of_other_lengths_and_goes_on(request, bench, rng, name, idle, stall):
    case = request.getfixturevalue(name)
    frames, expected = case.frames(rng, 9)
    wrong = {1: 1, 3: 15, 4: 17, 6: 40, 7: 2}  # and frames 5 and 8 come straight behind a wrong one
    sent = [(frame * 3)[: wrong[number]] if number in wrong else frame for number, frame in enumerate(frames)]
    found = bench(case, "axi-stream", idle=idle, stall=stall, phases=[{"frames": sent}])
    ((*got,),) = found["phases"]
    assert [answer["user"][-1] for answer in got] == [int(number in wrong) for number in range(9)]
    assert [len(answer["words"]) for answer in got] == [len(words) for words in expected]
    whole = [answer for number, answer in enumerate(got) if number not in wrong]
    assert whole == answers([words for number, words in enumerate(expected) if number not in wrong])
    assert (found["faults"], found["frame_errors"]) == ([], len(wrong))


@pytest.mark.parametrize("cut", [23, pytest.param(5, marks=slow), pytest.param(41, marks=slow)])
def test_axi_stream_reset_in_mid_frame(bench, rng, classifier, cut):
    frames, expected = classifier.frames(rng, 5)
    phases = [{"frames": frames[:3], "cut": cut}, {"frames": [frames[0][:4], *frames], "cut": 2}, {"frames": frames}]
    found = bench(classifier, "axi-stream", idle=0.2, stall=0.2, phases=phases)
    before, _, after = found["phases"]
    assert before == answers(expected[: len(before)])
    assert len(before) < 3
    assert after == answers(expected)
    assert found["faults"] == []


def parts(words: list[int], bits: int) -> list[list[int]]:
    count = -(-bits // WORD_BITS)
    return [[word >> WORD_BITS * k & (1 << WORD_BITS) - 1 for k in range(count)] for word in words]


def on_wishbone(bench, case: Case, script: list[list[Any]], **job: Any) -> list[Any]:
    registers = {register.name: int(register) for register in Register}
    count = -(-case.design.output_bits // WORD_BITS)
    job = {"idle": 0.0, "stall": 0.0, "registers": registers, "output_parts": count, "script": script} | job
    return bench(case, "wishbone", **job)


@pytest.mark.parametrize(
    ("name", "idle", "stall"),
    [
        ("wide", 0.5, 0.6),
        ("nine", 0.2, 0.2),
        pytest.param("classifier", 0.0, 0.0, marks=slow),
        pytest.param("classifier", 0.5, 0.6, marks=slow),
        pytest.param("wide", 0.0, 0.0, marks=slow),
    ],
)
def test_wishbone_answers_every_frame(request, bench, rng, name, idle, stall):
    case = request.getfixturevalue(name)
    frames, expected = case.frames(rng, 4)
    words = [part for frame in frames for part in parts(frame, case.design.input_bits)]
    taken = sum(map(len, expected))
    script = [["exchange", words, taken], *(["read", name] for name in ("FRAMES_IN", "FRAMES_OUT", "STATUS"))]
    found, *counters = on_wishbone(bench, case, script, idle=idle, stall=stall)
    assert found == [part for answer in expected for part in parts(answer, case.design.output_bits)]
    assert counters == [4, 4, INPUT_READY]


def test_wishbone_registers_that_never_change(bench, wide):
    names = ("IDENTITY", "INPUT_WORDS", "INPUT_BITS", "OUTPUT_WORDS", "OUTPUT_BITS", "INPUT", "CONTROL", "STATUS")
    script = [["write", name, 0xFFFFFFFC] for name in names if name not in ("INPUT", "CONTROL")]
    script += [["read", name] for name in names]
    found = on_wishbone(bench, wide, script)[-len(names) :]
    assert found == [IDENTITY, 16, 40, 4, 35, 0, 0, INPUT_READY]


def test_wishbone_reset_in_mid_frame(bench, rng, classifier):
    frames, expected = classifier.frames(rng, 2)
    first, whole = (parts(words, 2) for words in (frames[0][:7], frames[0] + frames[1]))
    script = [["exchange", whole, 2], ["exchange", first, 0], ["read", "POSITION"], ["read", "STATUS"]]
    script += [["write", "CONTROL", RESET, 0xE], ["read", "POSITION"]]  # its byte is not selected
    script += [["write", "CONTROL", RESET], *(["read", name] for name in ("STATUS", "POSITION", "FRAMES_IN"))]
    script += [["wait", 4], ["read", "STATUS"], ["exchange", whole, 2]]
    before, _, *found, after = on_wishbone(bench, classifier, script)
    assert before == after == [part for answer in expected for part in parts(answer, 3)]
    assert found[:4] == [7, INPUT_READY | IN_FRAME, None, 7]
    assert found[4:] == [None, 0, 0, 0, None, INPUT_READY]


def test_wishbone_tells_what_was_lost(bench, rng, classifier):
    frames, expected = classifier.frames(rng, 1)
    script = [["read", "OUTPUT"], ["read", "STATUS"], ["write", "STATUS", UNDERRUN], ["read", "STATUS"], ["irq"]]
    script += [["write", "CONTROL", IRQ_ENABLE], ["irq"], ["exchange", parts(frames[0], 2), 0], ["wait", 200], ["irq"]]
    script += [["write", "INPUT", 0] for _ in range(120)]  # until the core, whose answer nobody takes, is full
    script += [["read", "STATUS"], ["write", "STATUS", OVERRUN], ["read", "STATUS"], ["read", "OUTPUT"]]
    found = on_wishbone(bench, classifier, script)
    assert found[:7] == [0, INPUT_READY | UNDERRUN, None, INPUT_READY, 0, None, 0]
    assert found[9] == 1
    lost, _, cleared, answer = found[-4:]
    assert lost & (OVERRUN | UNDERRUN | OUTPUT_VALID | INPUT_READY) == OVERRUN | OUTPUT_VALID
    assert cleared == lost & ~OVERRUN
    assert [answer] == expected[0]


@pytest.mark.parametrize("component", [AxiStream, Wishbone])
def test_refused_sizes(component):
    sizes = {"input_bits": 1, "output_bits": 1, "input_words": 1, "output_words": 1}
    for name in sizes:
        with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
            component(**sizes | {name: 0})
