import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from xnorweave.errors import ToolchainError
from xnorweave.sim.simulators import find_icarus, find_verilator

hypothesis.settings.register_profile("xnorweave", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.load_profile("xnorweave")

ROOT = Path(__file__).resolve().parents[1]


def _missing(what: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}; in CI nothing may be missing")
    pytest.skip(what)


def _check(tool: str) -> None:
    finders: dict[str, Callable[[], object]] = {"icarus": find_icarus, "verilator": find_verilator}
    if tool in finders:
        finders[tool]()
    elif shutil.which(tool) is None:
        raise ToolchainError(f"{tool} is not on PATH")


@pytest.fixture(scope="session")
def need() -> Callable[..., None]:
    """Skip a test whose tools ("icarus", "verilator", or a program's name) are missing; fail it in CI."""

    def check(*tools: str) -> None:
        for tool in tools:
            try:
                _check(tool)
            except ToolchainError as error:
                _missing(str(error))

    return check


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with trained networks and data sets, which are too large to come with the sources."""
    folder = Path(os.environ.get("XNORWEAVE_SHARED") or ROOT.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent; set XNORWEAVE_SHARED to the folder with nets/ and data/")
    return folder


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers of the test's own seed, shown where the test fails; XNORWEAVE_SEED gives another."""
    seed = int(os.environ.get("XNORWEAVE_SEED") or zlib.crc32(request.node.nodeid.encode()))
    print(f"XNORWEAVE_SEED={seed}")
    return np.random.default_rng(seed)
