"""ONNX graphs become integer networks that give what ONNX's own reference evaluator gives, to the last bit."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from xnorweave.errors import UnsupportedError
from xnorweave.importers import load_any
from xnorweave.network import Conv2D, Dense, MaxPool, Network, Threshold
from xnorweave.sim import golden

QONNX = {
    "BipolarQuant": "onnx.brevitas",
    "Quant": "qonnx.custom_op.general",
    "MultiThreshold": "finn.custom_op.general",
}


class BipolarQuant(OpRun):
    op_domain = QONNX["BipolarQuant"]

    def _run(self, x, scale):
        return (np.where(x >= 0, np.float32(1), np.float32(-1)) * scale,)


class Quant(OpRun):
    op_domain = QONNX["Quant"]

    def _run(self, x, scale, zero, bits, signed=1, narrow=1, rounding_mode="ROUND"):
        y = x / scale + zero
        if bits == 1 and signed:
            y = np.where(y >= 0, np.float32(1), np.float32(-1))
        else:
            low = -(2 ** (bits - 1)) + narrow if signed else 0
            high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
            y = {"ROUND": np.round, "FLOOR": np.floor, "CEIL": np.ceil}[rounding_mode](
                np.minimum(np.maximum(y, low), high)
            )
        return (((y - zero) * scale).astype(np.float32),)


class MultiThreshold(OpRun):
    op_domain = QONNX["MultiThreshold"]

    def _run(self, x, thresholds, out_scale=1.0, out_bias=0.0, out_dtype="", data_layout="NCHW"):
        v = np.moveaxis(x, 1 if data_layout == "NCHW" else -1, -1)[..., None]
        count = (v >= thresholds).sum(-1)
        y = np.moveaxis(out_scale * count + out_bias, -1, 1 if data_layout == "NCHW" else -1)
        return (y.astype(np.float32),)


class Chain:
    """Builds a sequential graph."""

    def __init__(self, *shape: int | str, kind: int = TensorProto.FLOAT) -> None:
        self.input = helper.make_tensor_value_info("image", kind, shape)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.last = "image"

    def constant(self, value: Any) -> str:
        array = np.asarray(value)
        array = array.astype(np.int64) if array.dtype.kind in "iu" else array.astype(np.float32)
        self.constants.append(numpy_helper.from_array(array, f"c{len(self.constants)}"))
        return f"c{len(self.constants) - 1}"

    def add(self, op: str, *constants: Any, first: bool = False, outputs: int = 1, **attributes: Any) -> "Chain":
        """One node on the tensor before; ``first`` puts the constants in front of it, the last output goes on."""
        names = [self.constant(c) if not isinstance(c, str) else c for c in constants]
        inputs = [*names, self.last] if first else [self.last, *names]
        made = [f"t{len(self.nodes)}_{n}" for n in range(outputs)]
        self.nodes.append(
            helper.make_node(op, inputs, made, name=f"n{len(self.nodes)}", domain=QONNX.get(op, ""), **attributes)
        )
        self.last = made[-1]
        return self

    def weights(self, op: str, weights: np.ndarray, *more: Any, scale: Any = 1.0, **attributes: Any) -> "Chain":
        """A layer whose real weights are binarized in the graph."""
        before = self.last
        self.last = self.constant(weights)
        quantized = self.add("BipolarQuant", scale).last
        self.last = before
        return self.add(op, quantized, *more, **attributes)

    def model(self) -> onnx.ModelProto:
        output = helper.make_tensor_value_info(self.last, TensorProto.UNDEFINED, None)
        graph = helper.make_graph(self.nodes, "g", [self.input], [output], self.constants)
        opsets = [helper.make_opsetid(domain, 1) for domain in QONNX.values()]
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), *opsets])

    def save(self, path: Path) -> Path:
        path.write_bytes(self.model().SerializeToString())
        return path


@pytest.fixture(name="check")
def _check(tmp_path: Path, rng: np.random.Generator):
    """Import a chain, and compare it with the reference evaluator on random images; gives the network."""

    def check(chain: Chain, *, raw: bool = False, channels_last: bool = False, images: int = 200) -> Network:
        network = load_any(chain.save(tmp_path / "net.onnx"))
        frames = rng.integers(0, 256, (images, *network.input.shape), dtype=np.uint8)
        shape = [d.dim_value for d in chain.input.type.tensor_type.shape.dim][1:]
        x = (frames.transpose(0, 2, 3, 1) if channels_last else frames).reshape(images, *shape)
        if chain.input.type.tensor_type.elem_type == TensorProto.FLOAT:
            x = x.astype(np.float32) if raw else x.astype(np.float32) / np.float32(255)
        evaluator = ReferenceEvaluator(chain.model(), new_ops=[BipolarQuant, Quant, MultiThreshold])
        want = np.asarray(evaluator.run(None, {"image": x})[0])
        got = golden.run(network, frames)
        if got.scores is None:
            low = want.min()
            assert np.array_equal(got.outputs.reshape(images, -1) > 0, want.reshape(images, -1) > low)
        else:
            assert np.array_equal(got.outputs, want.ravel() if want.size == images else want.argmax(1))
        return network

    return check


def bits(*shape: int | str, **options: Any) -> Chain:
    """An input of -1 and +1."""
    return Chain(*shape, **options).add("Mul", 2.0).add("Sub", [1.0]).add("BipolarQuant", 1.0)


def norm(rng: np.random.Generator, channels: int, *, rising: bool = False) -> tuple[np.ndarray, ...]:
    """Scale, bias, mean, variance; some scales negative and, unless rising, some zero."""
    scale = rng.normal(size=channels)
    scale = np.abs(scale) + 0.1 if rising else scale * (rng.random(channels) > 0.2)
    return scale, rng.normal(size=channels), rng.normal(0, 3, channels), rng.random(channels) * 4 + 0.1


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


def test_a_falling_batch_norm_behind_a_pooling_is_refused(tmp_path, rng):
    chain = bits("n", 1, 4, 4).weights("Conv", rng.normal(size=(3, 1, 3, 3)), pads=[1, 1, 1, 1])
    chain.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2]).add("Mul", np.array([[[1.0]], [[-1.0]], [[2.0]]]))
    chain.add("BipolarQuant", 1.0)
    with pytest.raises(
        UnsupportedError, match=r"BipolarQuant 'n7': channel 1 falls behind a max pooling; put the pool"
    ):
        load_any(chain.save(tmp_path / "net.onnx"))


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


def test_an_eight_bit_input_is_a_table(check, rng):
    chain = Chain("n", 3, 6, 6).add("Mul", 2.0).add("Sub", 1.0).add("Quant", 1 / 128, 0.0, 8.0, signed=1, narrow=0)
    chain.weights("Conv", rng.normal(size=(4, 3, 3, 3)), pads=[1, 1, 1, 1], scale=0.5)
    chain.add("BatchNormalization", *norm(rng, 4)).add("BipolarQuant", 1.0)
    network = check(chain)
    pixel = np.arange(256)
    want = np.round(128 * (pixel.astype(np.float32) / np.float32(255) * 2 - 1))
    assert network.input.table is not None
    assert np.array_equal(network.input.table, np.clip(want, -128, 127))


@pytest.mark.parametrize("step", [("Div", 255.0), ("Mul", 1 / 255), ("Quant", 1.0, 0.0, 8.0)])
def test_raw_pixels_are_recognized(check, rng, step):
    chain = Chain("n", 9).add(*step, **({"signed": 0, "narrow": 0} if step[0] == "Quant" else {}))
    if step[0] != "Quant":
        chain.add("Sub", 0.3).add("BipolarQuant", 1.0)
    network = check(chain.weights("MatMul", rng.normal(size=(9, 5))).add("BipolarQuant", 1.0), raw=True)
    assert (network.input.table is None) == (step[0] == "Quant")
    assert "input of the graph: the pixel itself" in network.history


def test_bytes_are_pixels(check, rng):
    chain = Chain("n", 9, kind=TensorProto.UINT8).add("Cast", to=1).weights("MatMul", rng.normal(size=(9, 5)))
    network = check(chain.add("Add", 100.0).add("BipolarQuant", 1.0))
    assert network.input.table is None


def test_pixels_can_be_said(tmp_path, rng):
    chain = Chain("n", 9).add("Sub", 127.5).add("BipolarQuant", 1.0).weights("MatMul", rng.normal(size=(9, 5)))
    chain.save(tmp_path / "net.onnx")
    with pytest.raises(Exception, match="input: table is -1 for every pixel"):
        load_any(tmp_path / "net.onnx")
    table = load_any(tmp_path / "net.onnx", pixels="raw").input.table
    assert table is not None
    assert np.array_equal(table, np.where(np.arange(256) >= 128, 1, -1))


@pytest.mark.parametrize("op", ["TopK", "ArgMax", "scores", "negated"])
def test_classes_and_ties(check, rng, op):
    # Two equal rows: ties on every image.
    weights = np.repeat(rng.normal(size=(8, 3)), 2, axis=1)
    chain = bits("n", 8).weights("MatMul", weights)
    if op == "TopK":
        chain.add("TopK", [1], outputs=2, axis=-1)
    elif op == "ArgMax":
        chain.add("ArgMax", axis=1, keepdims=0)
    else:
        chain.add("Mul", 0.25 if op == "scores" else -0.25)
    network = check(chain)
    assert (op in ("scores", "negated")) == ("lowest of equals" in network.history[-1])


def test_sign_of_0(tmp_path, check, rng):
    check(bits("n", 9).weights("MatMul", rng.normal(size=(9, 5))).add("Sign"))
    even = bits("n", 8).weights("MatMul", rng.normal(size=(8, 5))).add("Sign")
    with pytest.raises(
        UnsupportedError, match=r"node Sign 'n5': gives 0 where channel 0 sums to 0, besides -1 and 1; use BipolarQuant"
    ):
        load_any(even.save(tmp_path / "even.onnx"))
    check(bits("n", 8).weights("MatMul", rng.normal(size=(8, 5))).add("Add", 0.5).add("Sign"))


def test_0_is_plus_1_in_bipolar_quant(check, rng):
    network = check(bits("n", 8).weights("MatMul", rng.normal(size=(8, 5))).add("BipolarQuant", 1.0))
    assert isinstance(network.layers[-1], Threshold)
    assert network.layers[-1].thresholds.tolist() == [0] * 5
    # Behind a negation 0 is +1 still: of the negated sum.
    network = check(bits("n", 8).weights("MatMul", rng.normal(size=(8, 5))).add("Neg").add("BipolarQuant", 1.0))
    assert isinstance(network.layers[-1], Threshold)
    assert network.layers[-1].thresholds.tolist() == [0] * 5


def test_negative_and_zero_scales(check, rng):
    scale, bias = np.array([1.0, -1.0, 0.0, 0.0]), np.array([0.5, 0.5, 0.0, -0.1])
    weights = rng.choice([-1.0, 1.0], (10, 4))
    chain = bits("n", 10).weights("MatMul", weights)
    chain.add("BatchNormalization", scale, bias, np.zeros(4), np.ones(4), epsilon=0.0).add("BipolarQuant", 1.0)
    network = check(chain)
    dense, threshold = network.layers
    assert isinstance(dense, Dense)
    assert isinstance(threshold, Threshold)
    assert np.array_equal(dense.weights, (weights * [1, -1, 1, 1]).T)
    assert threshold.thresholds.tolist() == [0, 0, -10, 12]
    assert network.history[2:] == (
        "fc1: weights of 1 of 4 channels negated, whose scale is negative",
        "fc1: 2 of 4 channels are the same for every input",
    )


def test_epsilon_counts(check, rng):
    def thresholds(epsilon: float) -> list[int]:
        chain = bits("n", 8).weights("MatMul", np.ones((8, 1)))
        chain.add("BatchNormalization", [1.0], [-1.5], [0.0], [1.0], epsilon=epsilon).add("BipolarQuant", 1.0)
        layer = check(chain).layers[-1]
        assert isinstance(layer, Threshold)
        return layer.thresholds.tolist()

    assert thresholds(0.0) == [2]
    assert thresholds(3.0) == [4]


def test_float32_decides_where_it_differs_from_exact_arithmetic(check):
    # 3 * 0.1 - 0.3 is -7e-9 for these float32 constants, but float32 rounds 3 * 0.1 to 0.3.
    assert 3 * float(np.float32(0.1)) < float(np.float32(0.3))
    network = check(
        bits("n", 3).weights("MatMul", np.ones((3, 2))).add("Mul", 0.1).add("Sub", 0.3).add("BipolarQuant", 1.0)
    )
    layer = network.layers[-1]
    assert isinstance(layer, Threshold)
    assert layer.thresholds.tolist() == [3, 3]
    assert "fc1: float32 rounding moves 2 of 2 thresholds from the exact ones; it is kept" in network.history


def test_orders_of_batch_norm_that_disagree_are_counted(tmp_path, rng):
    x, one = np.float32(5), np.float32(1)
    for _ in range(1000):
        mean, scale = np.float32(rng.normal()), np.float32(rng.normal())
        bias = -((x - mean) / one * scale)
        if x * scale + (bias - mean * scale) < 0 and scale > 0:
            break
    chain = bits("n", 9).weights("MatMul", np.ones((9, 1)))
    chain.add("BatchNormalization", [scale], [bias], [mean], [1.0], epsilon=0.0).add("BipolarQuant", 1.0)
    network = load_any(chain.save(tmp_path / "net.onnx"))
    layer = network.layers[-1]
    assert isinstance(layer, Threshold)
    assert layer.thresholds.tolist() == [5]
    assert any("fc1: 1 of 1 channels are so close to a sum that float32" in line for line in network.history)


@pytest.mark.parametrize(("scale", "counted"), [(0.25, False), (0.1, True)])
def test_scales_inside_a_sum(check, rng, scale, counted):
    chain = bits("n", 99).weights("MatMul", rng.normal(size=(99, 12)), scale=scale)
    network = check(chain.add("BatchNormalization", *norm(rng, 12)).add("BipolarQuant", 1.0))
    assert any("float32 sums depend on the order of additions" in line for line in network.history) == counted


def test_a_scale_for_each_channel_of_weights_and_activations(check, rng):
    weights = rng.choice([-1.0, 1.0], (12, 9)) * 2.0 ** rng.integers(-3, 3, (12, 1))
    chain = (
        bits("n", 9).add("Gemm", weights, rng.normal(size=12), alpha=0.7, beta=0.3, transB=1).add("BipolarQuant", 1.0)
    )
    chain.add("Mul", rng.choice([-0.5, 0.5], (1, 12))).weights("MatMul", rng.normal(size=(12, 4)))
    chain.add("Sub", rng.normal(size=4), first=True).add("BipolarQuant", 0.5)
    check(chain)


REFUSED = {
    "ternary weights": (
        lambda: bits("n", 4).add("MatMul", np.array([[1.0], [0.0], [-1.0], [1.0]])),
        r"MatMul 'n3': weights of output 0 have the magnitudes 0, 1, not one above 0; binarize"),
    "two-bit activations": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 2))).add("Quant", 1.0, 0.0, 2.0),
        r"Quant 'n5': gives 0 where channel 0 sums to 0, besides -1 and 1; use BipolarQuant"),
    "sums into a layer": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 2))).weights("MatMul", np.ones((2, 2))),
        r"MatMul 'n6': takes sums; quantize them to -1 and \+1 before"),
    "an input that is not quantized": (
        lambda: Chain("n", 4).weights("MatMul", np.ones((4, 2))).add("BipolarQuant", 1.0),
        r"no multiples of one step within 16 bits; quantize the input"),
    "channels scaled differently": (
        lambda: Chain("n", 3, 4, 4).add("Sub", np.array([[[0.1]], [[0.2]], [[0.3]]])).add("BipolarQuant", 1.0)
        .weights("Conv", np.ones((2, 3, 3, 3))).add("BipolarQuant", 1.0), r"the input's channels are scaled differently"),
    "scores of several offsets": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 2))).add("Add", np.array([0.0, 0.5])),
        r"output 't5_0': scores of classes 0 and 1 have offsets 0 and 0.5, .* train the last layer without bias"),
    "scores of several scales": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 2))).add("Mul", np.array([1.0, 0.5])), r"scales 1 and 0.5"),
    "scores that float32 makes equal": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 2))).add("Add", 1e9), r"float32 gives different sums the same score"),
    "padding of 0 and 1": (
        lambda: Chain("n", 1, 4, 4).add("Sub", 0.5).add("BipolarQuant", 1.0).weights("Conv", np.ones((2, 1, 3, 3)))
        .add("MultiThreshold", np.zeros((1, 1))).weights("Conv", np.ones((2, 2, 3, 3)), pads=[1, 1, 1, 1]),
        r"pads with zeros, which are neither"),
    "a branch": (
        lambda: (c := bits("n", 4)).add("Add", c.last), r"joins two branches of the graph; only chains"),
    "an unknown operation": (
        lambda: bits("n", 4).add("Softplus"), r"Softplus 'n3': operation 'Softplus' is not supported; replace it by .*MatMul"),
    "groups": (
        lambda: bits("n", 2, 4, 4).weights("Conv", np.ones((2, 1, 3, 3)), group=2), r"group=2 is not supported; nearest: 1"),
    "dilation": (
        lambda: bits("n", 1, 6, 6).weights("Conv", np.ones((2, 1, 3, 3)), dilations=[2, 2]), r"dilations=\[2, 2\] is not"),
    "SAME padding": (
        lambda: bits("n", 1, 6, 6).weights("Conv", np.ones((2, 1, 3, 3)), auto_pad="SAME_UPPER"), r"auto_pad=SAME_UPPER is not"),
    "stride 3": (
        lambda: bits("n", 1, 6, 6).weights("Conv", np.ones((2, 1, 3, 3)), strides=[3, 3]), r"strides=\[3, 3\] is not supported"),
    "a kernel of 9": (
        lambda: bits("n", 1, 9, 9).weights("Conv", np.ones((2, 1, 9, 9))), r"kernel 9x9 is not within"),
    "a pooling of 4": (
        lambda: bits("n", 1, 8, 8).weights("Conv", np.ones((2, 1, 3, 3))).add("BipolarQuant", 1.0)
        .add("MaxPool", kernel_shape=[4, 4], strides=[4, 4]), r"kernel_shape=\[4, 4\] .* nearest: \[2, 2\] with \[2, 2\]"),
    "padded pooling": (
        lambda: bits("n", 1, 8, 8).weights("Conv", np.ones((2, 1, 3, 3))).add("BipolarQuant", 1.0)
        .add("MaxPool", kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 1, 1]), r"pads=\[1, 1, 1, 1\] is not supported"),
    "pooled pixels": (
        lambda: Chain("n", 1, 8, 8).add("MaxPool", kernel_shape=[2, 2], strides=[2, 2]), r"pools pixels; only binary"),
    "a transposed map": (
        lambda: bits("n", 1, 8, 8).weights("Conv", np.ones((2, 1, 3, 3))).add("BipolarQuant", 1.0)
        .add("Transpose", perm=[0, 1, 3, 2]).weights("Conv", np.ones((2, 2, 3, 3))), r"is not the map \[2, 6, 6\] \(channels first"),
    "a moved batch": (
        lambda: bits(1, 4, 4).add("Transpose", perm=[1, 0, 2]), r"perm=\[1, 0, 2\] moves the batch from the front"),
    "k of 5": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 6))).add("TopK", [5], outputs=2), r"k=\[5\] is not supported; nearest: 1"),
    "the last of equals": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 6))).add("ArgMax", axis=1, select_last_index=1), r"select_last_index=1"),
    "training": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 1))).add(
            "BatchNormalization", [1.0], [0.0], [0.0], [1.0], training_mode=1), r"training_mode=1 is not supported; nearest: 0"),
    "a variance of 0": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 1))).add(
            "BatchNormalization", [1.0], [0.0], [0.0], [0.0], epsilon=0.0), r"channel 0 has variance \+ epsilon <= 0"),
    "division by 0": (lambda: bits("n", 4).add("Div", 0.0), r"divides by 0"),
    "an overflow": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 1))).add("Mul", 3e38).add("BipolarQuant", 1.0),
        r"node BipolarQuant 'n6': gives a value that float32 does not hold"),
    "constants within a channel": (
        lambda: bits("n", 1, 2, 2).weights("Conv", np.ones((1, 1, 1, 1))).add("Add", np.arange(4.0).reshape(2, 2)),
        r"a constant differs within a channel"),
    "a constant that grows the tensor": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 1))).add("Add", np.zeros(3)), r"does not broadcast to \[1, 1\]"),
    "negated bits at the end": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 1))).add("BipolarQuant", 1.0).add("Neg"), r"moved or negated"),
    "sums of a convolution at the end": (
        lambda: bits("n", 1, 4, 4).weights("Conv", np.ones((2, 1, 3, 3))), r"chooses a class; only from the sums"),
    "pixels at the end": (lambda: bits("n", 4), r"gives pixels; there is no layer with weights"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_exact_is_refused_with_node_and_remedy(tmp_path, make, message):
    path = make().save(tmp_path / "net.onnx")
    with pytest.raises(Exception, match=message) as caught:
        load_any(path)
    assert type(caught.value).__module__ == "xnorweave.errors"
    assert str(caught.value).startswith(f"{path}: ")
