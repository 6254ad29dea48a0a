from collections.abc import Callable
from typing import Any

import pytest

from xnorweave.sim.amaranth_bench import run_amaranth
from xnorweave.sim.bench import BenchResult, Stimulus

PACES = [(0.0, 0.0), (0.4, 0.0), (0.0, 0.4), (0.3, 0.6)]


@pytest.fixture(params=PACES, ids=["steady", "idle", "stall", "both"])
def pace(request: pytest.FixtureRequest) -> tuple[float, float]:
    """Idle and stall probabilities of a run."""
    return request.param


@pytest.fixture
def stream() -> Callable[..., BenchResult]:
    """Send frames of words through a unit; the bench checks that its payload holds while it is stalled."""

    def send(unit: Any, frames: list[list[int]], output_words: int, pace=(0.0, 0.0), **options: Any) -> BenchResult:
        idle, stall = pace
        return run_amaranth(
            unit, Stimulus(frames=frames, idle=idle, stall=stall, seed=7, **options), output_words=output_words
        )

    return send
