"""Counts what Dask workers execute, in files that outlive them.

A worker that has this module as a preload writes an empty file ``KEY.PID.NUMBER.begun`` for each task it begins, and
``....done`` when its result is there, into the folder that XNORWEAVE_COUNTS names.
"""

import itertools
import os
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin


class Counting(WorkerPlugin):
    name = "counting"

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers = folder, itertools.count()

    def transition(self, key: Any, start: str, finish: str, **kwargs: Any) -> None:
        if finish == "executing":
            self._write(key, "begun")
        elif start == "executing" and finish == "memory":
            self._write(key, "done")

    def _write(self, key: str, what: str) -> None:
        (self._folder / f"{key}.{os.getpid()}.{next(self._numbers)}.{what}").touch()


async def dask_setup(worker: Any) -> None:
    await worker.plugin_add(Counting(Path(os.environ["XNORWEAVE_COUNTS"])))


def counted(folder: Path, what: str) -> list[tuple[str, int]]:
    """Keys and process ids of the tasks begun or done, as often as they were; without the networks themselves."""
    names = (path.name.split(".") for path in folder.iterdir())
    return [(name[0], int(name[1])) for name in names if name[-1] == what and not name[0].startswith("network-")]
