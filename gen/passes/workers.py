"""Work in several processes, that neither outlives an error nor ends in a traceback where a process is killed."""

import multiprocessing
import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from xnorweave.errors import XnorweaveError

__all__ = ["WorkerError", "in_processes", "usable_cpus"]

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


class WorkerError(XnorweaveError):
    """A process that worked for us was ended from outside."""


def usable_cpus() -> int:
    """CPUs that this process may run on, which a container or ``taskset`` makes fewer than the machine has."""
    count = getattr(os, "process_cpu_count", None)  # from Python 3.13 on, with an option to overrule it
    if count is not None:
        return count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_processes(
    function: Callable[[_Task], _Result], tasks: Sequence[_Task], *, workers: int, name: Callable[[_Task], str]
) -> Generator[tuple[int, _Result], None, None]:
    """Do every task, and give number and result of each when it is done.

    Parameters
    ----------
    function : callable
        What to do with a task; it and the tasks are pickled.
    tasks : sequence
        Started in this order.
    workers : int
        Most processes, never more than tasks or than CPUs that may be used; where that leaves one, it is this one.
    name : callable
        What a task is called in the error.

    Raises
    ------
    WorkerError
        Where a process was ended from outside. After this or any error of a task, none is started that waits.
    """
    workers = min(workers, usable_cpus(), len(tasks))
    if workers < 2:
        yield from enumerate(map(function, tasks))
        return
    # A process forked from one that runs threads (a progress display) may hang: start it anew.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context)
    waiting = dict.fromkeys(range(len(tasks)))
    try:
        futures = {pool.submit(function, task): k for k, task in enumerate(tasks)}
        for future in as_completed(futures):
            result = future.result()
            del waiting[futures[future]]
            yield futures[future], result
    except BrokenProcessPool as e:
        under_way = ", ".join(name(tasks[k]) for k in list(waiting)[:workers])
        raise WorkerError(
            f"{under_way}: one of {workers} worker processes was killed, perhaps for want of memory; give it more "
            "memory, or run with fewer workers (on Linux `taskset -c 0 xnorweave ...` has one)"
        ) from e
    finally:
        pool.shutdown(cancel_futures=True)
