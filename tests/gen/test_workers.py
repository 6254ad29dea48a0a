import os
import time
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing

import pytest

from xnorweave.passes import workers
from xnorweave.passes.workers import WorkerError, in_processes, usable_cpus


class Fatal:
    """Ends the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (9,)


@pytest.fixture
def pools(monkeypatch):
    """Every pool made, with room for two processes whatever the machine; each knows its futures."""
    made = []

    class Recorded(ProcessPoolExecutor):
        def __init__(self, count, **options):
            super().__init__(count, **options)
            self.count, self.futures = count, list[Future]()
            made.append(self)

        def submit(self, *arguments):  # pyright: ignore[reportIncompatibleMethodOverride]
            self.futures.append(super().submit(*arguments))
            return self.futures[-1]

    monkeypatch.setattr(workers, "ProcessPoolExecutor", Recorded)
    monkeypatch.setattr(workers, "usable_cpus", lambda: 2)
    return made


def test_every_task_is_done_once(pools):
    assert sorted(in_processes(int, ["5", "7", "9"], workers=8, name=str)) == [(0, 5), (1, 7), (2, 9)]
    assert [pool.count for pool in pools] == [2]


def test_a_killed_process_is_an_error_that_names_the_work(pools):
    with pytest.raises(WorkerError, match=r"^Fatal, Fatal: one of 2 worker processes was killed.*with fewer workers"):
        list(in_processes(str, [Fatal(), Fatal(), Fatal()], workers=2, name=lambda task: type(task).__name__))


def test_an_error_cancels_what_waits(pools):
    with pytest.raises(TypeError, match="str"):
        list(in_processes(time.sleep, ["no number", *[0.2] * 40], workers=2, name=str))
    (pool,) = pools
    assert sum(future.cancelled() for future in pool.futures) > 20


def test_a_reader_that_stops_cancels_what_waits(pools):
    with closing(in_processes(time.sleep, [0.2] * 40, workers=2, name=str)) as results:
        next(results)
    (pool,) = pools
    assert sum(future.cancelled() for future in pool.futures) > 20


def test_never_more_processes_than_cpus_or_tasks(pools, monkeypatch):
    assert list(in_processes(int, ["5"], workers=8, name=str)) == [(0, 5)]
    monkeypatch.setattr(workers, "usable_cpus", lambda: 1)
    assert list(in_processes(int, ["5", "6"], workers=8, name=str)) == [(0, 5), (1, 6)]
    assert not pools


def test_usable_cpus_are_those_of_this_process(monkeypatch):
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 8}, raising=False)
    assert usable_cpus() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cpus() == 1
    monkeypatch.setattr(os, "process_cpu_count", lambda: 6, raising=False)
    assert usable_cpus() == 6
