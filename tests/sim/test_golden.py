"""The golden model against plain loops, and against the outputs that came with trained networks."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnorweave.errors import DataError
from xnorweave.images import as_frames
from xnorweave.importers.bnn_pynq import from_arrays
from xnorweave.network import ArgMax, Conv2D, Dense, GlobalSum, InputSpec, MaxPool, Network, Scale, Threshold
from xnorweave.network_file import read_arrays
from xnorweave.sim import golden

# --- the reference: Python integers and loops, written from the layers' definitions alone


def loop_input(spec, frame):
    channels, height, width = spec.shape
    values = {}
    for c, y, x in itertools.product(range(channels), range(height), range(width)):
        raw = int(frame[c][y][x])
        if spec.kind == "bits":
            values[c, y, x] = 2 * raw - 1
        elif spec.table is None:
            values[c, y, x] = raw
        else:
            values[c, y, x] = int(spec.table[raw] if spec.table.ndim == 1 else spec.table[c, raw])
    return values, spec.shape


def loop_conv(layer, values, shape):
    out, channels, ky, kx = layer.weights.shape
    top, bottom, left, right = layer.padding
    rows = (shape[1] + top + bottom - ky) // layer.stride + 1
    columns = (shape[2] + left + right - kx) // layer.stride + 1
    sums = {}
    for o, y, x in itertools.product(range(out), range(rows), range(columns)):
        first = o // (out // layer.groups) * channels
        y0, x0 = y * layer.stride - top, x * layer.stride - left
        sums[o, y, x] = sum(
            int(layer.weights[o, c, i, j]) * values.get((first + c, y0 + i, x0 + j), 0)
            for c, i, j in itertools.product(range(channels), range(ky), range(kx))
        )
    return sums, (out, rows, columns)


def loop_pool(layer, values, shape):
    rows = (shape[1] - layer.size) // layer.stride + 1
    columns = (shape[2] - layer.size) // layer.stride + 1
    pooled = {}
    for c, y, x in itertools.product(range(shape[0]), range(rows), range(columns)):
        window = itertools.product(range(layer.size), range(layer.size))
        pooled[c, y, x] = max(values[c, y * layer.stride + i, x * layer.stride + j] for i, j in window)
    return pooled, (shape[0], rows, columns)


def loop_dense(layer, values, shape):
    flat = [values[place] for place in itertools.product(*map(range, shape))]
    sums = {(o, 0, 0): sum(int(w) * v for w, v in zip(row, flat, strict=True)) for o, row in enumerate(layer.weights)}
    return sums, (len(layer.weights), 1, 1)


def loop_run(network, frame):
    values, shape = loop_input(network.input, frame)
    for layer in network.layers:
        match layer:
            case Conv2D():
                values, shape = loop_conv(layer, values, shape)
            case MaxPool():
                values, shape = loop_pool(layer, values, shape)
            case GlobalSum():
                positions = list(itertools.product(range(shape[1]), range(shape[2])))
                values = {(c, 0, 0): sum(values[c, y, x] for y, x in positions) for c in range(shape[0])}
                shape = (shape[0], 1, 1)
            case Dense():
                values, shape = loop_dense(layer, values, shape)
            case Threshold():
                rows = layer.thresholds.reshape(shape[0], -1).tolist()
                values = {p: sum(1 if v >= limit else -1 for limit in rows[p[0]]) for p, v in values.items()}
            case Scale():
                rows = list(zip(layer.factors.tolist(), layer.offsets.tolist(), strict=True))
                values = {p: rows[p[0]][0] * v + rows[p[0]][1] for p, v in values.items()}
            case ArgMax():
                scores = [values[c, 0, 0] for c in range(shape[0])]
                first = scores.index(max(scores))
                yield layer.name, first if layer.order is None else layer.order[first]
                return
        yield (
            layer.name,
            [[[values[c, y, x] for x in range(shape[2])] for y in range(shape[1])] for c in range(shape[0])],
        )


# --- random networks


def signs(rng, shape):
    return rng.choice(np.array([-1, 1], dtype=np.int8), shape)


def random_input(rng):
    shape = (int(rng.integers(1, 4)), int(rng.integers(3, 9)), int(rng.integers(3, 9)))
    kind = rng.choice(["pixels", "bits", "table", "tables"])
    if kind == "bits":
        return InputSpec(kind="bits", shape=shape)
    sizes = {"table": (256,), "tables": (shape[0], 256)}.get(str(kind))
    table = None if sizes is None else rng.integers(-200, 200, sizes).astype(np.int16)
    return InputSpec(kind="pixels", shape=shape, table=table)


def random_conv(rng, name, shape):
    kernel = [int(rng.integers(1, 8)) for _ in range(2)]
    padding = []
    for size, side in zip(kernel, shape[1:], strict=True):
        before, after = (int(rng.integers(0, size)) for _ in range(2))
        short = size - side - before - after
        padding += [min(size - 1, before + max(0, short)), after]
    sides = [side + sum(padding[2 * k : 2 * k + 2]) for k, side in enumerate(shape[1:])]
    kernel = [min(size, side) for size, side in zip(kernel, sides, strict=True)]
    padding = tuple(min(pad, kernel[k // 2] - 1) for k, pad in enumerate(padding))
    groups = int(rng.choice([g for g in range(1, shape[0] + 1) if shape[0] % g == 0]))
    weights = signs(rng, (groups * int(rng.integers(1, 6)), shape[0] // groups, *kernel))
    return Conv2D(name=name, weights=weights, stride=int(rng.integers(1, 8)), padding=padding, groups=groups)


def random_network(seed):
    rng = np.random.default_rng(seed)
    spec = random_input(rng)
    layers, shape, largest = [], spec.shape, 255

    def add(layer):
        nonlocal shape
        shape = layer.output_shape(shape)
        layers.append(layer)

    def threshold(spread):
        size = (shape[0], int(rng.choice([1, 1, 2, 3, 15])))
        thresholds = np.sort(rng.integers(-spread, spread + 1, size), 1).astype(np.int32)
        add(Threshold(name=f"t{len(layers)}", thresholds=thresholds))

    for _ in range(rng.integers(0, 3)):
        conv = random_conv(rng, f"c{len(layers)}", shape)
        if min(conv.output_shape(shape)) < 1:
            break
        add(conv)
        threshold(3 * largest)
        largest = 1
        if min(shape[1:]) >= 3 and rng.random() < 0.6:
            size = int(rng.integers(2, 4))
            add(MaxPool(name=f"p{len(layers)}", size=size, stride=int(rng.integers(1, size + 1))))
    if layers and rng.random() < 0.3:
        add(GlobalSum(name="total"))
    if rng.random() < 0.3 and layers:
        return Network(name="random", input=spec, layers=tuple(layers))
    add(Dense(name=f"d{len(layers)}", weights=signs(rng, (int(rng.integers(1, 6)), math.prod(shape)))))
    if rng.random() < 0.5:
        threshold(largest)
        add(Dense(name=f"d{len(layers)}", weights=signs(rng, (int(rng.integers(2, 6)), math.prod(shape)))))
    if rng.random() < 0.3:
        most = 2 ** int(rng.integers(1, 31))
        factors, offsets = rng.integers(-most, most, shape[0]), rng.integers(-(2**50), 2**50, shape[0])
        add(Scale(name="norm", factors=factors, offsets=offsets))
    if rng.random() < 0.7:
        add(ArgMax(name="class", order=rng.permutation(shape[0]).tolist() if rng.random() < 0.3 else None))
    return Network(name="random", input=spec, layers=tuple(layers))


@settings(max_examples=120)
@given(seed=st.integers(0, 2**32 - 1))
def test_random_networks_equal_loops(seed):
    network = random_network(seed)
    high = 2 if network.input.kind == "bits" else 256
    frames = np.random.default_rng(seed + 1).integers(0, high, (2, *network.input.shape)).astype(np.uint8)
    result = golden.run(network, frames, keep_layers=True)
    assert set(result.layers) == {layer.name for layer in network.layers}
    for number, frame in enumerate(frames):
        for name, expected in loop_run(network, frame):
            np.testing.assert_array_equal(result.layers[name][number], expected, err_msg=name)
    np.testing.assert_array_equal(result.outputs, result.layers[network.layers[-1].name])


@pytest.mark.parametrize("stride", [1, 2, 3, 7])
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (2, 0, 1, 2), (0, 1, 0, 0)])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 3), (7, 7)])
def test_convolution_equals_loops(rng, kernel, padding, stride):
    limits = (kernel[0] - 1, kernel[0] - 1, kernel[1] - 1, kernel[1] - 1)
    padding = tuple(min(pad, limit) for pad, limit in zip(padding, limits, strict=True))
    conv = Conv2D(name="c", weights=signs(rng, (3, 2, *kernel)), stride=stride, padding=padding)
    network = Network(name="n", input=InputSpec(kind="pixels", shape=(2, 8, 9)), layers=(conv,))
    frames = rng.integers(0, 256, (1, 2, 8, 9)).astype(np.uint8)
    ((_, expected),) = loop_run(network, frames[0])
    np.testing.assert_array_equal(golden.run(network, frames).outputs[0], expected)


def test_equal_scores_give_the_lowest_class():
    weights = np.array([[1, -1], [1, 1], [1, 1]], dtype=np.int8)
    layers = (Dense(name="d", weights=weights), ArgMax(name="a"))
    network = Network(name="n", input=InputSpec(kind="bits", shape=(2, 1, 1)), layers=layers)
    assert golden.run(network, np.ones((1, 2, 1, 1), np.uint8)).outputs.tolist() == [1]


def test_equal_scores_give_the_first_class_of_an_order():
    weights = np.array([[1, -1], [1, 1], [1, 1]], dtype=np.int8)
    layers = (Dense(name="d", weights=weights), ArgMax(name="a", order=(1, 2, 0)))
    network = Network(name="n", input=InputSpec(kind="bits", shape=(2, 1, 1)), layers=layers)
    result = golden.run(network, np.ones((1, 2, 1, 1), np.uint8))
    assert result.outputs.tolist() == [2]
    assert result.scores is not None
    assert result.scores.tolist() == [[2, 0, 2]]  # by class


def test_wrong_frames_are_named():
    spec = InputSpec(kind="bits", shape=(2, 1, 1))
    network = Network(name="n", input=spec, layers=(Dense(name="d", weights=np.ones((1, 2), np.int8)),))
    with pytest.raises(DataError, match=r"frames are uint8 \[1, 3, 1, 1\], not uint8 \[N, 2, 1, 1\]"):
        golden.run(network, np.zeros((1, 3, 1, 1), np.uint8))
    with pytest.raises(DataError, match=r"frames hold 7, but the network's input is bits"):
        golden.run(network, np.full((1, 2, 1, 1), 7, np.uint8))


# --- trained networks


@pytest.fixture(scope="module")
def cnv(shared):
    path = shared / "nets/cnvW1A1_cifar10.npz"
    network = from_arrays(read_arrays(path), path)
    with np.load(shared / "nets/cnvW1A1_cifar10_golden.npz") as arrays:
        expected = dict(arrays)
    return network, expected


def frames_and_labels(network, path):
    with np.load(path) as arrays:
        return as_frames(network, arrays["x"]), arrays["y"].astype(int)


def test_cnv_every_layer(cnv, shared):
    network, expected = cnv
    frames, _ = frames_and_labels(network, shared / "data/cifar10_test.npz")
    np.testing.assert_array_equal(golden.input_values(network.input, frames[:4]), expected["img0to3_input_q"])
    result = golden.run(network, frames[:4], keep_layers=True)
    # A name's values are those behind its threshold, and behind the pooling that follows it.
    binary = [layer.name for layer in network.layers if isinstance(layer, (Threshold, MaxPool))]
    pooled = [binary[k] for k in range(len(binary)) if k + 1 == len(binary) or not _is_pool(network, binary[k + 1])]
    names = [f"conv{k}" for k in range(6)] + ["fc0", "fc1"]
    assert len(pooled) == len(names)
    for layer, name in zip(pooled, names, strict=True):
        wanted = expected[f"img0to3_{name}_out"]
        np.testing.assert_array_equal(result.layers[layer].reshape(wanted.shape), wanted, err_msg=name)
    np.testing.assert_array_equal(result.scores, expected["scores_test"][:4])


def _is_pool(network, name):
    return any(isinstance(layer, MaxPool) and layer.name == name for layer in network.layers)


def test_cnv_lossless_scores(cnv, shared):
    network, expected = cnv
    frames, labels = frames_and_labels(network, shared / "data/cifar10_test_lossless249.npz")
    result = golden.run(network, frames)
    np.testing.assert_array_equal(result.scores, expected["scores_lossless249"])
    assert int((result.outputs == labels).sum()) == 184
    deer = golden.run(network, as_frames(network, expected["deer_x"]))
    np.testing.assert_array_equal(deer.scores, expected["deer_scores"])
    assert deer.outputs.tolist() == [4]


def test_cnv_first_scores(cnv, shared):
    network, expected = cnv
    frames, _ = frames_and_labels(network, shared / "data/cifar10_test.npz")
    np.testing.assert_array_equal(golden.run(network, frames[:200]).scores, expected["scores_test"][:200])


@pytest.mark.slow
def test_cnv_all_scores(cnv, shared):
    network, expected = cnv
    frames, labels = frames_and_labels(network, shared / "data/cifar10_test.npz")
    result = golden.run(network, frames)
    np.testing.assert_array_equal(result.scores, expected["scores_test"])
    assert int((result.outputs == labels).sum()) == 7447


def test_lfc_all_scores(shared):
    path = shared / "nets/lfcW1A1_mnist.npz"
    network = from_arrays(read_arrays(path), path)
    frames, labels = frames_and_labels(network, shared / "data/mnist_test.npz")
    result = golden.run(network, frames)
    with np.load(shared / "nets/lfcW1A1_mnist_golden.npz") as arrays:
        np.testing.assert_array_equal(result.scores, arrays["scores_test"])
    assert int((result.outputs == labels).sum()) == 9834


def test_sums_beyond_32_bits_are_exact():
    table = np.where(np.arange(256) > 127, 32767, -32768).astype(np.int16)
    weights = np.ones((2, 90_000), np.int8)
    weights[1] = -1
    network = Network(
        name="n",
        input=InputSpec(kind="pixels", shape=(1, 300, 300), table=table),
        layers=(Dense(name="scores", weights=weights), ArgMax(name="classify")),
    )
    result = golden.run(network, np.full((1, 1, 300, 300), 255, np.uint8))
    assert result.scores is not None
    assert result.scores.tolist() == [[32767 * 90_000, -32767 * 90_000]]
