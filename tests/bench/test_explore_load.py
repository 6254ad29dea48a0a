"""The simulated load of a scheduler and a client, where it is known by hand."""

import pytest

pytest.importorskip("distributed", reason="no Dask: pip install xnorweave[explore]")

from explore_load import Costs, simulated, taken

NOTHING = Costs(task=0.0, result=0.0, store=0.0)


def test_without_overhead_nobody_waits() -> None:
    found = simulated(10.0, 10, 1000, NOTHING)
    assert found["longest_wait_seconds"] == 0
    assert found["scheduler_busy_percent"] == found["client_busy_percent"] == 0
    assert found["seconds_without_overhead"] == pytest.approx(1000, rel=0.05)
    # The last tasks end apart from each other by less than the longest of them.
    assert found["seconds_without_overhead"] <= found["seconds"] <= found["seconds_without_overhead"] + 15


def test_of_tasks_that_take_nothing_the_scheduler_is_the_bound() -> None:
    found = simulated(0.0, 10, 1000, Costs(task=0.01, result=0.0, store=0.0))
    assert found["seconds"] == pytest.approx(10, abs=0.1)
    assert found["scheduler_busy_percent"] == pytest.approx(100, abs=1)
    assert found["longest_wait_seconds"] == pytest.approx(0.1, abs=0.011)  # nine others are served before


def test_heartbeats_take_their_share_of_the_scheduler() -> None:
    found = simulated(0.0, 10, 1000, Costs(task=0.01, result=0.0, store=0.0, heartbeats=0.5))
    assert found["seconds"] == pytest.approx(20, abs=0.1)
    assert found["scheduler_busy_percent"] == pytest.approx(100, abs=1)
    found = simulated(100.0, 10, 100, Costs(task=0.01, result=0.0, store=0.0, heartbeats=0.5))
    assert found["scheduler_busy_percent"] == pytest.approx(50.1, abs=0.05)


def test_of_slow_results_the_client_is_the_bound() -> None:
    found = simulated(0.0, 10, 1000, Costs(task=0.0, result=0.05, store=0.0))
    assert (found["seconds"], found["client_busy_percent"], found["transactions"]) == (50, 100, 1)


def test_the_client_stores_together_what_came_while_it_stored() -> None:
    costs = Costs(task=0.0, result=0.5, store=2.0)
    # The first takes 1 to 3.5 s; the three that came by then take 3.5 to 7; the last comes while nothing is done.
    assert taken([1.0, 1.5, 3.0, 3.5, 9.0], costs) == (11.5, 3)
    assert taken([], costs) == (0.0, 0)
