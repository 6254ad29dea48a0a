"""What 10,000 candidates on 1,000 workers ask of scheduler and client: writes bench/results/explore_load.json.

Run as ``python bench/explore_load.py``; takes some minutes. Two steps:

1. Measured: Dask's own scheduler in a process of its own, workers in a second one, the client in this one, by the code
   of `xnorweave explore` (`Cluster`, SQLite), with tasks that return at once what a build returns. What counts is CPU
   time, which other processes change by less than the wall's: all that the scheduler and the client spend, divided by
   the tasks; and all that the scheduler spends while there is nothing to do, divided by the heartbeats of its workers.
   Nothing is subtracted, so both are upper bounds. Storing waits for the disk and is measured by the wall.
2. Simulated, event by event: 1,000 workers that ask the scheduler, which does one thing at a time, for their next
   task, and the client, which takes the results that have come, stores them in one transaction, and takes those that
   came meanwhile. Heartbeats take their share of the scheduler. Tasks take from half to one and a half of a mean.

Not in it: the network's delay and width, the memory of a scheduler of 1,000 workers, and workers that die.
"""

import argparse
import asyncio
import heapq
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from distributed import Client, Worker
from distributed.scheduler import heartbeat_interval

from xnorweave.explore.candidate import Candidate, canonical_json, content_digest
from xnorweave.explore.cluster import Cluster, Task
from xnorweave.explore.store import ResultStore, open_store
from xnorweave.explore.work import Subject

RESULT = Path(__file__).parent / "results" / "explore_load.json"
CANDIDATES, WORKERS = 10_000, 1_000
# An estimate of the shipped network, a tenth of a build, and a build for an iCE40.
MEAN_S = (0.03, 6.0, 60.0)
MEASURED_TASKS, MEASURED_WORKERS, IDLE_S = 3_000, (25, 100), 20.0
PATIENCE_S = 60.0
STORED = (1, 100)
STORED_TIMES = 31
BUILT = {
    "met": True,
    "luts": 3632,
    "block_rams": 24,
    "flip_flops": 1730,
    "fmax_mhz": 28.0,
    "clock_mhz": 12.0,
    "interval_cycles": 784,
    "frames_per_second": 15306.1,
    "critical_layer": "conv2",
}


def nothing(task: Task, subject: Subject) -> dict[str, Any]:
    """A build's result at once."""
    return BUILT | {"of": task.key}


def tasks(count: int, run: int) -> list[Task]:
    """Different builds."""
    every = (
        Candidate(network="n", board="icebreaker", strategy="auto", clock_mhz=None, interval_cycles=number, seed=1)
        for number in range(count)
    )
    versions = {"xnorweave": "0.1.0", "yosys": "0.70", "nextpnr-ice40": "0.11"}
    return [Task(kind="build", key=content_digest(run, e.document()), candidate=e, versions=versions) for e in every]


def cpu_s(process: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def started(arguments: list[str], folder: Path) -> Iterator[int]:
    """A process until the block ends; gives its number."""
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


async def be_workers(address: str, count: int) -> None:
    """So many workers in this process, until it is told to end."""
    await asyncio.gather(*(Worker(address, nthreads=1, memory_limit=0, dashboard=False) for _ in range(count)))
    await asyncio.Event().wait()


def measured(workers: int, count: int, folder: Path) -> dict[str, Any]:
    """CPU time of scheduler and client for a task, and of the scheduler for a heartbeat, with so many workers."""
    file = folder / f"scheduler{workers}.json"
    scheduling = ["-m", "distributed.cli.dask_scheduler", "--port", "0", "--host", "127.0.0.1", "--no-dashboard"]
    with started([*scheduling, "--scheduler-file", str(file)], folder) as scheduler:
        address = address_in(file)
        with (
            Client(address, timeout=120) as client,
            started([str(Path(__file__).resolve()), "--workers-of", address, str(workers)], folder),
        ):
            client.wait_for_workers(workers, timeout=600)
            time.sleep(heartbeat_interval(workers))
            quiet = idle(scheduler)
            cluster = Cluster(client, {"n": Subject(digest="n", network=None)}, nothing)  # type: ignore[arg-type]
            before = cpu_s(scheduler), cpu_s(os.getpid())
            found = [result for batch in cluster.run(tasks(count, workers)) for result in batch.values()]
            of_scheduler, of_client = cpu_s(scheduler) - before[0], cpu_s(os.getpid()) - before[1]
    assert len(found) == count
    assert all(isinstance(result, dict) for result in found)
    return {
        "workers": workers,
        "tasks": count,
        "scheduler_ms_per_task": round(1000 * of_scheduler / count, 3),
        "client_ms_per_task": round(1000 * of_client / count, 3),
        "scheduler_ms_per_heartbeat": round(1000 * quiet * heartbeat_interval(workers) / workers, 3),
    }


def address_in(file: Path) -> str:
    """The scheduler's address, once it has written it."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        time.sleep(0.1)
        with suppress(OSError, ValueError, KeyError):
            return json.loads(file.read_text())["address"]
    raise TimeoutError(f"no scheduler within {PATIENCE_S} s")


def idle(scheduler: int) -> float:
    """CPU time of the scheduler in a second in which there is nothing to do."""
    cpu, wall = cpu_s(scheduler), time.perf_counter()
    time.sleep(IDLE_S)
    return (cpu_s(scheduler) - cpu) / (time.perf_counter() - wall)


def stored(results: int, store: ResultStore) -> dict[str, Any]:
    """How long the store takes to keep so many results in one transaction."""
    seconds, size = [], 0
    for number in range(STORED_TIMES):
        documents = {content_digest(results, number, each): BUILT | {"of": each} for each in range(results)}
        size = sum(len(canonical_json(document)) for document in documents.values())
        begin = time.perf_counter()
        assert store.put_all(documents) == results
        seconds.append(time.perf_counter() - begin)
    return {"results": results, "bytes": size, "median_ms": round(1000 * statistics.median(seconds), 3)}


def stored_ms_per_result(storing: list[dict[str, Any]]) -> float:
    """What each more result in a transaction takes."""
    few, many = storing[0], storing[-1]
    return (many["median_ms"] - few["median_ms"]) / (many["results"] - few["results"])


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Seconds for a task at the scheduler, for a result at the client, and for a transaction.

    ``heartbeats`` is the share of the scheduler's time that they take.
    """

    task: float
    result: float
    store: float
    heartbeats: float = 0.0


def simulated(mean_s: float, workers: int, count: int, costs: Costs, seed: int = 1) -> dict[str, Any]:
    """One run: workers ask the scheduler, which answers one after the other; the client stores what has come."""
    rng = random.Random(seed)
    asking = [(0.0, worker) for worker in range(workers)]
    heapq.heapify(asking)
    free = worked = longest = 0.0
    ends: list[float] = []
    for _ in range(count):
        asked, worker = heapq.heappop(asking)
        free = max(free, asked) + costs.task / (1 - costs.heartbeats)
        longest = max(longest, free - asked)
        duration = rng.uniform(0.5, 1.5) * mean_s
        worked += duration
        ends.append(free + duration)
        heapq.heappush(asking, (free + duration, worker))
    wall, transactions = taken(sorted(ends), costs)
    ideal = worked / workers
    return {
        "mean_task_seconds": mean_s,
        "seconds": round(wall, 1),
        "seconds_without_overhead": round(ideal, 1),
        "workers_busy_percent": round(100 * ideal / wall, 1),
        "scheduler_busy_percent": round(100 * (costs.heartbeats + costs.task * count / wall), 1),
        "client_busy_percent": round(100 * (costs.result * count + costs.store * transactions) / wall, 1),
        "longest_wait_seconds": round(longest, 2),
        "transactions": transactions,
    }


def taken(ends: list[float], costs: Costs) -> tuple[float, int]:
    """When the client has stored results that come at these moments, and in how many transactions."""
    now, first, transactions = 0.0, 0, 0
    while first < len(ends):
        now = max(now, ends[first])
        after = first
        while after < len(ends) and ends[after] <= now:
            after += 1
        now += costs.result * (after - first) + costs.store
        first, transactions = after, transactions + 1
    return now, transactions


def main() -> None:
    """Measure, simulate, and write both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers-of", nargs=2, metavar=("ADDRESS", "N"), help="be the workers of a scheduler")
    given = parser.parse_args().workers_of
    if given is not None:
        asyncio.run(be_workers(given[0], int(given[1])))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [measured(workers, MEASURED_TASKS, folder) for workers in MEASURED_WORKERS]
        with open_store(folder / "results.sqlite") as store:
            storing = [stored(results, store) for results in STORED]
    print(rows, storing, file=sys.stderr)
    heartbeats = max(row["scheduler_ms_per_heartbeat"] for row in rows) / 1000 * WORKERS / heartbeat_interval(WORKERS)
    costs = Costs(
        task=max(row["scheduler_ms_per_task"] for row in rows) / 1000,
        result=(max(row["client_ms_per_task"] for row in rows) + stored_ms_per_result(storing)) / 1000,
        store=storing[0]["median_ms"] / 1000,
        heartbeats=heartbeats,
    )
    document = {
        "machine": {"python": platform.python_version(), "distributed": version("distributed")},
        "measured": rows,
        "stored": storing,
        "assumed": {
            "workers": WORKERS,
            "tasks": CANDIDATES,
            "heartbeats_percent": round(100 * heartbeats, 1),
            "scheduler_ms_per_task": round(1000 * costs.task, 3),
            "client_ms_per_result": round(1000 * costs.result, 3),
            "client_ms_per_transaction": round(1000 * costs.store, 3),
        },
        "simulated": [simulated(mean_s, WORKERS, CANDIDATES, costs) for mean_s in MEAN_S],
    }
    RESULT.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    print(json.dumps(document["simulated"], indent=1))


if __name__ == "__main__":
    main()
