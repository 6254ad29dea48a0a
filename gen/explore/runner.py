"""Results for tasks: from the store where it has them, else computed and stored at once."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from xnorweave.console import Stages
from xnorweave.errors import XnorweaveError
from xnorweave.explore.cluster import Cluster, Task, open_cluster
from xnorweave.explore.store import ResultStore
from xnorweave.explore.work import Subject

__all__ = ["Runner"]

# So often a stage says how far it is, where nobody sees a bar.
_NOTES = 20


class Runner:
    """Give tasks to workers, which are started when the first result is missing, and end with the block.

    Parameters
    ----------
    store : ResultStore
        What it has is not computed again.
    subjects : dict of str to Subject
        The networks by their digest.
    workers : int
        Processes on this machine.
    scheduler : str, optional
        Address of a Dask scheduler to use instead.
    folder : Path
        For this machine's workers.
    stages : Stages
        Told how far it is.

    Attributes
    ----------
    failures : list of str
        Why there are tasks without a result.
    """

    def __init__(
        self,
        store: ResultStore,
        subjects: Mapping[str, Subject],
        *,
        workers: int,
        scheduler: str | None,
        folder: Path,
        stages: Stages,
    ):
        self.failures: list[str] = []
        self._store, self._subjects, self._stages = store, subjects, stages
        self._workers, self._scheduler, self._folder = workers, scheduler, folder
        self._stack, self._cluster = ExitStack(), None

    def __enter__(self) -> "Runner":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def results(
        self, what: str, tasks: Sequence[Task], deadline: float | None = None
    ) -> dict[str, dict[str, Any] | XnorweaveError]:
        """By key, each task's result, or why it has none; tasks that the deadline came before are left out.

        Parameters
        ----------
        what : str
            What to call the stage.
        tasks : sequence of Task
            Begun in this order; several may have one key.
        deadline : float, optional
            As in `Cluster.run`.
        """
        wanted = {task.key: task for task in tasks}
        found: dict[str, dict[str, Any] | XnorweaveError] = {}
        for key in wanted:
            if (kept := self._store.get(key)) is not None:
                found[key] = kept
        self._stages.start(what, len(wanted))
        self._stages.advance(len(found))
        missing = [task for key, task in wanted.items() if key not in found]
        if missing:
            noted = len(found)
            for batch in self._workers_now().run(missing, deadline=deadline):
                found |= self._kept(batch)
                self._stages.advance(len(found))
                if len(found) - noted >= max(1, len(wanted) // _NOTES):
                    noted = len(found)
                    self._stages.note(f"{noted:,} of {len(wanted):,}")
        return found

    def _kept(self, batch: Mapping[str, dict[str, Any] | XnorweaveError]) -> dict[str, dict[str, Any] | XnorweaveError]:
        """Results as the store has them: the next run will see the same."""
        errors = {key: result for key, result in batch.items() if isinstance(result, XnorweaveError)}
        self.failures += map(str, errors.values())
        results = {key: result for key, result in batch.items() if not isinstance(result, XnorweaveError)}
        self._store.put_all(results)
        return errors | {key: self._store.get(key) or result for key, result in results.items()}

    def _workers_now(self) -> Cluster:
        if self._cluster is None:
            opened = open_cluster(self._subjects, workers=self._workers, scheduler=self._scheduler, folder=self._folder)
            self._cluster = self._stack.enter_context(opened)
        return self._cluster
