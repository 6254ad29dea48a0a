"""What is installed is the whole program: every package, the page template, the benches and the shipped network."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ROOMS = {"gen": "xnorweave", "hw": "xnorweave/hw", "sim": "xnorweave/sim", "boards": "xnorweave/boards"}


def sources() -> set[str]:
    """Every file that a user's installation needs, by its place in the wheel."""
    found = set()
    for room, package in ROOMS.items():
        for path in (ROOT / room).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                found.add(f"{package}/{path.relative_to(ROOT / room).as_posix()}")
    return found


@pytest.fixture(scope="module", name="built")
def _built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel, built from the sdist, and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True, timeout=600)
    return next(folder.glob("*.whl")), next(folder.glob("*.tar.gz"))


def test_the_wheel_holds_every_source(built: tuple[Path, Path]) -> None:
    names = set(zipfile.ZipFile(built[0]).namelist())
    assert sources() - names == set()
    assert {"xnorweave/networks/fashion_mnist.npz", "xnorweave/py.typed"} <= names
    assert {f"xnorweave/report/{name}" for name in ("report.html.j2", "style.css.j2", "script.js")} <= names
    assert not [name for name in names if not name.startswith(("xnorweave/", "xnorweave-"))]


def test_the_sdist_holds_licence_and_readme(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "gen/cli.py", "hw/__init__.py"} <= names


def test_the_installed_wheel_works_away_from_the_sources(built: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, built[0]]
    subprocess.run(pip, check=True, timeout=300)
    script = (
        "import sys, xnorweave, xnorweave.cli\n"
        f"assert xnorweave.__file__.startswith({str(target)!r}), xnorweave.__file__\n"
        "from xnorweave.report import render_html\n"
        "assert '<html' in render_html({'network': {'name': 'n', 'weights': 1, 'macs': 1}})\n"
        "sys.exit(xnorweave.cli.main(['simulate', 'fashion_mnist', '--simulator', 'amaranth', '--images', '1']))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(target)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "mismatches" in done.stdout
