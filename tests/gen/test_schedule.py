import itertools
import re

import numpy as np
import pytest
from amaranth.back import rtlil
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from xnorweave.adder_graph import AdderGraph, GraphBuilder
from xnorweave.boards.catalogue import board, boards
from xnorweave.boards.pll import find_pll
from xnorweave.commands.planning import board_levels
from xnorweave.errors import DoesNotFitError, UnsupportedError
from xnorweave.hw.adder_graph import operations, range_shape
from xnorweave.hw.segments import asap_segments, check_segments
from xnorweave.hw.shared_module import ModuleLibrary
from xnorweave.lower import graph_unit, lower
from xnorweave.network import Conv2D, InputSpec, Network, Threshold
from xnorweave.passes.cse import share_sums
from xnorweave.passes.plan import make_plan
from xnorweave.passes.schedule import FAMILIES, levels_for_clock, schedule
from xnorweave.passes.share import STRATEGIES, share_layer
from xnorweave.passes.streamline import ConvStage, streamline
from xnorweave.sim.amaranth_bench import run_amaranth
from xnorweave.sim.bench import Stimulus


@st.composite
def graphs(draw, most_adders: int = 12) -> AdderGraph:
    """Any graph: kernel units of every depth, adders of any two operands, outputs that are inputs or used further on."""
    inputs, input_bits = draw(st.integers(1, 9)), draw(st.sampled_from([1, 3]))
    builder = GraphBuilder(inputs, input_bits)
    operands = list(range(1, inputs + 1))
    for _ in range(draw(st.integers(0, 3))):
        taps = tuple(draw(st.lists(st.sampled_from(range(1, inputs + 1)), min_size=9, max_size=9)))
        pattern = draw(st.integers(1, 511))
        operands.append(abs(builder.kernel(taps, (3, 3), pattern)))
    for _ in range(draw(st.integers(1, most_adders))):
        lhs, rhs = (draw(st.sampled_from(operands)) for _ in range(2))
        if draw(st.booleans()) and builder._range(rhs)[0] >= 0:
            rhs, _ = builder.complement(rhs)
        operands.append(builder.add(lhs, rhs, shift=draw(st.integers(0, 1))))
    outputs = draw(st.lists(st.sampled_from(operands), min_size=1, max_size=4))
    return builder.build(outputs, [0] * len(outputs))


def nodes_of(graph: AdderGraph):
    return tuple(operations(graph.inputs, graph.input_bits, graph.kernels, graph.nodes))


def count(graph: AdderGraph, segments: tuple[int, ...]) -> int:
    """Flip-flops of a pipeline, from what each operand is and how late it is used."""
    latency = 1 + max(segments[abs(o)] for o in graph.outputs)
    last = dict(enumerate(segments))
    for operand, sources, _ in nodes_of(graph):
        for source in sources:
            last[source] = max(last[source], segments[operand])
    last |= {abs(o): max(last[abs(o)], latency) for o in graph.outputs}
    widths = {k: range_shape(*graph.operand_range(k)).width for k in last}
    return latency + sum(widths[k] * (last[k] - segments[k]) for k in last if k)


def earliest(graph: AdderGraph, levels: int) -> tuple[int, ...]:
    return asap_segments(graph.inputs, nodes_of(graph), levels)


def elaborated_flip_flops(graph: AdderGraph, levels: int) -> int:
    """Width of everything that a clock edge writes in the component's RTLIL."""
    unit = graph_unit(graph, levels_per_register=levels)
    text = rtlil.convert(unit, platform=ModuleLibrary(), emit_src=False)
    widths = {name: int(width or 1) for width, name in re.findall(r"^\s*wire (?:width (\d+) )?.*?(\\\S+)$", text, re.M)}
    cells = re.findall(r"cell \$dffe?.*?\n(.*?)\n\s*end", text, re.S)
    written = [re.search(r"connect \\Q (\\\S+)(?: \[(\d+)(?::(\d+))?\])?", cell) for cell in cells]
    processes = re.findall(r"sync posedge \\clk\n(.*?)\n\s*end", text, re.S)
    updates = re.findall(r"update (\\\S+) ", "\n".join(processes))
    assert bool(cells) != bool(processes)
    return sum(widths[match[1]] for match in written if match) + sum(widths[name] for name in updates)


@given(graphs(), st.integers(1, 5))
@settings(max_examples=100)
def test_pipelines_are_legal_and_never_larger_than_the_earliest(graph, levels):
    made = schedule(graph, levels_per_register=levels)
    check_segments(made.segments, graph.inputs, nodes_of(graph), levels)
    asap = earliest(graph, levels)
    assert made.latency == 1 + max(made.segments[abs(o)] for o in graph.outputs)
    assert made.latency == 1 + max(asap[abs(o)] for o in graph.outputs)
    assert made.flip_flops == count(graph, made.segments) <= count(graph, asap)


@given(graphs(most_adders=5), st.integers(1, 3))
@settings(max_examples=100)
def test_no_legal_pipeline_of_that_latency_has_fewer_flip_flops(graph, levels):
    made = schedule(graph, levels_per_register=levels)
    nodes = nodes_of(graph)
    assume((1 + max(made.segments)) ** len(nodes) <= 3000)
    fewest = made.flip_flops
    for later in itertools.product(range(max(made.segments) + 1), repeat=len(nodes)):
        segments = (0,) * (graph.inputs + 1) + later
        try:
            check_segments(segments, graph.inputs, nodes, levels)
        except ValueError:
            continue
        if 1 + max(segments[abs(o)] for o in graph.outputs) == made.latency:
            fewest = min(fewest, count(graph, segments))
    assert fewest == made.flip_flops


@given(graphs(), st.integers(1, 4))
@settings(max_examples=40)
def test_the_component_has_as_many_flip_flops_as_told(graph, levels):
    made = schedule(graph, levels_per_register=levels)
    assert elaborated_flip_flops(graph, levels) == made.flip_flops
    assert graph_unit(graph, levels_per_register=levels).latency == made.latency


def stage_of(rng: np.random.Generator, shape: tuple[int, ...], *, side: int = 3, bits: bool = True) -> Network:
    """One convolution without padding."""
    weights = rng.choice(np.array([-1, 1], np.int8), shape)
    spec = InputSpec(kind="bits" if bits else "pixels", shape=(shape[1], side, side))
    thresholds = np.zeros(shape[0], np.int32)
    layers = (Conv2D(name="conv", weights=weights), Threshold(name="sign", thresholds=thresholds))
    return Network(name="one", input=spec, layers=layers)


def conv(network: Network) -> ConvStage:
    return next(stage for stage in streamline(network) if isinstance(stage, ConvStage))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("levels", [1, 2, 4])
@pytest.mark.parametrize(("shape", "bits"), [((6, 4, 3, 3), True), ((3, 2, 2, 3), True), ((4, 1, 3, 3), False)])
def test_sums_are_exact_at_any_pace(rng, strategy, levels, shape, bits):
    stage = conv(stage_of(rng, shape, bits=bits))
    graph = share_layer(stage, strategy)
    matrix, input_bits = stage.matrix.astype(np.int64), stage.encoding.bits
    xs = rng.integers(0, 1 << input_bits, (12, graph.inputs))
    xs[0], xs[1] = 0, (1 << input_bits) - 1
    words = [sum(int(x) << input_bits * k for k, x in enumerate(row)) for row in xs]
    for idle, stall in ((0.0, 0.0), (0.4, 0.0), (0.3, 0.5)):
        unit = graph_unit(graph, levels_per_register=levels, tag_bits=4)
        tagged = [[word | n << graph.inputs * input_bits] for n, word in enumerate(words)]
        result = run_amaranth(unit, Stimulus(frames=tagged, idle=idle, stall=stall, seed=3), output_words=1)
        width, signed = unit.output_shape.width, unit.output_shape.signed
        for n, ((word,), row) in enumerate(zip(result.outputs, xs @ matrix + graph.constants, strict=True)):
            lanes = [word >> width * c & (1 << width) - 1 for c in range(len(row))]
            assert [lane - (1 << width) if signed and lane >> width - 1 else lane for lane in lanes] == row.tolist()
            assert word >> width * len(row) == n
        if not stall and not idle:
            assert (result.first_latency_cycles, result.interval_cycles) == (unit.latency, 1)


def test_late_use_of_an_early_sum_costs_less_than_as_soon_as_possible(rng):
    graph = share_sums(rng.choice(np.array([-1, 1], np.int8), (144, 24)), 1, effort=0)
    for levels in (1, 2, 3):
        assert schedule(graph, levels_per_register=levels).flip_flops < 0.95 * count(graph, earliest(graph, levels))


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_planned_latency_is_that_of_the_simulation(rng, levels):
    network = stage_of(rng, (5, 3, 3, 3))  # a frame is one window
    core = lower(network, strategy="graph", plan=make_plan(network, levels_per_register=levels))
    frame = [int(word) for word in rng.integers(0, 8, 9)]
    result = run_amaranth(core, Stimulus(frames=[frame]), output_words=1)
    before_the_last_pixel = len(frame) - 1
    assert result.first_latency_cycles == before_the_last_pixel + core.latencies["conv"]


def test_the_fewest_levels_that_a_clock_allows():
    for family in FAMILIES:
        levels = [levels_for_clock(family, clock) for clock in (5, 12, 25, 40)]
        assert levels == sorted(levels, reverse=True)
        assert levels[-1] >= 1
    assert levels_for_clock("ice40-up", 12) < levels_for_clock("ice40-lp", 12) < levels_for_clock("ice40-hx", 12)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_clock_too_fast_for_one_level_is_refused_with_the_fastest(family):
    with pytest.raises(DoesNotFitError, match=rf"{family}: a clock of 500 MHz is too fast .* at most \d+ MHz") as error:
        levels_for_clock(family, 500)
    fastest = int(str(error.value).split()[-2])
    assert levels_for_clock(family, fastest) == 1
    with pytest.raises(DoesNotFitError):
        levels_for_clock(family, fastest + 1)


@pytest.mark.parametrize("clock", [0, -1, float("nan"), float("inf")])
def test_nonsense_clocks_are_refused(clock):
    with pytest.raises(UnsupportedError, match=r"clock_mhz=.*: give a positive number"):
        levels_for_clock("ecp5", clock)


def test_every_board_s_own_clock_leaves_time_for_an_adder():
    """Or is too fast for any, which a build refuses; a PLL makes a slower one there."""
    fast = set()
    for each in boards():
        try:
            assert 1 <= board_levels(each) <= 100
        except DoesNotFitError:
            fast.add(each.name)
            assert board_levels(each, find_pll(each, 24).output_mhz) >= 1
    assert {name for name in fast if board(name).link} == {"fomu-hacker"}


def test_a_pipeline_of_no_levels_is_refused(rng):
    graph = share_sums(rng.choice(np.array([-1, 1], np.int8), (9, 2)), 1)
    with pytest.raises(UnsupportedError, match="levels_per_register=0: give at least 1"):
        schedule(graph, levels_per_register=0)
