"""What an ONNX graph takes for a pixel, and in which order."""

from functools import partial

import numpy as np
import pytest
from onnx import TensorProto
from onnx_chains import Chain, bits, compared, norm

from xnorweave.errors import UnsupportedError
from xnorweave.importers import load_any
from xnorweave.lower import lower
from xnorweave.network_file import load_network, save_network
from xnorweave.sim.run import simulate


@pytest.fixture
def check(tmp_path, rng):
    return partial(compared, folder=tmp_path, rng=rng)


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


def test_bytes_that_are_moved_before_they_are_cast(check, rng):
    chain = Chain("n", 2, 3, 3, kind=TensorProto.UINT8).add("Identity").add("Reshape", [0, -1]).add("Cast", to=1)
    network = check(chain.weights("MatMul", rng.normal(size=(18, 5))).add("Add", 100.0).add("BipolarQuant", 1.0))
    assert network.input.shape == (2, 3, 3)


@pytest.mark.parametrize("op", ["MatMul", "Neg", "Add", "Quant", "Sign", "Dropout", "BipolarQuant"])
def test_arithmetic_on_bytes_is_refused(tmp_path, rng, op):
    constants = {
        "Add": [1.0],
        "Quant": [1.0, 0.0, 8.0],
        "MatMul": [rng.choice([-1.0, 1.0], (9, 5))],
        "BipolarQuant": [1.0],
    }
    chain = Chain("n", 9, kind=TensorProto.UINT8).add("Reshape", [0, -1]).add(op, *constants.get(op, ()))
    chain.save(tmp_path / "net.onnx")
    message = rf"net\.onnx: node {op} 'n1': takes the uint8 input as it is, on which .* put a Cast to float32 before it"
    with pytest.raises(UnsupportedError, match=message):
        load_any(tmp_path / "net.onnx")


def test_bytes_are_no_fractions(tmp_path, rng):
    chain = Chain("n", 9, kind=TensorProto.UINT8).add("Cast", to=1).weights("MatMul", rng.normal(size=(9, 5)))
    chain.add("Add", 0.5).add("BipolarQuant", 1.0).save(tmp_path / "net.onnx")
    with pytest.raises(
        UnsupportedError, match=r"input 'image': is uint8, so it is the pixel itself, not pixel / 255; use"
    ):
        load_any(tmp_path / "net.onnx", pixels="unit")
    for pixels in ("raw", "auto"):
        assert load_any(tmp_path / "net.onnx", pixels=pixels).input.table is None


def test_means_of_channels_that_float32_subtracts_exactly(check, rng):
    means = np.array([104.0, 116.5, 123.25])[:, None, None]
    chain = Chain("n", 3, 5, 5, kind=TensorProto.UINT8).add("Cast", to=1).add("Sub", means)
    network = check(chain.weights("Conv", rng.normal(size=(8, 3, 3, 3))).add("Sub", 0.3).add("BipolarQuant", 1.0))
    assert network.input.table is not None
    assert np.array_equal(network.input.table, np.arange(256) - 104)


def normalized(*shape: int | str) -> Chain:
    """As torchvision normalizes CIFAR-10."""
    mean, std = ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616])
    return Chain(*shape).add("Sub", np.reshape(mean, (3, 1, 1))).add("Div", np.reshape(std, (3, 1, 1)))


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1]])
@pytest.mark.parametrize("quantizer", [("BipolarQuant", 1.0), ("Quant", 1 / 32, 0.0, 8.0)])
def test_channels_with_a_mean_and_a_deviation_each_are_quantized_by_a_table_each(check, rng, pads, quantizer):
    chain = normalized("n", 3, 6, 6).add(*quantizer).weights("Conv", rng.normal(size=(5, 3, 3, 3)), pads=pads)
    network = check(chain.add("BatchNormalization", *norm(rng, 5)).add("BipolarQuant", 1.0))
    assert network.input.table is not None
    assert network.input.table.shape == (3, 256)


def test_means_of_channels_where_zeros_are_padded_are_a_table_each(check, rng):
    means = np.array([104.0, 116.5, 123.25])[:, None, None]
    chain = Chain("n", 3, 5, 5, kind=TensorProto.UINT8).add("Cast", to=1).add("Sub", means)
    chain.weights("Conv", rng.normal(size=(8, 3, 3, 3)), pads=[1, 1, 0, 1])
    network = check(chain.add("Sub", 0.3).add("BipolarQuant", 1.0))
    assert network.input.table is not None
    assert np.array_equal(network.input.table, 4 * (np.arange(256) - means[:, 0]))


def test_hardware_of_a_table_for_each_channel(tmp_path, rng):
    chain = normalized("n", 3, 5, 5).add("BipolarQuant", 1.0).weights("Conv", rng.normal(size=(4, 3, 3, 3)))
    chain.add("BipolarQuant", 1.0).add("Flatten").weights("MatMul", rng.normal(size=(36, 4)))
    network = load_any(chain.save(tmp_path / "net.onnx"))
    save_network(network, tmp_path / "net.npz")
    again = load_network(tmp_path / "net.npz")
    assert again.input.table is not None
    assert np.array_equal(again.input.table, network.input.table)
    frames = rng.integers(0, 256, (3, 3, 5, 5), dtype=np.uint8)
    assert simulate(again, frames, simulator="amaranth", core=lower(again), taps=True).mismatches == 0


def test_means_that_float32_rounds_are_refused(tmp_path):
    means = np.array([104.007, 116.669, 122.679])[:, None, None]
    chain = Chain("n", 3, 5, 5, kind=TensorProto.UINT8).add("Cast", to=1).add("Sub", means)
    chain.weights("Conv", np.ones((8, 3, 3, 3))).add("BipolarQuant", 1.0).save(tmp_path / "net.onnx")
    with pytest.raises(
        UnsupportedError, match=r"values are no multiples of one step within 16 bits; quantize the input"
    ):
        load_any(tmp_path / "net.onnx")


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((3, 4, 5), "3x4x5 taken as channels, rows, columns (NCHW)"),
        ((5, 4, 3), "5x4x3 taken as rows, columns, channels (NHWC)"),
        ((4, 5), "4x5 taken as rows, columns of one channel"),
        ((16,), "16 taken as a square of 4x4 in one channel"),
        ((18,), "18 taken as one row of one channel"),
    ],
)
def test_the_history_says_how_the_image_lies(tmp_path, rng, shape, said):
    chain = bits("n", *shape).add("Flatten").weights("MatMul", rng.normal(size=(int(np.prod(shape)), 4)))
    assert f"input of the graph: {said}" in load_any(chain.save(tmp_path / "net.onnx")).history
