"""From Python: what programs and notebooks get is what the command line gives."""

import json
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explored_networks import Silent, small_network

import xnorweave
from xnorweave import cli
from xnorweave.boards.toolchain import Synthesis
from xnorweave.commands import hardware
from xnorweave.errors import DataError, DeviceError, DoesNotFitError, NetworkError
from xnorweave.network import Network
from xnorweave.network_file import save_network

BOARD = "icebreaker"
HOSTILE = "<script>alert(1)</script>&\"'"


class Elements(HTMLParser):
    """Every element that a fragment opens, and whether each is closed in turn; the text of table cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.cells: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self._open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("td", "th"):
            self.cells[-1] += data


@pytest.fixture
def net(rng: np.random.Generator, tmp_path: Path) -> Path:
    path = tmp_path / "n.npz"
    save_network(small_network(rng), path)
    return path


@pytest.fixture
def data(rng: np.random.Generator, tmp_path: Path) -> Path:
    path = tmp_path / "d.npz"
    np.savez(path, x=rng.integers(0, 2, (6, 6, 6, 2)).astype(np.uint8), y=rng.integers(0, 3, 6))
    return path


@pytest.fixture
def no_synthesis(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = {
        "luts": 1234,
        "luts_available": 5280,
        "flip_flops": 1,
        "block_rams": 2,
        "block_rams_available": 30,
        "baud": 10**6,
        "baud_error_percent": 0.0,
    }
    done = Synthesis(
        board=BOARD, device="UP5K", fmax_mhz=30.0, clock_mhz=12.0, bitstream="top.bin", tools={}, **numbers
    )
    monkeypatch.setattr(hardware, "synthesize", lambda *_, **__: done)


def printed(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert cli.main([*arguments, "--json"]) == 0
    return json.loads(capfd.readouterr().out)


def timeless(value: Any) -> Any:
    """A report without what differs from run to run: seconds, and the folder."""
    if isinstance(value, dict):
        return {key: timeless(each) for key, each in value.items() if key not in ("seconds", "folder")}
    return [timeless(each) for each in value] if isinstance(value, list) else value


def test_a_network_is_loaded_by_its_word_or_its_path(net: Path) -> None:
    shipped = xnorweave.load("fashion_mnist")
    assert isinstance(shipped, Network)
    assert shipped.images is not None
    assert shipped.images.is_file()
    assert xnorweave.load(net).shapes == xnorweave.load(str(net)).shapes == xnorweave.load_network(net).shapes
    with pytest.raises(NetworkError, match=r"absent: no such file, nor the word of a shipped network"):
        xnorweave.load("absent")


def test_the_package_loads_no_room_that_it_is_not_asked_for() -> None:
    code = "import sys, xnorweave; assert 'xnorweave.api' not in sys.modules and 'amaranth' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'absent'"):
        _ = xnorweave.absent


def test_a_plan_is_that_of_the_command_line(net: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = {"--fps": 1000.0, "--clock": 24.0}
    found = xnorweave.load(net).plan(board=BOARD, fps=1000, clock_mhz=24, stages=Silent())
    words = [str(word) for pair in options.items() for word in pair]
    assert found.report == printed(["plan", str(net), "--board", BOARD, *words], capfd)
    assert found.fits is True


def test_a_plan_shows_itself(net: Path) -> None:
    found = xnorweave.load(net).plan(board=BOARD, stages=Silent())
    text, page = repr(found), Elements(found._repr_html_())
    synthesis = found.report["synthesis"]
    for row in found.report["plan"]["layers"]:
        assert row["name"] in text
        assert row["name"] in page.cells
        assert f"{row['luts_estimated']:,}" in page.cells
    share = 100 * synthesis["luts"] / synthesis["luts_available"]
    assert f"{synthesis['luts']:,} of 5,280 ({share:.0f} %)" in page.cells
    assert f"{synthesis['block_rams']} of 30 ({100 * synthesis['block_rams'] / 30:.0f} %)" in page.cells
    assert f"{synthesis['frames_per_second']:,.0f}" in page.cells
    assert "n should fit icebreaker, by estimates" in found._repr_html_()


def test_a_plan_that_does_not_fit_says_so(tmp_path: Path) -> None:
    network = xnorweave.load("fashion_mnist")
    made = network.plan(board="ulx3s-85f", stages=Silent()).report["plan"]
    made.pop("slowest")
    for row in made["layers"]:
        row.pop("block_ram_bits", None)
    (tmp_path / "plan.json").write_text(json.dumps(made))
    found = network.plan(board="icestick", file=tmp_path / "plan.json", stages=Silent())
    assert found.fits is False
    html = found._repr_html_()
    assert "<strong>fashion_mnist does not fit icestick, by estimates" in html
    assert "the plan does not fit by its estimates: it wants" in html


def test_progress_goes_to_standard_error_where_nobody_else_is_told(
    net: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    xnorweave.load(net).plan(board=BOARD)
    out, err = capfd.readouterr()
    assert out == ""
    assert f"planning n for {BOARD}" in err


@pytest.mark.parametrize("what", ["network", "plan"])
def test_what_a_notebook_shows_is_escaped(what: str, rng: np.random.Generator, tmp_path: Path) -> None:
    made = small_network(rng)
    hostile = Network(name=HOSTILE, input=made.input, layers=made.layers, classes=(HOSTILE, "b", "c"))
    save_network(hostile, tmp_path / "n.npz")
    network = xnorweave.load(tmp_path / "n.npz")
    html = (network if what == "network" else network.plan(board=BOARD, stages=Silent()))._repr_html_()
    assert HOSTILE not in html
    assert "&lt;script&gt;" in html
    assert Elements(html).names <= {"div", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "code"}


@pytest.mark.usefixtures("no_synthesis")
def test_a_build_is_that_of_the_command_line(
    net: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = xnorweave.load(net).plan(board=BOARD, stages=Silent())
    out = tmp_path / "a" / "out"
    found = plan.build(out, data=data, images=3, simulator="amaranth", strategy="kernel", seed=2, stages=Silent())
    words = ["build", str(net), "--board", BOARD, "--data", str(data), "--images", "3", "--simulator", "amaranth"]
    words += ["--strategy", "kernel", "--seed", "2", "-o", str(tmp_path / "b" / "out")]
    other = printed(words, capfd)
    assert timeless(found.report) == timeless(other)
    assert shlex.split(found.report["build"]["command"])[:3] == ["xnorweave", "build", "n.npz"]
    written = json.loads((out / "report.json").read_text("utf-8"))
    assert found.report == written | {"folder": str(out)}
    assert found.folder == out
    html = found._repr_html_()
    assert "n fits icebreaker and meets its clock; bit-exact on 3 images" in html
    assert "1,234 of 5,280 (23 %)" in Elements(html).cells
    assert "bit" in repr(found)


def test_errors_are_those_of_the_command_line(net: Path, tmp_path: Path) -> None:
    network = xnorweave.load(net)
    with pytest.raises(DeviceError, match=r"breadboard.*icebreaker"):
        network.plan(board="breadboard", stages=Silent())
    with pytest.raises(DoesNotFitError, match=r"icebreaker: .* frames/s leave 0 cycles"):
        network.plan(board=BOARD, fps=1e9, stages=Silent())
    with pytest.raises(DataError, match="no images come with 'n'"):
        network.plan(board=BOARD, stages=Silent()).build(tmp_path / "out")
    assert not (tmp_path / "out").exists()
