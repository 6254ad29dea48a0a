"""Run the tasks of an exploration by Dask: on processes of this machine, or on a cluster that is there already.

Dask keeps the tasks, gives each to one worker, and gives those of a worker that died to another. What is left here is
to hand results over as they come, and to tell a user what did not come.
"""

import importlib
import importlib.util
import logging
import shutil
import signal
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xnorweave.errors import ExploreError, XnorweaveError
from xnorweave.explore.candidate import Candidate
from xnorweave.explore.work import Subject, build, estimate

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["Cluster", "Task", "check_dask", "open_cluster"]

_CONNECT_S, _FIRST_WORKER_S = 30, 120
_BATCH = 1000
"""Tasks sent to the scheduler at a time, so that the first begin while the last are still on their way."""
# So many workers may die with a task before it is given up: enough for machines that are taken away now and then.
_ALLOWED_FAILURES = 5


@dataclass(frozen=True, kw_only=True)
class Task:
    """One result that is wanted.

    Parameters
    ----------
    kind : {"estimate", "build"}
        What to do.
    key : str
        Under which the result is kept.
    candidate : Candidate
        With what.
    versions : dict of str to str
        Of what computes it.
    """

    kind: str
    key: str
    candidate: Candidate
    versions: Mapping[str, str]


class Cluster:
    """Workers, and the networks that they build; made by `open_cluster`.

    Parameters
    ----------
    client : distributed.Client
        To the scheduler.
    subjects : dict of str to Subject
        The networks by their digest.
    function : callable
        What does a task with its network on a worker.
    """

    def __init__(
        self,
        client: "Client",
        subjects: Mapping[str, Subject],
        function: Callable[[Task, Subject], dict[str, Any]] | None = None,
    ):
        self._client, self._function = client, function or work
        # As tasks and not as data: where every worker that holds one dies, the scheduler has it made again.
        self._subjects = {
            digest: client.submit(as_it_is, subject, key=f"network-{digest}") for digest, subject in subjects.items()
        }

    def run(
        self, tasks: Sequence[Task], *, deadline: float | None = None
    ) -> Generator[Mapping[str, dict[str, Any] | XnorweaveError], None, None]:
        """Do every task, and give results, or why there are none, by the tasks' keys: all that are there at a time.

        Parameters
        ----------
        tasks : sequence of Task
            Begun in this order.
        deadline : float, optional
            Value of `time.monotonic` after which nothing more is waited for.
        """
        from distributed import as_completed

        by_key = {f"{task.kind}-{task.key}": task for task in tasks}
        futures = self._submit(by_key)
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            for ready in as_completed(futures, with_results=True, raise_errors=False, timeout=left).batches():
                # What came tells, not the future: it may say by now that its worker is gone.
                came = [(each, result) for each, result in ready if isinstance(result, dict)]
                # First: a task that is still wanted when its worker dies is done again, stored or not.
                for each, _ in came:
                    each.release()
                if came:
                    yield {by_key[each.key].key: result for each, result in came}
                for each, result in ready:
                    if not isinstance(result, dict):
                        yield {by_key[each.key].key: _failure(by_key[each.key], each)}
        except TimeoutError:
            return
        finally:
            self._client.cancel(futures, force=True, reason="the exploration goes on without it")

    def _submit(self, by_key: Mapping[str, Task]) -> "list[Future[Any]]":
        tasks = list(by_key.values())
        subjects = [self._subjects[task.candidate.network] for task in tasks]
        return self._client.map(self._function, tasks, subjects, key=list(by_key), batch_size=_BATCH)


def as_it_is(subject: Subject) -> Subject:
    """A network, as a task: sent to the scheduler once, and from worker to worker as these need it."""
    return subject


def work(task: Task, subject: Subject) -> dict[str, Any]:
    """Do one task on a worker."""
    if task.kind == "estimate":
        return estimate(subject, task.candidate, task.versions)
    return build(subject, task.candidate, task.versions, _worker_folder())


def _worker_folder() -> Path | None:
    """Where the worker keeps files, which Dask clears away when it dies; None outside one."""
    from distributed import get_worker

    try:
        return Path(get_worker().local_directory)
    except ValueError:
        return None


def _failure(task: Task, future: "Future[Any]") -> XnorweaveError:
    """Why a task has no result, where a user can mend it; anything else is raised as the bug that it is."""
    from distributed import KilledWorker

    where = f"{task.candidate.board}, {task.candidate.strategy}, seed {task.candidate.seed}"
    if future.status != "error":
        return ExploreError(f"{where}: the scheduler gave it up ({future.status}); run the same command again")
    match error := future.exception():
        case XnorweaveError():
            return error
        case KilledWorker():
            return ExploreError(
                f"{where}: every worker that had it died, perhaps for want of memory; give them more, or run fewer at "
                "a time (--workers), and run the same command again"
            )
        case ModuleNotFoundError():
            return ExploreError(f"{where}: a worker has no {error.name}; install the same xnorweave there")
        case BaseException():
            raise error
    raise AssertionError(f"{where}: an error without one")


def check_dask() -> None:
    """Raise ExploreError where Dask is not installed."""
    if importlib.util.find_spec("distributed") is None:
        raise ExploreError("explore: dask.distributed is not installed; run `pip install xnorweave[explore]`")


@contextmanager
def open_cluster(
    subjects: Mapping[str, Subject], *, workers: int, scheduler: str | None, folder: Path
) -> Generator[Cluster, None, None]:
    """Workers for the networks, until the block ends.

    Parameters
    ----------
    subjects : dict of str to Subject
        The networks by their digest.
    workers : int
        Processes on this machine; of no account where there is a scheduler.
    scheduler : str, optional
        Address of a Dask scheduler, such as ``tcp://10.0.0.1:8786``.
    folder : Path
        For files of this machine's workers; it is removed before and after.

    Raises
    ------
    ExploreError
        Where Dask is not installed, or no scheduler or worker answers.
    """
    check_dask()
    _silence()
    with ExitStack() as stack:
        if scheduler is None:
            client = stack.enter_context(_local(workers, folder, stack))
        else:
            client = stack.enter_context(_connected(scheduler))
        yield Cluster(client, subjects)


def _silence() -> None:
    """Let Dask say nothing of workers that die: that is what it is there for, and what is lost is told at the end."""
    importlib.import_module("distributed")  # which sets the levels of its own
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _local(workers: int, folder: Path, stack: ExitStack) -> "AbstractContextManager[Client]":
    """Processes of this machine, one task each; they end with this one, whatever ends it."""
    import dask.config
    from distributed import Client, LocalCluster

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    settings = {
        "distributed.scheduler.allowed-failures": _ALLOWED_FAILURES,
        # A worker gets its next task when it is free: one that waited at a worker would be in doubt with it.
        "distributed.scheduler.worker-saturation": 1.0,
        # A process of this machine that ended is seen at once; one that is silent only has no time.
        "distributed.scheduler.worker-ttl": None,
    }
    stack.enter_context(dask.config.set(settings))
    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address="127.0.0.1:0",  # without it, port 8787, and a warning from every run but the first
        memory_limit=0,
        silence_logs=logging.CRITICAL,
        local_directory=str(folder),
        env={"TMPDIR": str(folder)},
    )
    client = Client(stack.enter_context(cluster))
    client.register_plugin(_no_interrupts())
    return client


def _connected(scheduler: str) -> "AbstractContextManager[Client]":
    from distributed import Client

    try:
        client = Client(scheduler, timeout=_CONNECT_S)
    except (OSError, ValueError, TypeError) as e:
        raise ExploreError(
            f"--scheduler {scheduler}: no scheduler answers within {_CONNECT_S} s ({e}); give an address such as "
            "tcp://10.0.0.1:8786, or leave it out"
        ) from e
    try:
        client.wait_for_workers(1, timeout=_FIRST_WORKER_S)
    except TimeoutError as e:
        client.close()
        raise ExploreError(
            f"--scheduler {scheduler}: no worker came within {_FIRST_WORKER_S} s; start some with `dask worker`"
        ) from e
    return client


def _no_interrupts() -> Any:
    """A plugin for workers: Ctrl-C in a terminal reaches them as well, and is for the process that explores alone."""
    from distributed import WorkerPlugin

    class NoInterrupts(WorkerPlugin):
        name = "xnorweave-no-interrupts"

        def setup(self, worker: object) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    return NoInterrupts()
