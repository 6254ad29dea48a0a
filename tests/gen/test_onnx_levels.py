"""Activations of several levels, convolutions in groups and averages of ONNX graphs, to the last bit."""

from functools import partial

import numpy as np
import pytest
from explored_networks import Silent
from onnx_chains import ROUNDED, Chain, bits, compared, norm

from xnorweave import commands
from xnorweave.commands import ImportOptions
from xnorweave.errors import UnsupportedError
from xnorweave.importers import load_any
from xnorweave.lower import lower
from xnorweave.network import ArgMax, Conv2D, Dense, Threshold
from xnorweave.sim import golden
from xnorweave.sim.run import simulate


@pytest.fixture
def check(tmp_path, rng):
    return partial(compared, folder=tmp_path, rng=rng)


def levels_of(network) -> list[int]:
    return [layer.levels for layer in network.layers if isinstance(layer, Threshold)]


def ascending(rng, channels: int, levels: int, spread: float) -> np.ndarray:
    return np.sort(rng.normal(0, spread, (channels, levels)), 1)


# --- quantizers

QUANTIZERS = {
    "FINN's two bits, narrow": (3, {"levels": 2, "out_scale": 1.0, "out_bias": -1.0, "out_dtype": "INT2"}),
    "FINN's two bits": (3, {"levels": 3, "out_scale": 1.0, "out_bias": -2.0, "out_dtype": "INT2"}),
    "unsigned two bits": (3, {"levels": 3, "out_dtype": "UINT2"}),
    "a negative scale": (3, {"levels": 3, "out_scale": -0.5, "out_bias": 0.25}),
    "15 levels": (8, {"levels": 15, "out_scale": 0.125, "out_bias": -1.0}),
}


@pytest.mark.parametrize(("spread", "options"), QUANTIZERS.values(), ids=QUANTIZERS)
def test_multi_threshold(check, rng, spread, options):
    options = dict(options)
    levels = options.pop("levels")
    chain = bits("n", 2, 6, 6).weights("Conv", rng.normal(size=(6, 2, 3, 3)))
    chain.add("MultiThreshold", ascending(rng, 6, levels, spread), **options)
    chain.weights("Conv", rng.normal(size=(5, 6, 2, 2))).add("BatchNormalization", *norm(rng, 5))
    chain.add("MultiThreshold", ascending(rng, 1, levels, spread), **options)
    network = check(chain.add("Flatten").weights("MatMul", rng.normal(size=(45, 4))))
    assert levels_of(network) == [levels, levels]


@pytest.mark.parametrize("rounding", ROUNDED)
@pytest.mark.parametrize(
    ("bit_width", "zero", "options", "levels"),
    [
        (2, 0, {"signed": 1, "narrow": 1}, 2),
        (2, 0, {"signed": 1, "narrow": 0}, 3),
        (2, 0, {"signed": 0, "narrow": 0}, 3),
        (3, 2, {"signed": 0, "narrow": 1}, 6),
        (4, -1, {"signed": 1, "narrow": 0}, 15),
    ],
)
def test_quant(check, rng, rounding, bit_width, zero, options, levels):
    """With ties: sums are whole, so halves of the scale 2 and 4 occur."""
    quant = partial(Chain.add, rounding_mode=rounding, **options)
    chain = quant(
        bits("n", 30).weights("MatMul", rng.normal(size=(30, 12))), "Quant", 4.0, float(zero), float(bit_width)
    )
    chain.weights("MatMul", rng.normal(size=(12, 9))).add("Mul", rng.choice([-1.0, 1.0, 0.5], 9))
    chain = quant(chain, "Quant", 2.0, float(zero), float(bit_width))
    network = check(chain.weights("MatMul", rng.normal(size=(9, 5))))
    assert levels_of(network) == [levels, levels]
    assert not any("rounding moves" in line or "another order" in line for line in network.history)


def test_thresholds_of_quant_are_those_of_the_document(tmp_path):
    """Half of the scale rounds to the even number: 0.5 to 0, 1.5 to 2, -0.5 to 0."""
    chain = bits("n", 8).weights("MatMul", np.ones((8, 1))).add("Quant", 2.0, 0.0, 3.0, signed=1, narrow=0)
    network = load_any(chain.save(tmp_path / "net.onnx"))
    # Sums are even: -8 / 2 = -4 to 3 in whole steps, none of which is a tie.
    assert network.layers[-1].thresholds.tolist() == [[-6, -4, -2, 0, 2, 4, 6]]
    chain = bits("n", 8).weights("MatMul", np.ones((8, 1))).add("Quant", 4.0, 0.0, 3.0, signed=1, narrow=0)
    # -6 / 4 = -1.5 to -2, -2 / 4 to 0, 2 / 4 to 0, 6 / 4 to 2; the lowest and the highest two are never, or always.
    thresholds = load_any(chain.save(tmp_path / "net.onnx")).layers[-1].thresholds.tolist()
    assert thresholds == [[-8, -8, -4, -2, 4, 6, 10]]


def test_a_falling_channel_gets_its_weights_negated(check, rng):
    weights = rng.choice([-1.0, 1.0], (9, 3))
    chain = bits("n", 9).weights("MatMul", weights).add("Mul", [1.0, -1.0, 0.0]).add("Add", [0.5, 0.5, 2.0])
    network = check(chain.add("Quant", 2.0, 0.0, 2.0, signed=1, narrow=0))
    dense, threshold = network.layers
    assert isinstance(dense, Dense)
    assert isinstance(threshold, Threshold)
    assert np.array_equal(dense.weights, (weights * [1, -1, 1]).T)
    # Of sum + 0.5 behind 2: -1 from -3.5 on, which ties to the even -2; 0 from -1 (-0.25), 1 from 1 (0.75).
    assert threshold.thresholds.tolist() == [[-3, -1, 1], [-3, -1, 1], [-9, -9, -9]]
    assert "fc1: weights of 1 of 3 channels negated, whose scale is negative" in network.history


def test_levels_that_no_sum_takes_are_left_out(check, rng):
    chain = bits("n", 9).weights("MatMul", rng.normal(size=(9, 12)))
    chain.add("MultiThreshold", np.array([[0.0, 0.25, 0.5]]), out_bias=-1.5).weights("MatMul", rng.normal(size=(12, 4)))
    assert levels_of(check(chain)) == [1]


def test_a_scale_that_is_no_power_of_two_is_taken_where_no_order_of_additions_matters(check, rng):
    chain = bits("n", 9).weights("MatMul", rng.normal(size=(9, 7))).add("Quant", 0.7, 0.0, 3.0)
    chain.weights("MatMul", rng.normal(size=(7, 6))).add("Add", 0.123).add("Quant", 1.0, 0.0, 2.0)
    network = check(chain.weights("MatMul", rng.normal(size=(6, 4))))
    assert any("fc2: float32 sums depend on the order of additions; no sum" in line for line in network.history)


def test_rounded_levels_whose_sums_can_meet_a_threshold_are_refused(tmp_path, rng):
    chain = bits("n", 9).weights("MatMul", rng.normal(size=(9, 8))).add("Quant", 0.7, 0.0, 3.0)
    chain.weights("MatMul", np.ones((8, 6))).add("BipolarQuant", 1.0)
    with pytest.raises(UnsupportedError, match=r"channel 0 can sum to 0, .* quantize in steps of a power of two"):
        load_any(chain.save(tmp_path / "net.onnx"))


@pytest.mark.parametrize("before", [True, False])
def test_pooling_of_levels(check, rng, before):
    chain = bits("n", 2, 7, 7).weights("Conv", rng.normal(size=(5, 2, 2, 2)))
    pool = partial(chain.add, "MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    if before:
        pool()
    chain.add("BatchNormalization", *norm(rng, 5, rising=before)).add("Quant", 0.5, 0.0, 2.0, signed=0, narrow=0)
    if not before:
        pool()
    network = check(chain)
    assert [layer.kind for layer in network.layers] == ["conv2d", "threshold", "max_pool"]
    assert levels_of(network) == [3]


# --- offsets at borders and in front of the classes


@pytest.mark.parametrize(("quantizer", "levels"), [
    ({"out_bias": 0.0}, 1), ({"out_bias": 0.0}, 3), ({"out_bias": -3.0}, 3), ({"out_bias": -2.0, "out_scale": 2.0}, 3),
    ({"out_bias": 0.0, "out_scale": -0.5}, 2), ({"out_bias": -2.0}, 3), ({"out_bias": -1.5}, 3), ({"out_bias": -1.0}, 2),
])  # fmt: skip
def test_zeros_around_activations_with_an_offset(check, rng, quantizer, levels):
    chain = bits("n", 2, 5, 6).weights("Conv", rng.normal(size=(6, 2, 2, 2)))
    chain.add("MultiThreshold", ascending(rng, 6, levels, 3), **quantizer)
    chain.weights("Conv", rng.normal(size=(7, 6, 3, 3)), pads=[1, 0, 2, 1], strides=[2, 2])
    chain.add("BatchNormalization", *norm(rng, 7)).add("BipolarQuant", 1.0)
    network = check(chain.add("Flatten").weights("MatMul", rng.normal(size=(7 * 6, 4))))
    symmetric = quantizer["out_bias"] == -levels * quantizer.get("out_scale", 1.0) / 2
    assert any("constant channels for the zeros around" in line for line in network.history) == (not symmetric)
    assert (network.shapes[1][0] > 6) == (not symmetric)


@pytest.mark.parametrize(("column", "count"), [([1, 1, 1, 1], 4), ([1, 1, -1, 1], 2), ([1, -1, -1, 1], 0)])
def test_constant_channels_of_a_border_are_no_more_than_it_needs(check, rng, column, count):
    """As many as the weights of one filter at one tap sum to, at most."""
    chain = bits("n", 1, 5, 5).weights("Conv", rng.normal(size=(4, 1, 3, 3))).add("MultiThreshold", np.zeros((1, 1)))
    weights = np.array([column, np.negative(column)])[:, :, None, None] * np.ones((3, 3))
    chain.weights("Conv", weights, pads=[1, 1, 1, 1]).add("Sub", [[[4.5]], [[-4.5]]]).add("BipolarQuant", 1.0)
    assert check(chain).shapes[1][0] == 4 + count


@pytest.mark.parametrize("flat", [False, True])
def test_activations_with_an_offset_before_the_classes(check, rng, flat):
    if flat:
        chain = (
            bits("n", 2, 4, 4)
            .weights("Conv", rng.normal(size=(6, 2, 3, 3)))
            .add("Quant", 3.0, 0.0, 2.0, signed=0, narrow=0)
        )
        chain.add("Flatten").weights("MatMul", rng.normal(size=(24, 5)))
    else:
        chain = (
            bits("n", 20).weights("MatMul", rng.normal(size=(20, 16))).add("Quant", 3.0, 0.0, 2.0, signed=0, narrow=0)
        )
        chain.weights("MatMul", rng.normal(size=(16, 5)))
    network = check(chain.add("Mul", 0.3).add("Add", -0.7))
    assert any("constant channels before the last layer, since" in line for line in network.history)
    conv, threshold = network.layers[:2]
    assert isinstance(conv, (Conv2D, Dense))
    assert isinstance(threshold, Threshold)
    assert len(conv.weights) > (6 if flat else 16)


def test_offsets_of_classes_that_are_no_whole_steps(check, rng):
    """Of the activations 0.25, 1.25, 2.25 and 3.25, sums of fewer of the weights are off by halves."""
    chain = bits("n", 20).weights("MatMul", rng.normal(size=(20, 8))).add("Quant", 1.0, 0.0, 2.0, signed=0, narrow=0)
    weights = np.ones((8, 3))
    weights[0, 1] = weights[0, 2] = weights[1, 2] = -1
    network = check(chain.add("Add", 0.25).weights("MatMul", weights))
    assert isinstance(network.layers[-1], ArgMax)
    assert network.layers[-1].order is not None


# --- convolutions


@pytest.mark.parametrize("stride", [3, 5, 7])
def test_strides(check, rng, stride):
    chain = bits("n", 2, 17, 16).weights(
        "Conv", rng.normal(size=(4, 2, 3, 2)), strides=[stride, stride], pads=[2, 0, 1, 1]
    )
    network = check(chain.add("Add", 0.5).add("BipolarQuant", 1.0), images=20)
    assert isinstance(network.layers[0], Conv2D)
    assert network.layers[0].stride == stride


@pytest.mark.parametrize("levels", [1, 2])
def test_groups_and_depthwise(check, rng, levels):
    """Separable blocks with a padded border, negative scales of channels that other filters weight, two for a channel."""
    quant = {"out_scale": 2.0, "out_bias": -float(levels)}
    chain = bits("n", 4, 6, 6)
    chain.weights("Conv", rng.normal(size=(6, 2, 3, 3)), group=2, pads=[1, 1, 1, 1]).add(
        "BatchNormalization", *norm(rng, 6)
    )
    chain.add("MultiThreshold", ascending(rng, 6, levels, 1), **quant)
    chain.add("Mul", np.array([1.0, -1.0, -1.0, 1.0, 1.0, -1.0])[:, None, None])
    chain.weights("Conv", rng.normal(size=(12, 1, 3, 3)), group=6, pads=[1, 1, 1, 1], strides=[2, 2])
    chain.add("BatchNormalization", *norm(rng, 12)).add("MultiThreshold", ascending(rng, 12, levels, 1), **quant)
    chain.weights("Conv", rng.normal(size=(8, 12, 1, 1))).add("BatchNormalization", *norm(rng, 8))
    chain.add("MultiThreshold", ascending(rng, 8, levels, 1), **quant).add("Flatten")
    network = check(chain.weights("MatMul", rng.normal(size=(72, 5))))
    assert [layer.groups for layer in network.layers if isinstance(layer, Conv2D)] == [2, 6, 1]


def test_scales_and_offsets_of_channels_before_a_depthwise_convolution(check, rng):
    """Each filter sums one channel, so its scale and its offset are the filter's own."""
    chain = bits("n", 2, 6, 6).weights("Conv", rng.normal(size=(4, 2, 2, 2))).add("Quant", 4.0, 0.0, 2.0)
    chain.add("Mul", rng.normal(size=(4, 1, 1))).weights(
        "Conv", rng.normal(size=(8, 1, 3, 3)), group=4, pads=[1, 1, 1, 1]
    )
    chain.add("BatchNormalization", *norm(rng, 8)).add("BipolarQuant", 1.0)
    chain.add("Mul", rng.choice([-2.0, 0.5, 1.0], (8, 1, 1))).add("Add", rng.normal(size=(8, 1, 1)))
    chain.weights("Conv", rng.normal(size=(8, 1, 3, 3)), group=8)
    check(chain.add("BatchNormalization", *norm(rng, 8)).add("BipolarQuant", 1.0))


@pytest.mark.parametrize("step", [0.125, 0.1])
def test_offsets_of_channels_before_a_layer(check, rng, step):
    """Offsets that float32 adds exactly, and others."""

    def offsets(*shape: int) -> np.ndarray:
        return rng.integers(-20, 20, shape) * step

    chain = bits("n", 2, 6, 6).weights("Conv", rng.normal(size=(6, 2, 2, 2))).add("Quant", 2.0, 0.0, 2.0)
    chain.add("Add", offsets(6, 1, 1)).weights("Conv", rng.normal(size=(8, 3, 3, 3)), group=2).add("Add", 0.0321)
    chain.add("BipolarQuant", 1.0).add("Sub", offsets(8, 1, 1), first=True).add("Flatten")
    chain.weights("MatMul", rng.normal(size=(72, 9))).add("Add", 0.0123).add("BipolarQuant", 1.0)
    network = check(chain)
    assert any("order of additions" in line for line in network.history) == (step == 0.1)


def test_a_kernel_is_not_flipped(check):
    """Only the tap at the top left is -1, and only the pixel at the top left is bright."""
    kernel = np.ones((1, 1, 3, 3))
    kernel[0, 0, 0, 0] = -1
    network = check(bits("n", 1, 3, 3).weights("Conv", kernel).add("Add", -4.0).add("BipolarQuant", 1.0))
    assert isinstance(network.layers[0], Conv2D)
    assert network.layers[0].weights[0, 0].tolist() == [[-1, 1, 1], [1, 1, 1], [1, 1, 1]]
    dark_at_the_end = np.full((1, 1, 3, 3), 255, np.uint8)
    dark_at_the_start = dark_at_the_end.copy()
    dark_at_the_end[0, 0, 2, 2] = dark_at_the_start[0, 0, 0, 0] = 0
    assert [golden.run(network, x).outputs.ravel()[0] for x in (dark_at_the_start, dark_at_the_end)] == [1, 1]


def test_one_channel_in_one_group(check, rng):
    chain = bits("n", 1, 4, 4).weights("Conv", rng.normal(size=(1, 1, 3, 3)), group=1).add("Quant", 2.0, 0.0, 2.0)
    check(chain.weights("Conv", rng.normal(size=(1, 1, 2, 2)), group=1).add("BipolarQuant", 1.0))


# --- averages


def activations(rng, side: int, levels: int = 2, channels: int = 6) -> Chain:
    chain = bits("n", 2, side + 1, side + 1).weights("Conv", rng.normal(size=(channels, 2, 2, 2)))
    return chain.add("MultiThreshold", ascending(rng, channels, levels, 2), out_scale=2.0, out_bias=-float(levels))


AVERAGES = {
    "GlobalAveragePool": lambda c, n: c.add("GlobalAveragePool").add("Flatten"),
    "AveragePool": lambda c, n: c.add("AveragePool", kernel_shape=[n, n]).add("Reshape", [0, -1]),
    "ReduceMean": lambda c, n: c.add("ReduceMean", axes=[2, 3], keepdims=0),
    "of negative axes": lambda c, n: c.add("ReduceMean", axes=[-1, -2], keepdims=1).add("Squeeze", [2, 3]),
    "of channels last": lambda c, n: c.add("Transpose", perm=[0, 2, 3, 1]).add("ReduceMean", axes=[1, 2], keepdims=0),
    "of a flat map": lambda c, n: c.add("Reshape", [0, 0, -1]).add("ReduceMean", axes=[2], keepdims=0),
}


@pytest.mark.parametrize("average", AVERAGES)
def test_a_global_average_in_front_of_the_classes(check, rng, average):
    chain = AVERAGES[average](activations(rng, 4), 4)
    network = check(chain.weights("MatMul", rng.normal(size=(6, 5))).add("Mul", 0.1))
    assert [layer.kind for layer in network.layers] == ["conv2d", "threshold", "global_sum", "dense", "arg_max"]


@pytest.mark.parametrize("side", [3, 4])
def test_a_sum_over_positions(check, rng, side):
    chain = activations(rng, side).add("ReduceSum", [2, 3], keepdims=0).add("Mul", 0.5)
    check(chain.weights("Gemm", rng.normal(size=(5, 6)), transB=1))


def test_unsigned_levels_averaged_in_front_of_the_classes(check, rng):
    chain = (
        bits("n", 2, 5, 5)
        .weights("Conv", rng.normal(size=(6, 2, 2, 2)))
        .add("Quant", 2.0, 0.0, 2.0, signed=0, narrow=0)
    )
    network = check(chain.add("GlobalAveragePool").add("Flatten").weights("MatMul", rng.normal(size=(6, 5))))
    assert any("constant channels before the last layer" in line for line in network.history)


@pytest.mark.parametrize("convolution", [False, True])
def test_a_rounded_average_in_front_of_a_hidden_layer(check, rng, convolution):
    """Of 9 positions, which float32 rounds: no sum that can occur is at a threshold."""
    chain = activations(rng, 3, 3).add("GlobalAveragePool").add("Mul", 2.0).add("Sub", 0.125)
    if convolution:
        chain.weights("Conv", rng.normal(size=(8, 6, 1, 1))).add("Add", 0.071).add("BipolarQuant", 1.0).add("Flatten")
    else:
        chain.add("Flatten").weights("MatMul", rng.normal(size=(6, 8))).add("Add", 0.071).add("BipolarQuant", 1.0)
    network = check(chain.weights("MatMul", rng.normal(size=(8, 4))))
    assert any("float32 sums depend on the order of additions; no sum" in line for line in network.history)


def test_a_rounded_average_whose_sums_can_meet_a_threshold_is_refused(tmp_path, rng):
    chain = activations(rng, 3, 3).add("GlobalAveragePool").add("Flatten").weights("MatMul", np.ones((6, 4)))
    with pytest.raises(UnsupportedError, match=r"channel 0 can sum to 0, .* averages over 9 positions are rounded"):
        load_any(chain.add("BipolarQuant", 1.0).save(tmp_path / "net.onnx"))


@pytest.mark.parametrize("side", [3, 4])
def test_the_average_of_scores_of_a_1x1_convolution(check, rng, side):
    """The sum is whole, and only divided behind it: the order of classes is exact for any number of positions."""
    chain = (
        activations(rng, side, 3).weights("Conv", rng.normal(size=(5, 6, 1, 1))).add("GlobalAveragePool").add("Flatten")
    )
    network = check(chain)
    assert [layer.kind for layer in network.layers] == ["conv2d", "threshold", "global_sum", "dense", "arg_max"]
    assert check(chain.add("Add", 0.25).add("Mul", -0.125)).layers[-1].kind == "arg_max"


def test_the_average_of_a_1x1_convolution_can_be_quantized(check, rng):
    chain = activations(rng, 3, 3).weights("Conv", rng.normal(size=(8, 6, 1, 1))).add("GlobalAveragePool")
    chain.add("BatchNormalization", *norm(rng, 8)).add("Quant", 1.0, 0.0, 2.0).add("Flatten")
    network = check(chain.weights("MatMul", rng.normal(size=(8, 4))))
    kinds = [layer.kind for layer in network.layers]
    assert kinds == ["conv2d", "threshold", "global_sum", "dense", "threshold", "dense", "arg_max"]


# --- all of it against onnxruntime, and in hardware


def plain(rng) -> Chain:
    """Plain operations alone: groups, Sign with zeros as a third value, an average."""
    chain = Chain(1, 4, 9, 9).add("Sub", 0.5).add("Sign")
    chain.add("Conv", rng.choice([-1.0, 1.0], (8, 2, 3, 3)), group=2, strides=[2, 2]).add("Div", 3.0).add("Sign")
    chain.add("Conv", rng.choice([-1.0, 1.0], (8, 1, 3, 3)), group=8, pads=[1, 1, 1, 1]).add("Sign")
    chain.add("Conv", rng.choice([-0.5, 0.5], (6, 8, 1, 1))).add("Sign").add("GlobalAveragePool").add("Flatten")
    return chain.add("Gemm", rng.choice([-1.0, 1.0], (6, 5)))


def test_onnxruntime_gives_the_same_sums(tmp_path, rng):
    pytest.importorskip("onnxruntime")
    path = plain(rng).save(tmp_path / "net.onnx")
    report = commands.import_(str(path), tmp_path / "net.npz", ImportOptions(images=200, seed=1), Silent())
    assert report["check"]["compared"] == ["class", "sums"]
    assert report["check"]["mismatches"] == 0
    assert levels_of(load_any(tmp_path / "net.npz")) == [2, 2, 2]


def test_onnxruntime_gives_the_same_sums_of_activations_with_an_offset(tmp_path, rng):
    """0 and 1 by plain operations, around a padded border and in front of the classes."""
    pytest.importorskip("onnxruntime")
    chain = Chain(1, 3, 7, 6).add("Sub", 0.5).add("Sign").add("Conv", rng.choice([-1.0, 1.0], (8, 3, 3, 3))).add("Sign")
    chain.add("Add", 1.0).add("Div", 2.0).add("Conv", rng.choice([-1.0, 1.0], (9, 8, 3, 3)), pads=[1, 1, 1, 1])
    chain.add("Add", 0.5).add("Sign").add("Add", 1.0).add("Flatten").add("Gemm", rng.choice([-1.0, 1.0], (180, 5)))
    path = chain.save(tmp_path / "net.onnx")
    report = commands.import_(str(path), tmp_path / "net.npz", ImportOptions(images=200, seed=1), Silent())
    assert report["check"]["compared"] == ["class", "sums"]
    history = load_any(tmp_path / "net.npz").history
    assert sum("constant channels" in line for line in history) == 2


def test_onnxruntime_gives_the_same_levels(tmp_path, rng):
    pytest.importorskip("onnxruntime")
    chain = plain(rng)
    chain.add("Sign")
    path = chain.save(tmp_path / "net.onnx")
    report = commands.import_(str(path), tmp_path / "net.npz", ImportOptions(images=100, seed=1), Silent())
    assert report["check"]["compared"] == ["levels"]


def test_hardware_of_an_imported_network(tmp_path, rng):
    network = load_any(plain(rng).save(tmp_path / "net.onnx"))
    frames = rng.integers(0, 256, (3, *network.input.shape), dtype=np.uint8)
    report = simulate(network, frames, simulator="amaranth", core=lower(network, strategy="units"), taps=True)
    assert (report.mismatches, report.first_mismatch) == (0, None)
    assert len(set(golden.run(network, frames).scores.ravel().tolist())) > 2
