import numpy as np
import pytest
from amaranth import signed, unsigned
from amaranth.sim import Simulator

from xnorweave.adder_graph import AdderGraph
from xnorweave.hw.dense import BiasUnit, Dense
from xnorweave.hw.threshold import ThresholdUnit
from xnorweave.lower import graph_unit
from xnorweave.passes.cse import share_sums


def pack(values, width: int) -> int:
    return sum((int(v) & (1 << width) - 1) << k * width for k, v in enumerate(values))


@pytest.fixture
def graph(rng) -> AdderGraph:
    return share_sums(rng.choice(np.array([-1, 1], np.int8), (11, 6)), 3, effort=0.1)


@pytest.fixture
def vectors(rng) -> np.ndarray:
    vectors = rng.integers(0, 8, (30, 11))
    vectors[0], vectors[1] = 0, 7
    return vectors


def sums(graph: AdderGraph, vectors: np.ndarray) -> np.ndarray:
    """What the graph's unit alone gives, read off its certificate's coefficients: constants included."""
    low, high = graph.output_range
    units = np.eye(graph.inputs, dtype=int)
    values = [np.zeros(len(units) + 1, int), *np.vstack([np.zeros(graph.inputs, int), units]).T]

    def operand(number: int) -> np.ndarray:
        top = (1 << max(1, graph.operand_range(abs(number))[1].bit_length())) - 1
        return values[number] if number >= 0 else top - values[-number]

    for node in graph.nodes:
        values.append((operand(node.lhs) << node.lhs_shift) + (-1 if node.subtract else 1) * operand(node.rhs))
    points = np.stack([operand(o) for o in graph.outputs], 1)
    found = points[0] + vectors @ (points[1:] - points[0])
    assert low <= found.min() <= found.max() <= high
    return found


@pytest.mark.parametrize("free_running", [False, True])
@pytest.mark.parametrize("lanes", [11, 14])
def test_dense_layer_that_fires(lanes, free_running, graph, vectors, pace, stream, rng):
    unit = graph_unit(graph, levels_per_register=2)
    want = sums(graph, vectors)
    thresholds = np.median(want, axis=0).astype(int)
    last = ThresholdUnit(thresholds={0: tuple(thresholds.tolist())}, sum_shape=unit.output_shape)
    # Lanes beyond the inputs hold anything.
    filled = np.hstack([vectors, rng.integers(0, 8, (len(vectors), lanes - 11))])
    words = [[pack(row, 3)] for row in filled]
    layer = Dense(graph=unit, last=last, lanes=lanes, free_running=free_running)
    result = stream(layer, words, 1, pace)
    assert [o[0] for o in result.outputs] == [pack(row, 1) for row in want >= thresholds]
    assert layer.latency == unit.latency + (4 if free_running else 1)
    if pace == (0.0, 0.0):
        assert (result.first_latency_cycles, result.interval_cycles) == (layer.latency, 1)


@pytest.mark.parametrize("free_running", [False, True])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_layer_that_nobody_takes_from_holds_its_words_and_no_more(levels, free_running, graph, vectors):
    unit = graph_unit(graph, levels_per_register=levels)
    last = BiasUnit(biases=(0,) * 6, sum_shape=unit.output_shape, output_shape=signed(9))
    layer = Dense(graph=unit, last=last, lanes=11, free_running=free_running)
    words = [pack(row, 3) for row in vectors]
    taken, found = [], []

    async def drive(ctx):
        ctx.set(layer.i.valid, 1)
        for cycle in range(100):
            ctx.set(layer.i.payload, words[len(taken)])
            ctx.set(layer.o.ready, cycle >= 60)
            ready, valid, payload = ctx.get(layer.i.ready), ctx.get(layer.o.valid), ctx.get(layer.o.payload)
            if valid and cycle >= 60:
                found.append(payload)
            if ready and len(taken) < len(words) - 1:
                taken.append(cycle)
            await ctx.tick()
            if cycle == 59:
                assert len(taken) == layer.sums.held_words

    simulator = Simulator(layer)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    want = [pack(row, 9) for row in sums(graph, vectors)]
    assert found[: len(taken)] == want[: len(taken)]
    assert len(taken) > 20


def test_dense_layer_of_sums(graph, vectors, pace, stream):
    unit = graph_unit(graph, levels_per_register=3)
    biases = (5, -3, 0, 100, -100, 1)
    last = BiasUnit(biases=biases, sum_shape=unit.output_shape, output_shape=signed(9))
    result = stream(Dense(graph=unit, last=last, lanes=11), [[pack(row, 3)] for row in vectors], 1, pace)
    assert [o[0] for o in result.outputs] == [pack(row, 9) for row in sums(graph, vectors) + np.array(biases)]
    if pace == (0.0, 0.0):
        assert (result.first_latency_cycles, result.interval_cycles) == (unit.latency + 1, 1)


def test_biases_that_make_every_sum_unsigned(pace, stream):
    unit = BiasUnit(biases=(4, 7), sum_shape=signed(3), output_shape=unsigned(4))
    words = [[pack((a, b), 3)] for a in range(-4, 4) for b in range(-4, 4)]
    want = [pack((a + 4, b + 7), 4) for a in range(-4, 4) for b in range(-4, 4)]
    assert [o[0] for o in stream(unit, words, 1, pace).outputs] == want


def test_too_few_lanes_are_refused(graph):
    unit = graph_unit(graph, levels_per_register=2)
    last = ThresholdUnit(thresholds={0: (0,) * 6}, sum_shape=unit.output_shape)
    with pytest.raises(ValueError, match="lanes=10 do not hold the graph's 11 inputs"):
        Dense(graph=unit, last=last, lanes=10)


def test_a_tag_is_refused(graph):
    unit = graph_unit(graph, levels_per_register=2, tag_bits=2)
    last = ThresholdUnit(thresholds={0: (0,) * 6}, sum_shape=unit.output_shape, border_bits=2)
    with pytest.raises(ValueError, match="has no tag, not one of 2 bits"):
        Dense(graph=unit, last=last, lanes=11)


def test_no_biases_are_refused():
    with pytest.raises(ValueError, match="at least one channel"):
        BiasUnit(biases=(), sum_shape=signed(3), output_shape=signed(4))
