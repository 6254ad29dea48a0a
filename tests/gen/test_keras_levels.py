"""Grouped, depthwise and separable convolutions, levels and averages of Keras and Larq, to the last bit."""

import numpy as np
import pytest

from xnorweave.errors import UnsupportedError
from xnorweave.importers import load_any
from xnorweave.network import Conv2D, Threshold

DOREFA = {"class_name": "DoReFa", "config": {"name": "dorefa", "k_bit": 2, "mode": "activations", "dtype": "float32"}}
TERNARY = {
    "class_name": "SteTern",
    "config": {"threshold_value": 1.0, "ternary_weight_networks": False, "clip_value": 9.0},
}


def norm(rng, channels):
    return (
        rng.normal(0, 2, channels),
        rng.random(channels) * 4 + 0.1,
        rng.normal(size=channels),
        rng.normal(size=channels),
    )


def binary(chain):
    return chain.add("Rescaling", scale=2.0, offset=-1.0)


def kinds(network):
    return [layer.kind for layer in network.layers]


def levels_of(network):
    return [layer.levels for layer in network.layers if isinstance(layer, Threshold)]


@pytest.mark.parametrize("stride", [1, 3, 7])
def test_groups_and_strides(keras_chain, keras_check, rng, stride):
    chain = binary(keras_chain(15, 14, 4)).conv(
        rng.normal(size=(3, 3, 2, 6)), groups=2, strides=[stride, stride], padding="same"
    )
    network = keras_check(chain.norm(*norm(rng, 6)).add("SteSign", clip_value=1.0), images=30)
    conv = network.layers[0]
    assert isinstance(conv, Conv2D)
    assert (conv.groups, conv.stride) == (2, stride)


@pytest.mark.parametrize("multiplier", [1, 3])
def test_depthwise_then_pointwise(keras_chain, keras_check, rng, multiplier):
    chain = binary(keras_chain(7, 6, 4)).depthwise(
        rng.normal(size=(3, 2, 4, multiplier)), rng.normal(0, 2, 4 * multiplier), strides=[2, 2], padding="same"
    )
    chain.norm(*norm(rng, 4 * multiplier)).conv(rng.normal(size=(1, 1, 4 * multiplier, 5))).norm(*norm(rng, 5))
    network = keras_check(chain.add("Flatten").dense(rng.normal(size=(4 * 3 * 5, 4))))
    assert [layer.groups for layer in network.layers if isinstance(layer, Conv2D)] == [4, 1]


def test_a_depthwise_convolution_that_is_binary_already(keras_chain, keras_check, rng):
    chain = binary(keras_chain(5, 5, 3)).add("Activation", activation="ste_sign")
    chain.depthwise(rng.choice([-1.0, 1.0], (2, 2, 3, 1)), kind="DepthwiseConv2D")
    keras_check(chain.add("Activation", activation="ste_sign"))


def test_the_depthwise_kernel_of_keras_3_has_another_name(keras_chain, tmp_path, rng):
    chain = binary(keras_chain(5, 5, 3)).depthwise(rng.normal(size=(2, 2, 3, 1)), activation="ste_sign")
    want = load_any(chain.save(tmp_path / "net.h5")).layers[0]
    chain.arrays[2] = {"kernel": chain.arrays[2]["depthwise_kernel"]}
    got = load_any(chain.save(tmp_path / "net.h5")).layers[0]
    assert isinstance(want, Conv2D)
    assert isinstance(got, Conv2D)
    assert np.array_equal(got.weights, want.weights)


@pytest.mark.parametrize("kind", ["depthwise", "separable"])
def test_groups_that_keras_writes_and_does_not_read_are_one(keras_chain, tmp_path, rng, kind):
    kernels = [rng.normal(size=(2, 2, 4, 1)), *([rng.normal(size=(1, 1, 4, 4))] if kind == "separable" else [])]
    chain = getattr(binary(keras_chain(5, 5, 4)), kind)(*kernels, groups=2)
    with pytest.raises(UnsupportedError, match=r"groups=2 is not supported; nearest: 1"):
        load_any(chain.save(tmp_path / "net.h5"))


def test_a_separable_convolution_is_one_of_the_product_of_its_kernels(keras_chain, keras_check, rng):
    chain = binary(keras_chain(6, 7, 4)).separable(
        rng.normal(size=(3, 3, 4, 1)), rng.normal(size=(1, 1, 4, 6)), strides=[2, 2], padding="same"
    )
    network = keras_check(chain.norm(*norm(rng, 6)).add("Activation", activation="ste_sign"))
    conv = network.layers[0]
    assert isinstance(conv, Conv2D)
    assert (conv.groups, conv.weights.shape) == (1, (6, 4, 3, 3))
    # One kernel for each channel, and its inverse.
    assert all(len({kernel.tobytes() for kernel in conv.weights[:, c]}) <= 2 for c in range(4))


@pytest.mark.parametrize(("change", "message"), [
    ({}, r"depth_multiplier=2 makes sums of sums with nothing between; nearest: 1, or a QuantDepthwiseConv2D"),
    ({"depth_multiplier": 1}, r"its kernel \[2, 2, 3, 2\] does not fit \[1, 1, 6, 4\], kernel_size and filters"),
])  # fmt: skip
def test_a_separable_convolution_of_several_kernels_is_refused(keras_chain, tmp_path, rng, change, message):
    chain = binary(keras_chain(5, 5, 3)).separable(
        rng.normal(size=(2, 2, 3, 2)), rng.normal(size=(1, 1, 6, 4)), **change
    )
    with pytest.raises(Exception, match=r"layer QuantSeparableConv2D 'quantseparableconv2d_2': " + message):
        load_any(chain.save(tmp_path / "net.h5"))


def test_a_separable_convolution_of_real_weights_is_refused(keras_chain, tmp_path, rng):
    kernels = rng.normal(size=(2, 2, 3, 1)), rng.normal(size=(1, 1, 3, 4))
    chain = binary(keras_chain(5, 5, 3)).separable(*kernels, pointwise_quantizer=None)
    with pytest.raises(
        UnsupportedError, match=r'not all -1 and \+1; use depthwise_quantizer="ste_sign" and pointwise_'
    ):
        load_any(chain.save(tmp_path / "net.h5"))


def test_a_depthwise_kernel_of_other_channels_is_refused(keras_chain, tmp_path, rng):
    chain = binary(keras_chain(5, 5, 3)).depthwise(rng.normal(size=(2, 2, 2, 1)), activation="ste_sign")
    with pytest.raises(
        Exception, match=r"QuantDepthwiseConv2D .*: conv: weights take 2 groups of 1 channels, but the lay"
    ):
        load_any(chain.save(tmp_path / "net.h5"))


@pytest.mark.parametrize(("quantizer", "levels"), [(DOREFA, 3), (TERNARY, 2), ("dorefa_quantizer", 3), ("ste_tern", 2)])
def test_levels_in_hidden_layers(keras_chain, keras_check, rng, quantizer, levels):
    """With zeros around them: of 0 and more they need constant channels."""
    chain = binary(keras_chain(5, 6, 2)).conv(rng.normal(size=(3, 3, 2, 6))).norm(*norm(rng, 6))
    chain.conv(rng.normal(size=(3, 3, 6, 5)), padding="same", input_quantizer=quantizer).norm(*norm(rng, 5))
    chain.add("MaxPooling2D", pool_size=[2, 2], strides=[1, 1], padding="valid")
    chain.add("Flatten").dense(rng.normal(size=(2 * 3 * 5, 4)), input_quantizer="ste_sign")
    network = keras_check(chain)
    assert levels_of(network) == [levels, 1]
    assert any("constant channels for the zeros" in line for line in network.history) == (levels == 3)


@pytest.mark.parametrize(
    ("threshold", "want"), [(3.0, [[-1, 3]] * 2), (2.5, [[-1, 3]] * 2), (3.5, [[-3, 5]] * 2), (1.0, [1] * 2)]
)
def test_ternary_levels_are_closed_at_the_threshold(keras_chain, keras_check, threshold, want):
    """Sums are odd. At the threshold itself Larq's formula gives 1, so of 1 no sum is between."""
    chain = binary(keras_chain(9)).dense(np.ones((9, 2))).add("SteTern", threshold_value=threshold, clip_value=9.0)
    network = keras_check(chain)
    assert network.layers[1].thresholds.tolist() == want
    assert not any("rounding moves" in line for line in network.history)


def test_dorefa_in_front_of_the_classes_is_refused_where_float32_rounds(keras_chain, tmp_path, rng):
    chain = binary(keras_chain(9)).dense(rng.normal(size=(9, 6))).norm(*norm(rng, 6))
    chain.dense(rng.normal(size=(6, 4)), input_quantizer=DOREFA)
    with pytest.raises(
        UnsupportedError, match=r"chooses a class .* since its inputs are rounded to float32; quantize in steps"
    ):
        load_any(chain.save(tmp_path / "net.h5"))


def test_heaviside_in_front_of_the_classes(keras_chain, keras_check, rng):
    chain = binary(keras_chain(9)).dense(rng.normal(size=(9, 12))).norm(*norm(rng, 12))
    network = keras_check(chain.dense(rng.normal(size=(12, 4)), input_quantizer="ste_heaviside"))
    assert any("constant channels before the last layer" in line for line in network.history)


@pytest.mark.parametrize("keep", [False, True])
def test_a_global_average(keras_chain, keras_check, rng, keep):
    chain = binary(keras_chain(5, 5, 2)).conv(rng.normal(size=(2, 2, 2, 6))).norm(*norm(rng, 6)).add("SteSign")
    chain.add("GlobalAveragePooling2D", data_format="channels_last", keepdims=keep)
    if keep:
        chain.add("Flatten")
    network = keras_check(chain.dense(rng.normal(size=(6, 5)), input_quantizer=None, activation="softmax"))
    assert kinds(network) == ["conv2d", "threshold", "global_sum", "dense", "arg_max"]


def test_the_average_of_scores_of_a_1x1_convolution(keras_chain, keras_check, rng):
    chain = binary(keras_chain(4, 4, 2)).conv(rng.normal(size=(2, 2, 2, 6))).norm(*norm(rng, 6))
    network = keras_check(chain.conv(rng.normal(size=(1, 1, 6, 5))).add("GlobalAveragePooling2D"))
    assert kinds(network) == ["conv2d", "threshold", "global_sum", "dense", "arg_max"]


def test_an_average_of_9_positions_in_front_of_the_classes_is_refused(keras_chain, tmp_path, rng):
    chain = binary(keras_chain(4, 4, 2)).conv(rng.normal(size=(2, 2, 2, 6)), activation="ste_sign")
    chain.add("GlobalAveragePooling2D").dense(rng.normal(size=(6, 5)), input_quantizer=None)
    with pytest.raises(
        UnsupportedError, match=r"since averages over 9 positions are rounded to float32; average over 4, 16"
    ):
        load_any(chain.save(tmp_path / "net.h5"))


@pytest.mark.parametrize("hidden", [False, True])
def test_a_batch_norm_behind_the_classes(keras_chain, keras_check, rng, hidden):
    """As Larq's examples end: a dense layer, a batch norm, a softmax."""
    chain, features = binary(keras_chain(9)), 9
    if hidden:
        chain.dense(rng.normal(size=(9, 16)), activation="ste_sign")
        features = 16
    chain.dense(rng.normal(size=(features, 4)), rng.normal(size=4)).norm(*norm(rng, 4))
    network = keras_check(chain.add("Activation", activation="softmax"))
    assert kinds(network)[-3:] == ["dense", "scale", "arg_max"]
    assert any("classes have scales of their own" in line for line in network.history)


def test_a_residual_connection_is_refused_by_name(keras_chain, tmp_path, rng):
    chain = binary(keras_chain(9)).dense(rng.normal(size=(9, 9))).add("Add").dense(rng.normal(size=(9, 4)))
    config = chain.config(functional=True)
    config["config"]["layers"][3]["inbound_nodes"] = [[["quantdense_2", 0, 0, {}], ["rescaling_1", 0, 0, {}]]]
    message = r"layer Add 'add_3': joins 2 branches, as a residual connection does; only chains are supported, .* train without"
    with pytest.raises(UnsupportedError, match=message):
        load_any(chain.save(tmp_path / "net.h5", config))
