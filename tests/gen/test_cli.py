"""The command line as its users meet it: exit codes, and what goes to which stream."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from signals import heeding

from xnorweave import cli, commands, interrupts
from xnorweave.cost import ERROR_PERCENT
from xnorweave.errors import MismatchError, ToolchainError
from xnorweave.network import Conv2D, Dense, InputSpec, Network, Threshold
from xnorweave.network_file import save_network
from xnorweave.passes import share as share_pass

XNORWEAVE = Path(sys.executable).with_name("xnorweave")


def run(*arguments: str | Path, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [XNORWEAVE, *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=300, **options
    )


def errors(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["--nonsense"],
        ["inspect"],
        ["inspect", "fashion_mnist", "more"],
        ["build", "fashion_mnist", "--board", "icebreaker"],
        ["build", "fashion_mnist", "-o", "out"],
        ["simulate", "fashion_mnist", "--images", "0"],
        ["simulate", "fashion_mnist", "--images", "many"],
        ["simulate", "fashion_mnist", "--simulator", "spice"],
        ["simulate", "fashion_mnist", "--stall", "1.5"],
        ["share", "fashion_mnist", "--strategy", "magic"],
        ["share", "fashion_mnist", "--family", "magic"],
    ],
)
def test_wrong_usage_exits_2_with_one_line(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert len(errors(err)) == len(err.splitlines()) == 1


def test_no_command_shows_the_help_and_exits_2(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "simulate" in capfd.readouterr().out
    assert cli.main(["--help"]) == 0
    assert cli.main(["--version"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "absent.npz"], r"absent\.npz: no such file, nor the word of a shipped network \(.*fashion_mnist"),
        (["inspect", "x" * 400], r"no such file"),
        (["inspect", "a\nb\x1b[31m"], r"^error: a b\\x1b\[31m: no such file"),
        (["build", "fashion_mnist", "-b", "breadboard", "-o", "out"], r"breadboard.*icebreaker"),
        (["synth", "fashion_mnist", "-b", "iceBreaker;rm", "-o", "out"], r"iceBreaker;rm"),
        (["plan", "fashion_mnist", "-b", "breadboard"], r"breadboard"),
        (["build", "fashion_mnist", "-b", "icebreaker", "-o", "out", "--images", "201"], r"images=201: only 200 are there"),
        (["simulate", "fashion_mnist", "--images", "201"], r"201 images asked for.*ask for 1 to 200"),
        (["simulate", "fashion_mnist", "--data", "small.npz"], r"small\.npz: images are \[2, 8, 8, 1\].*\[N, 28, 28, 1\]"),
        (["simulate", "fashion_mnist", "--data", "absent.npz"], r"absent\.npz: no such file; check the path"),
        (["build", "fashion_mnist", "-b", "icebreaker", "-o", "out", "--data", "small.npz"], r"images are \[2, 8, 8, 1\]"),
        (["build", "fashion_mnist", "-b", "icebreaker", "-o", "small.npz"], r"is a file or a link, not a folder"),
        (["import", "fashion_mnist", "-o", "absent/net.npz"], r"cannot be written"),
    ],
)  # fmt: skip
def test_what_a_user_can_mend_exits_1_with_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("small.npz", x=np.zeros((2, 8, 8), np.uint8))
    assert cli.main([*arguments, "--json"]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert len(errors(err)) == 1
    assert "Traceback" not in err
    assert re.search(message, errors(err)[0])
    assert os.listdir(tmp_path) == ["small.npz"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["inspect", "fashion_mnist"], "network"),
        (["share", "fashion_mnist", "--strategy", "kernel"], "sharing"),
        (["simulate", "fashion_mnist", "--images", "20"], "accuracy"),
        (["plan", "fashion_mnist", "--board", "icebreaker"], "plan"),
        (["boards"], "boards"),
        (["doctor"], "tools"),
        (["import", "fashion_mnist", "-o", "net.npz"], "written"),
    ],
)
def test_json_is_one_document_and_tables_are_not(arguments: list[str], part: str, tmp_path: Path) -> None:
    done = run(*arguments, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["format"] == "xnorweave-report/1"
    assert document[part]
    table = run(*arguments, cwd=tmp_path)
    assert table.returncode == 0
    assert not table.stdout.startswith("{")
    assert not errors(table.stderr)


def test_what_a_library_prints_does_not_reach_the_json(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def chatty(_: object) -> dict[str, Any]:
        print("from Python")
        os.system("echo from a child")
        return {"network": {"name": "n"}}

    monkeypatch.setattr(commands, "inspect", chatty)
    assert cli.main(["inspect", "fashion_mnist", "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out) == {"network": {"name": "n"}}
    assert "from Python" in err
    assert "from a child" in err


def test_mismatches_are_shown_and_exit_1(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    simulation = {"simulator": "icarus", "images": 9, "mismatches": 2, "first_mismatch": "frame 3"}
    report = {"network": {"name": "n"}, "simulation": simulation}
    monkeypatch.setattr(commands, "simulate", lambda *_: report)
    assert cli.main(["simulate", "fashion_mnist", "--json"]) == 1
    out, err = capfd.readouterr()
    assert json.loads(out) == report
    assert "n: icarus differs from the golden model on 2 of 9 images (first: frame 3)" in errors(err)[0]


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(commands, "inspect", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        cli.main(["inspect", "fashion_mnist"])


@pytest.mark.parametrize("error", [ToolchainError, MismatchError, KeyboardInterrupt, ZeroDivisionError])
def test_a_failed_build_leaves_no_folder(
    error: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(_network: object, folder: Path, *_: object) -> None:
        (folder / "design.v").write_text("half")
        (folder / "yosys.log").write_text("the log")
        raise error(f"it failed; log: {folder}/yosys.log")

    monkeypatch.setattr(commands.hardware, "emit_into", fail)
    arguments = ["build", "fashion_mnist", "--board", "icebreaker", "-o", str(tmp_path / "out")]
    if error is ZeroDivisionError:
        with pytest.raises(ZeroDivisionError):
            cli.main(arguments)
    else:
        assert cli.main(arguments) == (130 if error is KeyboardInterrupt else 1)
    assert os.listdir(tmp_path) == []
    if error in (ToolchainError, MismatchError):
        kept = errors(capfd.readouterr().err)[0].partition("log: ")[2]
        assert Path(kept).read_text() == "the log"


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    script = f"set -o pipefail; {XNORWEAVE} inspect fashion_mnist --json | true"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 141)
    assert done.stderr == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_build_leaves_nothing(number: signal.Signals, code: int, tmp_path: Path) -> None:
    arguments = [XNORWEAVE, "build", "fashion_mnist", "--board", "icebreaker", "-o", "out", "--simulator", "amaranth"]
    with heeding():
        child = subprocess.Popen(arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with child:
        deadline = time.monotonic() + 60
        while not (tmp_path / ".out.building").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        child.send_signal(number)
        try:
            _, err = child.communicate(timeout=60)
        finally:
            child.kill()
    assert child.returncode == code
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_in_a_callback_of_compiled_code_is_not_lost(number: signal.Signals, code: int) -> None:
    """Python prints an exception that leaves such a callback, and goes on: numba has them while it loads its code."""
    script = (
        "import ctypes, os, signal, sys, time; from xnorweave import cli, commands\n"
        f"callback = ctypes.CFUNCTYPE(None)(lambda: (os.kill(os.getpid(), {int(number)}), time.sleep(0.2)))\n"
        "commands.boards = lambda *_: (callback(), print('went on', file=sys.stderr, flush=True), time.sleep(30))\n"
        f"signal.signal({int(number)}, signal.default_int_handler)\n"
        "sys.exit(cli.main(['boards']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=25)
    assert done.returncode == code, done.stderr
    assert done.stderr == "went on\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_object_that_an_interrupt_leaves_half_made_does_not_complain(number: signal.Signals, code: int) -> None:
    """llvmlite's objects have a destructor that needs what `__init__` sets last."""
    script = (
        "import os, signal, sys, time; from xnorweave import cli, commands\n"
        "class Compiled:\n"
        f"    def __init__(self): os.kill(os.getpid(), {int(number)}); time.sleep(20); self.pointer = 1\n"
        "    def __del__(self): print('deleted', flush=True); del self.pointer\n"
        "commands.boards = lambda *_: Compiled()\n"
        f"signal.signal({int(number)}, signal.default_int_handler)\n"
        "sys.exit(cli.main(['boards']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=25)
    assert (done.returncode, done.stdout, done.stderr) == (code, "deleted\n", "")


def test_a_destructor_that_fails_without_an_interrupt_is_told() -> None:
    script = (
        "import sys; from xnorweave import cli, commands\n"
        "class Broken:\n"
        "    def __del__(self): raise ValueError('broken')\n"
        "commands.boards = lambda *_: Broken() and None\n"
        "cli.main(['boards'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=25)
    assert "ValueError: broken" in done.stderr


def test_compiled_code_that_fails_for_want_of_a_dropped_interrupt_is_no_bug(capsys, monkeypatch) -> None:
    def compile_(*_: object) -> None:
        sys.unraisablehook(SimpleNamespace(exc_type=SystemExit))
        raise RuntimeError("no compiled object yet")

    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(interrupts, "_AGAIN_S", 3600)
    monkeypatch.setattr(cli.commands, "boards", compile_)
    assert cli.main(["boards"]) == 143
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(cli.commands, "boards", lambda *_: int("x"))
    with pytest.raises(ValueError, match="invalid literal"):
        cli.main(["boards"])


def test_handlers_are_given_back(monkeypatch) -> None:
    kinds = (signal.SIGINT, signal.SIGTERM)
    monkeypatch.setattr(cli.commands, "boards", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    with heeding():
        before = [signal.getsignal(kind) for kind in kinds]
        assert cli.main(["boards"]) == 130
        assert [signal.getsignal(kind) for kind in kinds] == before


def test_an_interrupt_that_is_dropped_as_a_command_ends_is_its_exit_code(monkeypatch) -> None:
    """It is not sent again: nothing would hear it, and the process would die of it."""
    sent: list[int] = []
    monkeypatch.setattr(os, "kill", lambda _, number: sent.append(number))
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(cli.commands, "boards", lambda *_: sys.unraisablehook(SimpleNamespace(exc_type=SystemExit)))
    assert cli.main(["boards"]) == 143
    time.sleep(2 * interrupts._AGAIN_S)
    assert sent == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_no_bug(number: int, capsys, monkeypatch) -> None:
    def write(*_: object) -> None:
        raise OSError(number, os.strerror(number), "out/design.v")

    monkeypatch.setattr(cli.commands, "boards", write)
    assert cli.main(["boards"]) == 1
    wanted = f"error: out/design.v: {os.strerror(number)}; free some space, or choose another folder\n"
    assert capsys.readouterr().err == wanted


def test_share_gives_four_units_in_every_form_beside_random_weights(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    kernels = rng.choice(np.array([-1, 1], np.int8), (4, 1, 1, 3, 3))
    layers = (
        Conv2D(name="conv", weights=np.concatenate([*kernels, *-kernels, *kernels[:2]])),
        Threshold(name="fire", thresholds=np.zeros(10, np.int32)),
        Dense(name="fc", weights=rng.choice(np.array([-1, 1], np.int8), (12, 40))),
    )
    spec = InputSpec(kind="pixels", shape=(1, 4, 4))
    save_network(Network(name="small", input=spec, layers=layers), tmp_path / "small.npz")
    done = run("share", "small.npz", "--family", "ecp5", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    sharing = json.loads(done.stdout)["sharing"]
    assert sharing["family"] == "ecp5"
    assert sharing["luts_estimate_error_percent"] == ERROR_PERCENT["ecp5"]
    assert [row["name"] for row in sharing["layers"]] == ["conv", "fc"]
    for row in [*sharing["layers"], sharing["totals"]]:
        for counted in (row, row["random"]):
            for unit in ("additions", "adder_bits", "luts"):
                numbers = [counted[f"{unit}_{form}"] for form in ("unshared", "repeated", "kernel", "graph")]
                assert numbers == sorted(numbers, reverse=True)
    conv, dense = sharing["layers"]
    # Pixels have no popcount units, and a dense layer no kernels.
    for counted in (conv, conv["random"], sharing["totals"], sharing["totals"]["random"]):
        assert counted["kernel_evaluations_unshared"] == counted["kernels"]
        assert counted["kernel_evaluations_kernel"] == counted["kernels_distinct_mod_inverse"]
        assert not {"kernel_evaluations_units", "kernel_evaluations_graph"} & counted.keys()
    assert not [name for name in (dense | dense["random"]) if name.startswith("kernel_evaluations")]
    assert [row["engine"] for row in sharing["layers"]] == ["spatial", "folded"]
    assert sharing["notes"] == ["Builds fold fc instead of wiring such sums: counted here and in the totals."]
    assert (conv["pixels"], conv["kernels"], conv["kernels_distinct"]) == (4, 10, 8)
    assert conv["kernel_evaluations_kernel"] == 4
    assert conv["kernel_evaluations_per_frame_repeated"] == 4 * 8
    assert conv["additions_per_frame_graph"] == 4 * conv["additions_graph"]
    assert conv["random"]["additions_unshared"] == conv["additions_unshared"] == 10 * 8
    assert conv["random"]["kernels_distinct_mod_inverse"] > 4
    assert (dense["pixels"], dense["kernels"], dense["additions_unshared"]) == (1, 0, 12 * 39)
    total = sum(row["luts_graph"] for row in sharing["layers"])
    assert sharing["totals"]["luts_graph"] == total


def test_auto_builds_what_it_counted_and_builds_no_graph_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    built = []
    original = share_pass.share_sums

    def counted(matrix: np.ndarray, *arguments: Any, **options: Any) -> Any:
        built.append(matrix.shape)
        return original(matrix, *arguments, **options)

    monkeypatch.setattr(share_pass, "share_sums", counted)
    assert cli.main(["generate", "fashion_mnist", "-o", str(tmp_path / "out"), "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    # For the fewest additions and for the fewest LUTs, which over the pixels of the first layer are one.
    assert sorted(built) == [(9, 16), (144, 16), (144, 16)]
    totals, layers = document["sharing"]["totals"], document["sharing"]["layers"]
    for row in layers:
        assert row["luts_built"] == min(row[f"luts_{form}"] for form in ("unshared", "kernel", "graph", "units"))
        assert row["additions_built"] == row[f"additions_{row['strategy']}"]
    assert totals["luts_built"] == sum(row["luts_built"] for row in layers)
    assert "random" not in totals
    # Totals compare like with like: over pixels, the form ``units`` has no popcount units.
    pixels, bits = layers
    assert "kernel_evaluations_units" not in pixels
    for form in ("unshared", "kernel", "units", "per_frame_unshared"):
        assert totals[f"kernel_evaluations_{form}"] == bits[f"kernel_evaluations_{form}"]
    assert totals["kernels"] == pixels["kernels"] + bits["kernels"]
    assert document["sharing"]["notes"] == [
        "Totals of kernel evaluations are of conv2 alone: in conv1 not every form compared has any."
    ]
