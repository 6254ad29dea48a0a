"""Residual additions in ONNX graphs: exactly what the reference evaluator gives, or refused with the nearest change."""

from functools import partial

import numpy as np
import pytest
from onnx_chains import Chain, bits, compared, norm

from xnorweave.errors import UnsupportedError
from xnorweave.importers import load_any
from xnorweave.network import Add, Network


@pytest.fixture
def check(tmp_path, rng):
    return partial(compared, folder=tmp_path, rng=rng)


def conv(chain: Chain, rng: np.random.Generator, channels: int, inputs: int, **options) -> Chain:
    return chain.weights("Conv", rng.normal(size=(channels, inputs, 3, 3)), pads=[1, 1, 1, 1], **options)


def fires(chain: Chain, rng: np.random.Generator, channels: int, **options: bool) -> Chain:
    return chain.add("BatchNormalization", *norm(rng, channels, **options)).add("BipolarQuant", 1.0)


def additions(network: Network) -> list[tuple[str, str]]:
    return [(layer.name, layer.source) for layer in network.layers if isinstance(layer, Add)]


@pytest.mark.parametrize("first", [True, False])
def test_sums_are_carried_past_two_blocks(check, rng, first):
    """As in Bi-Real Net, with the batch norm behind the addition; scales are positive, negative and 0."""
    chain = conv(bits("n", 2, 6, 6), rng, 5, 2)
    for _ in range(2):
        carried = chain.last
        conv(fires(chain, rng, 5), rng, 5, 5).add("Add", carried, first=first)
    fires(chain, rng, 5, rising=True).add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    chain.add("Flatten", axis=1).weights("Gemm", rng.normal(size=(4, 45)), transB=1)
    network = check(chain)
    assert additions(network) == [("add1", "conv1"), ("add2", "add1")]
    assert [layer.name for layer in network.layers][:8] == [
        "conv1", "conv1_sign", "conv2", "add1", "conv2_sign", "conv3", "add2", "conv3_sign",
    ]  # fmt: skip


@pytest.mark.parametrize("quantizer", [("BipolarQuant", 1.0), ("BipolarQuant", 2.0), ("Quant", 2.0, 0.0, 2.0)])
def test_activations_are_carried_past_a_pooling_and_a_convolution(check, rng, quantizer):
    step = quantizer[1]
    chain = conv(bits("n", 1, 6, 6), rng, 3, 1).add("BatchNormalization", *norm(rng, 3, rising=True)).add(*quantizer)
    carried = chain.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2]).last
    # The sums of inputs of this step are multiples of it, and so is what is added.
    conv(chain, rng, 3, 3).add("Add", carried)
    fires(chain.add("Div", step), rng, 3).add("Flatten", axis=1)
    network = check(chain.weights("Gemm", rng.normal(size=(4, 27)), transB=1))
    assert additions(network) == [("add1", "pool1")]


def test_branches_of_opposite_signs_and_a_pooling_behind_the_addition(check, rng):
    signs = np.array([1.0, -1.0, -1.0, 1.0]).reshape(4, 1, 1)
    chain = fires(conv(bits("n", 1, 6, 6), rng, 4, 1), rng, 4)
    carried = chain.last
    conv(chain, rng, 4, 4).add("Mul", signs).add("Add", carried)
    chain.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    chain.add("BatchNormalization", *norm(rng, 4, rising=True)).add("BipolarQuant", 1.0)
    chain.add("Flatten", axis=1).weights("Gemm", rng.normal(size=(3, 36)), transB=1)
    assert additions(check(chain)) == [("add1", "conv1_sign")]


def test_negative_scales_turn_activations_that_are_carried_on(check, rng):
    """Weights cannot be negated where something is added to the sum; the next addition counts what comes of it."""
    chain = conv(bits("n", 1, 5, 5), rng, 3, 1).add("BipolarQuant", 1.0)
    for _ in range(2):
        carried = chain.last
        conv(chain, rng, 3, 3).add("Add", carried).add("Mul", np.array([-1.0, 0.5, -2.0]).reshape(3, 1, 1))
        chain.add("Add", 0.25).add("BipolarQuant", 1.0)
    network = check(chain.weights("Conv", rng.normal(size=(2, 3, 3, 3))).add("BipolarQuant", 1.0))
    assert additions(network) == [("add1", "conv1_sign"), ("add2", "conv2_sign")]
    assert any("2 of 3 channels stand for their negatives" in line and "addition" in line for line in network.history)


def base(rng: np.random.Generator, channels: int = 2) -> Chain:
    return conv(bits("n", 2, 4, 4), rng, channels, 2).add("BipolarQuant", 1.0)


def projected(rng: np.random.Generator) -> Chain:
    chain = base(rng)
    here = chain.last
    there = conv(chain, rng, 2, 2).last
    chain.last = here
    return conv(chain, rng, 2, 2).add("Add", there)


def residual(rng: np.random.Generator, *between, scale: float = 1.0, channels: int = 2) -> Chain:
    chain = base(rng)
    carried = chain.add("Mul", scale).last
    conv(chain, rng, channels, 2)
    for op, *constants in between:
        chain.add(op, *constants)
    return chain.add("Add", carried)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            lambda rng: residual(rng, ("BatchNormalization", *norm(rng, 2))),
            r"its convolution's sums are rounded in float32 before it adds them; put batch norm and scale behind",
        ),
        (
            lambda rng: residual(rng, ("Mul", 0.5)),
            r"channel 0 counts its convolution's sums 0.5 and its shortcut 1; only equal scales can be added: put batch",
        ),
        (
            lambda rng: residual(rng, scale=0.3),
            r"its convolution's sums are rounded in float32|channel 0 has a sum that float32 rounds; use scales of a",
        ),
        (
            lambda rng: residual(rng, channels=3),
            r"adds \[1, 2, 4, 4\] to \[1, 3, 4, 4\]; .* as many filters as channels",
        ),
        (projected, r"adds two branches with layers of their own; only a shortcut that changes nothing .* leave out"),
        (
            lambda rng: (
                (c := bits("n", 2, 4, 4)).weights("Conv", np.ones((2, 2, 1, 1))).add("Add", c.nodes[2].output[0])
            ),
            r"adds pixels to sums; only a shortcut that changes nothing is supported",
        ),
        (
            lambda rng: (c := base(rng)).add("Add", c.last),
            r"adds activations to activations; only a shortcut that changes nothing is supported",
        ),
        (
            lambda rng: (c := base(rng)).add("Mul", c.last),
            r"Mul .*: joins two branches of the graph; only chains are supported, .* and an Add of an earlier layer's",
        ),
    ],
)
def test_what_does_not_add_up_exactly_is_refused(tmp_path, rng, made, message):
    with pytest.raises(UnsupportedError, match=message):
        load_any(made(rng).save(tmp_path / "net.onnx"))
