"""`xnorweave classify` as its users meet it, on simulated boards and on ports where something else is."""

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xnorweave import cli, commands, tables
from xnorweave.boards.simulated import Faults
from xnorweave.commands.classifying import simulated_board
from xnorweave.console import Stages
from xnorweave.errors import DataError, ToolchainError, UnsupportedError
from xnorweave.images import load_images, load_pictures, shipped
from xnorweave.network import ArgMax, Dense, InputSpec, Network, Threshold
from xnorweave.network_file import load_network, save_network
from xnorweave.sim import golden

SHIPPED = load_network(shipped("fashion_mnist.npz"))
IMAGES = load_images(shipped("fashion_mnist_test200.npz"), SHIPPED)
CLASSES = golden.run(SHIPPED, IMAGES.frames).outputs
GOLDEN = ["--board", "simulated", "--simulator", "golden"]


class Quiet(Stages):
    def start(self, text: str, total: int | None = None) -> None: ...

    def advance(self, done: int) -> None: ...

    def note(self, text: str) -> None: ...


def small(last: bool = True, kind: Any = "pixels", channels: int = 1, name: str = "small") -> Network:
    rng = np.random.default_rng(6)
    layers = (
        Dense(name="fc1", weights=rng.choice(np.array([-1, 1], np.int8), (8, channels * 30))),
        Threshold(name="fire", thresholds=np.zeros(8, np.int32)),
        Dense(name="fc2", weights=rng.choice(np.array([-1, 1], np.int8), (4, 8))),
        *([ArgMax(name="best")] if last else []),
    )
    labels = ("cat", "dog", "ox", "yak")
    return Network(name=name, input=InputSpec(kind=kind, shape=(channels, 5, 6)), layers=layers, classes=labels)


def classified(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    assert cli.main(["classify", *map(str, arguments), "--json"]) == 0
    return json.loads(capfd.readouterr().out)


def error(capfd: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 1) -> str:
    assert cli.main(["classify", *map(str, arguments), "--json"]) == code
    out, err = capfd.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_the_shipped_network_on_its_images(capfd: pytest.CaptureFixture[str]) -> None:
    document = classified(capfd, "fashion_mnist", *GOLDEN)
    part = document["classification"]
    assert [row["class"] for row in part["frames"]] == CLASSES.tolist()
    first = part["frames"][0]
    label = SHIPPED.classes[CLASSES[0]]
    assert first == {
        "image": "fashion_mnist_test200.npz[0]",
        "class": 9,
        "label": label,
        "expected": label,
        "right": True,
    }
    assert (part["board"], part["images"], part["sent_again"]) == ("simulated by golden", 200, 0)
    assert part["frames_per_second"] == pytest.approx(200 / part["seconds"], rel=0.01)
    assert IMAGES.labels is not None
    assert document["accuracy"]["correct"] == np.count_nonzero(IMAGES.labels == CLASSES)
    assert sum(not row["right"] for row in part["frames"]) == 200 - document["accuracy"]["correct"]
    assert document["network"]["name"] == "fashion_mnist"


def test_tables_show_the_same_and_no_json(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main(["classify", "fashion_mnist", *GOLDEN, "--images", "5"]) == 0
    out, err = capfd.readouterr()
    assert re.search(r"fashion_mnist_test200\.npz\[1\] +Pullover +Pullover", out)
    assert re.search(r"frames per second +\d", out)
    assert re.search(r"percent +80\.00", out)
    assert "classifying 5 images on board simulated by golden" in err
    assert "more; --json" not in out
    monkeypatch.setattr(tables, "_MOST_FRAMES", 3)
    assert cli.main(["classify", "fashion_mnist", *GOLDEN, "--images", "5"]) == 0
    assert "and 2 more; --json has all" in capfd.readouterr().out


def test_files_of_all_kinds(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(IMAGES.frames[3, 0]).save(tmp_path / "a.png")
    Image.fromarray(np.repeat(IMAGES.frames[4, 0][:, :, None], 3, 2)).save(tmp_path / "b.bmp")
    np.savez(tmp_path / "more.npz", x=IMAGES.frames[5:8, 0], y=np.zeros(3, np.uint8))
    files = [tmp_path / name for name in ("a.png", "b.bmp", "more.npz")]
    document = classified(capfd, "fashion_mnist", *files, *GOLDEN)
    rows = document["classification"]["frames"]
    assert [row["class"] for row in rows] == CLASSES[3:8].tolist()
    assert [row["image"] for row in rows] == [str(files[0]), str(files[1]), *(f"more.npz[{n}]" for n in range(3))]
    assert "accuracy" not in document
    assert "expected" not in rows[0]
    document = classified(capfd, "fashion_mnist", files[2], *GOLDEN, "--images", "2")
    assert document["accuracy"]["images"] == 2
    assert classified(capfd, "fashion_mnist", *GOLDEN, "--data", files[2])["accuracy"]["images"] == 3


def test_pictures_of_another_size_only_when_asked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (56, 40), "white").save(tmp_path / "big.png")
    arguments = ["fashion_mnist", tmp_path / "big.png", *GOLDEN]
    message = r"big\.png: 56x40 pixels, but 'fashion_mnist' takes 28x28; resize it, or have it scaled with --resize"
    assert re.search(message, error(capfd, *arguments))
    white = golden.run(SHIPPED, np.full((1, 1, 28, 28), 255, np.uint8)).outputs[0]
    rows = classified(capfd, *arguments, "--resize")["classification"]["frames"]
    assert rows == [{"image": str(tmp_path / "big.png"), "class": white, "label": SHIPPED.classes[white]}]


def test_pictures_become_what_the_network_takes(tmp_path: Path) -> None:
    colours = np.random.default_rng(7).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    colours[0, :2] = [[127] * 3, [128] * 3]
    Image.fromarray(colours).save(tmp_path / "c.png")
    assert (load_pictures([tmp_path / "c.png"], small(channels=3))[0] == colours.transpose(2, 0, 1)).all()
    grey = np.asarray(Image.fromarray(colours).convert("L"))
    assert (load_pictures([tmp_path / "c.png"] * 2, small())[1, 0] == grey).all()
    assert (load_pictures([tmp_path / "c.png"], small(kind="bits"))[0, 0] == (grey >= 128)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fashion_mnist"], r"give either --port, or --board simulated\."),
        (["fashion_mnist", "--port", "/dev/x", "--board", "simulated"], r"give either --port, or --board simulated"),
        (["fashion_mnist", "--port", "/dev/x", "--simulator", "golden"], r"--simulator is for --board simulated"),
        (["fashion_mnist", "--board", "icebreaker"], r"icebreaker"),
        (["fashion_mnist", "--port", "/dev/x", "--baud", "0"], r"--baud"),
        (["fashion_mnist", *GOLDEN, "--images", "0"], r"--images"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert re.search(message, error(capfd, *arguments, code=2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.png", *GOLDEN], r"absent\.png: no such file"),
        (["text.png", *GOLDEN], r"text\.png: no image that can be read"),
        (["deep.png", *GOLDEN], r"deep\.png: pixels of kind I;16, not of 8 bits"),
        (["torn.png", *GOLDEN], r"torn\.png: no image that can be read"),
        (["small.npz", *GOLDEN], r"small\.npz: images are \[2, 8, 8, 1\]"),
        (["small.npz", "--data", "small.npz", *GOLDEN], r"small\.npz: given besides 1 image files; give either"),
        (["grey.png", "--images", "2", *GOLDEN], r"images=2: only 1 are there"),
        (["grey.png", "--port", "/dev/absent"], r"/dev/absent: cannot be opened \(No such file or directory\)"),
        (["grey.png", "--port", "text.png"], r"text\.png: cannot be opened"),
    ],
)
def test_what_a_user_can_mend(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.png").write_text("no image")
    Image.new("I;16", (28, 28)).save("deep.png")
    Image.fromarray(IMAGES.frames[0, 0]).save("grey.png")
    Path("torn.png").write_bytes(Path("grey.png").read_bytes()[:300])
    np.savez("small.npz", x=np.zeros((2, 8, 8), np.uint8))
    assert re.search(message, error(capfd, "fashion_mnist", *arguments))


def test_pictures_that_a_network_cannot_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"'small' takes 5 channels, image files have 1 or 3; give an \.npz file"):
        load_pictures([tmp_path / "a.png"], small(channels=5))
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ToolchainError, match=r"Pillow is not installed; remedy: pip install 'xnorweave\[images\]'"):
        load_pictures([tmp_path / "a.png"], small())


def test_a_port_with_another_network(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mine, other = small(), small(name="other")
    save_network(mine, tmp_path / "mine.npz")
    np.savez(tmp_path / "d.npz", x=np.zeros((1, 5, 6), np.uint8))
    with simulated_board(other, "golden", Quiet()) as board:
        said = error(capfd, tmp_path / "mine.npz", tmp_path / "d.npz", "--port", board.port)
    assert re.search(r"error: /dev/\S+: the board holds network [0-9a-f]{16}, but 'small' is [0-9a-f]{16}; load", said)


def test_a_port_over_a_bad_line(capfd: pytest.CaptureFixture[str]) -> None:
    faults = Faults(flip=0.05, lose=0.05, truncate=0.05, duplicate=0.05, garbage=0.1, seed=3)
    with simulated_board(SHIPPED, "golden", Quiet(), faults=faults) as board:
        arguments = ["--port", board.port, "--baud", "115200", "--timeout", "0.1", "--images", "60"]
        part = classified(capfd, "fashion_mnist", *arguments)["classification"]
    assert [row["class"] for row in part["frames"]] == CLASSES[:60].tolist()
    assert (part["port"], part["baud"]) == (board.port, 115200)
    assert part["sent_again"] > 0
    assert part["packets_dropped_there"] > 0


def test_a_silent_port(capfd: pytest.CaptureFixture[str]) -> None:
    end, terminal = os.openpty()
    try:
        said = error(capfd, "fashion_mnist", "--port", os.ttyname(terminal), "--timeout", "0.02")
    finally:
        os.close(end)
        os.close(terminal)
    assert re.search(r"error: /dev/\S+: no board answers at 1000000 baud: nothing came in 8 tries of 0\.02 s", said)


def test_a_cycle_accurate_board_counts_cycles(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    net = small()
    save_network(net, tmp_path / "small.npz")
    frames = np.random.default_rng(1).integers(0, 256, (12, 5, 6), dtype=np.uint8)
    wanted = golden.run(net, frames[:, None]).outputs
    np.savez(tmp_path / "d.npz", x=frames, y=wanted)
    arguments = ["--data", tmp_path / "d.npz", "--board", "simulated", "--simulator", "amaranth"]
    document = classified(capfd, tmp_path / "small.npz", *arguments)
    rows = document["classification"]["frames"]
    assert [row["class"] for row in rows] == wanted.tolist()
    assert {row["label"] for row in rows} == {net.classes[number] for number in wanted} != {net.classes[0]}
    assert {row["cycles"] for row in rows} == {document["classification"]["cycles_most"]}
    assert rows[0]["cycles"] > 30
    assert document["accuracy"]["percent"] == 100


def test_a_network_without_classes_gives_words(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    net = small(last=False)
    save_network(net, tmp_path / "sums.npz")
    np.savez(tmp_path / "d.npz", x=np.zeros((1, 5, 6), np.uint8))
    arguments = [tmp_path / "sums.npz", tmp_path / "d.npz", "--board", "simulated", "--simulator"]
    assert re.search(r"fc2: the golden model answers with the class of an ArgMax", error(capfd, *arguments, "golden"))


def test_the_core_that_fails_is_what_is_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> object:
        def run(_: object) -> None:
            raise ToolchainError("verilated bench: broken; remedy: another one")

        return run

    monkeypatch.setattr(commands.classifying, "golden_core", fail)
    said = error(capfd, "fashion_mnist", *GOLDEN, "--images", "3")
    assert said == "error: verilated bench: broken; remedy: another one"
    assert "simulated board" not in {thread.name for thread in threading.enumerate()}


def test_simulators_that_take_no_single_frames() -> None:
    message = "simulator icarus: takes no single frames; give golden, amaranth or verilator"
    with pytest.raises(UnsupportedError, match=message), simulated_board(small(), "icarus", Quiet()):
        pass


def test_an_interrupt_ends_it(tmp_path: Path) -> None:
    script = (
        "import _thread, signal, sys, threading, time\n"
        "from xnorweave import cli, commands\n"
        # A shell in the background ignores it for its children.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def slow(network):\n"
        "    def run(words):\n"
        "        _thread.interrupt_main(); time.sleep(2); raise RuntimeError\n"
        "    return run\n"
        "commands.classifying.golden_core = slow\n"
        "sys.exit(cli.main(['classify', 'fashion_mnist', '--board', 'simulated', '--simulator', 'golden']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "Traceback" in done.stderr) == (130, False), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("simulator", "count"), [("verilator", 200), ("amaranth", 3)])
def test_the_shipped_network_cycle_by_cycle(
    simulator: str, count: int, need: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    if simulator == "verilator":
        need("verilator")
    arguments = ["--board", "simulated", "--simulator", simulator, "--images", str(count)]
    part = classified(capfd, "fashion_mnist", *arguments)["classification"]
    assert [row["class"] for row in part["frames"]] == CLASSES[:count].tolist()
    assert part["cycles_least"] == part["cycles_most"] > 784
    assert ("build" in part) == (simulator == "verilator")
