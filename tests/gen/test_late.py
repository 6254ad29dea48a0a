"""Names that are loaded where they are asked for: all are there, and a command begins without what it does not need."""

import importlib
import subprocess
import sys

import pytest

PACKAGES = ("xnorweave", "xnorweave.commands", "xnorweave.explore", "xnorweave.report")
HEAVY = ("numba", "scipy", "amaranth", "jinja2", "torch", "distributed", "onnx", "h5py")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_is_there(package: str) -> None:
    module = importlib.import_module(package)
    assert [name for name in module.__all__ if getattr(module, name, None) is None] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_name_is(package: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nonsense'"):
        _ = importlib.import_module(package).nonsense


@pytest.mark.parametrize("words", [["--version"], ["build", "--help"]])
def test_the_command_line_loads_what_a_command_needs(words: list[str]) -> None:
    script = (
        "import sys; from xnorweave import cli\n"
        f"assert cli.main({words!r}) == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = done.stderr.splitlines()[-1]
    assert loaded == "[]", words
