"""Models that end as Larq's examples do: a dense layer, a batch norm of the classes, a softmax."""

from decimal import Decimal, getcontext

import numpy as np
import pytest

from xnorweave.emit import emit
from xnorweave.importers import load_any
from xnorweave.lower import lower
from xnorweave.network import Scale
from xnorweave.sim import golden
from xnorweave.sim.run import Pattern, simulate

CLOSE = "does not tell them apart for sure; there the exact ones decide"


def larq_model(keras_chain, rng, *, classes: int = 10):
    """Two convolutions, pooling, two dense layers, and a batch norm behind each, none with a bias, as Larq advises."""
    chain = keras_chain(10, 9, 1).add("Rescaling", scale=2.0, offset=-1.0)
    chain.conv(rng.normal(size=(3, 3, 1, 4)), input_quantizer=None)
    for layer in ("conv", "dense", "classes"):
        outputs = {"conv": 6, "dense": 24, "classes": classes}[layer]
        if layer == "conv":
            chain.add("MaxPooling2D", pool_size=[2, 2], strides=[2, 2], padding="valid")
        chain.norm(rng.normal(0, 2, chain_channels(chain)), rng.random(chain_channels(chain)) * 9 + 1)
        if layer == "conv":
            chain.conv(rng.normal(size=(3, 3, 4, outputs)), padding="same")
        else:
            inputs = 4 * 3 * 6 if layer == "dense" else 24
            (chain.add("Flatten") if layer == "dense" else chain).dense(rng.normal(size=(inputs, outputs)))
    beta = rng.normal(0, 0.3, classes)
    chain.norm(rng.normal(0, 3, classes), rng.random(classes) * 20 + 10, rng.normal(1, 0.2, classes), beta)
    return chain.add("Activation", activation="softmax")


def chain_channels(chain) -> int:
    """Outputs of the last layer with a kernel."""
    return next(arrays["kernel"].shape[-1] for arrays in reversed(chain.arrays) if "kernel" in arrays)


def exact_classes(norm: dict[str, np.ndarray], sums: np.ndarray, epsilon: float = 1e-3) -> list[int]:
    """The class of the largest score by the textbook formula in 80 digits, of equal ones the first."""
    getcontext().prec = 80
    gamma, beta, mean, variance = (
        [Decimal(float(v)) for v in norm[name]] for name in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    roots = [(v + Decimal(float(np.float32(epsilon)))).sqrt() for v in variance]
    constants = list(zip(gamma, beta, mean, roots, strict=True))
    scores = [
        [(Decimal(int(x)) - m) / r * g + b for x, (g, b, m, r) in zip(row, constants, strict=True)] for row in sums
    ]
    return [row.index(max(row)) for row in scores]


def test_a_model_with_a_batch_norm_of_the_classes(keras_chain, tmp_path, rng):
    chain = larq_model(keras_chain, rng)
    network = load_any(chain.save(tmp_path / "net.h5"))
    assert [layer.kind for layer in network.layers[-3:]] == ["dense", "scale", "arg_max"]
    frames = rng.integers(0, 256, (150, 1, 10, 9), dtype=np.uint8)
    result = golden.run(network, frames, keep_layers=True)
    sums = result.layers[network.layers[-3].name].reshape(150, 10)
    assert result.outputs.tolist() == exact_classes(chain.arrays[-2], sums)
    # Not the class of the largest sum, nor always the same one.
    assert np.count_nonzero(result.outputs != sums.argmax(1)) > 5
    assert len(set(result.outputs.tolist())) > 3
    scores = chain.run(frames.transpose(0, 2, 3, 1).astype(np.float32) / np.float32(255))
    first, second = np.sort(scores, 1)[:, :-3:-1].T
    clear = first - second > 1e-5
    assert np.count_nonzero(clear) > 140
    assert np.array_equal(result.outputs[clear], scores.argmax(1)[clear])


@pytest.mark.parametrize("simulator", ["amaranth", "icarus"])
def test_the_hardware_of_such_a_model(keras_chain, tmp_path, rng, need, simulator):
    if simulator == "icarus":
        need("icarus")
    network = load_any(larq_model(keras_chain, rng, classes=4).save(tmp_path / "net.h5"))
    frames = rng.integers(0, 256, (3, *network.input.shape), dtype=np.uint8)
    pattern = Pattern(idle=0.2, stall=0.3, seed=1)
    built = {"core": lower(network)} if simulator == "amaranth" else {"design": emit(network)}
    report = simulate(network, frames, simulator=simulator, taps=True, pattern=pattern, **built)
    assert (report.mismatches, report.first_mismatch) == (0, None)


def ending(keras_chain, variance, gamma=None, beta=None, *, mean=None, softmax=False):
    classes, mean = len(variance), np.zeros(len(variance)) if mean is None else mean
    chain = keras_chain(9).add("Rescaling", scale=2.0, offset=-1.0).dense(np.ones((9, classes)))
    chain.norm(mean, variance, gamma, beta, epsilon=1.0)
    return chain.add("Softmax", axis=-1) if softmax else chain


def test_scores_closer_than_float32_rounds_are_counted(keras_chain, tmp_path):
    """``3 * x`` and ``x + offset``: equal where ``2 * x`` is the offset, and 10^-7 apart where it is nearly."""
    offset = np.float32(2) - np.float32(2**-23)
    chain = ending(keras_chain, [0.0, 0.0], [3.0, 1.0], [0.0, offset])
    network = load_any(chain.save(tmp_path / "net.h5"))
    # 3, 9 and -3 less 2^-23 are no float32s, and rounded to these.
    assert [line.split()[:2] for line in network.history if CLOSE in line] == [["3", "pairs"]]
    scale = network.layers[-2]
    assert isinstance(scale, Scale)
    assert 3 * int(scale.factors[1]) == int(scale.factors[0])
    values = scale.factors + scale.offsets
    assert values[0] > values[1]


def test_equal_scores_are_no_close_ones(keras_chain, tmp_path):
    """``3 * x`` and ``x + 2`` are equal at 1, in float32 too: the first class is chosen, as in TensorFlow."""
    chain = ending(keras_chain, [0.0, 0.0], [3.0, 1.0], [0.0, 2.0])
    network = load_any(chain.save(tmp_path / "net.h5"))
    assert not any(CLOSE in line for line in network.history)
    scale = network.layers[-2]
    assert isinstance(scale, Scale)
    assert len(set((scale.factors + scale.offsets).tolist())) == 1


def test_a_softmax_brings_scores_together(keras_chain, tmp_path):
    """``3 * x`` and ``x + 2 + 10^-6`` are that far apart at 1: enough for float32, not behind a softmax."""
    given = [0.0, 0.0], [3.0, 1.0], [0.0, 2.0 + 2.0**-20]
    counts = []
    for softmax in (False, True):
        network = load_any(ending(keras_chain, *given, softmax=softmax).save(tmp_path / "net.h5"))
        counts.append(sum(CLOSE in line for line in network.history))
    assert counts == [0, 1]


def test_classes_of_one_scale_need_no_factors(keras_chain, tmp_path):
    network = load_any(ending(keras_chain, [3.0, 3.0, 3.0], mean=np.full(3, 2.0)).save(tmp_path / "net.h5"))
    assert [layer.kind for layer in network.layers] == ["dense", "arg_max"]
