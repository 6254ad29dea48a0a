"""Residual additions: what a network may add, what the golden model gives, and hardware that gives the same."""

from collections.abc import Sequence

import numpy as np
import pytest

from xnorweave.core import Core
from xnorweave.errors import MismatchError, NetworkError, UnsupportedError
from xnorweave.folded_cost import least_buffer_rows
from xnorweave.lower import lower
from xnorweave.network import Add, ArgMax, Conv2D, Dense, GlobalSum, InputSpec, Layer, MaxPool, Network, Threshold
from xnorweave.network_file import load_network, save_network
from xnorweave.passes.choose_plan import Budget, choose_plan
from xnorweave.passes.compress import CompressOptions, Examples, compress
from xnorweave.passes.folds import Link, folded, links, spatial, unfolded
from xnorweave.passes.plan_types import LayerPlan, Plan
from xnorweave.passes.shortcuts import held_folded, room_words
from xnorweave.passes.streamline import AddStage, ConvStage, DenseStage, streamline
from xnorweave.passes.sums import ThresholdStage
from xnorweave.sim import golden
from xnorweave.sim.amaranth_bench import run_amaranth
from xnorweave.sim.bench import Stimulus
from xnorweave.sim.random_networks import random_frames, random_residual_network
from xnorweave.sim.run import Pattern, simulate
from xnorweave.sim.vectors import input_words


def signs(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.choice(np.array([-1, 1], np.int8), shape)


def conv(rng: np.random.Generator, name: str, channels: int, inputs: int = 0, size: int = 3, pad: int = 1) -> Conv2D:
    return Conv2D(name=name, weights=signs(rng, channels, inputs or channels, size, size), padding=(pad,) * 4)


def sign(rng: np.random.Generator, name: str, channels: int, levels: int = 1, spread: int = 4) -> Threshold:
    rows = np.sort(rng.integers(-spread, spread + 1, (channels, levels)), 1)
    return Threshold(name=name, thresholds=rows.astype(np.int32))


def network(*layers: Layer, shape: tuple[int, int, int] = (2, 5, 4), kind: str = "bits") -> Network:
    return Network(name="residual", input=InputSpec(kind=kind, shape=shape), layers=layers)  # pyright: ignore


def blocks(rng: np.random.Generator, channels: int = 4, side: int = 6, inputs: int = 1) -> Network:
    """Two blocks like Bi-Real Net's: each adds the sums before its sign to its convolution's."""
    return network(
        conv(rng, "stem", channels, inputs),
        sign(rng, "stem_sign", channels),
        conv(rng, "conv1", channels),
        Add(name="add1", source="stem"),
        sign(rng, "sign1", channels, levels=3),
        conv(rng, "conv2", channels),
        Add(name="add2", source="add1"),
        sign(rng, "sign2", channels),
        MaxPool(name="pool"),
        Dense(name="scores", weights=signs(rng, 5, channels * (side // 2) ** 2)),
        ArgMax(name="classify"),
        shape=(inputs, side, side),
    )


def shortcut_of(layers: Sequence[Layer], *, shape: tuple[int, int, int] = (2, 5, 4)):
    return lambda: network(*layers, shape=shape)


RNG = np.random.default_rng(0)
C, S = conv(RNG, "c", 2), sign(RNG, "s", 2)
D = conv(RNG, "d", 2)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([C, S, Add(name="a", source="s")], r"a: an Add follows a Conv2D or another Add; here it gets bits"),
        ([Add(name="a", source="c"), S], r"a: an Add follows a Conv2D or another Add; here it gets bits"),
        ([C, S, D, Add(name="a", source="later")], r"a: no layer before it is named 'later'; give an earlier one's"),
        ([C, S, D, Add(name="a", source="a")], r"a: no layer before it is named 'a'"),
        ([C, Add(name="a", source="c")], r"a: no Conv2D lies between its source c and it; take an earlier source"),
        (
            [conv(RNG, "c", 3, 2), sign(RNG, "s", 3), conv(RNG, "d", 2, 3), Add(name="a", source="s")],
            r"a: adds 3x5x4 values of s to 2x5x4; only the same .*: train the block with stride 1 and as many filters",
        ),
        ([C, S, conv(RNG, "d", 2, pad=0), Add(name="a", source="s")], r"a: adds 2x5x4 values of s to 2x3x2; only the"),
        ([C, S, D, Add(name="a", source="s"), conv(RNG, "e", 2)], r"e: takes bits, but a gives sums; put a Threshold"),
        (
            [C, S, Dense(name="f", weights=signs(RNG, 2, 40)), Add(name="a", source="s")],
            r"a: an Add follows a Conv2D or another Add; here it gets the sums of a Dense",
        ),
        (
            [C, S, GlobalSum(name="g"), conv(RNG, "d", 2, size=1, pad=0), Add(name="a", source="g")],
            r"a: adds what g, a GlobalSum, gives; it can add that of a Conv2D, a Threshold, a MaxPool or an Add",
        ),
    ],
)
def test_an_addition_that_is_none_is_refused(layers, message):
    with pytest.raises(NetworkError, match=message):
        network(*layers)


def test_a_source_that_is_no_name_is_refused():
    with pytest.raises(NetworkError, match=r"a: source=3 is no layer's name; give that of an earlier layer"):
        Add(name="a", source=3)  # pyright: ignore


def test_a_network_file_keeps_it(tmp_path, rng):
    save_network(blocks(rng), tmp_path / "net.npz")
    read = load_network(tmp_path / "net.npz")
    assert [(layer.name, layer.source) for layer in read.layers if isinstance(layer, Add)] == [
        ("add1", "stem"), ("add2", "add1"),
    ]  # fmt: skip
    assert read.sources == {"stem", "add1"}


def test_a_network_file_without_the_source_is_refused(tmp_path, rng):
    save_network(blocks(rng), path := tmp_path / "net.npz")
    with np.load(path) as file:
        arrays = dict(file)
    text = arrays["network"].tobytes().replace(b'"source": "stem"', b'"target": "stem"')
    np.savez(path, **arrays | {"network": np.frombuffer(text, np.uint8)})
    with pytest.raises(NetworkError, match=r"layers\[3\]: field 'source' is missing"):
        load_network(path)


def test_the_golden_model_adds_what_the_source_gave(rng):
    net = blocks(rng)
    frames = random_frames(rng, net, 9)
    result = golden.run(net, frames, keep_layers=True)
    for add, before in (("add1", "conv1"), ("add2", "conv2")):
        source = next(layer.source for layer in net.layers if layer.name == add and isinstance(layer, Add))
        assert np.array_equal(result.layers[add], result.layers[before] + result.layers[source])
    plain = Network(
        name="plain", input=net.input, layers=tuple(layer for layer in net.layers if not isinstance(layer, Add))
    )
    assert not np.array_equal(golden.run(plain, frames, keep_layers=True).layers["sign1"], result.layers["sign1"])


def test_batches_give_what_one_frame_gives(rng, monkeypatch):
    net = blocks(rng)
    frames = random_frames(rng, net, 7)
    whole = golden.run(net, frames).outputs
    monkeypatch.setattr(golden, "_BATCH_BYTES", 1)
    assert np.array_equal(golden.run(net, frames).outputs, whole)


def test_a_part_of_a_network_runs_where_it_has_the_sources(rng):
    net = blocks(rng)
    frames = random_frames(rng, net, 5)
    values = golden.input_values(net.input, frames).transpose(0, 2, 3, 1)
    kept = golden.run(net, frames, keep_layers=True).layers
    assert np.array_equal(golden.run_layers(net, values, 0, 4), kept["add1"].transpose(0, 2, 3, 1))
    with pytest.raises(UnsupportedError, match=r"add1: adds the values of stem, which is not among the layers run"):
        golden.run_layers(net, kept["stem"].transpose(0, 2, 3, 1), 1, 4)


def test_compressing_is_refused(rng):
    net = blocks(rng)
    examples = Examples(values=np.zeros((2, 6, 6, 1), np.int8), labels=np.zeros(2, np.int64))
    with pytest.raises(UnsupportedError, match=r"add1: .* residual additions cannot be compressed"):
        compress(net, examples, examples, CompressOptions(objective="luts"), run_layers=golden.run_layers)


def test_sums_leave_in_the_narrowest_encoding(rng):
    """Even numbers of binary inputs give even sums at every border; odd ones make the border's step 1."""
    for channels, scale in ((2, 2), (3, 1)):
        net = network(
            conv(rng, "a", channels, 2), sign(rng, "s", channels), conv(rng, "b", channels),
            Add(name="add", source="a"), sign(rng, "t", channels),
        )  # fmt: skip
        stages = streamline(net)
        assert [type(stage) for stage in stages] == [ConvStage, ThresholdStage, ConvStage, AddStage, ThresholdStage]
        assert stages[2].output_encoding.scale == scale  # pyright: ignore
        assert stages[0].output_encoding.scale == 2  # pyright: ignore


def test_sums_that_leave_the_network_are_refused(rng):
    with pytest.raises(UnsupportedError, match=r"add: sums .* leave the network have no hardware; put a Threshold"):
        streamline(network(C, S, D, Add(name="add", source="s")))


# --- hardware


def plan_of(net: Network, engines: Sequence[str], *, rows: int = 0, simd: int = 1) -> Plan:
    """Convolutions in these engines, in turn; folded ones so many channels at a time, with more rows than needed."""
    before, layers, count = Link(net.input.shape[0]), list[LayerPlan](), 0
    for stage in streamline(net):
        if isinstance(stage, ConvStage):
            if engines[count % len(engines)] == "spatial":
                layers.append(spatial(stage, before, None))
            else:
                fold = {"pe": min(2, len(stage.weights)), "simd": simd, "vectors": min(2, stage.output_shape[2])}
                kept = min(least_buffer_rows(stage) + rows, 2 * stage.input_shape[1])
                layers.append(folded(stage, before, None, buffer_rows=kept, **fold))
            count += 1
        elif isinstance(stage, DenseStage):
            layers.append(folded(stage, before, None, pe=5, simd=before.lanes))
        else:
            layers.append(unfolded(stage, before, None))
        before = links(stage, layers[-1], before)
    _, height, width = net.input.shape
    return Plan(layers=tuple(layers), input_cycles=height * width, levels_per_register=2)


def check(net: Network, core: Core, seed: int, **pattern: float) -> None:
    frames = random_frames(np.random.default_rng(seed), net, 4)
    told = Pattern(seed=seed, patience_cycles=3000, **pattern)  # pyright: ignore
    report = simulate(net, frames, simulator="amaranth", core=core, taps=True, pattern=told)
    assert (report.mismatches, report.first_mismatch) == (0, None)


@pytest.mark.parametrize("engines", [("spatial",), ("folded",), ("folded", "spatial", "folded")])
def test_two_blocks_give_the_golden_models_values_of_every_layer(rng, engines):
    net = blocks(rng)
    core = lower(net, plan=plan_of(net, engines))
    assert {"stem", "add1", "add2", "sign1"} <= {tap.layer for tap in core.taps}
    check(net, core, 1)
    check(net, core, 2, idle=0.3, stall=0.6, burst=5)
    check(net, core, 3, stall=0.9, burst=40)


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 60))])
def test_random_additions_hold_nothing_up(seed):
    """Frames back to back take no longer than the plan says, unless the same chain without additions does."""
    rng = np.random.default_rng(seed)
    net = random_residual_network(rng, largest_side=4, largest_channels=2)
    plan = plan_of(net, [str(rng.choice(["spatial", "folded"])) for _ in range(3)], rows=int(rng.integers(0, 4)))
    check_nothing_is_held_up(net, plan)


@pytest.mark.parametrize("engine", ["spatial", "folded"])
@pytest.mark.parametrize("kernel", [(5, 1), (1, 5)], ids=str)
def test_past_kernels_that_are_no_squares_nothing_is_held_up(rng, kernel, engine):
    (rows, columns), channels = kernel, 2
    padding = (rows // 2, rows // 2, columns // 2, columns // 2)
    flat = Conv2D(name="b", weights=signs(rng, channels, channels, *kernel), padding=padding)
    layers = (conv(rng, "a", channels), sign(rng, "s", channels), flat, Add(name="add", source="s"))
    net = network(*layers, sign(rng, "t", channels), shape=(channels, 8, 7))
    check_nothing_is_held_up(net, plan_of(net, ["spatial", engine]))


def check_nothing_is_held_up(net: Network, plan: Plan) -> None:
    bare = Network(
        name="bare", input=net.input, layers=tuple(layer for layer in net.layers if not isinstance(layer, Add))
    )
    layers = {layer.name: layer for layer in plan.layers}
    bare_plan = Plan(
        layers=tuple(layers[stage.name] for stage in streamline(bare)),
        input_cycles=plan.input_cycles,
        levels_per_register=plan.levels_per_register,
    )
    assert measured(lower(net, plan=plan), net) <= max(
        plan.interval_cycles, measured(lower(bare, plan=bare_plan), bare)
    )


def measured(core: Core, net: Network) -> int:
    frames = random_frames(np.random.default_rng(1), net, 4)
    stimulus = Stimulus(frames=input_words(net, frames), patience_cycles=3000)
    interval = run_amaranth(core, stimulus, output_words=core.taps[-1].words).interval_cycles
    assert interval is not None
    return interval


def with_room(core: Core, words: int) -> Core:
    """The core with so many words of room taken from its one shortcut."""
    (shortcut,) = core.shortcuts
    shortcut.part.depth -= words  # pyright: ignore
    return core


def one_block(rng: np.random.Generator) -> Network:
    return network(
        conv(rng, "a", 2), sign(rng, "s", 2), conv(rng, "b", 2), Add(name="add", source="s"), sign(rng, "t", 2),
        shape=(2, 8, 9),
    )  # fmt: skip


def test_a_shortcut_with_too_little_room_deadlocks_so_the_computed_room_is_needed(rng):
    net = one_block(rng)
    plan = plan_of(net, ["spatial"])
    core = lower(net, plan=plan)
    (shortcut,) = core.shortcuts
    window, registers = 9 + 1, core.latencies["b"]
    # A window's rows, the registers, the word at the fork, and two more for the buffered FIFO.
    assert shortcut.part.depth == window + registers + 3  # pyright: ignore
    assert measured(core, net) == plan.interval_cycles
    with pytest.raises(MismatchError, match=r"no transfer for 3000 cycles, deadlocked"):
        measured(with_room(lower(net, plan=plan), shortcut.part.depth - window + 2), net)  # pyright: ignore


def test_room_that_the_registers_need_is_not_spare(rng):
    net = one_block(rng)
    plan = plan_of(net, ["spatial"])
    core = lower(net, plan=plan)
    assert measured(with_room(core, core.latencies["b"] + 1), net) > plan.interval_cycles


@pytest.mark.parametrize(("simd", "waiting"), [(1, 9), (2, 0)])
def test_only_in_front_of_an_unpacker_there_are_words_to_count(rng, simd, waiting):
    net = one_block(rng)
    plan = plan_of(net, ["spatial", "folded"], simd=simd)
    (shortcut,) = lower(net, plan=plan).shortcuts
    between = next(stage for stage in streamline(net) if stage.name == "b")
    folds = {"vectors": plan.layers[1].vectors, "buffer_rows": plan.layers[1].buffer_rows}
    assert plan.layers[1].engine == "folded"
    room = room_words([held_folded(between, **folds, waiting=waiting)], 8 * 9)
    assert shortcut.part.depth == room + 2  # pyright: ignore


def test_a_plan_counts_the_shortcut(rng):
    net = blocks(rng, channels=16, side=16)
    choice = choose_plan(net, Budget(family="ecp5", luts=20_000, block_rams=50), levels_per_register=3)
    by_name = {layer.name: layer for layer in choice.plan.layers}
    assert by_name["add1"].engine == by_name["sign1"].engine == "stream"
    assert by_name["add1"].luts + 21 * by_name["add1"].block_rams > 16 * 8
    assert by_name["sign1"].luts > 16
