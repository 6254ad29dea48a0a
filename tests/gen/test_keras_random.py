"""Random models of Keras and Larq: whatever is imported gives what the layers compute in float32, exactly."""

import io
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from affine_values import is_scaled, same_choices, same_order

from xnorweave.errors import UnsupportedError
from xnorweave.importers import load_any
from xnorweave.importers.keras import extract, hdf5
from xnorweave.sim import golden

SIGN = {"class_name": "SteSign", "config": {"clip_value": 1.0}}
QUANTIZERS = [
    SIGN, SIGN, SIGN, "ste_heaviside",
    {"class_name": "SteTern", "config": {"threshold_value": 1.0, "ternary_weight_networks": False, "clip_value": 9.0}},
    {"class_name": "DoReFa", "config": {"k_bit": 2, "mode": "activations"}},
]  # fmt: skip


class Draw:
    """A model as it is drawn: the chain so far, and the shape of its tensor, channels last."""

    def __init__(self, rng: np.random.Generator, chain_of: Any) -> None:
        self.rng = rng
        self.shape: tuple[int, ...] = (*(int(n) for n in rng.integers(5, 9, 2)), int(rng.integers(1, 4)))
        self.image, self.raw = self.shape, self.odds(0.5)
        self.chain = chain_of(*self.shape)
        scale, offset = (1 / 127.5, -1.0) if self.raw else (2.0, -1.0)
        self.chain.add("Rescaling", scale=scale, offset=offset)
        self.input: Any = SIGN
        for _ in range(self.pick(1, 2, 2, 3)):
            self._hidden()
        if len(self.shape) == 3 and self.odds(0.3):
            self.chain.add("Activation", activation="ste_sign").add("GlobalAveragePooling2D")
            self.shape, self.input = self.shape[2:], None
        self._dense(int(rng.integers(2, 6)), biased=False)
        if self.odds(0.4):
            self._norm()
        if self.odds(0.3):
            self.chain.add("Softmax", axis=-1)

    def pick(self, *options: Any) -> Any:
        return options[self.rng.integers(len(options))]

    def odds(self, part: float) -> bool:
        return bool(self.rng.random() < part)

    def numbers(self, count: int) -> np.ndarray:
        nice = self.rng.choice([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0], count)
        return nice if self.odds(0.6) else self.rng.normal(0, 2, count)

    def kernel(self, *shape: int) -> np.ndarray:
        """Latent weights, some of them 0."""
        return self.rng.normal(size=shape) * (self.rng.random(shape) > 0.1)

    def _hidden(self) -> None:
        if len(self.shape) == 3 and self.odds(0.7):
            self._conv()
        else:
            self._dense(int(self.rng.integers(3, 8)), biased=self.odds(0.4))
        pooled = len(self.shape) == 3 and self.odds(0.3) and min(self.shape[:2]) > 1
        if pooled:
            stride = self.pick(None, [1, 1], [2, 2])
            self.chain.add("MaxPooling2D", pool_size=[2, 2], strides=stride, padding="valid")
            step = 2 if stride is None else stride[0]
            self.shape = (*((n - 2) // step + 1 for n in self.shape[:2]), self.shape[2])
        if self.odds(0.8):
            self._norm()
        self.input = self.pick(*QUANTIZERS)

    def _norm(self) -> None:
        count = self.shape[-1]
        variance = self.rng.choice([1.0, 4.0], count) if self.odds(0.5) else self.rng.random(count) * 4 + 0.1
        gamma, beta = (self.numbers(count) if self.odds(0.6) else None for _ in range(2))
        self.chain.norm(self.numbers(count), variance, gamma, beta, epsilon=self.pick(1e-3, 0.5))

    def _conv(self) -> None:
        rows, columns, channels = self.shape
        size = [int(self.rng.integers(1, min(4, n + 1))) for n in (rows, columns)]
        stride, padding = self.pick(1, 1, 2, 3), self.pick("same", "valid")
        options = {"strides": [stride, stride], "padding": padding, "input_quantizer": self.input}
        kind = self.pick("conv", "conv", "depthwise", "separable")
        if kind == "conv":
            groups = self.pick(*[n for n in range(1, channels + 1) if channels % n == 0])
            outputs = groups * int(self.rng.integers(1, 5))
            bias = self.numbers(outputs) if self.odds(0.3) else None
            self.chain.conv(self.kernel(*size, channels // groups, outputs), bias, groups=groups, **options)
        elif kind == "depthwise":
            outputs = channels * self.pick(1, 2)
            self.chain.depthwise(self.kernel(*size, channels, outputs // channels), **options)
        else:
            outputs = int(self.rng.integers(1, 6))
            self.chain.separable(self.kernel(*size, channels, 1), self.kernel(1, 1, channels, outputs), **options)
        sides = (
            -(-n // stride) if padding == "same" else (n - k) // stride + 1
            for n, k in zip((rows, columns), size, strict=True)
        )
        self.shape = (*sides, outputs)

    def _dense(self, outputs: int, *, biased: bool) -> None:
        if len(self.shape) == 3:
            if self.odds(0.3):
                self.chain.add("Reshape", target_shape=[int(np.prod(self.shape))])
            else:
                self.chain.add("Flatten")
            self.shape = (int(np.prod(self.shape)),)
        bias = self.numbers(outputs) if biased else None
        self.chain.dense(self.kernel(*self.shape, outputs), bias, input_quantizer=self.input)
        self.shape = (outputs,)


def compare(seeds: range, folder: Path, chain_of: Any) -> None:
    refused, kinds = Counter[str](), Counter[str]()
    taken = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        draw = Draw(rng, chain_of)
        path = draw.chain.save(folder / rng.choice(["net.h5", "net.keras"]), functional=draw.odds(0.5))
        try:
            network = load_any(path)
        except UnsupportedError as e:
            refused[str(e).split(": ", 2)[-1][:60]] += 1
            continue
        if any("another order of rounding" in line or "the exact ones decide" in line for line in network.history):
            continue
        frames = rng.integers(0, 256, (40, *draw.image), dtype=np.uint8)
        frames[:15] = rng.choice(np.array([0, 255], np.uint8), (15, *draw.image))
        pixels = frames.astype(np.float32)
        want = draw.chain.run(pixels if draw.raw else pixels / np.float32(255))
        got = golden.run(network, np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
        assert np.array_equal(got.outputs.ravel(), want.argmax(1)), f"seed {seed} of {path.name}"
        assert got.scores is not None
        if is_scaled(network):
            same_choices(got.scores, want, f"seed {seed} of {path.name}")
        for number in range(0 if is_scaled(network) else want.shape[1]):
            same_order(got.scores[:, number], want[:, number], f"seed {seed} of {path.name}, class {number}")
        taken += 1
        kinds.update({layer["class_name"] for layer in draw.chain.layers})
        kinds.update(layer.kind for layer in network.layers)
    print(f"{taken} of {len(seeds)} models were imported and compared; refused: {refused.most_common(8)}")
    assert taken > len(seeds) / 2
    assert min(kinds[kind] for kind in ("QuantConv2D", "QuantDepthwiseConv2D", "QuantSeparableConv2D", "QuantDense",
               "BatchNormalization", "MaxPooling2D", "GlobalAveragePooling2D", "Flatten", "Reshape", "Softmax", "scale")) > 0  # fmt: skip


@pytest.fixture(autouse=True)
def _one_process(monkeypatch):
    """Files are read in this process: starting another one for each takes longer than all else."""

    def extracted(data: bytes) -> tuple[dict[str, Any], memoryview]:
        arrays, bodies = dict[str, Any](), list[bytes]()
        with h5py.File(io.BytesIO(data)) as file:
            texts = {name: text for name in extract.TEXTS if (text := extract._text(file, name)) is not None}
            extract._walk(h5py, file, arrays, bodies)
        return {"texts": texts, "arrays": arrays}, memoryview(b"".join(bodies))

    monkeypatch.setattr(hdf5, "_extracted", extracted)


def test_random_models(tmp_path, keras_chain):
    compare(range(40), tmp_path, keras_chain)


@pytest.mark.slow
def test_many_random_models(tmp_path, keras_chain):
    compare(range(1000, 2000), tmp_path, keras_chain)
