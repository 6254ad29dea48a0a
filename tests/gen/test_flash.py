"""`xnorweave flash`: the right program for the board, and only for the very bitstream that was built."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from xnorweave import cli
from xnorweave.boards.catalogue import boards
from xnorweave.boards.loaders import loader_of
from xnorweave.build_folder import REPORT_FORMAT

BITSTREAM = b"not much of a bitstream"


@pytest.fixture
def built(tmp_path: Path) -> Any:
    """Writes the folder of a build for a board."""

    def write(board: str = "icebreaker", **changes: Any) -> Path:
        folder = tmp_path / "built"
        folder.mkdir()
        (folder / "top.bin").write_bytes(BITSTREAM)
        listed = [{"name": "top.bin", "bytes": len(BITSTREAM), "sha256": hashlib.sha256(BITSTREAM).hexdigest()}]
        report = {
            "format": REPORT_FORMAT,
            "synthesis": {"board": board, "bitstream": "top.bin"},
            "files": listed,
        } | changes
        (folder / "report.json").write_text(json.dumps(report), "utf-8")
        return folder

    return write


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a program on PATH that writes down its arguments and the file it is given, and ends as it is told."""

    def make(name: str, exit_code: int = 0) -> Path:
        folder, seen = tmp_path / "programs", tmp_path / "seen"
        folder.mkdir()
        script = folder / name
        script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {seen}\necho "some progress"\nexit {exit_code}\n', "utf-8")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return seen

    return make


def test_the_boards_loader_gets_the_bitstream(built, program, capsys: pytest.CaptureFixture[str]) -> None:
    seen, folder = program("openFPGALoader"), built()
    assert cli.main(["flash", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["flash"]
    path = str((folder / "top.bin").resolve())
    assert seen.read_text("utf-8").splitlines() == ["-b", "ice40_generic", path]
    assert told == {
        "board": "icebreaker",
        "command": ["openFPGALoader", "-b", "ice40_generic", path],
        "into": "flash",
        "done": True,
    }


@pytest.mark.parametrize(("options", "how", "into"), [([], "-m", "chip"), (["--permanent"], "-f", "flash")])
def test_a_chip_can_be_loaded_alone_or_through_its_flash(built, program, options, how, into, capsys) -> None:
    seen, folder = program("openFPGALoader"), built("ulx3s-85f")
    assert cli.main(["flash", str(folder), "--json", *options]) == 0
    assert seen.read_text("utf-8").splitlines()[:3] == ["-b", "ulx3s", how]
    assert json.loads(capsys.readouterr().out)["flash"]["into"] == into


def test_a_dry_run_runs_nothing(built, program, capsys) -> None:
    seen, folder = program("openFPGALoader"), built()
    assert cli.main(["flash", str(folder), "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["flash"]
    assert told["command"][0] == "openFPGALoader"
    assert not told["done"]
    assert not seen.exists()


def test_another_file_than_was_built_is_not_loaded(built, program, capsys) -> None:
    seen, folder = program("openFPGALoader"), built()
    (folder / "top.bin").write_bytes(BITSTREAM + b"!")
    assert cli.main(["flash", str(folder)]) == 1
    assert "top.bin: SHA-256" in capsys.readouterr().err.replace("\n", " ")
    assert not seen.exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": "other"}, "is no report of ours"),
        ({"synthesis": None}, "has no bitstream; make one with"),
        ({"files": []}, "does not list 'top.bin'"),
        ({"synthesis": {"board": "versa-ecp5", "bitstream": "top.bin"}}, "versa-ecp5: no program is known"),
    ],
)
def test_what_is_no_build_for_a_board_is_refused(built, changes, says, capsys) -> None:
    assert cli.main(["flash", str(built(**changes))]) == 1
    assert says in " ".join(capsys.readouterr().err.split())


def test_no_folder(tmp_path: Path, capsys) -> None:
    assert cli.main(["flash", str(tmp_path / "none")]) == 1
    assert "name the folder of a build" in " ".join(capsys.readouterr().err.split())


def test_a_loader_that_fails_is_told(built, program, capsys) -> None:
    program("openFPGALoader", 3)
    assert cli.main(["flash", str(built())]) == 1
    assert "openFPGALoader: exit status 3: some progress" in " ".join(capsys.readouterr().err.split())


def test_a_loader_that_is_missing_is_told_with_where_to_get_it(built, monkeypatch, capsys) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert cli.main(["flash", str(built())]) == 1
    assert "install openFPGALoader" in " ".join(capsys.readouterr().err.split())


def test_every_loader_is_of_a_board_and_takes_the_bitstream_once() -> None:
    for each in boards():
        loader = loader_of(each.name)
        if loader is not None:
            for permanent in (False, True):
                assert loader.command("FILE", permanent=permanent).count("FILE") == 1
    known = {each.name for each in boards() if loader_of(each.name) is not None}
    assert {each.name for each in boards() if each.link} - known == {"versa-ecp5", "versa-ecp5-5g"}
