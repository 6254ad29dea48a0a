import math

import numpy as np
import pytest

from xnorweave.errors import UnsupportedError
from xnorweave.hw.sliding_window import border_classes
from xnorweave.network import ArgMax, Conv2D, Dense, Encoding, InputSpec, Network, Threshold
from xnorweave.passes.streamline import (
    ArgMaxStage,
    ConvStage,
    DenseStage,
    GlobalSumStage,
    PoolStage,
    ScaleStage,
    TableStage,
    streamline,
)
from xnorweave.sim.random_networks import random_network


def signs(rng, *shape):
    return rng.choice(np.array([-1, 1], np.int8), shape)


@pytest.mark.parametrize("kind", ["bits", "pixels", "table"])
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (1, 1, 1, 1), (2, 0, 1, 0)])
def test_conv_thresholds_decide_as_the_signed_sum_does(kind, padding, rng):
    table = (np.arange(256) // 16 * 3 - 20).astype(np.int16) if kind == "table" else None
    spec = InputSpec(kind="bits" if kind == "bits" else "pixels", shape=(2, 4, 5), table=table)
    weights = signs(rng, 6, 2, 3, 3)
    spread = {"bits": 6, "pixels": 900, "table": 90}[kind]
    thresholds = rng.integers(-spread, spread, 6).astype(np.int32)
    layers = (Conv2D(name="c", weights=weights, padding=padding), Threshold(name="t", thresholds=thresholds))
    stage = streamline(Network(name="n", input=spec, layers=layers))[-1]
    assert isinstance(stage, ConvStage)
    code = stage.encoding
    rows, columns = border_classes((4, 5), (3, 3), 1, padding)
    for _ in range(20):
        x = rng.integers(0, 1 << code.bits, (2, 4, 5))
        value = np.pad(code.scale * x + code.offset, ((0, 0), padding[:2], padding[2:]))
        wire = np.pad(x, ((0, 0), padding[:2], padding[2:]))
        for r, row_class in enumerate(rows.index):
            for c, column_class in enumerate(columns.index):
                acc = (weights * value[:, r : r + 3, c : c + 3]).sum((1, 2, 3))
                linear = (weights * wire[:, r : r + 3, c : c + 3]).sum((1, 2, 3))
                limit = stage.thresholds[row_class << columns.bits | column_class]
                assert np.array_equal(acc >= thresholds, linear >= np.array(limit))


def test_each_group_is_a_convolution_of_its_own(rng):
    weights, thresholds = signs(rng, 6, 2, 3, 2), rng.integers(-8, 8, 6).astype(np.int32)

    def stage_of(channels, rows, groups=1):
        conv = Conv2D(name="c", weights=weights[rows], padding=(1, 0, 0, 1), stride=2, groups=groups)
        layers = (conv, Threshold(name="t", thresholds=thresholds[rows]))
        (stage,) = streamline(Network(name="n", input=InputSpec(kind="bits", shape=(channels, 5, 6)), layers=layers))
        return stage

    parts = stage_of(4, slice(0, 6), groups=2).by_group()
    assert len(parts) == 2
    for k, (part, places) in enumerate(parts):
        alone = stage_of(2, slice(3 * k, 3 * k + 3))
        assert (part.input_shape, part.output_shape, part.groups) == (alone.input_shape, alone.output_shape, 1)
        assert np.array_equal(part.weights, alone.weights)
        assert part.thresholds == alone.thresholds
        assert (part.encoding, part.stride, part.padding) == (alone.encoding, alone.stride, alone.padding)
        assert places.tolist() == [4 * tap + 2 * k + channel for tap in range(6) for channel in range(2)]


def test_thresholds_out_of_reach_stay_just_out_of_reach(rng):
    weights = signs(rng, 2, 1, 2, 2)
    layers = (
        Conv2D(name="c", weights=weights),
        Threshold(name="t", thresholds=np.array([-(10**9), 10**9], np.int32)),
    )
    (stage,) = streamline(Network(name="n", input=InputSpec(kind="bits", shape=(1, 3, 3)), layers=layers))
    low, high = -(weights[0] < 0).sum(), (weights[1] > 0).sum()
    assert stage.thresholds == {0: (low, high + 1)}


@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (1, 0, 1, 1)])
def test_levels_decide_as_the_signed_sum_does(padding, rng):
    """Activations of two bits go into a convolution with three levels of its own, then into a dense layer."""
    spec = InputSpec(kind="bits", shape=(2, 4, 4))
    limits = [np.sort(rng.integers(-9, 10, (n, 3)), 1).astype(np.int32) for n in (3, 5, 6)]
    size = math.prod(4 + a + b - 2 for a, b in (padding[:2], padding[2:]))
    layers = (
        Conv2D(name="a", weights=signs(rng, 3, 2, 1, 1)),
        Threshold(name="ta", thresholds=limits[0]),
        Conv2D(name="b", weights=signs(rng, 5, 3, 3, 3), padding=padding),
        Threshold(name="tb", thresholds=limits[1]),
        Dense(name="c", weights=signs(rng, 6, 5 * size)),
        Threshold(name="tc", thresholds=limits[2]),
    )
    _, conv, dense = streamline(Network(name="n", input=spec, layers=layers))
    assert isinstance(conv, ConvStage)
    assert isinstance(dense, DenseStage)
    x = rng.integers(0, 4, (3, 4, 4))
    value = np.pad(2 * x - 3, ((0, 0), padding[:2], padding[2:]))
    wire = np.pad(x, ((0, 0), padding[:2], padding[2:]))
    rows, columns = border_classes((4, 4), (3, 3), 1, padding)
    for r, c in np.ndindex(len(rows.index), len(columns.index)):
        acc = (conv.weights * value[:, r : r + 3, c : c + 3]).sum((1, 2, 3))
        linear = (conv.weights * wire[:, r : r + 3, c : c + 3]).sum((1, 2, 3))
        reached = np.array(conv.thresholds[rows.index[r] << columns.bits | columns.index[c]]).reshape(5, 3)
        assert np.array_equal(acc[:, None] >= limits[1], linear[:, None] >= reached)
    x = rng.integers(0, 4, (50, 5 * size))
    acc = (2 * x - 3) @ dense.weights.T.astype(int)
    lanes = np.where(dense.weights > 0, x[:, None], 3 - x[:, None]).sum(2) + dense.biases
    steps = np.concatenate([np.zeros((6, 1), int), dense.steps], 1)
    # Positions are shuffled by the stream's order, and here the weights are the stream's.
    assert np.array_equal(acc[:, :, None] >= limits[2], lanes[:, :, None] >= steps)
    assert (conv.output_encoding, dense.output_encoding) == (Encoding(bits=2, scale=2, offset=-3),) * 2


@pytest.mark.parametrize("fires", [True, False])
@pytest.mark.parametrize("kind", ["bits", "pixels", "table"])
def test_dense_biases(kind, fires, rng):
    table = (np.arange(256) // 8 * 2 - 20).astype(np.int16) if kind == "table" else None
    spec = InputSpec(kind="bits" if kind == "bits" else "pixels", shape=(2, 3, 2), table=table)
    weights = signs(rng, 5, 12)
    thresholds = rng.integers(-8, 9, 5).astype(np.int32)
    layers = [Dense(name="d", weights=weights)]
    layers.append(Threshold(name="t", thresholds=thresholds) if fires else ArgMax(name="a"))
    stage = next(
        s for s in streamline(Network(name="n", input=spec, layers=tuple(layers))) if isinstance(s, DenseStage)
    )
    code = stage.encoding
    x = rng.integers(0, 1 << code.bits, (50, 2, 3, 2))
    acc = (code.scale * x + code.offset).reshape(50, -1) @ weights.T.astype(int)
    stream = x.transpose(0, 2, 3, 1).reshape(50, 1, -1)
    lanes = np.where(stage.weights > 0, stream, 2**code.bits - 1 - stream).sum(2) + stage.biases
    if fires:
        assert np.array_equal(lanes >= 0, acc >= thresholds)
    else:
        assert np.array_equal(code.scale * lanes + stage.offsets, acc)
        assert len(set(stage.offsets)) == 1


def test_scores_that_no_integer_bias_can_align_are_refused(rng):
    table = np.where(np.arange(256) > 99, 2, -1).astype(np.int16)  # step 3, offset -1
    weights = np.array([[1, 1], [1, -1]], np.int8)
    spec = InputSpec(kind="pixels", shape=(2, 1, 1), table=table)
    network = Network(name="n", input=spec, layers=(Dense(name="scores", weights=weights), ArgMax(name="a")))
    with pytest.raises(UnsupportedError, match=r"scores: .*step 3.*differ by 1.*give the table an offset"):
        streamline(network)


def test_a_convolution_without_threshold_is_refused(rng):
    layers = (Conv2D(name="c", weights=signs(rng, 2, 1, 1, 1)),)
    network = Network(name="n", input=InputSpec(kind="bits", shape=(1, 2, 2)), layers=layers)
    with pytest.raises(UnsupportedError, match=r"c: .* no hardware; put a Threshold behind it"):
        streamline(network)


@pytest.mark.parametrize("seed", range(30))
def test_every_stage_carries_one_layer(seed):
    network = random_network(np.random.default_rng(seed))
    try:
        stages = streamline(network)
    except UnsupportedError:
        return
    carried = [stage.layer for stage in stages if not isinstance(stage, TableStage)]
    assert len(set(carried)) == len(carried)
    assert set(carried) <= {layer.name for layer in network.layers}
    shapes = {layer.name: after for layer, _, after in network.walk()}
    shaped = [stage for stage in stages if isinstance(stage, (ConvStage, PoolStage, GlobalSumStage))]
    assert [stage.output_shape for stage in shaped] == [shapes[stage.layer] for stage in shaped]
    assert all(
        isinstance(s, (TableStage, ConvStage, PoolStage, GlobalSumStage, DenseStage, ScaleStage, ArgMaxStage))
        for s in stages
    )


def test_a_dense_layer_of_one_output_of_several_levels():
    weights = np.array([[1, -1, 1, 1]], np.int8)
    layers = (Dense(name="fc", weights=weights), Threshold(name="sign", thresholds=np.array([[-2, 0, 2]])))
    network = Network(name="one", input=InputSpec(kind="bits", shape=(4, 1, 1)), layers=layers)
    (stage,) = streamline(network)
    assert isinstance(stage, DenseStage)
    assert (stage.levels, [len(row) for row in stage.steps]) == (3, [2])
