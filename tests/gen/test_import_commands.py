"""Every command takes every file that can be imported, without a file of ours between."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx_chains import bits
from safetensors.numpy import save_file

import xnorweave
from xnorweave import cli

HIDDEN, LAST = (np.random.default_rng(5).choice([-1.0, 1.0], shape) for shape in ((9, 6), (6, 4)))


def onnx(folder: Path, keras_chain) -> Path:
    chain = bits(1, 9).weights("MatMul", HIDDEN).add("BipolarQuant", 1.0).weights("MatMul", LAST)
    return chain.save(folder / "net.onnx")


def keras(folder: Path, keras_chain) -> Path:
    chain = keras_chain(9).add("Rescaling", scale=2.0, offset=-1.0).dense(HIDDEN).dense(LAST)
    return chain.save(folder / "net.h5")


def keras_archive(folder: Path, keras_chain) -> Path:
    chain = keras_chain(9).add("Rescaling", scale=2.0, offset=-1.0).dense(HIDDEN).dense(LAST)
    return chain.save(folder / "net.keras")


def torch(folder: Path, keras_chain) -> Path:
    tensors = {"a": np.ascontiguousarray(HIDDEN.T), "b": np.ascontiguousarray(LAST.T)}
    save_file({name: array.astype(np.float32) for name, array in tensors.items()}, folder / "net.safetensors")
    layers = ['kind = "affine"\nscale = 2.0\noffset = -1.0', 'kind = "sign"\nzero = 1', 'kind = "flatten"',
              'kind = "dense"\nweight = "a"', 'kind = "sign"\nzero = 1', 'kind = "dense"\nweight = "b"']  # fmt: skip
    text = 'weights = "net.safetensors"\ninput = { shape = [1, 3, 3] }\n'
    (folder / "net.toml").write_text(text + "".join(f"[[layers]]\n{layer}\n" for layer in layers))
    return folder / "net.toml"


def decoded(folder: Path, keras_chain) -> Path:
    """Sums of bits reach the threshold 0 at every other one: as for a sign."""
    arrays = {"fc0_w": HIDDEN.T, "fc0_t": np.zeros(6), "fc1_w": LAST.T}
    np.savez(
        folder / "net.npz", **{name: a.astype(np.int32 if name[-1] == "t" else np.int8) for name, a in arrays.items()}
    )
    return folder / "net.npz"


@pytest.mark.parametrize("make", [onnx, keras, keras_archive, torch, decoded])
def test_every_command_takes_the_file(tmp_path, keras_chain, capfd, make: Callable[..., Path]):
    path = str(make(tmp_path, keras_chain))
    frames = np.random.default_rng(6).integers(0, 256, (20, 3, 3), dtype=np.uint8)
    want = np.argmax(np.where((np.where(frames.reshape(20, 9) >= 128, 1, -1) @ HIDDEN) >= 0, 1, -1) @ LAST, 1)
    np.savez(tmp_path / "d.npz", x=frames, y=want.astype(np.uint8))

    def told(*arguments: str) -> dict:
        assert cli.main([*arguments, "--json"]) == 0
        return json.loads(capfd.readouterr().out)

    assert told("inspect", path)["network"]["weights"] == 78
    assert told("share", path, "--strategy", "graph")["sharing"]["layers"]
    assert told("plan", path, "--board", "icebreaker")["plan"]["layers"]
    assert told("generate", path, "-o", str(tmp_path / "out"))
    assert (tmp_path / "out" / "design.v").is_file()
    report = told("simulate", path, "--simulator", "golden", "--data", str(tmp_path / "d.npz"))
    assert report["accuracy"] == {"images": 20, "correct": 20, "percent": 100.0}
    report = told("simulate", path, "--simulator", "amaranth", "--data", str(tmp_path / "d.npz"), "--images", "2")
    assert report["simulation"]["mismatches"] == 0
    told("import", path, "-o", str(tmp_path / "ours.npz"))
    assert xnorweave.load(path).shapes == xnorweave.load(tmp_path / "ours.npz").shapes
