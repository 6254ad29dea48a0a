"""Models of Keras and Larq become integer networks that give what plain NumPy computes of them with channels last."""

import io

import h5py
import numpy as np
import pytest

from xnorweave import cli
from xnorweave.errors import UnsupportedError
from xnorweave.importers import load_any
from xnorweave.network import Conv2D, Dense, Threshold
from xnorweave.network_file import network_bytes
from xnorweave.sim import golden


def norm(rng, channels, *, rising=False):
    gamma = rng.normal(size=channels)
    gamma = np.abs(gamma) + 0.1 if rising else gamma
    return rng.normal(0, 3, channels), rng.random(channels) * 4 + 0.1, gamma, rng.normal(size=channels)


def binary(chain):
    """Pixels become -1 and +1 in the first layer's input quantizer."""
    return chain.add("Rescaling", scale=2.0, offset=-1.0)


@pytest.mark.parametrize("functional", [False, True])
def test_a_network_of_larq(keras_chain, keras_check, rng, functional):
    chain = binary(keras_chain(8, 9, 2)).conv(rng.normal(size=(3, 3, 2, 6)), padding="same")
    chain.add("MaxPooling2D", pool_size=[2, 2], strides=None, padding="valid").norm(*norm(rng, 6, rising=True))
    chain.conv(rng.normal(size=(3, 2, 6, 5))).norm(*norm(rng, 5)).add("Dropout", rate=0.5)
    chain.add("Flatten", data_format="channels_last").dense(rng.normal(size=(2 * 3 * 5, 12))).norm(*norm(rng, 12))
    chain.dense(rng.normal(size=(12, 7))).add("Activation", activation="softmax")
    network = keras_check(chain, functional=functional)
    assert network.input.shape == (2, 8, 9)
    assert [layer.name for layer in network.layers] == [
        "conv1", "conv1_sign", "pool1", "conv2", "conv2_sign", "fc1", "fc1_sign", "fc2", "classify",
    ]  # fmt: skip


def test_0_becomes_plus_1_in_sums_and_in_weights(keras_chain, keras_check, rng):
    kernel = rng.choice([-1.0, 0.0, -0.0, 1.0], (16, 40))
    network = keras_check(binary(keras_chain(16)).dense(kernel, activation="ste_sign"))
    dense, threshold = network.layers
    assert isinstance(dense, Dense)
    assert isinstance(threshold, Threshold)
    assert np.array_equal(dense.weights, np.where(kernel >= 0, 1, -1).T)
    assert set(threshold.thresholds.tolist()) == {0}


def test_a_negative_scale_turns_the_weights(keras_chain, keras_check, rng):
    chain = binary(keras_chain(9)).dense(np.ones((9, 3))).norm([1, 1, 1], [1, 1, 1], [1, -1, 0], [0, 0, -1])
    network = keras_check(chain.add("SteSign", clip_value=1.0))
    dense, threshold = network.layers
    assert isinstance(dense, Dense)
    assert isinstance(threshold, Threshold)
    assert dense.weights[:, 0].tolist() == [1, -1, 1]
    assert threshold.thresholds.tolist() == [1, -1, 11]  # sums are odd; the last one never fires


def test_ties_go_to_the_first_class(keras_chain, keras_check, rng):
    chain = binary(keras_chain(8)).dense(np.repeat(rng.normal(size=(8, 3)), 2, axis=1), activation="softmax")
    assert any("lowest of equals" in line for line in keras_check(chain).history)


@pytest.mark.parametrize(("size", "padding"), [(8, (0, 1, 0, 1)), (9, (1, 1, 1, 1))])
def test_same_padding_at_stride_2_has_its_odd_zeros_behind(keras_chain, keras_check, rng, size, padding):
    chain = binary(keras_chain(size, size, 2))
    chain.conv(rng.normal(size=(3, 3, 2, 6)), strides=[2, 2], padding="same", activation="ste_sign")
    network = keras_check(chain)
    conv = network.layers[0]
    assert isinstance(conv, Conv2D)
    assert conv.padding == padding


def test_padded_zeros_are_a_third_value(keras_chain, keras_check, rng):
    """All inputs +1 and all weights +1: the corner sums to 4 of 9, not to 9 and not to -1."""
    chain = binary(keras_chain(5, 5, 1)).conv(np.ones((3, 3, 1, 2)), padding="same").norm([4.5, 3.5], [1, 1])
    network = keras_check(chain.add("Activation", activation="ste_sign"))
    bits = golden.run(network, np.full((1, 1, 5, 5), 255, np.uint8)).outputs[0] > 0
    assert bits[:, 0, 0].tolist() == [False, True]
    assert bits[:, 2, 2].all()


def test_even_kernels_and_columns_that_are_not_rows(keras_chain, keras_check, rng):
    chain = binary(keras_chain(7, 6, 1)).conv(rng.normal(size=(2, 5, 1, 4)), padding="same").norm(*norm(rng, 4))
    chain.conv(rng.normal(size=(3, 1, 4, 3)), padding="same").norm(*norm(rng, 3)).add(
        "Activation", activation="ste_sign"
    )
    keras_check(chain)


def test_flatten_is_in_the_order_of_keras(keras_chain, keras_check, rng):
    chain = binary(keras_chain(2, 3, 4)).add("Activation", activation="ste_sign").add("Flatten")
    kernel = rng.normal(size=(24, 5))
    dense = keras_check(chain.dense(kernel, input_quantizer=None, activation="ste_sign")).layers[0]
    assert isinstance(dense, Dense)
    want = np.where(kernel >= 0, 1, -1).reshape(2, 3, 4, 5).transpose(3, 2, 0, 1).reshape(5, 24)
    assert np.array_equal(dense.weights, want)
    assert not np.array_equal(dense.weights, np.where(kernel >= 0, 1, -1).T)


def test_epsilon_counts(keras_chain, keras_check):
    def threshold(epsilon):
        chain = binary(keras_chain(8)).dense(np.ones((8, 1))).norm([0.0], [1.0], None, [-1.5], epsilon)
        layer = keras_check(chain.add("Activation", activation="ste_sign")).layers[-1]
        assert isinstance(layer, Threshold)
        return layer.thresholds.tolist()

    assert threshold(0.0) == [2]
    assert threshold(3.0) == [4]


@pytest.mark.parametrize("before", [True, False])
def test_pooling_before_and_behind_the_sign(keras_chain, keras_check, rng, before):
    chain = binary(keras_chain(7, 7, 1)).conv(rng.normal(size=(2, 2, 1, 6)))
    pool = {"pool_size": [3, 3], "strides": [2, 2], "padding": "valid"}
    if before:
        chain.add("MaxPooling2D", **pool).norm(*norm(rng, 6, rising=True)).add("Activation", activation="ste_sign")
    else:
        chain.norm(*norm(rng, 6)).add("Activation", activation="ste_sign").add("MaxPooling2D", **pool)
    assert [layer.kind for layer in keras_check(chain).layers] == ["conv2d", "threshold", "max_pool"]


def test_a_falling_norm_behind_a_pooling_turns_the_next_weights(keras_chain, keras_check, tmp_path, rng):
    """As Larq's own networks are built: the largest sum is pooled, of which the sign is turned."""
    chain = binary(keras_chain(6, 6, 1)).conv(rng.normal(size=(3, 3, 1, 5)), padding="same")
    chain.add("MaxPooling2D", pool_size=[2, 2], strides=[2, 2], padding="valid")
    chain.norm(rng.normal(size=5), rng.random(5) + 0.1, [1.0, -1.0, -2.0, 0.5, -0.1])
    end = keras_chain(1)
    end.layers, end.arrays = [*chain.layers], [*chain.arrays]
    network = keras_check(
        chain.conv(rng.normal(size=(2, 2, 5, 4)), padding="same").add("Flatten").dense(rng.normal(size=(36, 4)))
    )
    assert any("conv1: activations of 3 of 5 channels stand for their negatives" in line for line in network.history)
    end.add("Activation", activation="ste_sign")
    with pytest.raises(UnsupportedError, match=r"moved or negated, as a negative scale behind a max pooling does"):
        load_any(end.save(tmp_path / "net.h5"))


@pytest.mark.parametrize("kind", ["conv", "dense"])
def test_a_bias_that_decides_is_refused(keras_chain, tmp_path, kind):
    """By itself -1e-7, and 0 where an accumulator starts with it: -1e-7 + 1 - 1."""
    chain = binary(keras_chain(2, 2, 1))
    if kind == "conv":
        chain.conv(np.ones((2, 2, 1, 1)), bias=[-1e-7], activation="ste_sign")
    else:
        chain.add("Flatten").dense(np.ones((4, 1)), bias=[-1e-7], activation="ste_sign")
    chain.save(tmp_path / "net.h5")
    with pytest.raises(UnsupportedError, match=r"channel 0 can sum to 0, .* since its bias is added inside the sum; "):
        load_any(tmp_path / "net.h5")


def test_layers_that_are_binary_already(keras_chain, keras_check, rng):
    kernel = rng.choice([-1.0, 1.0], (3, 3, 1, 4)) * [0.5, 1, 2, 0.25]
    chain = binary(keras_chain(5, 5, 1)).add("Activation", activation="ste_sign").conv(kernel, kind="Conv2D")
    chain.norm(*norm(rng, 4)).add("Activation", activation="approx_sign").add("Flatten")
    chain.dense(rng.choice([-1.0, 1.0], (36, 5)), kind="Dense")
    keras_check(chain)


@pytest.mark.parametrize(("scale", "offset", "table"), [
    (1 / 255, 0.0, None), (1 / 127.5, -1.0, 2 * np.arange(256) - 255), (1 / 128, -1.0, np.arange(256) - 128)])  # fmt: skip
def test_rescaled_pixels_are_summed(keras_chain, keras_check, rng, scale, offset, table):
    chain = keras_chain(6, 6, 3).add("Rescaling", scale=scale, offset=offset)
    chain.conv(rng.normal(size=(3, 3, 3, 6)), input_quantizer=None, padding="same").norm(*norm(rng, 6))
    network = keras_check(chain.add("Activation", activation="ste_sign"), raw=True)
    assert "input of the model: the pixel itself" in network.history
    assert any("float32 sums depend on the order of additions; no sum" in line for line in network.history) == (
        scale != 1 / 128
    )
    assert network.input.table is None if table is None else np.array_equal(network.input.table, table)


def test_rescaled_pixels_are_quantized_as_float32_has_them(keras_chain, keras_check, rng):
    chain = keras_chain(3, 3, 1).add("Rescaling", scale=1 / 255, offset=-51 / 255).add("Flatten")
    table = keras_check(chain.dense(rng.normal(size=(9, 4)), activation="ste_sign"), raw=True).input.table
    value = np.arange(256, dtype=np.float32) * np.float32(1 / 255) + np.float32(-51 / 255)
    assert table is not None
    assert np.array_equal(table, np.where(value >= 0, 1, -1))


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((3, 4, 5), "3x4x5 taken as rows, columns, channels (NHWC)"),
        ((4, 5), "4x5 taken as rows, columns of one channel"),
        ((16,), "16 taken as a square of 4x4 in one channel"),
        ((18,), "18 taken as one row of one channel"),
    ],
)
def test_the_history_says_how_the_image_lies(keras_chain, tmp_path, rng, shape, said):
    chain = binary(keras_chain(*shape)).add("Flatten").dense(rng.normal(size=(int(np.prod(shape)), 4)))
    assert f"input of the model: {said}" in load_any(chain.save(tmp_path / "net.h5")).history


def test_a_vector_that_is_an_image(keras_chain, keras_check, rng):
    chain = binary(keras_chain(36)).add("Reshape", target_shape=[6, 6, 1]).conv(rng.normal(size=(3, 3, 1, 4)))
    assert keras_check(chain.add("Activation", activation="ste_sign")).input.shape == (1, 6, 6)


def test_pixels_can_be_said(keras_chain, tmp_path, rng):
    chain = keras_chain(4).dense(rng.normal(size=(4, 3)), input_quantizer=None)
    path = chain.norm(*norm(rng, 3)).add("Activation", activation="ste_sign").save(tmp_path / "n.h5")
    assert load_any(path).history[1] == "input of the model: pixel / 255"
    network = load_any(path, pixels="raw")
    assert network.history[1] == "input of the model: the pixel itself"
    assert network.input.table is None


def test_rounded_pixels_whose_sums_can_meet_a_threshold_are_refused(keras_chain, tmp_path, rng):
    """Without a batch norm the threshold is 0, which differences of pixels reach in one order and miss in another."""
    chain = keras_chain(4).dense(rng.normal(size=(4, 3)), input_quantizer=None, activation="ste_sign")
    path = chain.save(tmp_path / "n.h5")
    with pytest.raises(UnsupportedError, match=r"channel \d can sum to 0, .* give it whole pixels"):
        load_any(path)
    assert load_any(path, pixels="raw").layers[1].thresholds.tolist() == [0, 0, 0]


def test_arrays_go_by_the_layers_own_names_where_none_are_numbered(
    keras_chain, keras_check, tmp_path, rng, monkeypatch
):
    chain = binary(keras_chain(9)).dense(rng.normal(size=(9, 5))).dense(rng.normal(size=(5, 4)))
    numbered = load_any(chain.save(tmp_path / "a.keras"))
    monkeypatch.setattr(chain, "numbered", lambda: named(chain))
    got = load_any(chain.save(tmp_path / "a.keras"))
    assert [x.weights.tolist() for x in got.layers[::2][:2]] == [x.weights.tolist() for x in numbered.layers[::2][:2]]


def named(chain) -> bytes:
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        for layer, arrays in zip(chain.layers, chain.arrays, strict=True):
            for number, array in enumerate(arrays.values()):
                file[f"layers/{layer['config']['name']}/vars/{number}"] = array
    return data.getvalue()


def test_the_command_line_imports_a_model(keras_chain, tmp_path, rng):
    path = binary(keras_chain(9)).dense(rng.normal(size=(9, 4))).save(tmp_path / "net.keras")
    assert cli.main(["import", str(path), "-o", str(tmp_path / "out.npz"), "--pixels", "raw"]) == 0
    network = load_any(tmp_path / "out.npz")
    assert network.history[:2] == ("imported from Keras file net", "input of the model: the pixel itself")
    assert network_bytes(network) == network_bytes(load_any(path, pixels="raw"))


def test_the_command_line_ends_with_one_error_line(keras_chain, tmp_path, capfd):
    chain = keras_chain(9).dense(np.ones((9, 4)), kernel_quantizer="lsq")
    path = chain.save(tmp_path / "net.h5")
    assert cli.main(["import", str(path), "-o", str(tmp_path / "out.npz")]) == 1
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"error: {path}: layer QuantDense 'quantdense_1': kernel_quantizer=lsq is not supported")
    assert not (tmp_path / "out.npz").exists()
