"""Cores frame by frame: the same words and latencies as all frames at once, in any order, again and again."""

from types import SimpleNamespace

import numpy as np
import pytest

from xnorweave.errors import UnsupportedError
from xnorweave.lower import lower
from xnorweave.network import ArgMax, Conv2D, Dense, InputSpec, Network, Threshold
from xnorweave.sim import golden
from xnorweave.sim.amaranth_bench import AmaranthBench
from xnorweave.sim.bench import Stimulus
from xnorweave.sim.frame_core import amaranth_core, golden_core, verilator_core
from xnorweave.sim.vectors import input_words

BEST = (ArgMax(name="best"),)


def network(kind="pixels", channels=2, last=BEST):
    rng = np.random.default_rng(8)
    layers = (
        Conv2D(name="conv", weights=rng.choice(np.array([-1, 1], np.int8), (4, channels, 3, 3))),
        Threshold(name="fire", thresholds=np.zeros(4, np.int32)),
        Dense(name="fc", weights=rng.choice(np.array([-1, 1], np.int8), (5, 4 * 2 * 3))),
        *last,
    )
    return Network(name="small", input=InputSpec(kind=kind, shape=(channels, 4, 5)), layers=layers)


def frames(net, count):
    high = 256 if net.input.kind == "pixels" else 2
    return np.random.default_rng(9).integers(0, high, (count, *net.input.shape), dtype=np.uint8)


@pytest.mark.parametrize(("kind", "channels"), [("pixels", 2), ("pixels", 1), ("bits", 11)])
def test_golden_words_are_the_golden_classes(kind, channels):
    net = network(kind, channels)
    images = frames(net, 20)
    core = golden_core(net)
    answers = [core(words) for words in input_words(net, images)]
    assert [answer.word for answer in answers] == golden.run(net, images).outputs.tolist()
    assert len({answer.word for answer in answers}) > 1
    assert {answer.cycles for answer in answers} == {0}


def test_amaranth_gives_the_golden_classes_with_cycles():
    net = network()
    images = frames(net, 6)
    words = input_words(net, images)
    wanted = golden.run(net, images).outputs.tolist()
    core = amaranth_core(lower(net))
    answers = [core(frame) for frame in words]
    assert [answer.word for answer in answers] == wanted
    # Each frame finds the core as after its reset, so every one takes as long as the first.
    assert {answer.cycles for answer in answers} == {core(words[3]).cycles}
    assert answers[0].cycles > len(words[0])


@pytest.mark.slow
def test_verilator_agrees_with_amaranth(need, tmp_path):
    need("verilator")
    from xnorweave.emit import emit

    net = network()
    words = input_words(net, frames(net, 4))
    core, other = amaranth_core(lower(net)), verilator_core(emit(net), tmp_path)
    assert [other(frame) for frame in words] == [core(frame) for frame in words]


def test_a_bench_runs_again_from_its_initial_state(summing_core):
    core = summing_core()
    bench = AmaranthBench(core, output_words=1, taps={"plus_one": (core.inner, 4)})
    first = [[1, 2, 3, 4], [5, 6, 7, 8]]
    runs = [
        bench.run(Stimulus(frames=first)),
        bench.run(Stimulus(frames=[[9, 9, 9, 9]])),
        bench.run(Stimulus(frames=first)),
    ]
    assert runs[0] == runs[2]
    assert [run.outputs for run in runs] == [[[14], [30]], [[40]], [[14], [30]]]


def test_what_a_board_cannot_answer():
    with pytest.raises(UnsupportedError, match=r"fc: the golden model answers with the class of an ArgMax"):
        golden_core(network(last=()))


def test_several_words_a_frame():
    core = SimpleNamespace(taps=(SimpleNamespace(words=3),))
    with pytest.raises(UnsupportedError, match=r"the core gives 3 words a frame, a board answers with one"):
        amaranth_core(core)
