from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from xnorweave.adder_graph import graph_adder_bits, graph_additions
from xnorweave.cost import graph_cells
from xnorweave.errors import CertificateError, UnsupportedError
from xnorweave.importers import load_any
from xnorweave.lower import lower
from xnorweave.network import Conv2D, InputSpec, Network, Threshold
from xnorweave.passes import share
from xnorweave.passes.kernels import count_kernels
from xnorweave.passes.share import FORMS, STRATEGIES, least_places, share_layer, share_network
from xnorweave.passes.streamline import ConvStage, streamline


def stage_of(weights: np.ndarray, kind: str = "bits", groups: int = 1) -> ConvStage:
    out, channels, height, width = weights.shape
    layers = (
        Conv2D(name="c", weights=weights, groups=groups),
        Threshold(name="t", thresholds=np.zeros(out, np.int32)),
    )
    spec = InputSpec(kind=kind, shape=(groups * channels, height, width))
    (stage,) = streamline(Network(name="n", input=spec, layers=layers))
    return stage


SHAPES = [
    (1, 1, 1, 1),
    (3, 2, 1, 1),
    (4, 3, 3, 3),
    (16, 4, 2, 2),
    (5, 2, 5, 5),
    (3, 1, 7, 7),
    (4, 2, 1, 3),
    (40, 1, 2, 2),
]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["bits", "pixels"])
def test_graphs_compute_the_layer(strategy, shape, kind, rng, evaluate):
    weights = rng.choice(np.array([-1, 1], np.int8), shape)
    stage = stage_of(weights, kind)
    graph = share_layer(stage, strategy)
    top = 2**stage.encoding.bits
    x = rng.integers(0, top, (30, len(stage.matrix)))
    x[0], x[1] = 0, top - 1
    assert np.array_equal(evaluate(graph, x), x @ stage.matrix.astype(int))


@pytest.mark.parametrize("strategy", [*STRATEGIES, "auto"])
@pytest.mark.parametrize(("shape", "groups"), [((4, 2, 3, 3), 2), ((6, 1, 2, 3), 3), ((5, 1, 1, 1), 5)], ids=str)
@pytest.mark.parametrize("kind", ["bits", "pixels"])
def test_groups_are_shared_each_by_itself(strategy, shape, groups, kind, rng, evaluate):
    weights = rng.choice(np.array([-1, 1], np.int8), shape)
    stage = stage_of(weights, kind, groups)
    x = rng.integers(0, 2**stage.encoding.bits, (30, groups, *shape[1:]))
    filters = weights.reshape(groups, -1, *shape[1:]).astype(int)
    want = np.einsum("ngcyx,gocyx->ngo", x, filters).reshape(30, -1)
    words = x.transpose(0, 3, 4, 1, 2).reshape(30, -1)  # row, column, channel
    assert np.array_equal(evaluate(share_layer(stage, strategy), words), want)
    assert np.array_equal(words @ stage.matrix.astype(int), want)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_counted_of_groups_is_the_sum_of_theirs(form, rng):
    weights = rng.choice(np.array([-1, 1], np.int8), (6, 2, 3, 3))
    groups = [stage_of(part) for part in np.split(weights, 3)]

    def counted(stage):
        counts = share._count(share._Task(stage=stage, form=form, family="ice40", unit_levels=3, keep=True))
        return counts.additions, counts.adder_bits, counts.luts, counts.units or 0

    assert counted(stage_of(weights, groups=3)) == tuple(map(sum, zip(*map(counted, groups), strict=True)))
    kernels = [count_kernels(part) for part in np.split(weights, 3)]
    assert count_kernels(weights, 3).distinct == sum(each.distinct for each in kernels)
    assert count_kernels(weights, 3).distinct_mod_inverse == sum(each.distinct_mod_inverse for each in kernels)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("sign", [-1, 1])
def test_constant_filters(strategy, sign, rng, evaluate):
    weights = np.full((3, 2, 3, 3), sign, np.int8)
    weights[1] = -sign
    weights[2, 0, 1, 1] = -sign
    stage = stage_of(weights)
    x = rng.integers(0, 2, (30, 18))
    assert np.array_equal(evaluate(share_layer(stage, strategy), x), x @ stage.matrix.astype(int))


def test_unshared_is_one_tree_per_filter(rng):
    stage = stage_of(rng.choice(np.array([-1, 1], np.int8), (6, 3, 3, 3)))
    assert graph_additions(share_layer(stage, "none")) == 6 * (27 - 1)


def test_repeated_and_inverse_filters_cost_one(rng):
    kernel = rng.choice(np.array([-1, 1], np.int8), (1, 1, 3, 3))
    one = graph_additions(share_layer(stage_of(kernel), "kernel"))
    many = share_layer(stage_of(np.concatenate([kernel] * 4 + [-kernel] * 4)), "kernel")
    # One inverse and its final sum are new; everything else is there already.
    assert graph_additions(many) <= one + 2
    assert len(many.kernels) <= 2  # the kernel, and the channel's whole window


def test_counts_of_kernels():
    base = np.array([[1, 1], [1, -1]], np.int8)
    weights = np.stack([[base, base], [-base, base], [base, base.T[::-1]]])
    counts = count_kernels(weights.astype(np.int8))
    assert (counts.kernels, counts.distinct, counts.distinct_mod_inverse) == (6, 4, 3)


def test_unknown_strategy(rng):
    with pytest.raises(UnsupportedError, match="strategy 'magic' is unknown; use one of none, kernel, graph"):
        share_layer(stage_of(np.ones((1, 1, 1, 1), np.int8)), "magic")  # pyright: ignore


def test_cnv_shares_as_published(shared):
    network = load_any(shared / "nets" / "cnvW1A1_cifar10.npz")
    stages = [stage for stage in streamline(network) if isinstance(stage, ConvStage)]
    shares = [
        round(100 * counts.distinct_mod_inverse / counts.kernels)
        for counts in (count_kernels(stage.weights) for stage in stages)
    ]
    assert shares[1:] == [77, 57, 62, 56, 54]
    graph = share_layer(stages[1], "kernel")
    assert graph_additions(graph) < 36_800 / 2


def test_share_network_has_a_row_for_each_convolution(rng):
    weights = rng.choice(np.array([-1, 1], np.int8), (4, 2, 3, 3))
    layers = (Conv2D(name="c", weights=weights), Threshold(name="t", thresholds=np.zeros(4, np.int32)))
    (row,) = share_network(Network(name="n", input=InputSpec(kind="bits", shape=(2, 5, 6)), layers=layers))
    assert (row.name, row.inputs, row.outputs, row.pixels) == ("c", 18, 4, 12)
    assert row.additions["kernel"] < row.additions["none"] == 4 * 17
    assert row.adder_bits["kernel"] < row.adder_bits["none"]
    unshared = share_layer(stage_of(weights), "none")
    assert (row.additions["none"], row.adder_bits["none"]) == (graph_additions(unshared), graph_adder_bits(unshared))


def network_of(weights: np.ndarray, kind: Literal["bits", "pixels"] = "bits") -> Network:
    out, channels, height, width = weights.shape
    layers = (Conv2D(name="c", weights=weights), Threshold(name="t", thresholds=np.zeros(out, np.int32)))
    return Network(name="n", input=InputSpec(kind=kind, shape=(channels, height + 1, width + 2)), layers=layers)


@pytest.mark.parametrize("family", ["ice40", "ecp5"])
@pytest.mark.parametrize("shape", [(1, 1, 3, 3), (2, 1, 2, 2), (8, 3, 3, 3)], ids=str)
def test_auto_is_the_strategy_of_fewest_estimated_places(family, shape, rng):
    weights = rng.choice(np.array([-1, 1], np.int8), shape)
    (row,) = share_network(network_of(weights), family=family, keep=True)
    luts = {strategy: row.luts[strategy] for strategy in STRATEGIES}
    assert luts[row.strategy] == min(luts.values())
    assert row.graph is not None
    auto = share_layer(stage_of(weights), "auto", family)
    assert (auto.nodes, auto.kernels) == (row.graph.nodes, row.graph.kernels)
    built = share_layer(stage_of(weights), row.strategy)
    assert auto.nodes == built.nodes
    if row.strategy != "none":
        assert graph_cells(built, family).places == luts[row.strategy]


def test_of_equal_places_the_strategy_that_shares_more():
    assert least_places({"none": 5, "kernel": 5, "graph": 5}) == "graph"
    assert least_places({"none": 4, "kernel": 5, "graph": 5}) == "none"
    assert least_places({"none": 4, "repeated": 1, "kernel": 4}) == "kernel"


def test_a_graph_is_kept_only_where_asked_for(rng):
    network = network_of(rng.choice(np.array([-1, 1], np.int8), (4, 2, 3, 3)))
    assert [row.graph for row in share_network(network)] == [None]
    (row,) = share_network(network, strategy="kernel", keep=True)
    assert row.strategy == "kernel"
    assert row.graph is not None
    assert graph_additions(row.graph) == row.additions["kernel"]
    assert not share_network(network, layers=())


def test_repeated_shares_equal_kernels_but_no_inverses(rng):
    kernel = rng.choice(np.array([-1, 1], np.int8), (1, 1, 3, 3))
    equal, inverse = np.concatenate([kernel] * 3), np.concatenate([kernel, -kernel])
    (one,), (three,), (both,) = (share_network(network_of(weights)) for weights in (kernel, equal, inverse))
    assert one.additions["repeated"] == three.additions["repeated"]
    assert both.kernel_evaluations == {"none": 2, "repeated": 2, "kernel": 1, "units": 1}
    assert both.additions["kernel"] < both.additions["repeated"]


def test_over_pixels_units_are_the_graph_and_no_kernels_are_evaluated(rng, monkeypatch):
    built = []
    original = share.share_sums
    monkeypatch.setattr(share, "share_sums", lambda *a, **k: built.append(k) or original(*a, **k))
    network = network_of(rng.choice(np.array([-1, 1], np.int8), (6, 2, 3, 3)), "pixels")
    (row,) = share_network(network, strategy="units", keep=True)
    assert len(built) == 1
    assert row.kernel_evaluations.keys() == {"none", "repeated", "kernel"}
    assert (row.additions["units"], row.luts["units"]) == (row.additions["graph"], row.luts["graph"])
    assert row.forms["units"].seconds == 0 < row.forms["graph"].seconds
    assert row.strategy == "units"
    assert row.graph is not None
    assert graph_additions(row.graph) == row.additions["units"]
    (alone,) = share_network(network, ("none", "units"), strategy="units")
    assert alone.kernel_evaluations.keys() == {"none"}
    assert (alone.additions["units"], alone.seconds > 0) == (row.additions["units"], True)
    built.clear()
    share_layer(stage_of(rng.choice(np.array([-1, 1], np.int8), (6, 2, 3, 3)), "pixels"), "auto")
    assert len(built) == 1


@pytest.mark.parametrize("strategy", ["kernel", "units", "auto"])
def test_unit_levels_below_one_are_refused(strategy):
    weights = np.ones((2, 1, 2, 2), np.int8)
    with pytest.raises(UnsupportedError, match="c: unit_levels=0 leaves a popcount unit no LUT; give at least 1"):
        share_layer(stage_of(weights), strategy, unit_levels=0)
    with pytest.raises(UnsupportedError, match=r"n: unit_levels=-1 .* give at least 1"):
        share_network(network_of(weights), strategy=strategy, unit_levels=-1)


def test_an_error_in_a_process_is_that_error(monkeypatch):
    monkeypatch.setattr(share, "_WEIGHTS_WORTH_PROCESSES", 0)
    monkeypatch.setattr(share, "_random_control", lambda stage: replace(stage, weights=3 * stage.weights))
    with pytest.raises(CertificateError, match=r"c: output 0 has "):
        share_network(network_of(np.ones((2, 1, 2, 2), np.int8)), ("kernel",), control=True, workers=2)


def test_the_control_is_random_weights_of_the_same_shape(rng):
    weights = np.ones((16, 4, 3, 3), np.int8)
    (row,) = share_network(network_of(weights), control=True)
    drawn = np.random.default_rng(0).choice(np.array([-1, 1], np.int8), weights.shape)
    assert row.control is not None
    assert row.control.counts == count_kernels(drawn)
    (alone,) = share_network(network_of(drawn))
    for form in FORMS:
        assert row.control.additions[form] == alone.additions[form]
        assert row.control.luts[form] == alone.luts[form]
        assert row.additions[form] <= row.control.additions[form]


def test_processes_count_the_same(rng, monkeypatch):
    network = network_of(rng.choice(np.array([-1, 1], np.int8), (6, 2, 3, 3)))
    seen = []
    alone = share_network(network, control=True, keep=True)
    monkeypatch.setattr("xnorweave.passes.share._WEIGHTS_WORTH_PROCESSES", 0)
    two = share_network(network, control=True, keep=True, workers=2, progress=lambda *done: seen.append(done))
    total = 2 * len(FORMS)
    assert seen == [(k, total) for k in range(1, total + 1)]
    for one, other in zip(alone, two, strict=True):
        assert (one.additions, one.adder_bits, one.luts) == (other.additions, other.adder_bits, other.luts)
        assert one.graph is not None
        assert other.graph is not None
        assert one.graph.nodes == other.graph.nodes


def test_graphs_given_to_the_hardware_are_certified_again(rng):
    weights = rng.choice(np.array([-1, 1], np.int8), (4, 2, 3, 3))
    network = network_of(weights)
    (row,) = share_network(network, keep=True)
    assert lower(network, graphs={"c": row.graph}).latencies.keys() == {"c"}
    with pytest.raises(CertificateError, match="c: output 0 has "):
        lower(network_of(-weights), graphs={"c": row.graph})
