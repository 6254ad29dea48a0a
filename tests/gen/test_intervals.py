"""The interval that a plan promises, against what a simulation measures with frames back to back."""

import numpy as np
import pytest

from xnorweave.folded_cost import least_buffer_rows
from xnorweave.lower import lower
from xnorweave.network import ArgMax, Conv2D, Dense, GlobalSum, InputSpec, Layer, MaxPool, Network, Scale, Threshold
from xnorweave.passes.choose_plan import Budget, Planner
from xnorweave.passes.folds import Link, folded, links, unfolded
from xnorweave.passes.plan_types import LayerPlan, Plan
from xnorweave.passes.streamline import ConvStage, DenseStage, streamline
from xnorweave.sim.amaranth_bench import run_amaranth
from xnorweave.sim.bench import Stimulus
from xnorweave.sim.random_networks import random_frames
from xnorweave.sim.vectors import input_words


def seeds(first: int):
    """Eight seeds, and thirty-two more that are slow."""
    slow = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(first + 8, first + 40)]
    return [*range(first, first + 8), *slow]


def folded_network(rng: np.random.Generator) -> Network:
    """Convolutions in a row, some padded or pooled, then a dense layer: what folds, and what is hard to keep busy."""
    side, channels = int(rng.integers(8, 13)), int(rng.choice([2, 4, 8]))
    spec = InputSpec(kind="bits", shape=(channels, side, side))
    layers: list[Layer] = []
    for index in range(int(rng.integers(2, 4))):
        filters, kernel, stride = int(rng.choice([4, 6, 8])), int(rng.integers(1, 4)), int(rng.choice([1, 1, 2, 3]))
        if side < 3 * stride:
            break
        pad = int(rng.random() < 0.3 and kernel == 3)
        groups = int(rng.choice([1, 1, 2]))
        weights = rng.choice(np.array([-1, 1], np.int8), (filters, channels // groups, kernel, kernel))
        layers.append(Conv2D(name=f"conv{index}", weights=weights, stride=stride, padding=(pad,) * 4, groups=groups))
        thresholds = np.sort(rng.integers(-2, 3, (filters, int(rng.choice([1, 1, 3])))), 1).astype(np.int32)
        layers.append(Threshold(name=f"sign{index}", thresholds=thresholds))
        channels, side = filters, (side + 2 * pad - kernel) // stride + 1
        if side >= 4 and rng.random() < 0.4:
            layers.append(MaxPool(name=f"pool{index}"))
            side //= 2
    if rng.random() < 0.3:
        layers.append(GlobalSum(name="total"))
        side = 1
    weights = rng.choice(np.array([-1, 1], np.int8), (int(rng.integers(4, 12)), channels * side * side))
    layers.append(Dense(name="scores", weights=weights))
    if rng.random() < 0.4:
        factors, offsets = rng.integers(-99, 100, len(weights)), rng.integers(-999, 1000, len(weights))
        layers.append(Scale(name="norm", factors=factors, offsets=offsets))
    layers.append(ArgMax(name="classify"))
    return Network(name="folded", input=spec, layers=tuple(layers))


def check_interval(network: Network, plan: Plan) -> None:
    core = lower(network, plan=plan)
    frames = random_frames(np.random.default_rng(1), network, 7)
    result = run_amaranth(core, Stimulus(frames=input_words(network, frames)), output_words=core.taps[-1].words)
    assert result.interval_cycles <= plan.interval_cycles, plan


def smallest_plan(rng: np.random.Generator) -> tuple[Network, Plan]:
    """A network, and its smallest plan at one of its slower intervals."""
    network = folded_network(rng)
    planner = Planner(network, "ecp5", levels_per_register=3, free_running=False)
    slow = planner.intervals[int(rng.integers(len(planner.intervals) // 3, len(planner.intervals)))]
    # Without LUTs to spare every layer is folded as far as it may be: none has time left for another's delay.
    plan = planner.smallest(Budget(family="ecp5", luts=1, block_rams=200), slow)
    assert plan is not None
    return network, plan


@pytest.mark.parametrize("seed", seeds(0))
def test_the_interval_of_a_chosen_plan_is_kept(seed):
    rng = np.random.default_rng(seed)
    # A small network is wired where that takes fewer LUTs; of three draws one is folded.
    draws = (smallest_plan(rng) for _ in range(3))
    network, plan = next(drawn for drawn in draws if any(layer.engine == "folded" for layer in drawn[1].layers))
    check_interval(network, plan)


@pytest.mark.parametrize("seed", seeds(100))
def test_the_interval_of_layers_that_are_equally_slow_is_kept(seed):
    rng = np.random.default_rng(seed)
    network = folded_network(rng)
    before, layers = Link(network.input.shape[0]), list[LayerPlan]()
    for stage in streamline(network):
        if isinstance(stage, ConvStage):
            fold = {"pe": 1, "simd": stage.weights.shape[1], "vectors": int(rng.integers(1, 3))}
            fold["vectors"] = min(fold["vectors"], stage.output_shape[2])
            layers.append(folded(stage, before, None, buffer_rows=least_buffer_rows(stage), **fold))
        elif isinstance(stage, DenseStage):
            widths = [width for width in range(1, before.lanes + 1) if before.lanes % width == 0]
            layers.append(folded(stage, before, None, pe=1, simd=int(rng.choice(widths))))
        else:
            layers.append(unfolded(stage, before, None))
        before = links(stage, layers[-1], before)
    _, height, width = network.input.shape
    check_interval(network, Plan(layers=tuple(layers), input_cycles=height * width, levels_per_register=3))


@pytest.mark.parametrize(("simd", "pe"), [(2, 2), (16, 1), (16, 3), (16, 9), (8, 9)])
def test_a_scale_takes_as_long_as_planned(simd, pe):
    """With few words in front of it, or fast ones, it sets the interval; else the dense layer does."""
    rng = np.random.default_rng(simd)
    layers = (
        Dense(name="scores", weights=rng.choice(np.array([-1, 1], np.int8), (9, 64))),
        Scale(name="norm", factors=rng.integers(-99, 99, 9), offsets=rng.integers(-999, 999, 9)),
        ArgMax(name="classify"),
    )
    network = Network(name="scaled", input=InputSpec(kind="bits", shape=(16, 2, 2)), layers=layers)
    before, plans = Link(16), list[LayerPlan]()
    for stage in streamline(network):
        if isinstance(stage, DenseStage):
            plans.append(folded(stage, before, None, pe=pe, simd=simd))
        else:
            plans.append(unfolded(stage, before, None))
        before = links(stage, plans[-1], before)
    dense, scale, _ = (plan.interval_cycles for plan in plans)
    assert scale == -(-9 // pe) * (7 + 2)
    plan = Plan(layers=tuple(plans), input_cycles=4, levels_per_register=3)
    assert plan.interval_cycles == max(dense, scale)
    core = lower(network, plan=plan)
    frames = random_frames(np.random.default_rng(1), network, 7)
    result = run_amaranth(core, Stimulus(frames=input_words(network, frames)), output_words=1)
    assert result.interval_cycles == plan.interval_cycles


@pytest.mark.parametrize(("simd", "pe"), [(1, 10), (2, 5), (8, 4), (32, 2)])
def test_a_pool_before_an_unpacker_holds_no_layer_up(simd, pe):
    """A pool gives the words of a row twice as fast as on average, and an unpacker takes them at their average."""
    rng = np.random.default_rng(simd)

    def signs(*shape: int) -> np.ndarray:
        return rng.choice(np.array([-1, 1], np.int8), shape)

    layers = (
        Conv2D(name="conv", weights=signs(32, 1, 3, 3)),
        Threshold(name="sign", thresholds=np.zeros(32, np.int32)),
        MaxPool(name="pool"),
        Dense(name="scores", weights=signs(10, 32 * 4 * 16)),
        ArgMax(name="classify"),
    )
    network = Network(name="pooled", input=InputSpec(kind="bits", shape=(1, 10, 34)), layers=layers)
    before, plans = Link(1), list[LayerPlan]()
    for stage in streamline(network):
        if isinstance(stage, ConvStage):
            plans.append(folded(stage, before, None, pe=32, simd=1, buffer_rows=least_buffer_rows(stage)))
        elif isinstance(stage, DenseStage):
            plans.append(folded(stage, before, None, pe=pe, simd=simd))
        else:
            plans.append(unfolded(stage, before, None))
        before = links(stage, plans[-1], before)
    check_interval(network, Plan(layers=tuple(plans), input_cycles=340, levels_per_register=3))
