"""Two blocks like Bi-Real Net's through the command line: shown, planned, generated with its report, simulated."""

import json

import numpy as np
import pytest

from xnorweave import cli
from xnorweave.network import Add, ArgMax, Conv2D, Dense, InputSpec, Layer, Network, Threshold
from xnorweave.network_file import save_network


def signs(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.choice(np.array([-1, 1], np.int8), shape)


@pytest.fixture(name="folder")
def _folder(tmp_path, monkeypatch, rng):
    """A folder with the network and a few images."""
    layers: list[Layer] = []
    for name, inputs, source in (("stem", 1, ""), ("conv1", 4, "stem"), ("conv2", 4, "add_conv1")):
        layers.append(Conv2D(name=name, weights=signs(rng, 4, inputs, 3, 3), padding=(1, 1, 1, 1)))
        layers += [Add(name=f"add_{name}", source=source)] if source else []
        layers.append(Threshold(name=f"{name}_sign", thresholds=rng.integers(-2, 3, 4).astype(np.int32)))
    layers += [Dense(name="scores", weights=signs(rng, 3, 4 * 36)), ArgMax(name="classify")]
    spec = InputSpec(kind="pixels", shape=(1, 6, 6), table=np.where(np.arange(256) > 127, 1, -1).astype(np.int16))
    save_network(Network(name="blocks", input=spec, layers=tuple(layers)), tmp_path / "net.npz")
    images = rng.integers(0, 256, (4, 6, 6), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", x=images, y=np.zeros(4, np.int64))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(capfd, *arguments: str) -> dict:
    assert cli.main([*arguments, "--json"]) == 0
    return json.loads(capfd.readouterr().out)


def test_a_residual_network_from_file_to_report(folder, capfd):
    layers = {layer["name"]: layer for layer in told(capfd, "inspect", "net.npz")["network"]["layers"]}
    assert (layers["add_conv2"]["source"], layers["add_conv2"]["additions"]) == ("add_conv1", 4 * 36)
    rows = {row["name"]: row for row in told(capfd, "plan", "net.npz", "--board", "ulx3s-12f")["plan"]["layers"]}
    assert rows["add_conv1"]["luts_estimated"] > 4 * 5
    assert rows["conv1_sign"]["engine"] == "stream"
    told(capfd, "generate", "net.npz", "-o", "out")
    page = (folder / "out" / "report.html").read_text()
    assert all(name in page for name in ("add_conv1", "conv2_sign"))
    assert "shortcut_add_conv1" in (folder / "out" / "design.v").read_text()
    report = told(
        capfd, "simulate", "net.npz", "--simulator", "icarus", "--taps", "--stall", "0.3", "--data", "images.npz",
        "--images", "4",
    )  # fmt: skip
    assert report["simulation"]["mismatches"] == 0
