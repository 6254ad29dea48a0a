"""Exploration on worker processes: what is stored is not computed again, whatever dies meanwhile."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("distributed", reason="no Dask: pip install xnorweave[explore]")

import dask.config
from explore_counting import counted
from explored_networks import Silent, small_network
from signals import heeding

from xnorweave.errors import ExploreError
from xnorweave.explore import Effort, ExploreOptions, explore
from xnorweave.explore.candidate import Candidate, content_digest
from xnorweave.explore.cluster import Cluster, Task, open_cluster
from xnorweave.explore.store import open_store
from xnorweave.explore.work import Subject, estimate_versions
from xnorweave.network_file import network_digest, save_network

BOARDS = ("icebreaker", "ulx3s-85f")
SETTLE_S = 0.3
"""Between what was stored and a kill: the scheduler hears within that time that the result is not wanted any more."""


@pytest.fixture
def net(rng, tmp_path) -> str:
    network = small_network(rng)
    save_network(network, tmp_path / "n.npz")
    return str(tmp_path / "n.npz")


@contextmanager
def counting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What workers of the block execute, as files in the folder."""
    folder.mkdir()
    monkeypatch.setenv("XNORWEAVE_COUNTS", str(folder))
    with dask.config.set({"distributed.worker.preload": ["explore_counting"]}):
        yield folder


@contextmanager
def killing(
    folder: Path, store: Path, after: list[tuple[int, float]], seed: int, settle_s: float = SETTLE_S
) -> Iterator[list[tuple[int, set[str]]]]:
    """Kill a worker so many seconds after so many tasks are done, each time; tells what was stored by then."""
    killed: list[tuple[int, set[str]]] = []
    over = threading.Event()
    choose = random.Random(seed)

    def watch() -> None:
        for enough, seconds in after:
            while not over.is_set() and len(counted(folder, "done")) < enough:
                time.sleep(0.002)
            over.wait(seconds)
            dead = {pid for pid, _ in killed}
            begun = sorted({pid for _, pid in counted(folder, "begun")} - dead)
            if over.is_set() or not begun:
                return
            stored = stored_keys(store)
            if over.wait(settle_s):
                return
            pid = choose.choice(begun)
            os.kill(pid, signal.SIGKILL)
            killed.append((pid, stored))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield killed
    finally:
        over.set()
        watcher.join()


def stored_keys(path: Path) -> set[str]:
    with open_store(path) as store:
        return store.keys()


def same_result(left: Path, right: Path) -> bool:
    return (left / "explore.json").read_bytes() == (right / "explore.json").read_bytes()


def check_executions(folder: Path, keys: set[str], killed: list[tuple[int, set[str]]]) -> None:
    """Every task was done; none that was stored was begun again, and only what a dead worker had was begun twice."""
    done = {key.split("-", 1)[1] for key, _ in counted(folder, "done")}
    assert done == keys
    again = [key for key, times in Counter(key for key, _ in counted(folder, "begun")).items() if times > 1]
    for key in again:
        pids = [pid for name, pid in counted(folder, "begun") if name == key]
        # All but the last of those that had it died with it; the last may have died later, of another task.
        lost = [stored for pid, stored in killed if pid in pids][: len(pids) - 1]
        assert len(lost) == len(pids) - 1, "only one worker had it that did not die with it"
        for stored in lost:
            assert key.split("-", 1)[1] not in stored, "its result was stored before its worker was killed"


def options(**fields: Any) -> ExploreOptions:
    return ExploreOptions(**({"boards": BOARDS, "effort": Effort(builds=0), "workers": 2} | fields))


def test_estimates_survive_a_killed_worker_and_are_not_made_again(net, tmp_path, monkeypatch):
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    explore(net, undisturbed, options(), Silent())
    disturbed.mkdir()
    with (
        counting(tmp_path / "counts", monkeypatch) as counts,
        killing(counts, disturbed / "results.sqlite", [(3, 0)], 1) as killed,
    ):
        explore(net, disturbed, options(), Silent())
    assert len(killed) == 1
    assert same_result(undisturbed, disturbed)
    check_executions(counts, stored_keys(disturbed / "results.sqlite"), killed)
    with counting(tmp_path / "again", monkeypatch) as counts:
        explore(net, disturbed, options(), Silent())
    assert list(counts.iterdir()) == []
    assert same_result(undisturbed, disturbed)
    assert not (disturbed / ".workers").exists()


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_where_it_was(net, tmp_path, monkeypatch):
    folder = tmp_path / "x"
    counts = tmp_path / "counts"
    with counting(counts, monkeypatch):
        code = (
            "import explore_counting, pathlib, dask.config\n"
            "from xnorweave.explore import *\n"
            "class Silent:\n"
            "    def start(self, text, total=None): pass\n"
            "    def advance(self, done): pass\n"
            "    def note(self, text): pass\n"
            "if __name__ == '__main__':\n"
            "    dask.config.set({'distributed.worker.preload': ['explore_counting']})\n"
            f"    options = ExploreOptions(boards={BOARDS!r}, effort=Effort(builds=0), workers=2)\n"
            f"    explore({net!r}, pathlib.Path({str(folder)!r}), options, Silent())\n"
        )
        (tmp_path / "run.py").write_text(code)
        paths = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen([sys.executable, tmp_path / "run.py"], env=paths)
        wait_until(lambda: len(counted(counts, "done")) >= 4)
        process.kill()
        process.wait()
        workers = {pid for _, pid in counted(counts, "begun")}
        wait_until(lambda: not any(map(alive, workers)))
        before = stored_keys(folder / "results.sqlite")
        begun = len(counted(counts, "begun"))
        explore(net, folder, options(), Silent())
    after = stored_keys(folder / "results.sqlite")
    assert 0 < len(before) <= len(after)
    again = [key.split("-", 1)[1] for key, _ in counted(counts, "begun")][begun:]
    assert len(counted(counts, "begun")) - begun == len(after) - len(before)
    assert len(again) == len(after - before)


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
def test_an_interrupt_leaves_the_store_whole_and_no_worker(net, tmp_path, monkeypatch):
    folder, counts = tmp_path / "x", tmp_path / "counts"
    with counting(counts, monkeypatch):
        line = ["explore", net, "--boards", ",".join(BOARDS), "-o", str(folder), "--budget", "4", "--workers", "2"]
        code = (
            "import sys, dask.config\n"
            "from xnorweave import cli\n"
            "if __name__ == '__main__':\n"
            "    dask.config.set({'distributed.worker.preload': ['explore_counting']})\n"
            f"    sys.exit(cli.main({line!r}))\n"
        )
        (tmp_path / "run.py").write_text(code)
        paths = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, tmp_path / "run.py"]
        with heeding():
            process = subprocess.Popen(command, env=paths, start_new_session=True, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: any(key.startswith("build-") for key, _ in counted(counts, "begun")))
        time.sleep(1)  # into a tool
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    workers = {pid for _, pid in counted(counts, "begun")}
    wait_until(lambda: not any(map(alive, workers)), 10)
    assert not [line for line in processes() if str(folder) in line]
    assert len(stored_keys(folder / "results.sqlite")) > 0
    assert not (folder / "explore.json").exists()


def processes() -> list[str]:
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                found.append(str((path / "cwd").readlink()))
            except OSError:
                continue
    return found


def task(number: int, digest: str) -> Task:
    each = Candidate(
        network=digest, board="icebreaker", strategy="auto", clock_mhz=None, interval_cycles=None, seed=number
    )
    return Task(kind="estimate", key=content_digest(number), candidate=each, versions=estimate_versions())


def test_errors_of_workers_come_back_as_errors_of_ours(net, tmp_path):
    from xnorweave.network_file import load_network

    network = load_network(net)
    subject = Subject(digest=network_digest(network).hex(), network=network)
    old = Task(**(vars(task(1, subject.digest)) | {"versions": {"xnorweave": "9"}}))
    with open_cluster({subject.digest: subject}, workers=1, scheduler=None, folder=tmp_path / "w") as cluster:
        ((error,),) = (batch.values() for batch in cluster.run([old]))
        ((result,),) = (batch.values() for batch in cluster.run([task(2, subject.digest)]))
    assert isinstance(error, ExploreError)
    assert "worker: has xnorweave" in str(error)
    assert isinstance(result, dict)
    assert result["fits"] is True


class Lost:
    """A future whose result came, and whose worker is gone by now."""

    status = "lost"

    def __init__(self, key: str):
        self.key, self.released = key, False

    def release(self) -> None:
        self.released = True


def test_a_result_that_came_is_not_lost_with_its_worker(monkeypatch):
    wanted = task(1, "digest")
    future = Lost(f"estimate-{wanted.key}")
    came = SimpleNamespace(batches=lambda: iter([[(future, {"fits": True})]]))
    monkeypatch.setattr("distributed.as_completed", lambda *_, **__: came)
    client = SimpleNamespace(submit=lambda *_, **__: None, map=lambda *_, **__: [future], cancel=lambda *_, **__: None)
    cluster = Cluster(client, {"digest": None})  # type: ignore[arg-type]
    assert list(cluster.run([wanted])) == [{wanted.key: {"fits": True}}]
    assert future.released


def test_no_scheduler_at_an_address(tmp_path, monkeypatch):
    monkeypatch.setattr("xnorweave.explore.cluster._CONNECT_S", 1)
    with (
        pytest.raises(
            ExploreError, match=r"--scheduler tcp://127\.0\.0\.1:9: no scheduler answers within 1 s .*give an"
        ),
        open_cluster({}, workers=1, scheduler="tcp://127.0.0.1:9", folder=tmp_path / "w"),
    ):
        pass


@pytest.mark.slow
def test_workers_of_a_scheduler_that_is_there(net, tmp_path):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        there = explore(net, tmp_path / "there", options(scheduler=cluster.scheduler_address), Silent())
    here = explore(net, tmp_path / "here", options(), Silent())
    assert there["exploration"] == here["exploration"]


@pytest.mark.slow
def test_hundreds_of_candidates_with_workers_killed_at_random(tmp_path, monkeypatch, rng):
    """The shipped network on two boards; one worker dies while it estimates, one while it builds.

    Most of the time goes into four builds, and into each worker's first estimate.
    """
    boards, clocks_mhz = ("icebreaker", "icesugar"), (16.0, 20.0)
    sweep = options(boards=boards, clocks_mhz=clocks_mhz, effort=Effort(builds=2), workers=4)
    explore("fashion_mnist", tmp_path / "undisturbed", sweep, Silent())
    disturbed = tmp_path / "disturbed"
    disturbed.mkdir()
    estimates = len(boards) * len(clocks_mhz) * 11 * 4
    moments = [(int(rng.integers(1, estimates)), 0.0), (estimates, float(rng.uniform(0, 20)))]
    with (
        counting(tmp_path / "counts", monkeypatch) as counts,
        killing(counts, disturbed / "results.sqlite", moments, int(rng.integers(1 << 30)), 3.0) as killed,
    ):
        found = explore("fashion_mnist", disturbed, sweep, Silent())
    assert found["exploration"]["counts"]["candidates"] >= 200
    assert len({key for key, _ in counted(counts, "done")}) == estimates + found["exploration"]["counts"]["builds"]
    assert len(killed) == 2
    assert same_result(tmp_path / "undisturbed", disturbed)
    assert (tmp_path / "undisturbed" / "explore.html").read_bytes() == (disturbed / "explore.html").read_bytes()
    check_executions(counts, stored_keys(disturbed / "results.sqlite"), killed)
