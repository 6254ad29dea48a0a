"""State dicts of PyTorch with a description become integer networks that give what the module itself gives."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from xnorweave.errors import UnsupportedError
from xnorweave.importers import load_any
from xnorweave.network import Conv2D, Dense, Threshold
from xnorweave.sim import golden

PIXELS = [{"kind": "affine", "scale": 2.0, "offset": -1.0}, {"kind": "sign", "zero": 1}]


@pytest.fixture(name="load")
def _load(tmp_path, describe):
    """Write tensors and layers, and import them."""

    def load(tensors, layers, shape=(1, 4, 4), *, pixels="auto", **more):
        save_file({name: np.asarray(t, np.float32) for name, t in tensors.items()}, tmp_path / "net.safetensors")
        return load_any(describe(layers, shape, **more), pixels=pixels)

    return load


def module(torch):
    """A network with what bites: negative scales, padding, stride 2, a vector and a map normalized, ties of weights."""
    nn = torch.nn

    class Sign(nn.Module):
        def forward(self, x):
            return torch.where(x >= 0, 1.0, -1.0)

    layers = nn.Sequential(
        Sign(), nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), Sign(), nn.MaxPool2d(2),
        nn.Conv2d(6, 5, (3, 2), stride=2, padding=(1, 0)), nn.BatchNorm2d(5, affine=False), Sign(), nn.Flatten(),
        nn.Linear(5 * 3 * 2, 12), nn.BatchNorm1d(12, eps=0.5), Sign(), nn.Linear(12, 7, bias=False),
    ).eval()  # fmt: skip
    with torch.no_grad():
        for name, tensor in layers.state_dict().items():
            if tensor.ndim == 1 and "num" not in name:
                tensor.normal_(0, 2)
            if name.endswith("running_var"):
                tensor.abs_().add_(0.1)
            if tensor.ndim > 1:
                tensor[0, 0] = 0
    return layers


LAYERS = [
    {"kind": "normalize", "mean": 0.5, "std": 0.5}, {"kind": "sign", "zero": 1},
    {"kind": "conv", "name": "1", "sign": {"zero": 1}, "padding": 1}, {"kind": "batch_norm", "name": "2"},
    {"kind": "sign", "zero": 1}, {"kind": "max_pool"},
    {"kind": "conv", "weight": "5.weight", "bias": "5.bias", "sign": {"zero": 1}, "stride": 2, "padding": [1, 0]},
    {"kind": "batch_norm", "name": "6"}, {"kind": "sign", "zero": 1}, {"kind": "flatten"},
    {"kind": "dense", "name": "9", "sign": {"zero": 1}}, {"kind": "batch_norm", "name": "10", "epsilon": 0.5},
    {"kind": "sign", "zero": 1}, {"kind": "dense", "name": "12", "sign": {"zero": 1}}, {"kind": "argmax"},
]  # fmt: skip


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_a_module_of_pytorch_gives_the_same_classes(tmp_path, describe, rng, suffix):
    torch = pytest.importorskip("torch")
    torch.manual_seed(int(rng.integers(1 << 30)))
    net = module(torch)
    state = net.state_dict()
    if suffix == ".safetensors":
        save_file({name: tensor.numpy() for name, tensor in state.items()}, tmp_path / "net.safetensors")
    else:
        torch.save(state if suffix == ".pt" else {"state_dict": state, "epoch": 3}, tmp_path / f"net{suffix}")
    labels = [f"class {n}" for n in range(7)]
    network = load_any(describe(LAYERS, (2, 10, 8), weights=f"net{suffix}", classes=labels))
    frames = rng.integers(0, 256, (300, 2, 10, 8), dtype=np.uint8)
    with torch.no_grad():
        for layer in net:
            if layer.state_dict().get("weight", torch.zeros(1)).ndim > 1:
                layer.weight.copy_(torch.where(layer.weight >= 0, 1.0, -1.0))
        want = net((torch.from_numpy(frames).float() / 255 - 0.5) / 0.5).numpy()
    result = golden.run(network, frames)
    assert result.scores is not None
    assert np.array_equal(result.scores, want)
    assert np.array_equal(result.outputs, want.argmax(1))
    assert len(set(result.outputs.tolist())) > 1
    assert network.classes == tuple(labels)
    assert any("whose scale is negative" in line for line in network.history)


@pytest.mark.parametrize(("zero", "threshold"), [(1, 0), (-1, 2)])
def test_what_a_sign_makes_of_0(load, zero, threshold):
    weights = np.array([[1, 0, -0.0, -2]] * 2, np.float32)
    layers = [
        *PIXELS,
        {"kind": "flatten"},
        {"kind": "dense", "weight": "w", "sign": {"zero": zero}},
        {"kind": "sign", "zero": zero},
    ]
    dense, sign = load({"w": weights}, layers, (1, 2, 2)).layers
    assert isinstance(dense, Dense)
    assert isinstance(sign, Threshold)
    assert dense.weights[0].tolist() == [1, zero, zero, -1]
    assert sign.thresholds.tolist() == [threshold] * 2  # sums are even


def test_torch_sign_gives_a_third_value_where_0_can_occur(load, rng):
    layers = [*PIXELS, {"kind": "flatten"}, {"kind": "dense", "weight": "w"}, {"kind": "sign", "zero": 0}]
    assert load({"w": np.ones((2, 9))}, layers, (1, 3, 3)).layers[1].thresholds.tolist() == [1, 1]
    even = load({"w": np.ones((2, 4))}, layers, (1, 2, 2))
    assert even.layers[1].thresholds.tolist() == [[0, 2], [0, 2]]  # sums are even
    assert "fc1: activations of 3 values, 2 bits" in even.history
    layers[3] |= {"sign": {"zero": 0}}
    with pytest.raises(UnsupportedError, match=r"layer 4 \(dense\): tensor 'w' holds 0, of which torch.sign makes 0"):
        load({"w": np.zeros((2, 9))}, layers, (1, 3, 3))


@pytest.mark.parametrize("kind", ["conv", "dense"])
def test_a_bias_that_decides_is_refused(load, kind):
    """By itself -1e-7, and 0 where an accumulator starts with it: -1e-7 + 1 - 1."""
    flat = [{"kind": "flatten"}] if kind == "dense" else []
    layers = [*PIXELS, *flat, {"kind": kind, "weight": "w", "bias": "b"}, {"kind": "sign", "zero": 1}]
    weights = np.ones((1, 4) if kind == "dense" else (1, 1, 2, 2))
    with pytest.raises(UnsupportedError, match=r"channel 0 can sum to 0, .* since its bias is added inside the sum; "):
        load({"w": weights, "b": np.array([-1e-7])}, layers, (1, 2, 2))
    assert load({"w": weights, "b": np.array([-1.5])}, layers, (1, 2, 2)).layers[1].thresholds.tolist() == [2]


def test_padding_scales_and_offsets(load):
    layers = [*PIXELS, {"kind": "conv", "weight": "w", "padding": [0, 1, 2, 0]},
              {"kind": "affine", "scale": "alpha", "offset": [0.5, -1.0]}, {"kind": "sign", "zero": 1}]  # fmt: skip
    conv, sign = load({"w": np.ones((2, 1, 3, 3)), "alpha": [[[0.25]], [[-1.0]]]}, layers).layers
    assert isinstance(conv, Conv2D)
    assert conv.padding == (0, 1, 2, 0)
    assert conv.weights[:, 0, 0, 0].tolist() == [1, -1]
    assert sign.thresholds.tolist() == [-2, 1]


def test_pixels_that_are_not_quantized_are_summed_before_rounding(load):
    layers = [
        {"kind": "flatten"},
        {"kind": "dense", "weight": "w"},
        {"kind": "affine", "offset": -3.001},
        {"kind": "sign", "zero": 1},
    ]
    network = load({"w": np.ones((1, 16))}, layers)
    assert network.input.table is None
    assert network.layers[1].thresholds.tolist() == [766]  # 3.001 * 255 = 765.255
    assert any("fc1: float32 sums depend on the order of additions; no sum" in line for line in network.history)
    assert load({"w": np.ones((1, 16))}, layers, pixels="raw").layers[1].thresholds.tolist() == [4]
    layers[2]["offset"] = -3.0
    with pytest.raises(UnsupportedError, match=r"layer 4 \(sign\): channel 0 can sum to 765, .* give it whole pixels"):
        load({"w": np.ones((1, 16))}, layers)


def test_pixels_less_their_mean_are_summed_where_nothing_is_padded(load, rng):
    layers = [
        {"kind": "normalize", "mean": 0.1307, "std": 0.3081},
        {"kind": "conv", "weight": "w"},
        {"kind": "sign", "zero": 1},
    ]
    weights = rng.choice([-1, 1], (6, 1, 3, 3))
    network = load({"w": weights}, layers)
    frames = rng.integers(0, 256, (100, 1, 4, 4), dtype=np.uint8)
    x = (frames / 255 - 0.1307) / 0.3081
    windows = np.lib.stride_tricks.sliding_window_view(x[:, 0], (3, 3), (1, 2))
    want = np.einsum("nyxij,oij->noyx", windows, weights[:, 0])
    assert np.array_equal(golden.run(network, frames).outputs > 0, want > 0)
    layers[1] |= {"padding": 1}
    with pytest.raises(
        UnsupportedError, match=r"pads with zeros, which are no value of a pixel here; quantize the input"
    ):
        load({"w": weights}, layers)
