"""What a build measures and says of it, with synthesis left out."""

import dataclasses
import hashlib
import json
import shlex
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xnorweave import cli, commands, tables
from xnorweave.boards.catalogue import board as find_board
from xnorweave.boards.toolchain import Synthesis
from xnorweave.commands import hardware
from xnorweave.console import result_console
from xnorweave.errors import UnsupportedError
from xnorweave.images import ImageSet
from xnorweave.network import ArgMax, Conv2D, Dense, InputSpec, Network, Threshold
from xnorweave.network_file import network_digest
from xnorweave.passes.plan import make_plan
from xnorweave.plan_file import load_plan, plan_document

BOARD = "ulx3s-85f"


class Quiet:
    """Stages that nobody sees."""

    def start(self, text: str, total: int | None = None) -> None: ...

    def advance(self, done: int) -> None: ...

    def note(self, text: str) -> None: ...


@pytest.fixture(autouse=True)
def no_synthesis(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out_synthesis(monkeypatch)


def leave_out_synthesis(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = {
        "luts": 1,
        "luts_available": 9,
        "flip_flops": 1,
        "block_rams": 1,
        "block_rams_available": 9,
        "baud": 10**6,
        "baud_error_percent": 0.0,
    }
    done = Synthesis(board=BOARD, device="d", fmax_mhz=30.0, clock_mhz=25.0, bitstream="top.bit", tools={}, **numbers)
    monkeypatch.setattr(hardware, "synthesize", lambda *_, **__: done)


def network(rng: np.random.Generator, padding: int) -> Network:
    """Two convolutions in a row, ``padding`` columns beside each: one waits while the next makes its padding."""

    def signs(*shape: int) -> np.ndarray:
        return rng.choice(np.array([-1, 1], np.int8), shape)

    columns = 6 + 2 * (2 * padding - 2)
    layers = (
        Conv2D(name="first", weights=signs(4, 2, 3, 3), padding=(0, 0, padding, padding)),
        Threshold(name="fire", thresholds=np.zeros(4, np.int32)),
        Conv2D(name="second", weights=signs(4, 4, 3, 3), padding=(0, 0, padding, padding)),
        Threshold(name="second_fire", thresholds=np.zeros(4, np.int32)),
        Dense(name="scores", weights=signs(3, 4 * 2 * columns)),
        ArgMax(name="classify"),
    )
    return Network(name="n", input=InputSpec(kind="bits", shape=(2, 6, 6)), layers=layers)


def built(
    network: Network, folder: Path, *, images: int | None = None, frames: int = 8, command: str = ""
) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    data = ImageSet(frames=rng.integers(0, 2, (frames, *network.input.shape)).astype(np.uint8), labels=None)
    plan = folder.with_suffix(".json")
    plan.write_text(json.dumps(plan_document(make_plan(network))))
    options = commands.BuildOptions(
        board=BOARD, strategy="kernel", plan=commands.PlanOptions(file=plan), command=command
    )
    return commands.build(network, data, folder, options, images=images, simulator="amaranth", stages=Quiet())


def test_the_measured_interval_is_that_of_the_plan(rng, tmp_path):
    report = built(network(rng, 0), tmp_path / "out")
    assert report["plan"]["interval_cycles_measured"] == report["plan"]["interval_cycles"] == 36
    assert report["plan"]["slower_than_planned"] is False
    assert report["synthesis"]["frames_per_second"] == round(25e6 / 36, 1)
    assert "slower than planned" not in (tmp_path / "out" / "report.html").read_text()


def test_a_build_that_is_slower_than_planned_says_so(rng, tmp_path, capfd):
    net = network(rng, 2)
    report = built(net, tmp_path / "out")
    part = report["plan"]
    measured, planned = part["interval_cycles_measured"], part["interval_cycles"]
    assert measured > planned
    assert measured == report["simulation"]["cycles_per_image"]
    assert part["slower_than_planned"] is True
    assert report["synthesis"]["frames_per_second"] == round(25e6 / measured, 1)
    sentence = f"slower than planned: a frame every {measured:,} cycles, {planned:,} planned"
    assert (tmp_path / "out" / "report.html").read_text().count(sentence) == 3  # in the verdict, its checks, the layers
    tables.show(report, result_console())
    assert sentence in " ".join(capfd.readouterr().out.split())
    written = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert written["slower_than_planned"] is True
    assert load_plan(tmp_path / "out" / "plan.json", net, "ecp5").interval_cycles == planned


def test_a_single_image_measures_no_interval(rng, tmp_path):
    report = built(network(rng, 0), tmp_path / "out", images=1)
    assert not {"interval_cycles_measured", "slower_than_planned"} & report["plan"].keys()
    assert report["plan"]["latency_cycles"] == report["simulation"]["first_latency_cycles"]
    assert "frames_per_second" not in report["synthesis"]


def test_images_are_simulated_back_to_back_without_stalls(rng, tmp_path, monkeypatch):
    seen = []
    original = hardware.run_simulation

    def watched(net: Network, frames: np.ndarray, **options: Any) -> Any:
        seen.append((len(frames), options["pattern"]))
        return original(net, frames, **options)

    monkeypatch.setattr(hardware, "run_simulation", watched)
    built(network(rng, 0), tmp_path / "out", frames=60)
    ((count, pattern),) = seen
    assert count == 50
    assert (pattern.idle, pattern.stall, pattern.reset_at) == (0.0, 0.0, ())


def test_the_golden_model_is_no_simulator_of_a_build(rng, tmp_path):
    net = network(rng, 0)
    data = ImageSet(frames=np.zeros((2, 2, 6, 6), np.uint8), labels=None)
    with pytest.raises(UnsupportedError, match=r"simulator=golden: .*; give amaranth, icarus or verilator"):
        options = commands.BuildOptions(board=BOARD)
        commands.build(net, data, tmp_path / "out", options, images=None, simulator="golden", stages=Quiet())
    assert not (tmp_path / "out").exists()


@dataclass(frozen=True)
class Finished:
    """A build, what it was made of, and where it is."""

    network: Network
    report: dict[str, Any]
    folder: Path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    net, folder = network(np.random.default_rng(5), 0), tmp_path_factory.mktemp("build") / "out"
    with pytest.MonkeyPatch.context() as monkeypatch:
        leave_out_synthesis(monkeypatch)
        report = built(net, folder, command="xnorweave build 'a b.npz' --seed 1")
    return Finished(net, report, folder)


def test_the_report_tells_where_it_comes_from_and_what_was_proven(finished):
    report, layers = finished.report, finished.network.layers
    assert report["build"]["network_sha256"] == network_digest(finished.network).hex()
    assert report["build"]["seed"] == 1
    wired = [layer.weights.size for layer in layers if isinstance(layer, (Conv2D, Dense))]
    assert report["certificate"] == {"graphs": 3, "coefficients": sum(wired)}
    assert [row["name"] for row in report["layers"]] == [layer.name for layer in layers]
    shape = {"input": [2, 6, 6], "output": [4, 4, 4], "kernel": [3, 3], "padding": [0, 0, 0, 0]}
    assert report["layers"][0] == {"name": "first", "kind": "conv2d"} | shape
    assert [layer["name"] for layer in report["kernel_atlas"]["layers"]] == ["first", "second"]
    assert "critical_path" not in report["synthesis"]  # which this stand-in for place and route does not tell
    assert json.loads((finished.folder / "report.json").read_text())["build"] == report["build"]


def test_the_report_has_estimates_neighbours_and_random_weights(finished):
    report = finished.report
    plan = report["neighbours"]
    assert [row["plan"] for row in plan] == ["chosen"]  # a plan that was given has no neighbours
    assert report["estimate"]["luts"] == plan[0]["luts"] > 0
    assert report["estimate"]["slowest"] == "input"
    assert report["estimate"]["luts_usable"] == int(0.7 * find_board(BOARD).luts)
    for layer in report["sharing"]["layers"]:
        assert layer["random"]["additions_unshared"] == layer["additions_unshared"]


def test_the_report_says_how_to_use_it(finished):
    usage = finished.report["usage"]
    assert usage["frame_bytes"] == 36
    assert usage["load"] == "openFPGALoader -b ulx3s -m top.bit"
    assert usage["ports"]["i__payload"] == 2


def test_the_page_of_a_build_has_its_digests_and_command(finished):
    page = unescape((finished.folder / "report.html").read_text())
    assert "xnorweave build 'a b.npz' --seed 1" in page
    assert finished.report["build"]["network_sha256"] in page
    digest = hashlib.sha256((finished.folder / "design.v").read_bytes()).hexdigest()
    assert page.count(digest) == 2  # in the digests and in the files
    assert len(page) < 100_000


def test_command_lines_are_for_a_shell_and_tell_no_folders():
    options = {
        "board": "icebreaker",
        "data": Path("/home/me/a b.npz"),
        "fps": 12.5,
        "clock": None,
        "output": Path("x/.."),
    }
    line = commands.command_line("build", "/home/me/$(net).npz", **options)
    words = shlex.split(line)
    assert words[:3] == ["xnorweave", "build", "$(net).npz"]
    assert words[3:9] == ["--board", "icebreaker", "--data", "a b.npz", "--fps", "12.5"]
    assert words[9:] == ["--output", Path.cwd().name]
    assert "/home" not in line


def test_build_and_synth_hand_on_their_command_lines(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(commands, "synth", lambda *work: seen.append(work[2]) or {})
    monkeypatch.setattr(commands, "build", lambda *work, **_: seen.append(work[3]) or {})
    where = ["--board", "icebreaker", "-o", str(tmp_path / "out"), "--json"]
    assert cli.main(["synth", "fashion_mnist", *where, "--fps", "100", "--seed", "3"]) == 0
    assert cli.main(["build", "fashion_mnist", *where, "--images", "2", "--strategy", "kernel"]) == 0
    first, second = (run.command for run in seen)
    common = "--board icebreaker --output out"
    assert first == f"xnorweave synth fashion_mnist {common} --fps 100.0 --strategy auto --seed 3"
    assert second == (
        "xnorweave build fashion_mnist --board icebreaker --images 2 --output out --strategy kernel --seed 1"
    )


@pytest.mark.parametrize("command", ["synth", "build"])
def test_the_link_s_lines_are_handed_on(command, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(commands, "synth", lambda *work: seen.append(work[2]) or {})
    monkeypatch.setattr(commands, "build", lambda *work, **_: seen.append(work[3]) or {})
    where = [command, "fashion_mnist", "--board", "icebreaker", "-o", str(tmp_path / "out"), "--json"]
    assert cli.main([*where, "--link", "spi"]) == 0
    assert cli.main(where) == 0
    assert [run.link for run in seen] == ["spi", "uart"]
    assert ["--link spi" in run.command for run in seen] == [True, False]


def test_the_link_s_rate_is_that_of_its_lines(rng, tmp_path, monkeypatch):
    """A byte takes eight bits over SPI and ten over a serial port."""
    rates = {}
    finished = hardware.synthesize()
    for link in ("uart", "spi"):
        monkeypatch.setattr(hardware, "synthesize", lambda *_, link, **__: dataclasses.replace(finished, link=link))
        net, folder = network(rng, 0), tmp_path / link
        options = commands.BuildOptions(board=BOARD, strategy="kernel", link=link)
        rates[link] = commands.build(
            net, ImageSet(frames=np.zeros((2, 2, 6, 6), np.uint8), labels=None), folder, options,
            images=2, simulator="amaranth", stages=Quiet(),
        )["synthesis"]["link_frames_per_second"]  # fmt: skip
        assert json.loads((folder / "report.json").read_text())["usage"]["link"] == link
    assert rates["spi"] == pytest.approx(1.25 * rates["uart"], rel=1e-3)


def test_lines_need_a_board(capfd):
    assert cli.main(["synth", "fashion_mnist", "--cells", "cmos", "-o", "out", "--link", "spi"]) == 2
    assert "--link need --board" in " ".join(capfd.readouterr().err.split())
