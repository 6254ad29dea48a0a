"""Dense layers wired for their weights, in every place where they may stand."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from xnorweave.emit import emit
from xnorweave.errors import UnsupportedError
from xnorweave.importers import load_any
from xnorweave.lower import lower
from xnorweave.network import ArgMax, Conv2D, Dense, InputSpec, MaxPool, Network, Threshold
from xnorweave.passes.plan import make_plan
from xnorweave.passes.plan_types import LayerPlan, Plan
from xnorweave.passes.share import STRATEGIES, share_layer, share_network
from xnorweave.passes.streamline import DenseStage, streamline
from xnorweave.sim import golden
from xnorweave.sim.amaranth_bench import run_amaranth
from xnorweave.sim.bench import Stimulus
from xnorweave.sim.random_networks import random_frames
from xnorweave.sim.run import Pattern, simulate
from xnorweave.sim.vectors import first_mismatch, input_words


def dense(rng: np.random.Generator, name: str, inputs: int, outputs: int) -> Dense:
    return Dense(name=name, weights=rng.choice(np.array([-1, 1], np.int8), (outputs, inputs)))


def fires(rng: np.random.Generator, layer: Dense | Conv2D, spread: float = 1.0) -> Threshold:
    outputs, inputs = len(layer.weights), layer.weights[0].size
    values = np.round(rng.normal(0, spread * np.sqrt(inputs), outputs)).astype(np.int32)
    values[0] = 10**7  # never
    return Threshold(name=f"{layer.name}_sign", thresholds=values)


def network(kind: str, shape: tuple[int, int, int], *layers, table=None) -> Network:
    return Network(name="n", input=InputSpec(kind=kind, shape=shape, table=table), layers=layers)


def pixels_to_class(rng) -> tuple[Network, Plan]:
    """Fifteen words of 8 bits, then seven lanes at once, then an argmax that gets all classes in one word."""
    first, second = dense(rng, "a", 15, 7), dense(rng, "b", 7, 5)
    net = network("pixels", (1, 3, 5), first, fires(rng, first, 150), second, ArgMax(name="class"))
    return net, make_plan(net, spatial=frozenset({"a", "b"}))


def pixels_to_class_at_once(rng) -> tuple[Network, Plan]:
    layer = dense(rng, "a", 12, 4)
    net = network("pixels", (4, 3, 1), layer, ArgMax(name="class"))
    return net, make_plan(net, spatial=frozenset({"a"}))


def convolution_to_bits(rng) -> tuple[Network, Plan]:
    """After pooling; the bits leave the network."""
    conv = Conv2D(name="c", weights=rng.choice(np.array([-1, 1], np.int8), (5, 2, 2, 3)), padding=(1, 0, 1, 1))
    last = dense(rng, "a", 5 * 3 * 3, 9)
    net = network("bits", (2, 6, 6), conv, fires(rng, conv), MaxPool(name="p"), last, fires(rng, last))
    return net, make_plan(net, spatial=frozenset({"a"}))


def one_word_of_sums(rng) -> tuple[Network, Plan]:
    """The whole vector in one word, and the sums leave; a table of step 6."""
    table = (np.arange(256) // 64 * 6 - 9).astype(np.int16)
    net = network("pixels", (9, 1, 1), dense(rng, "a", 9, 6), table=table)
    return net, make_plan(net, spatial=frozenset({"a"}))


def uneven_words(rng) -> tuple[Network, Plan]:
    """Twelve outputs, five a word, into a wired layer: three lanes of the last word are nothing."""
    first, second = dense(rng, "a", 6, 12), dense(rng, "b", 12, 10)
    net = network("bits", (2, 3, 1), first, fires(rng, first), second, ArgMax(name="class"))
    plan = make_plan(net, spatial=frozenset({"b"}))
    folded = LayerPlan(name="a", engine="folded", interval_cycles=9, pe=5, simd=2, lanes=5)
    wired = replace(plan.layers[1], interval_cycles=3)
    return net, replace(plan, layers=(folded, wired, plan.layers[2]))


def wired_before_folded(rng) -> tuple[Network, Plan]:
    """The wired layer's word is unpacked for the folded ones."""
    first, second, third = dense(rng, "a", 6, 8), dense(rng, "b", 8, 9), dense(rng, "d", 9, 3)
    net = network("bits", (2, 3, 1), first, fires(rng, first), second, fires(rng, second), third, ArgMax(name="class"))
    plan = make_plan(net, spatial=frozenset({"a"}))
    folded = LayerPlan(name="b", engine="folded", interval_cycles=12, pe=3, simd=2, lanes=3)
    last = LayerPlan(name="d", engine="folded", interval_cycles=9, pe=1, simd=3, lanes=1)
    argmax = replace(plan.layers[-1], interval_cycles=3)
    return net, replace(plan, layers=(plan.layers[0], folded, last, argmax))


PLACES = [
    pixels_to_class,
    pixels_to_class_at_once,
    convolution_to_bits,
    one_word_of_sums,
    uneven_words,
    wired_before_folded,
]
Place = Callable[[np.random.Generator], tuple[Network, Plan]]


@pytest.mark.parametrize(("idle", "stall"), [(0.0, 0.0), (0.4, 0.0), (0.0, 0.5), (0.3, 0.6)])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_every_layer_equals_golden(place: Place, strategy, idle, stall, rng):
    net, plan = place(rng)
    frames = random_frames(rng, net, 6)
    core = lower(net, strategy=strategy, plan=plan)
    pattern = Pattern(idle=idle, stall=stall, seed=3)
    report = simulate(net, frames, simulator="amaranth", core=core, taps=True, pattern=pattern)
    assert (report.mismatches, report.first_mismatch) == (0, None)
    if (idle, stall) == (0.0, 0.0):
        assert report.cycles_per_image == plan.interval_cycles


@pytest.mark.parametrize(
    "place", [pixels_to_class, convolution_to_bits, one_word_of_sums, uneven_words], ids=lambda place: place.__name__
)
def test_every_layer_equals_golden_in_verilator(place: Place, rng, need):
    need("verilator")
    net, plan = place(rng)
    design = emit(net, strategy="graph", plan=plan)
    frames = random_frames(rng, net, 60)
    pattern = Pattern(idle=0.3, stall=0.4, seed=5)
    report = simulate(net, frames, simulator="verilator", design=design, taps=True, pattern=pattern)
    assert (report.mismatches, report.first_mismatch) == (0, None)


def test_the_latency_is_told(rng):
    net, plan = one_word_of_sums(rng)
    core = lower(net, plan=plan)
    stimulus = Stimulus(frames=input_words(net, random_frames(rng, net, 3)))
    result = run_amaranth(core, stimulus, output_words=1)
    assert result.first_latency_cycles == core.latencies["a"] + 1  # and the pixel table's


def test_a_wrong_weight_is_seen_in_its_layer(rng):
    net, plan = pixels_to_class(rng)
    weights = net.layers[2].weights.copy()
    weights[3, 4] *= -1
    broken = replace(net, layers=(*net.layers[:2], replace(net.layers[2], weights=weights), net.layers[3]))
    frames = random_frames(rng, net, 20)
    report = simulate(net, frames, simulator="amaranth", core=lower(broken, plan=plan), taps=True)
    assert report.first_mismatch is not None
    assert (report.first_mismatch.layer, report.first_mismatch.channel) == ("b", 3)


def test_an_image_of_784_pixels_of_8_bits(rng):
    layer = dense(rng, "a", 784, 4)
    net = network("pixels", (1, 28, 28), layer, ArgMax(name="class"))
    core = lower(net, strategy="graph", plan=make_plan(net, spatial=frozenset({"a"})))
    frames = random_frames(rng, net, 2)
    stimulus = Stimulus(frames=input_words(net, frames))
    streams = {tap.layer: (core.tap_streams[tap.layer], tap.words) for tap in core.taps}
    result = run_amaranth(core, stimulus, output_words=1, taps=streams)
    layers = golden.run(net, frames, keep_layers=True).layers
    assert [first_mismatch(tap, result.taps[tap.layer], layers[tap.layer]) for tap in core.taps] == [None, None]
    assert result.interval_cycles == 784


def test_trained_layers(shared):
    """FINN's LFC for MNIST, narrowed to its first neurons: trained weights in every layer."""
    whole = load_any(shared / "nets" / "lfcW1A1_mnist.npz")
    layers, width = [], 784
    for layer in whole.layers:
        match layer:
            case Dense():
                layers.append(replace(layer, weights=layer.weights[:48, :width]))
                width = len(layers[-1].weights)
            case Threshold():
                # For fewer inputs: in the middle of what they reach.
                layers.append(replace(layer, thresholds=np.zeros(width, np.int32)))
            case _:
                layers.append(layer)
    net = replace(whole, layers=tuple(layers))
    for row in share_network(net):
        assert row.additions["graph"] < row.additions["kernel"] < 0.5 * row.additions["none"]
        assert row.additions["none"] == row.outputs * (row.inputs - 1)
        assert row.counts.kernels == 0
        assert row.pixels == 1
    images = np.load(shared / "data" / "mnist_test.npz")["x"][:1].reshape(1, 1, 28, 28)
    core = lower(net, strategy="graph", plan=make_plan(net, spatial=frozenset({"fc1", "fc2", "fc3"})))
    report = simulate(net, images, simulator="amaranth", core=core, taps=True)
    assert (report.mismatches, report.first_mismatch) == (0, None)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", ["bits", "pixels"])
def test_biases_belong_to_the_plain_sums(strategy, kind, rng):
    """``linear_biases`` and the graph's sums give what ``biases`` and the sums of lanes give."""
    layer = dense(rng, "a", 20, 7)
    (stage,) = streamline(network(kind, (20, 1, 1), layer, fires(rng, layer, 30)))
    assert isinstance(stage, DenseStage)
    top = 2**stage.encoding.bits - 1
    x = rng.integers(0, top + 1, (40, 20))
    lanes = np.where(stage.weights > 0, x[:, None], top - x[:, None]).sum(2) + stage.biases
    assert np.array_equal(x @ stage.matrix.astype(int) + stage.linear_biases, lanes)
    assert len(share_layer(stage, strategy).outputs) == 7


def test_kernel_sharing_finds_the_sum_of_all_inputs_alone(rng):
    layer = dense(rng, "a", 20, 3)
    (stage,) = streamline(network("bits", (20, 1, 1), layer))
    graph = share_layer(stage, "kernel")
    rarer = [min((row > 0).sum(), (row < 0).sum()) for row in layer.weights]
    additions = 19 + sum(int(terms) for terms in rarer)  # S; each tree, and its join with S
    assert not graph.kernels
    assert additions - 3 <= len(graph.nodes) <= additions  # equal adders of two trees are one


def test_only_dense_layers_are_chosen_by_name(rng):
    net, _ = convolution_to_bits(rng)
    with pytest.raises(UnsupportedError, match="spatial: 'c' is no dense layer of the network; leave it out"):
        make_plan(net, spatial=frozenset({"c"}))
