"""Networks of Brevitas, exported to QONNX and imported, against what Brevitas itself gives for the same images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from explored_networks import Silent

from xnorweave import commands
from xnorweave.commands import ImportOptions
from xnorweave.errors import UnsupportedError
from xnorweave.importers.folding.signals import Classes
from xnorweave.importers.onnx_graph import OnnxImport, read_onnx
from xnorweave.network import Conv2D, Dense, Scale
from xnorweave.network_file import load_network, network_bytes
from xnorweave.sim import golden

_WHY = "needs Brevitas, an exporter and qonnx: pip install 'xnorweave[brevitas]'"
for _package in ("torch", "brevitas", "onnxoptimizer", "qonnx", "onnxruntime"):
    pytest.importorskip(_package, reason=f"{_package} is not installed; {_WHY}")

import torch  # noqa: E402
from brevitas.core.function_wrapper import TensorClamp  # noqa: E402
from brevitas.export import export_qonnx  # noqa: E402
from brevitas.nn import QuantConv2d, QuantIdentity, QuantLinear  # noqa: E402
from brevitas.quant import (  # noqa: E402
    Int8ActPerTensorFixedPoint,
    Int8WeightPerTensorFloat,
    SignedBinaryActPerTensorConst,
    SignedBinaryWeightPerTensorConst,
    Uint8ActPerTensorFloat,
)
from torch import nn  # noqa: E402

pytestmark = pytest.mark.slow

EXPORTERS = pytest.mark.parametrize("dynamo", [True, False], ids=["exported program", "TorchScript"])


class Weights(SignedBinaryWeightPerTensorConst):
    scaling_const = 1.0


class Eighths(Int8ActPerTensorFixedPoint):
    """Steps of 1/128 from -1 to 127/128."""

    scaling_impl_type = "const"
    min_val = -1.0
    max_val = 1.0 - 2.0**-7


class Centred(nn.Module):
    def forward(self, x):
        return 2.0 * x - 1.0


class ScoreNorm(nn.Module):
    """One scale and one offset for all classes, as behind the last layer of Brevitas's own networks."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.17]))
        self.mean = nn.Parameter(torch.tensor([0.6]))

    def forward(self, x):
        return (x - self.mean) / 3.7 * self.weight


def binary() -> QuantIdentity:
    return QuantIdentity(act_quant=SignedBinaryActPerTensorConst)


def conv(inputs: int, outputs: int, **options) -> QuantConv2d:
    return QuantConv2d(inputs, outputs, 3, **{"bias": False, "weight_quant": Weights, **options})


def dense(inputs: int, outputs: int, **options) -> QuantLinear:
    return QuantLinear(inputs, outputs, **{"bias": False, "weight_quant": Weights, **options})


def small(*, start: nn.Module | None = None, last: nn.Module | None = None, end: tuple[nn.Module, ...] = (), **options):
    """For 1 x 12 x 12 pixels and 4 classes; ``options`` are those of its first layers."""
    return nn.Sequential(
        Centred(), start or QuantIdentity(act_quant=Eighths),
        conv(1, 8, **options), nn.BatchNorm2d(8), binary(), nn.MaxPool2d(2),
        conv(8, 16, padding=1, **options), nn.BatchNorm2d(16), nn.MaxPool2d(2), binary(), nn.Flatten(),
        dense(64, 24, **options), nn.BatchNorm1d(24), binary(),
        last or dense(24, 4), *end,
    )  # fmt: skip


def cnv() -> nn.Sequential:
    """FINN's CNV: six convolutions, two poolings, three dense layers."""
    layers: list[nn.Module] = [Centred(), QuantIdentity(act_quant=Eighths)]
    channels = 3
    for number, outputs in enumerate((64, 64, 128, 128, 256, 256)):
        layers += [conv(channels, outputs), nn.BatchNorm2d(outputs, eps=1e-4), binary()]
        layers += [nn.MaxPool2d(2)] if number in (1, 3) else []
        channels = outputs
    layers += [nn.Flatten()]
    for outputs in (512, 512):
        layers += [dense(channels, outputs), nn.BatchNorm1d(outputs, eps=1e-4), binary()]
        channels = outputs
    return nn.Sequential(*layers, dense(channels, 10))


def randomize(net: nn.Module, images: torch.Tensor) -> None:
    """Statistics of these images, then batch norms with scales of both signs and thresholds off the middle."""
    norms = [m for m in net.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    for norm in norms:
        norm.momentum = 1.0
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias, std=0.5)
    with torch.no_grad():
        net.train()(images)
    net.eval()


def units(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames).to(torch.float32) / 255


def exported(net: nn.Module, shape: tuple[int, ...], path: Path, *, dynamo: bool) -> Path:
    export_qonnx(net.eval(), torch.rand(1, *shape), export_path=str(path), dynamo=dynamo)
    return path


def compare(net: nn.Sequential, read: OnnxImport, frames: np.ndarray) -> None:
    """Every binary activation, the integer sums behind the scores, and the classes."""
    seen: list[np.ndarray] = []
    layers = [m for m in net if isinstance(m, (QuantConv2d, QuantLinear))]
    hooks = [m.register_forward_pre_hook(lambda _, given: seen.append(given[0].numpy())) for m in layers[1:]]
    with torch.no_grad():
        scores = net.eval()(units(frames)).numpy()
    for hook in hooks:
        hook.remove()

    network = read.network
    result = golden.run(network, frames, keep_layers=True)
    weighted = [n for n, layer in enumerate(network.layers) if isinstance(layer, (Conv2D, Dense))]
    for number, want in zip(weighted[1:], seen, strict=True):
        got = result.layers[network.layers[number - 1].name].reshape(want.shape)
        assert np.count_nonzero((got > 0) != (want > 0)) == 0, network.layers[number - 1].name

    assert isinstance(read.answer, Classes)
    assert read.answer.scores is not None
    scales, offsets = (np.array([float(value) for value in values]) for values in read.answer.scores)
    sums = (scores.astype(np.float64) - offsets) / scales
    ours = result.scores
    if isinstance(network.layers[-2], Scale):
        ours = result.layers[network.layers[-3].name].reshape(sums.shape)
    assert np.abs(sums - ours).max() < 0.01
    assert np.count_nonzero(scores.argmax(1) != result.outputs.ravel()) == 0
    assert len(np.unique(result.outputs)) > 2


def checked(path: Path, *, images: int) -> OnnxImport:
    """What the command reads and writes, after qonnx has given the same for some images."""
    report = commands.import_(str(path), path.with_suffix(".npz"), ImportOptions(images=images), Silent())
    assert report["check"] == {
        "package": "qonnx", "images": images, "mismatches": 0, "compared": ["class", "sums"], "seed": 0,
    }  # fmt: skip
    read = read_onnx(path)
    assert network_bytes(load_network(path.with_suffix(".npz"))) == network_bytes(read.network)
    # Else PyTorch's order of rounding in batch norm could give something else than ONNX's.
    assert not any("another answer in another order" in line for line in read.network.history)
    return read


def patterns(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise in which one quarter of the image is brighter, and which one."""
    classes = rng.integers(0, 4, count)
    frames = rng.integers(0, 160, (count, 1, 12, 12), dtype=np.uint8)
    for frame, quarter in zip(frames, classes, strict=True):
        row, column = 6 * (quarter // 2), 6 * (quarter % 2)
        frame[0, row : row + 6, column : column + 6] += 90
    return frames, classes


@EXPORTERS
def test_a_trained_network(tmp_path, rng, dynamo):
    torch.manual_seed(1)
    net = small(end=(ScoreNorm(),))
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(60):
        frames, classes = patterns(rng, 64)
        loss = nn.functional.cross_entropy(net.train()(units(frames)), torch.from_numpy(classes))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    read = checked(exported(net, (1, 12, 12), tmp_path / "net.onnx", dynamo=dynamo), images=5)
    frames, classes = patterns(rng, 500)
    compare(net, read, frames)
    assert np.mean(golden.run(read.network, frames).outputs.ravel() == classes) > 0.9


@EXPORTERS
def test_cnv_with_batch_norms_of_both_signs(tmp_path, rng, dynamo):
    torch.manual_seed(2)
    net = cnv()
    randomize(net, torch.rand(32, 3, 32, 32))
    read = checked(exported(net, (3, 32, 32), tmp_path / "cnv.onnx", dynamo=dynamo), images=2)
    shapes = [layer.weights.shape for layer in read.network.layers if isinstance(layer, (Conv2D, Dense))]
    assert shapes == [
        (64, 3, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3), (128, 128, 3, 3), (256, 128, 3, 3), (256, 256, 3, 3),
        (512, 256), (512, 512), (10, 512),
    ]  # fmt: skip
    assert sum("channels negated" in line for line in read.network.history) == 8
    compare(net, read, rng.integers(0, 256, (100, 3, 32, 32), dtype=np.uint8))


class Averages(SignedBinaryWeightPerTensorConst):
    """For each filter the average magnitude of its weights, which a clamp in place would change with every call."""

    tensor_clamp_impl = TensorClamp
    scaling_impl_type = "stats"
    scaling_stats_op = "ave"
    scaling_per_output_channel = True


HIDDEN = {
    "a scale of 0.1": {"weight_quant": SignedBinaryWeightPerTensorConst},
    "a scale for each filter": {"weight_quant": Averages},
    "a bias": {"bias": True},
}


@pytest.mark.parametrize("options", HIDDEN.values(), ids=HIDDEN)
def test_scales_and_biases_in_hidden_layers(tmp_path, rng, options):
    torch.manual_seed(3)
    net = small(**options)
    randomize(net, torch.rand(64, 1, 12, 12))
    read = checked(exported(net, (1, 12, 12), tmp_path / "net.onnx", dynamo=False), images=3)
    assert any("depend on the order of additions" in line for line in read.network.history)
    compare(net, read, rng.integers(0, 256, (300, 1, 12, 12), dtype=np.uint8))


def test_a_bias_of_each_class(tmp_path, rng):
    torch.manual_seed(5)
    net = small(last=dense(24, 4, bias=True))
    randomize(net, torch.rand(64, 1, 12, 12))
    read = checked(exported(net, (1, 12, 12), tmp_path / "net.onnx", dynamo=False), images=3)
    assert any("classes have offsets of their own" in line for line in read.network.history)
    compare(net, read, rng.integers(0, 256, (300, 1, 12, 12), dtype=np.uint8))


SCALED: dict[str, Callable[[], nn.Module]] = {
    "a batch norm of the classes": lambda: small(end=(nn.BatchNorm1d(4),)),
}


@pytest.mark.parametrize("make", SCALED.values(), ids=SCALED)
def test_classes_of_different_scales(tmp_path, rng, make):
    torch.manual_seed(4)
    net = make()
    randomize(net, torch.rand(64, 1, 12, 12))
    read = checked(exported(net, (1, 12, 12), tmp_path / "net.onnx", dynamo=False), images=3)
    assert any("classes have scales of their own" in line for line in read.network.history)
    compare(net, read, rng.integers(0, 256, (300, 1, 12, 12), dtype=np.uint8))


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a scale for each class within its sum": (
        lambda: small(last=dense(24, 4, weight_quant=Averages)),
        r"float32 sums that depend on the order of additions, which decides between classes for \d+ pairs"),
    "a scale of 0.1 in the last layer": (
        lambda: small(last=dense(24, 4, weight_quant=SignedBinaryWeightPerTensorConst)),
        r"chooses a class from float32 sums that depend on the order of additions"),
    "a softmax": (lambda: small(end=(nn.Softmax(1),)), r"operation 'Softmax' is not supported"),
    "an input of any scale": (
        lambda: small(start=QuantIdentity(act_quant=Uint8ActPerTensorFloat)),
        r"no multiples of one step within 16 bits; quantize the input with Quant of a power-of-two scale"),
    "weights of 8 bits": (
        lambda: small(weight_quant=Int8WeightPerTensorFloat), r"weights of output 0 have the magnitudes .* binarize"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_exact_is_refused(tmp_path, make, message):
    torch.manual_seed(4)
    net = make()
    randomize(net, torch.rand(64, 1, 12, 12))
    with pytest.raises(UnsupportedError, match=message):
        read_onnx(exported(net, (1, 12, 12), tmp_path / "net.onnx", dynamo=False))
