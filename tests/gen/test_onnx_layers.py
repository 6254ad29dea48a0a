"""Layers of ONNX graphs become integer layers that give what the reference evaluator gives, to the last bit."""

from functools import partial

import numpy as np
import onnx
import pytest
from onnx_chains import Chain, bits, compared, norm

from xnorweave.errors import NetworkError, UnsupportedError
from xnorweave.importers import load_any
from xnorweave.network import Conv2D, MaxPool


@pytest.fixture
def check(tmp_path, rng):
    return partial(compared, folder=tmp_path, rng=rng)


@pytest.mark.parametrize("flat", [[0, -1], [-1, 36]])
def test_dense_layers_with_batch_norm(check, rng, flat):
    chain = bits("batch", 1, 6, 6).add("Reshape", flat)
    for inputs, outputs in ((36, 24), (24, 16)):
        chain.weights("MatMul", rng.normal(size=(inputs, outputs))).add("BatchNormalization", *norm(rng, outputs))
        chain.add("BipolarQuant", 1.0)
    chain.weights("MatMul", rng.normal(size=(16, 7))).add("Sub", 0.3).add("Div", 1.7).add("Mul", [0.4]).add("Add", -1.0)
    network = check(chain)
    assert [layer.kind for layer in network.layers] == ["dense", "threshold", "dense", "threshold", "dense", "arg_max"]
    assert network.input.shape == (1, 6, 6)


def test_a_batch_of_one_by_a_computed_shape(check, rng):
    chain = bits(1, 1, 3, 3)
    image, chain.last = chain.last, "image"
    shape = chain.add("Shape").add("Gather", 0, axis=0).add("Unsqueeze", [0]).add("Concat", [-1], axis=0).last
    chain.last = image
    chain.add("Reshape", shape).weights("Gemm", rng.normal(size=(4, 9)), transB=1)
    assert check(chain).input.shape == (1, 3, 3)


@pytest.mark.parametrize("shape", [[1, 9], [-1, 9]])
def test_a_shape_in_which_0_would_mean_nothing(check, rng, shape):
    """As PyTorch's newer exporter writes every Reshape."""
    chain = bits(1, 1, 3, 3).add("Reshape", shape, allowzero=1).weights("Gemm", rng.normal(size=(4, 9)), transB=1)
    assert check(chain, images=1).input.shape == (1, 3, 3)


def test_a_shape_that_holds_nothing_is_refused(tmp_path, rng):
    chain = bits(1, 1, 3, 3).add("Reshape", [0, 9], allowzero=1).weights("MatMul", rng.normal(size=(9, 4)))
    with pytest.raises(NetworkError, match=r"Reshape 'n3': shape \[0, 9\] with allowzero=1 holds nothing"):
        load_any(chain.save(tmp_path / "net.onnx"))


def test_a_shape_that_is_a_list_of_a_constant_node(check, rng):
    chain = bits(1, 1, 3, 3)
    chain.nodes.append(onnx.helper.make_node("Constant", [], ["listed"], value_ints=[1, 9]))
    chain.add("Reshape", "listed").weights("Gemm", rng.normal(size=(4, 9)), transB=1)
    assert check(chain, images=1).input.shape == (1, 3, 3)


@pytest.mark.parametrize("rising", [True, False])
def test_convolution_padding_pooling_and_flatten(check, rng, rising):
    chain = bits("n", 2, 8, 8).weights("Conv", rng.normal(size=(6, 2, 3, 3)), rng.normal(size=6) * 0, pads=[1, 1, 1, 1])
    if rising:
        # Pooled before batch norm, as Brevitas exports some networks.
        chain.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    chain.add("BatchNormalization", *norm(rng, 6, rising=rising)).add("BipolarQuant", 1.0)
    if not rising:
        chain.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    chain.weights("Conv", rng.normal(size=(5, 6, 3, 2)), strides=[2, 2], pads=[0, 1, 1, 0])
    chain.add("BatchNormalization", *norm(rng, 5)).add("BipolarQuant", 1.0)
    chain.add("Flatten", axis=1).weights("Gemm", rng.normal(size=(4, 5 * 2 * 2)), transB=1)
    network = check(chain)
    convolutions = [layer for layer in network.layers if isinstance(layer, Conv2D)]
    assert [layer.padding for layer in convolutions] == [(1, 1, 1, 1), (0, 1, 1, 0)]
    assert [layer.name for layer in network.layers] == [
        "conv1", "conv1_sign", "pool1", "conv2", "conv2_sign", "fc1", "classify",
    ]  # fmt: skip


@pytest.mark.parametrize("before", [1.0, -1.0])
@pytest.mark.parametrize("quantizer", [("BipolarQuant", 1.0), ("Quant", 2.0, 0.0, 2.0)])
def test_scales_that_turn_behind_a_pooling_turn_the_next_weights(check, rng, before, quantizer):
    chain = bits("n", 1, 6, 6).weights("Conv", rng.normal(size=(3, 1, 3, 3)), pads=[1, 1, 1, 1]).add("Mul", before)
    chain.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2]).add("Mul", np.array([[[1.0]], [[-1.0]], [[2.0]]]))
    chain.add("Sub", 1.0).add(*quantizer).weights("Conv", rng.normal(size=(4, 3, 2, 2)), pads=[1, 1, 0, 0])
    network = check(chain.add("BipolarQuant", 1.0))
    assert any("conv1: activations of 1 of 3 channels stand for their negatives" in line for line in network.history)


def test_scales_that_turn_between_two_poolings_are_refused(tmp_path, rng):
    chain = bits("n", 1, 6, 6).weights("Conv", rng.normal(size=(3, 1, 3, 3)), pads=[1, 1, 1, 1])
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    chain.add("MaxPool", **pool).add("Mul", np.array([[[1.0]], [[-1.0]], [[2.0]]]))
    chain.save(tmp_path / "net.onnx")
    for message, more in (
        (r"MaxPool 'n7': channel 1 falls between two max poolings; pool the quantized values instead", lambda c: c),
        (r"MaxPool 'n8': pools activations of negative scale", lambda c: c.add("BipolarQuant", 1.0)),
    ):
        last, count = chain.last, len(chain.nodes)
        with pytest.raises(UnsupportedError, match=message):
            load_any(more(chain).add("MaxPool", **pool).save(tmp_path / "net.onnx"))
        chain.last, chain.nodes = last, chain.nodes[:count]


def test_a_falling_batch_norm_before_a_pooling_is_exact(check, rng):
    chain = bits("n", 1, 4, 4).weights("Conv", rng.normal(size=(3, 1, 3, 3)), pads=[1, 1, 1, 1])
    chain.add("Mul", np.array([[[1.0]], [[-1.0]], [[2.0]]])).add("Add", 0.5)
    chain.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2]).add("BipolarQuant", 1.0)
    network = check(chain)
    assert isinstance(network.layers[-1], MaxPool)


@pytest.mark.parametrize("perm", [[0, 1, 2, 3], [0, 2, 3, 1], [0, 3, 2, 1]])
def test_the_order_of_a_flattened_map(check, rng, perm):
    chain = bits("n", 1, 6, 7).weights("Conv", rng.normal(size=(5, 1, 3, 4))).add("Add", 0.5).add("BipolarQuant", 1.0)
    chain.add("Transpose", perm=perm).add("Reshape", [0, -1])
    network = check(chain.weights("MatMul", rng.normal(size=(80, 6))).add("Mul", 0.5))
    assert network.shapes[-3:] == ((5, 4, 4), (6, 1, 1), (1, 1, 1))


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_with_channels_last(check, rng, channels):
    means = rng.random((1, 1, 1, 1)) if channels == 1 else 0.5
    chain = Chain("n", 5, 6, channels).add("Sub", means).add("Transpose", perm=[0, 3, 1, 2]).add("BipolarQuant", 1.0)
    chain.weights("Conv", rng.normal(size=(4, channels, 3, 3))).add("Add", 0.5).add("BipolarQuant", 1.0)
    assert check(chain, channels_last=True).input.shape == (channels, 5, 6)
    chain = Chain("n", 5, 6, channels).add("Sub", 0.5).add("BipolarQuant", 1.0).add("Flatten")
    check(chain.weights("MatMul", rng.normal(size=(30 * channels, 4))), channels_last=True)


def test_a_vector_that_is_an_image(check, rng):
    chain = bits("n", 36).add("Reshape", [-1, 1, 6, 6]).weights("Conv", rng.normal(size=(4, 1, 3, 3)))
    assert check(chain.add("BipolarQuant", 1.0)).input.shape == (1, 6, 6)


@pytest.mark.parametrize(
    ("shape", "image"), [([-1, 1, 4, 4], (1, 4, 4)), ([-1, 4, 2, 2], (4, 2, 2)), ([-1, 16, 1, 1], (1, 4, 4))]
)
def test_a_vector_that_is_reshaped_is_an_image_of_few_colours(check, rng, shape, image):
    chain = bits("n", 16).add("Reshape", shape).add("Flatten").weights("MatMul", rng.normal(size=(16, 4)))
    assert check(chain).input.shape == image
    chain = bits("n", 16).add("Reshape", shape).weights("Conv", rng.normal(size=(4, shape[1], 1, 1)))
    assert check(chain.add("Add", 0.5).add("BipolarQuant", 1.0)).input.shape == tuple(shape[1:])


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_multi_threshold_of_one_level(check, rng, layout):
    chain = bits("n", 1, 5, 5).weights("Conv", rng.normal(size=(6, 1, 3, 3)))
    if layout == "NHWC":
        chain.add("Transpose", perm=[0, 2, 3, 1])
    chain.add(
        "MultiThreshold", rng.integers(-6, 6, (6, 1)).astype(float), out_scale=2.0, out_bias=-1.0, data_layout=layout
    )
    chain.add("Flatten").weights("MatMul", rng.normal(size=(54, 4)))
    check(chain)


@pytest.mark.parametrize("recentred", [False, True])
def test_activations_of_0_and_1(check, rng, recentred):
    chain = bits("n", 9).weights("MatMul", rng.normal(size=(9, 12)))
    chain.add("MultiThreshold", rng.normal(0, 3, (1, 1)), out_dtype="BINARY")
    if recentred:
        chain.add("Mul", 2.0).add("Add", -1.0)
    chain.weights("MatMul", rng.normal(size=(12, 8))).add("BatchNormalization", *norm(rng, 8)).add("BipolarQuant", 1.0)
    check(chain)


def test_one_bit_quant_of_weights_and_activations(check, rng):
    chain = bits("n", 16)
    before, chain.last = chain.last, chain.constant(rng.normal(size=(16, 10)))
    weights = chain.add("Quant", 0.5, 0.0, 1.0, signed=1, narrow=1).last
    chain.last = before
    chain.add("MatMul", weights).add("Quant", 0.25, 0.0, 1.0, signed=1, narrow=0)
    chain.weights("MatMul", rng.normal(size=(10, 6))).add("Quant", 3.0, 0.0, 1.0, signed=0, narrow=0)
    check(chain)
