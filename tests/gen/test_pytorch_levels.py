"""Groups, levels and averages of described PyTorch networks, compared with the modules of PyTorch themselves."""

import numpy as np
import pytest
from affine_values import affine, is_scaled, same_choices
from safetensors.numpy import save_file

from xnorweave.errors import UnsupportedError
from xnorweave.importers import load_any
from xnorweave.network import Conv2D, Threshold
from xnorweave.sim import golden

torch = pytest.importorskip("torch")
nn = torch.nn
PIXELS = [{"kind": "normalize", "mean": 0.5, "std": 0.5}, {"kind": "sign", "zero": 1}]


class Sign(nn.Module):
    def forward(self, x):
        return torch.where(x >= 0, 1.0, -1.0)


class Quantize(nn.Module):
    def __init__(self, low, high, scale):
        super().__init__()
        self.low, self.high, self.scale = low, high, scale

    def forward(self, x):
        return torch.clamp(torch.round(x / self.scale), self.low, self.high) * self.scale


class Dorefa(nn.Module):
    def forward(self, x):
        return torch.round(torch.clamp(x, 0, 1) * 3) / 3


class TorchSign(nn.Module):
    def forward(self, x):
        return torch.sign(x)


@pytest.fixture(name="check")
def _check(tmp_path, describe, rng):
    """Binarize a module's weights, describe it, import it, and compare both on random images."""

    def check(modules, layers, shape, images=200):
        torch.manual_seed(int(rng.integers(1 << 30)))
        net = nn.Sequential(*modules).eval()
        with torch.no_grad():
            for name, tensor in net.state_dict().items():
                if tensor.ndim > 1:
                    tensor.copy_(torch.where(torch.randn_like(tensor) >= 0, 1.0, -1.0))
                elif tensor.ndim == 1:
                    tensor.normal_(0, 2)
                if name.endswith("running_var"):
                    tensor.abs_().add_(0.1)
        save_file({name: tensor.numpy() for name, tensor in net.state_dict().items()}, tmp_path / "net.safetensors")
        network = load_any(describe([*PIXELS, *layers], shape))
        frames = rng.integers(0, 256, (images, *shape), dtype=np.uint8)
        x = (torch.from_numpy(frames).float() / 255 - 0.5) / 0.5
        with torch.no_grad():
            want = net(torch.where(x >= 0, 1.0, -1.0)).numpy()
        result = golden.run(network, frames)
        if result.scores is None:
            affine(result.outputs.reshape(want.shape), want)
        else:
            assert np.array_equal(result.outputs, want.argmax(1))
            (same_choices if is_scaled(network) else affine)(result.scores, want)
        return network

    return check


def test_groups_strides_and_levels(check):
    modules = [
        nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False), nn.BatchNorm2d(6), Quantize(-1, 1, 2.0),
        nn.Conv2d(6, 12, 3, padding=1, stride=3, groups=6), nn.BatchNorm2d(12), Quantize(-3, 3, 0.5),
        nn.Conv2d(12, 5, 1, bias=False), nn.BatchNorm2d(5), Sign(), nn.Flatten(), nn.Linear(5 * 3 * 3, 4, bias=False),
    ]  # fmt: skip
    layers = [
        {"kind": "conv", "name": "0", "padding": 1, "groups": 2}, {"kind": "batch_norm", "name": "1"},
        {"kind": "quantize", "low": -1, "high": 1, "scale": 2.0},
        {"kind": "conv", "name": "3", "padding": 1, "stride": 3, "groups": 6}, {"kind": "batch_norm", "name": "4"},
        {"kind": "quantize", "low": -3, "high": 3, "scale": 0.5}, {"kind": "conv", "name": "6"},
        {"kind": "batch_norm", "name": "7"}, {"kind": "sign", "zero": 1}, {"kind": "flatten"},
        {"kind": "dense", "name": "10"}, {"kind": "argmax"},
    ]  # fmt: skip
    network = check(modules, layers, (4, 8, 7))
    assert [layer.groups for layer in network.layers if isinstance(layer, Conv2D)] == [2, 6, 1]
    assert [layer.levels for layer in network.layers if isinstance(layer, Threshold)] == [2, 6, 1]


@pytest.mark.parametrize("stride", [5, 7])
def test_large_strides(check, stride):
    modules = [nn.Conv2d(2, 4, (3, 2), stride=stride), nn.BatchNorm2d(4), TorchSign()]
    layers = [
        {"kind": "conv", "name": "0", "stride": stride},
        {"kind": "batch_norm", "name": "1"},
        {"kind": "sign", "zero": 0},
    ]
    assert check(modules, layers, (2, 17, 16)).layers[0].stride == stride


def test_dorefa_around_a_padded_layer(check):
    modules = [
        nn.Conv2d(2, 6, 2, bias=False), nn.BatchNorm2d(6), Dorefa(), nn.Conv2d(6, 5, 3, padding=1, bias=False),
        nn.BatchNorm2d(5), Sign(), nn.Flatten(), nn.Linear(5 * 4 * 5, 4, bias=False),
    ]  # fmt: skip
    layers = [
        {"kind": "conv", "name": "0"}, {"kind": "batch_norm", "name": "1"}, {"kind": "dorefa"},
        {"kind": "conv", "name": "3", "padding": 1}, {"kind": "batch_norm", "name": "4"}, {"kind": "sign", "zero": 1},
        {"kind": "flatten"}, {"kind": "dense", "name": "7"},
    ]  # fmt: skip
    assert any("constant channels for the zeros" in line for line in check(modules, layers, (2, 5, 6)).history)


@pytest.mark.parametrize("bias", [True, False])
def test_a_batch_norm_behind_the_classes(check, bias):
    """With a bias, which `nn.Linear` has unless it is told otherwise, float32 rounds once more."""
    modules = [
        nn.Conv2d(2, 6, 2, bias=False), nn.BatchNorm2d(6), Sign(), nn.Flatten(), nn.Linear(6 * 4 * 4, 5, bias=bias),
        nn.BatchNorm1d(5),
    ]  # fmt: skip
    layers = [
        {"kind": "conv", "name": "0"}, {"kind": "batch_norm", "name": "1"}, {"kind": "sign", "zero": 1},
        {"kind": "flatten"}, {"kind": "dense", "name": "4"}, {"kind": "batch_norm", "name": "5"},
    ]  # fmt: skip
    network = check(modules, layers, (2, 5, 5))
    assert [layer.kind for layer in network.layers[-3:]] == ["dense", "scale", "arg_max"]


@pytest.mark.parametrize("averaged", [True, False])
def test_global_average_and_sum(check, averaged):
    class Total(nn.Module):
        def forward(self, x):
            return x.sum((2, 3), keepdim=True)

    side = 4 if averaged else 3
    modules = [
        nn.Conv2d(2, 6, 2, bias=False), nn.BatchNorm2d(6), Quantize(0, 3, 1.0),
        nn.AdaptiveAvgPool2d(1) if averaged else Total(), nn.Flatten(), nn.Linear(6, 5, bias=False),
    ]  # fmt: skip
    layers = [
        {"kind": "conv", "name": "0"}, {"kind": "batch_norm", "name": "1"}, {"kind": "quantize", "low": 0, "high": 3},
        {"kind": "global_average" if averaged else "global_sum"}, {"kind": "flatten"}, {"kind": "dense", "name": "5"},
    ]  # fmt: skip
    network = check(modules, layers, (2, side + 1, side + 1))
    assert [layer.kind for layer in network.layers] == ["conv2d", "threshold", "global_sum", "dense", "arg_max"]


def test_a_rounded_average_in_front_of_a_hidden_layer(check):
    modules = [
        nn.Conv2d(2, 6, 2, bias=False), nn.BatchNorm2d(6), Sign(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), Sign(), nn.Linear(8, 4, bias=False),
    ]  # fmt: skip
    layers = [
        {"kind": "conv", "name": "0"}, {"kind": "batch_norm", "name": "1"}, {"kind": "sign", "zero": 1},
        {"kind": "global_average"}, {"kind": "flatten"}, {"kind": "dense", "name": "5"},
        {"kind": "batch_norm", "name": "6"}, {"kind": "sign", "zero": 1}, {"kind": "dense", "name": "8"},
    ]  # fmt: skip
    network = check(modules, layers, (2, 6, 4))
    assert any("fc1: float32 sums depend on the order of additions; no sum" in line for line in network.history)


def test_an_average_of_9_positions_in_front_of_the_classes_is_refused(tmp_path, describe):
    save_file({"c": np.ones((2, 1, 2, 2), np.float32), "d": np.ones((3, 2), np.float32)}, tmp_path / "net.safetensors")
    layers = [*PIXELS, {"kind": "conv", "weight": "c"}, {"kind": "sign", "zero": 1}, {"kind": "global_average"},
              {"kind": "flatten"}, {"kind": "dense", "weight": "d"}]  # fmt: skip
    with pytest.raises(
        UnsupportedError, match=r"averages over 9 positions are rounded to float32; .* or add up instead"
    ):
        load_any(describe(layers))
