from dataclasses import replace

import numpy as np
import pytest

from xnorweave.boards.catalogue import board as find_board
from xnorweave.commands.options import PlanOptions
from xnorweave.commands.planning import plan_for
from xnorweave.errors import UnsupportedError
from xnorweave.network import ArgMax, Conv2D, Dense, InputSpec, Network, Threshold
from xnorweave.passes.folds import Link, StageOptions
from xnorweave.passes.plan import make_plan
from xnorweave.passes.plan_types import Plan
from xnorweave.passes.streamline import streamline


@pytest.fixture
def network(rng) -> Network:
    def signs(*shape):
        return rng.choice(np.array([-1, 1], np.int8), shape)

    layers = (
        Conv2D(name="conv", weights=signs(16, 1, 3, 3)),
        Threshold(name="sign", thresholds=np.zeros(16, np.int32)),
        Dense(name="hidden", weights=signs(60, 16 * 36)),
        Threshold(name="hidden_sign", thresholds=np.zeros(60, np.int32)),
        Dense(name="scores", weights=signs(10, 60)),
        ArgMax(name="classify"),
    )
    return Network(name="n", input=InputSpec(kind="pixels", shape=(1, 8, 8)), layers=layers)


def by_name(plan: Plan):
    return {layer.name: layer for layer in plan.layers}


def test_dense_layers_keep_within_the_interval(network):
    for target in (64, 200, 1000, 5000, 40_000):
        layers = by_name(make_plan(network, interval_cycles=target))
        hidden = layers["hidden"]
        assert hidden.interval_cycles == -(-60 // hidden.pe) * -(-576 // hidden.simd)
        assert all(layer.interval_cycles <= max(target, 64) for layer in layers.values())


def test_a_looser_interval_needs_fewer_lanes(network):
    lanes = [
        by_name(make_plan(network, interval_cycles=target))["hidden"].pe
        * by_name(make_plan(network, interval_cycles=target))["hidden"].simd
        for target in (100, 400, 1600, 6400)
    ]
    assert lanes == sorted(lanes, reverse=True)
    assert len(set(lanes)) == 4


def test_by_default_no_dense_layer_is_the_slowest(network):
    assert make_plan(network).interval_cycles == 64


def test_an_interval_out_of_reach_is_as_fast_as_words_come_in(network):
    layers = by_name(make_plan(network, interval_cycles=1))
    assert layers["hidden"].interval_cycles == 36  # pixels of 16 channels
    assert layers["scores"].interval_cycles == -(-60 // layers["hidden"].lanes)


@pytest.mark.parametrize("target", [20, 64, 300, 2000])
def test_no_fold_that_is_fast_enough_takes_fewer_luts(target, network):
    """Of all ways that `folds` has to build the layer, by its own costs."""
    plan = by_name(make_plan(network, interval_cycles=target))
    stage = next(s for s in streamline(network) if s.name == "hidden")
    enough = max(target, 36)
    ways = [way for by_link in StageOptions(stage, "ice40", 1).options(Link(16)).values() for way in by_link]
    chosen = next(w for w in ways if replace(w, luts=0, block_rams=0) == plan["hidden"])
    assert chosen.luts == min(way.luts for way in ways if way.interval_cycles <= enough)


def test_a_plan_without_a_board_claims_no_cost(network):
    plan = make_plan(network)
    assert (plan.luts, plan.block_rams) == (0, 0)


def test_layers_stay_folded_where_that_is_cheaper(network):
    for target in (None, 64, 1000):
        layers = by_name(make_plan(network, interval_cycles=target))
        assert (layers["hidden"].engine, layers["scores"].engine) == ("folded", "folded")


@pytest.mark.parametrize(
    ("inputs", "outputs", "wired", "folded"),
    [(20, 6, (1, 2, 10, 100), ()), (60, 20, (1, 4), (8, 100)), (1000, 256, (1, 8), (32, 100))],
)
def test_a_dense_layer_is_wired_where_that_is_cheaper(inputs, outputs, wired, folded, rng):
    layer = Dense(name="scores", weights=rng.choice(np.array([-1, 1], np.int8), (outputs, inputs)))
    net = Network(name="n", input=InputSpec(kind="bits", shape=(inputs, 1, 1)), layers=(layer,))
    plans = {target: make_plan(net, interval_cycles=target).layers[0] for target in (*wired, *folded)}
    assert all(plans[target].engine == "folded" for target in folded)
    for plan in (plans[target] for target in wired):
        assert (plan.engine, plan.interval_cycles, plan.lanes) == ("spatial", 1, outputs)


def test_layers_are_wired_by_name(network):
    layers = by_name(make_plan(network, spatial=frozenset({"scores"})))
    assert layers["hidden"].engine == "folded"
    scores = layers["scores"]
    words = -(-60 // layers["hidden"].lanes)
    assert (scores.engine, scores.interval_cycles, scores.lanes) == ("spatial", words, 10)
    assert layers["classify"].interval_cycles == 1


def test_simd_is_reached_from_the_lanes_before(network):
    for target in (64, 100, 333, 1000):
        lanes = 1
        for layer in make_plan(network, interval_cycles=target).layers:
            if layer.engine == "folded":
                assert layer.simd % lanes == 0 or lanes % layer.simd == 0
            lanes = layer.lanes


@pytest.mark.parametrize(("board", "free"), [("icebreaker", False), ("ice40-hx8k-b-evn", False), ("ulx3s-85f", True)])
def test_pipelines_run_free_where_their_fifo_is_lut_ram(network, board, free):
    assert not make_plan(network).free_running
    assert plan_for(network, find_board(board), PlanOptions()).free_running == free


@pytest.mark.parametrize("option", ["levels_per_register", "interval_cycles"])
def test_nonsense_is_refused(network, option):
    with pytest.raises(UnsupportedError, match=f"{option}=0: give at least 1"):
        make_plan(network, **{option: 0})
