import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from xnorweave.adder_graph import AdderGraph
from xnorweave.errors import ToolchainError
from xnorweave.sim.simulators import find_icarus, find_verilator

hypothesis.settings.register_profile("xnorweave", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.load_profile("xnorweave")

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is slow takes as long as it takes."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(0))


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


@pytest.fixture(scope="session")
def evaluate() -> Callable[[AdderGraph, np.ndarray], np.ndarray]:
    """Outputs of a graph for inputs [samples, inputs], node by node: no use of the certificate's arithmetic."""

    def outputs(graph: AdderGraph, x: np.ndarray) -> np.ndarray:
        values = [np.zeros(len(x), np.int64), *x.T.astype(np.int64)]

        def operand(number: int) -> np.ndarray:
            _, high = graph.operand_range(abs(number))
            return values[number] if number >= 0 else (1 << max(1, high.bit_length())) - 1 - values[-number]

        for kernel in graph.kernels:
            taps = [tap for t, tap in enumerate(kernel.taps) if kernel.pattern >> t & 1]
            values.append(np.sum([operand(tap) for tap in taps], axis=0))
        for node in graph.nodes:
            rhs = operand(node.rhs)
            values.append((operand(node.lhs) << node.lhs_shift) + (-rhs if node.subtract else rhs))
            assert node.low <= values[-1].min() <= values[-1].max() <= node.high
        return np.stack([operand(o) for o in graph.outputs], 1) - np.array(graph.constants)

    return outputs
