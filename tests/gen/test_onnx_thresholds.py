"""Thresholds and classes of ONNX graphs are those that float32 gives, also where a sum meets one."""

from functools import partial

import numpy as np
import pytest
from onnx_chains import bits, compared

from xnorweave.errors import UnsupportedError
from xnorweave.importers import load_any
from xnorweave.network import ArgMax, Dense, Threshold


@pytest.fixture
def check(tmp_path, rng):
    return partial(compared, folder=tmp_path, rng=rng)


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


@pytest.mark.parametrize("way", ["Add", "Gemm", "falling", "fractions alone"])
def test_offsets_of_classes(check, rng, way):
    """Whole steps of them are constant channels, and what is left decides between equal sums."""
    chain = bits("n", 12).weights("MatMul", rng.normal(size=(12, 9))).add("BipolarQuant", 1.0)
    weights, offsets = np.repeat(rng.normal(size=(9, 3)), 2, axis=1), np.array([0.25, -3.5, 2.75, 0.75, 4.5, 4.25])
    match way:
        case "Gemm":
            chain.weights("Gemm", weights, offsets)
        case "Add":
            chain.weights("MatMul", weights).add("Add", offsets)
        case "falling":
            chain.weights("MatMul", weights).add("Sub", offsets, first=True).add("Mul", 0.5)
        case _:
            chain.weights("MatMul", weights).add("Add", offsets % 2)
    network = check(chain)
    assert any("classes have offsets of their own" in line for line in network.history)
    assert any("constant channels before the last layer" in line for line in network.history) == (
        way != "fractions alone"
    )
    assert isinstance(network.layers[-1], ArgMax)
    assert network.layers[-1].order is not None


def test_equal_offsets_of_classes_need_no_order(check, rng):
    chain = bits("n", 12).weights("MatMul", rng.normal(size=(12, 9))).add("BipolarQuant", 1.0)
    network = check(chain.weights("MatMul", rng.normal(size=(9, 4))).add("Add", np.array([-1.0, 1.0, -1.0, 3.0])))
    assert isinstance(network.layers[-1], ArgMax)
    assert network.layers[-1].order is None


def test_offsets_of_classes_that_float32_rounds_as_it_adds_them_are_refused(tmp_path, rng):
    """Equal sums of two classes of one offset, with which one accumulator starts and another ends."""
    chain = bits("n", 12).weights("MatMul", rng.normal(size=(12, 9))).add("BipolarQuant", 1.0)
    chain.weights("Gemm", rng.normal(size=(9, 4)), np.array([0.1, 0.1, 0.7, -0.3]))
    with pytest.raises(
        UnsupportedError, match=r"equal sums may come out unequal, since its bias is added inside .*: here of"
    ):
        load_any(chain.save(tmp_path / "net.onnx"))


def test_sign_of_0(tmp_path, check, rng):
    check(bits("n", 9).weights("MatMul", rng.normal(size=(9, 5))).add("Sign"))
    even = bits("n", 8).weights("MatMul", rng.normal(size=(8, 5))).add("Sign")
    # A third value is a second bit.
    network = check(even)
    assert network.layers[-1].thresholds.tolist() == [[0, 2]] * 5
    assert "fc1: activations of 3 values, 2 bits" in network.history
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
    assert network.history[3:] == (
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
