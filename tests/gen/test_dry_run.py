"""`--dry-run`: what would be done is told, nothing is written, and what a command refuses is refused."""

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explored_networks import small_network
from small_library import small_library

from xnorweave import cli
from xnorweave.network_file import save_network


@pytest.fixture
def here(rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network, images and a cell library, in which nothing else may come to be."""
    save_network(small_network(rng), tmp_path / "n.npz")
    images, labels = rng.integers(0, 2, (60, 6, 6, 2)).astype(np.uint8), rng.integers(0, 3, 60)
    np.savez(tmp_path / "d.npz", x=images, y=labels)
    (tmp_path / "cells.lib").write_text(small_library())
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def everything(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


COMMANDS = [
    (["build", "n.npz", "-b", "icebreaker", "-o", "o", "--data", "d.npz"], "o/top.bin"),
    (["build", "n.npz", "-b", "ulx3s-85f", "-o", "o", "--data", "d.npz", "--fps", "1000"], "o/top.bit"),
    (["synth", "n.npz", "-b", "icebreaker", "-o", "o"], "o/top.bin"),
    (["synth", "n.npz", "--liberty", "cells.lib", "-o", "o"], "o/core_netlist.v"),
    (["synth", "n.npz", "--cells", "cmos", "-o", "o"], "o/core_netlist.v"),
    (["generate", "n.npz", "-o", "o", "--wrapper", "wishbone"], "o/xnorweave_wishbone.v"),
    (["simulate", "n.npz", "--data", "d.npz", "--simulator", "amaranth"], None),
    (["compress", "n.npz", "-o", "c.npz", "--data", "d.npz"], "c.npz"),
    (["explore", "n.npz", "-b", "icebreaker,ulx3s-85f", "-o", "o"], "o/explore.json"),
    (["explore", "fashion-mnist", "-b", "icebreaker", "-o", "o", "--seeds", "1"], "o/explore.json"),
    (["train", "fashion-mnist", "-o", "t.npz", "--report", "t.json"], "t.json"),
]


@pytest.mark.parametrize(("arguments", "file"), COMMANDS, ids=[" ".join(words[:4]) for words, _ in COMMANDS])
def test_nothing_is_written(
    arguments: list[str], file: str | None, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if "fashion-mnist" in arguments and importlib.util.find_spec("torch") is None:
        pytest.skip("no PyTorch: pip install xnorweave[train]")
    before = everything(here)
    assert cli.main([*arguments, "--dry-run", "--json"]) == 0
    part: dict[str, Any] = json.loads(capfd.readouterr().out)["dry_run"]
    assert everything(here) == before
    assert part["does"]
    assert (file in part["writes"]) if file else part["writes"] == []


def test_it_is_readable(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["build", "n.npz", "-b", "icebreaker", "-o", "o", "--data", "d.npz", "--dry-run"]) == 0
    out = capfd.readouterr().out
    for line in ("Dry run", "simulate 50 images", "golden model on 60 images", "nextpnr-ice40, seed 1", "o/design.v"):
        assert line in out
    assert "Nothing was written." in out
    assert "conv" in out


def test_an_exploration_counts_its_candidates(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["explore", "n.npz", "-b", "icebreaker,ulx3s-85f", "-o", "o", "--clocks", "12,16", "--seeds", "2"]
    assert cli.main([*words, "--dry-run", "--json"]) == 0
    does = json.loads(capfd.readouterr().out)["dry_run"]["does"]
    assert does[0].startswith(f"estimate {2 * 2 * 11 * 4 * 2} candidates: 1 networks, 2 boards, 4 strategies, 2 clocks")
    assert does[1] == "build those that may be best, at most 12 builds"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "n.npz", "-b", "icebreaker", "-o", "taken", "--data", "d.npz"], "taken: holds files, but no build"),
        (["build", "n.npz", "-b", "icebreaker", "-o", "o", "--data", "d.npz", "--images", "61"], "only 60 are there"),
        (
            ["build", "n.npz", "-b", "icebreaker", "-o", "o", "--data", "d.npz", "--simulator", "golden"],
            "give amaranth",
        ),
        (["synth", "n.npz", "-b", "icebreaker", "-o", "o", "--fps", "1e9"], "frames/s"),
        (["synth", "n.npz", "--liberty", "absent.lib", "-o", "o"], "absent.lib"),
        (["generate", "n.npz", "-o", "d.npz"], "is a file or a link"),
        (["compress", "n.npz", "-o", "c.npz"], "no images come with"),
        (["explore", "n.npz", "-b", "icebreaker", "-o", "taken"], "but no exploration"),
        (["explore", "n.npz", "-b", "icebreaker", "-o", "o", "--codes", "4"], "no images to refit"),
        (["train", "absent", "-o", "t.npz"], "is no preset"),
    ],
)
def test_what_the_command_refuses_is_refused(
    arguments: list[str], message: str, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = os.listdir(here)
    assert cli.main([*arguments, "--dry-run"]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert message in err
    assert os.listdir(here) == before
