import contextlib

import numpy as np
import pytest

from xnorweave.core import Core
from xnorweave.errors import UnsupportedError
from xnorweave.hw.dense import Dense as DenseLayer
from xnorweave.lower import lower
from xnorweave.network import Conv2D, Dense, InputSpec, Network, Threshold
from xnorweave.passes.plan import make_plan
from xnorweave.passes.schedule import schedule
from xnorweave.passes.share import STRATEGIES, share_layer
from xnorweave.passes.streamline import ConvStage, DenseStage, PoolStage, streamline
from xnorweave.sim import golden
from xnorweave.sim.amaranth_bench import run_amaranth
from xnorweave.sim.bench import Stimulus
from xnorweave.sim.random_networks import random_frames, random_network, random_plan, random_spatial
from xnorweave.sim.vectors import first_mismatch, input_words


def mismatches(network: Network, core: Core, frames: np.ndarray, **stimulus) -> list[str]:
    taps = {tap.layer: (core.tap_streams[tap.layer], tap.words) for tap in core.taps}
    stimulus = Stimulus(frames=input_words(network, frames), **stimulus)
    result = run_amaranth(core, stimulus, output_words=core.taps[-1].words, taps=taps)
    layers = golden.run(network, frames, keep_layers=True).layers
    found = [first_mismatch(tap, result.taps[tap.layer], layers[tap.layer]) for tap in core.taps]
    return [str(mismatch) for mismatch in found if mismatch is not None]


def lowered(network: Network, seed: int) -> Core | None:
    """The network by a plan of its own, or by one drawn from all that there are."""
    plan_rng = np.random.default_rng(seed)
    try:
        if seed % 2:
            plan = random_plan(plan_rng, network)
        else:
            plan = make_plan(
                network,
                interval_cycles=int(plan_rng.choice([1, 20, 100, 400])),
                levels_per_register=int(plan_rng.integers(1, 5)),
                spatial=random_spatial(plan_rng, network),
                free_running=seed % 3 == 0,
            )
        # Small pipelines run free as well, where the plan has that.
        return lower(network, strategy=str(plan_rng.choice(STRATEGIES)), plan=plan, most_enabled_flip_flops=0)
    except UnsupportedError:
        return None


@pytest.mark.parametrize("seed", range(40))
def test_random_networks_equal_golden_in_every_layer(seed):
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    core = lowered(network, seed)
    if core is None:
        pytest.skip("this draw needs hardware that is not there; it is refused, as test_streamline shows")
    frames = random_frames(rng, network, 4)
    idle, stall = [(0.0, 0.0), (0.4, 0.0), (0.0, 0.9), (0.3, 0.3)][seed % 4]
    assert mismatches(network, core, frames, idle=idle, stall=stall, seed=seed) == []


def test_draws_have_weights_of_every_storage():
    """So the tests of random networks are about all of them."""
    seen = set()
    for seed in range(1, 40, 2):
        with contextlib.suppress(UnsupportedError):
            plan = random_plan(np.random.default_rng(seed), random_network(np.random.default_rng(seed)))
            seen |= {layer.storage for layer in plan.layers if layer.engine == "folded"}
    assert seen == {"block", "logic", "codebook"}


def test_draws_have_every_kind_of_layer_in_every_engine():
    seen = set()
    for seed in range(200):
        network = random_network(np.random.default_rng(seed))
        with contextlib.suppress(UnsupportedError):
            plan = random_plan(np.random.default_rng(seed), network)
            for stage, layer in zip(streamline(network), plan.layers, strict=True):
                match stage:
                    case ConvStage():
                        traits = {"levels": stage.levels > 1, "groups": stage.groups > 1, "stride": stage.stride > 2}
                    case DenseStage():
                        traits = {"levels": stage.levels > 1, "levels in": stage.encoding.offset < -1}
                    case _:
                        traits = {"levels": isinstance(stage, PoolStage) and stage.encoding.bits > 1, "any": True}
                seen |= {(type(stage).__name__, layer.engine, trait) for trait, has in traits.items() if has}
    weighted = [("ConvStage", trait) for trait in ("levels", "groups", "stride")]
    weighted += [("DenseStage", trait) for trait in ("levels", "levels in")]
    want = {(kind, engine, trait) for kind, trait in weighted for engine in ("spatial", "folded")}
    streams = {("PoolStage", "levels"), ("GlobalSumStage", "any"), ("ScaleStage", "any")}
    assert want | {(kind, "stream", trait) for kind, trait in streams} <= seen


@pytest.mark.parametrize("seed", range(200, 230))
def test_the_planned_interval_is_kept(seed):
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    try:
        target = int(rng.choice([1, 20, 100])) if seed % 2 else None
        spatial = random_spatial(rng, network)
        plan = make_plan(network, interval_cycles=target, spatial=spatial, free_running=seed % 3 == 0)
        core = lower(network, plan=plan, most_enabled_flip_flops=0)
    except UnsupportedError:
        pytest.skip("this draw needs hardware that is not there")
    stimulus = Stimulus(frames=input_words(network, random_frames(rng, network, 7)))
    result = run_amaranth(core, stimulus, output_words=core.taps[-1].words)
    padded = [any(layer.padding) for layer in network.layers if isinstance(layer, Conv2D)]
    if any(padded[1:]):
        assert result.interval_cycles >= plan.interval_cycles
    else:
        assert result.interval_cycles == plan.interval_cycles


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1300))
def test_many_random_networks_equal_golden_in_every_layer(seed):
    rng = np.random.default_rng(seed)
    network = random_network(rng, largest_side=12, largest_channels=9)
    core = lowered(network, seed)
    if core is None:
        pytest.skip("this draw needs hardware that is not there")
    idle, stall = float(rng.random() * 0.6), float(rng.random() * 0.6)
    assert mismatches(network, core, random_frames(rng, network, 4), idle=idle, stall=stall, seed=seed) == []


@pytest.mark.parametrize("seed", range(6))
def test_a_reset_at_any_time_leaves_nothing_behind(seed):
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    core = lowered(network, seed)
    assert core is not None
    frames = random_frames(rng, network, 3)
    words = input_words(network, frames)
    undisturbed = run_amaranth(core, Stimulus(frames=words), output_words=core.taps[-1].words).cycles
    # Every reset comes before the run can be over, since each only makes it longer.
    resets = tuple(int(c) for c in np.sort(rng.choice(np.arange(2, undisturbed - 1), 6, replace=False)))
    core = lowered(network, seed)
    assert core is not None
    result = run_amaranth(core, Stimulus(frames=words, reset_at=resets), output_words=core.taps[-1].words)
    assert result.resets == len(resets)
    want = golden.run(network, frames, keep_layers=True).layers[core.taps[-1].layer]
    assert first_mismatch(core.taps[-1], result.outputs, want) is None


def test_pipelines_run_free_only_by_plan_and_only_large_ones():
    network = random_network(np.random.default_rng(3))
    stopping, running = make_plan(network), make_plan(network, free_running=True)
    enabled = lower(network, plan=stopping, most_enabled_flip_flops=0).latencies
    assert enabled
    # Credits and the FIFO take three cycles.
    free = {name: cycles + 3 for name, cycles in enabled.items()}
    assert lower(network, plan=running, most_enabled_flip_flops=0).latencies == free
    assert lower(network, plan=running).latencies == enabled


def test_a_pipeline_with_the_most_registers_of_an_enable_has_one():
    weights = np.random.default_rng(0).choice(np.array([-1, 1], np.int8), (5, 12))
    layers = (Dense(name="fc", weights=weights), Threshold(name="sign", thresholds=np.zeros(5, np.int32)))
    network = Network(name="one", input=InputSpec(kind="bits", shape=(12, 1, 1)), layers=layers)
    plan = make_plan(network, levels_per_register=1, spatial=frozenset({"fc"}), free_running=True)
    graph = share_layer(streamline(network)[0], "units")
    flip_flops = schedule(graph, levels_per_register=1).flip_flops
    for most, free in ((flip_flops, False), (flip_flops - 1, True)):
        core = lower(network, plan=plan, graphs={"fc": graph}, most_enabled_flip_flops=most)
        (layer,) = (part for _, part in core.parts if isinstance(part, DenseLayer))
        assert layer.sums.free_running == free


def test_a_plan_of_another_network_is_refused():
    first, second = (random_network(np.random.default_rng(seed)) for seed in (0, 3))
    with pytest.raises(UnsupportedError, match=r"the plan has \d layers, the network \d; plan it again"):
        lower(first, plan=make_plan(second))
