"""Fixtures: a browser, Keras models, and descriptions of PyTorch networks."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine_values import affine, class_scores
from chromium import Chromium, find_chromium
from keras_chain import KerasChain

from xnorweave.importers import load_any
from xnorweave.network import Network
from xnorweave.sim import golden


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(find_chromium() or "", tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(name="keras_chain")
def _keras_chain() -> type[KerasChain]:
    return KerasChain


@pytest.fixture(name="keras_check")
def _keras_check(tmp_path: Path, rng: np.random.Generator) -> Callable[..., Network]:
    """Import a chain in both formats, and compare it with what it computes on random images; gives the network."""

    def check(chain: KerasChain, *, raw: bool = False, images: int = 100, **form: Any) -> Network:
        networks = [load_any(chain.save(tmp_path / f"net{suffix}", **form)) for suffix in (".h5", ".keras")]
        network = networks[0]
        channels, height, width = network.input.shape
        frames = rng.integers(0, 256, (images, height, width, channels), dtype=np.uint8)
        x = frames.astype(np.float32) if raw else frames.astype(np.float32) / np.float32(255)
        want = chain.run(x.reshape(images, *chain.shape))
        got = [golden.run(n, np.ascontiguousarray(frames.transpose(0, 3, 1, 2))) for n in networks]
        if want.ndim == 4:
            want = want.transpose(0, 3, 1, 2)
        for result in got:
            if result.scores is None:
                affine(result.outputs.reshape(want.shape), want)
            else:
                assert np.count_nonzero(result.outputs != want.argmax(1)) == 0
                class_scores(network, result.scores, want)
        assert want.min() != want.max()
        return network

    return check


def toml(value) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(v)}" for key, v in value.items()) + " }"
    return json.dumps(value)


@pytest.fixture(name="describe")
def _describe(tmp_path: Path) -> Callable[..., Path]:
    """Write a description of the layers of a PyTorch network; ``more`` are keys of the file, None to leave one out."""

    def describe(layers: list[dict[str, Any]], shape: tuple[int, ...] = (1, 4, 4), **more: Any) -> Path:
        given = {"weights": "net.safetensors", "input": {"shape": list(shape)}} | more
        lines = [f"{key} = {toml(value)}" for key, value in given.items() if value is not None]
        for layer in layers:
            lines += ["[[layers]]", *(f"{key} = {toml(value)}" for key, value in layer.items())]
        path = tmp_path / "net.toml"
        path.write_text("\n".join(lines))
        return path

    return describe
