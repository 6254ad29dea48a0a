"""Random networks, images, engines, folds and stalls: golden model, Amaranth and Verilog give the same."""

from collections.abc import Callable

import numpy as np
import pytest

from xnorweave.emit import emit
from xnorweave.errors import UnsupportedError
from xnorweave.lower import lower
from xnorweave.network import Network
from xnorweave.passes.share import STRATEGIES
from xnorweave.sim.random_networks import random_frames, random_network, random_plan, random_residual_network
from xnorweave.sim.run import Pattern, simulate


def check(seed: int, draw: Callable[..., Network] = random_network, **limits: int) -> None:
    rng = np.random.default_rng(seed)
    network = draw(rng, **limits)
    try:
        plan = random_plan(rng, network)
    except UnsupportedError:
        pytest.skip("this draw needs hardware that is not there; it is refused, as test_streamline shows")
    strategy = str(rng.choice(STRATEGIES))
    frames = random_frames(rng, network, 4)
    idle, stall = ((0.0, 0.0), tuple(rng.uniform(0.1, 0.7, 2)), (0.0, 0.9))[seed % 3]
    pattern = Pattern(idle=float(idle), stall=float(stall), seed=seed)
    core = lower(network, strategy=strategy, plan=plan)
    for simulator, built in (
        ("amaranth", {"core": core}),
        ("icarus", {"design": emit(network, strategy=strategy, plan=plan)}),
    ):
        report = simulate(network, frames, simulator=simulator, taps=True, pattern=pattern, **built)
        assert (report.mismatches, report.first_mismatch) == (0, None), f"{simulator}, seed {seed}, {plan}"


@pytest.mark.parametrize("seed", range(5000, 5020))
def test_every_simulation_equals_golden(seed):
    check(seed)


@pytest.mark.parametrize("seed", range(7000, 7004))
def test_every_simulation_of_residual_additions_equals_golden(seed):
    check(seed, random_residual_network, largest_side=6, largest_channels=3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(7004, 7150))
def test_many_simulations_of_residual_additions_equal_golden(seed):
    check(seed, random_residual_network)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6000, 6300))
def test_many_simulations_equal_golden(seed):
    check(seed, largest_side=12, largest_channels=9)
