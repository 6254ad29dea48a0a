"""Builds that end before they are done: Ctrl-C, kill -9, a full disk; and builds that all want the same folder."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from trials.builds import Build, Ended, Workshop, contents, differences, leftovers, survivors
from trials.records import Case, Trial, versions
from xnorweave.errors import ToolchainError

__all__ = ["AT_ONCE", "CTRL_C", "DISK_FULL", "KILL", "faults_of_interrupted", "faults_of_rerun"]

_PAUSE_S = 0.3
_BUILDS_AT_ONCE = 8
_REAL_TOOLS_EVERY = 10
_INTERRUPTED = (130, -signal.SIGINT)
_OTHER_BUILD = "another build is writing it"
_SIMULATOR = "amaranth"
_SECONDS = "seconds.json"


def _workshop(folder: Path) -> Workshop:
    return Workshop(folder / "workshop")


def _seconds(shop: Workshop) -> float:
    """How long a build takes here, measured once for each shard."""
    file = shop.folder / _SECONDS
    if not file.exists():
        build = _build(shop, 1)
        file.write_text(json.dumps(build.run().seconds))
        shutil.rmtree(build.folder.parent)
    return json.loads(file.read_text())


def _build(shop: Workshop, seed: int, *, pause_s: float = _PAUSE_S) -> Build:
    """With recorded tools that take their time; every tenth with the real ones."""
    real = seed % _REAL_TOOLS_EVERY == 0
    return Build(
        workshop=shop,
        folder=shop.folder / f"out-{seed}" / "build",
        simulator=_SIMULATOR,
        pause_s=0.0 if real else pause_s,
        wheels=real,
    )


def _interrupted(number: signal.Signals, seed: int, folder: Path) -> Case:
    """End a build at a random moment; the next one in the same folder must be as if nothing had been."""
    shop = _workshop(folder)
    build = _build(shop, seed)
    moment = random.Random(seed).uniform(0, 1.05) * _seconds(shop)
    start = time.monotonic()
    process = build.start()
    time.sleep(moment)
    process.send_signal(number)
    ended = build.finish(process, start)
    failures = faults_of_interrupted(number, build, ended)
    failures += faults_of_rerun(shop, build)
    counts = {"interrupted": int(ended.code != 0), "done before": int(ended.code == 0)}
    shutil.rmtree(build.folder.parent)
    return Case(failures=tuple(f"after {moment:.2f} s: {failure}" for failure in failures), counts=counts)


def faults_of_interrupted(number: signal.Signals, build: Build, ended: Ended) -> list[str]:
    """What is wrong with what an interrupted build left."""
    failures = survivors(build.mark)
    wanted = _INTERRUPTED if number == signal.SIGINT else (-number,)
    if ended.code not in (0, *wanted):
        failures.append(f"exit code {ended.code}: {(ended.said.strip().splitlines() or [''])[-1]}")
    if number == signal.SIGINT and build.folder.parent.exists() and (left := leftovers(build.folder)):
        failures.append(f"left behind: {', '.join(left)}")
    if ended.code != 0 and build.folder.exists() and not (build.folder / "report.json").exists():
        failures.append("a half-written build folder is there")
    return failures


def faults_of_rerun(shop: Workshop, build: Build) -> list[str]:
    """What is wrong with the same build once more, undisturbed."""
    ended = build.run()
    if ended.code:
        return [f"run again: exit code {ended.code}: {(ended.said.strip().splitlines() or [''])[-1]}"]
    failures = [f"run again: {name} differs" for name in _differences(shop, build)]
    failures += [f"run again: left behind: {name}" for name in leftovers(build.folder)]
    return failures + survivors(build.mark)


def _differences(shop: Workshop, build: Build) -> list[str]:
    found, wanted = contents(build.folder), contents(shop.reference(_SIMULATOR))
    # The page shows digests of the logs, and real tools write seconds into theirs.
    return [name for name in differences(found, wanted) if not (build.wheels and name == "report.html")]


def _at_once(seed: int, folder: Path) -> Case:
    """Eight builds of one folder, each begun a little later than the one before."""
    shop, rng = _workshop(folder), random.Random(seed)
    builds = [_build(shop, seed) for _ in range(_BUILDS_AT_ONCE)]
    started = []
    for build in builds:
        started.append((build.start(), time.monotonic()))
        time.sleep(rng.choice((0.0, 0.0, 0.2, 1.0)))
    ended = [build.finish(*process) for build, process in zip(builds, started, strict=True)]
    done = [each for each in ended if each.code == 0]
    failures = [] if done else ["no build succeeded"]
    for each in ended:
        if each.code and not (each.code == 1 and _OTHER_BUILD in each.error):
            failures.append(f"exit code {each.code}: {(each.said.strip().splitlines() or [''])[-1]}")
    failures += [f"{name} differs" for name in _differences(shop, builds[0])]
    failures += [f"left behind: {name}" for name in leftovers(builds[0].folder)]
    failures += [process for build in builds for process in survivors(build.mark)]
    shutil.rmtree(builds[0].folder.parent)
    return Case(failures=tuple(failures), counts={"done": len(done), "refused": len(ended) - len(done)})


def _disk_full(seed: int, folder: Path) -> Case:
    """A build in a file system of its own, too small for it; then made larger, and the same build again."""
    shop, rng = _workshop(folder), random.Random(seed)
    needed = sum(path.stat().st_size for path in shop.reference(_SIMULATOR).rglob("*"))
    mount = shop.folder / f"disk-{seed}"
    mount.mkdir()
    inner = [sys.executable, "-P", "-m", "trials.interruptions", str(folder), str(mount), str(seed)]
    size = max(4096, int(rng.uniform(0, 1.0) * needed))
    script = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", str(size), str(mount), *inner],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
    )
    mount.rmdir()
    if done.returncode:
        raise ToolchainError(f"no file system of our own (unshare, mount): {done.stderr.strip()[-2000:]}")
    found = json.loads(done.stdout)
    return Case(
        failures=tuple(f"disk of {size} bytes: {failure}" for failure in found["failures"]), counts=found["counts"]
    )


def full_disk(folder: Path, mount: Path, seed: int) -> Case:
    """Within the small file system."""
    shop = _workshop(folder)
    build = Build(workshop=shop, folder=mount / "build", simulator=_SIMULATOR)
    if seed % 2:
        shop.temporary = mount
    ended = build.run()
    failures = survivors(build.mark)
    if ended.code != 1 or "No space left" not in ended.error:
        failures.append(f"exit code {ended.code}: {(ended.said.strip().splitlines() or [''])[-1]}")
    if build.folder.exists():
        failures.append("a build folder is there")
    failures += [f"left behind: {name}" for name in leftovers(build.folder) if not name.startswith("xnorweave-logs-")]
    subprocess.run(["mount", "-o", "remount,size=256m", str(mount)], check=True)
    for name in leftovers(build.folder):
        shutil.rmtree(mount / name, ignore_errors=True)
    shop.temporary = shop.folder / "tmp"
    return Case(failures=(*failures, *faults_of_rerun(shop, build)), counts={"full": 1})


def _trial(name: str, title: str, full: int, checked: str, run: Callable[[int, Path], Case]) -> Trial:
    tools = partial(versions, "yosys", "nextpnr-ice40")
    return Trial(name=name, title=title, full=full, checked=checked, run=run, tools=tools)


_RERUN = "; the same build again gives the bytes of an undisturbed one; no process and no hidden sibling is left"
_TOOLS = " (recorded tools, each slowed by 0.3 s; every tenth case with the real ones)"
CTRL_C = _trial(
    "ctrl-c",
    "Ctrl-C at a random moment of a build",
    100,
    "exit code 130 and no half-written build" + _RERUN + _TOOLS,
    partial(_interrupted, signal.SIGINT),
)
KILL = _trial(
    "kill",
    "kill -9 at a random moment of a build",
    100,
    "no half-written build" + _RERUN + _TOOLS,
    partial(_interrupted, signal.SIGKILL),
)
AT_ONCE = _trial(
    "at-once",
    "8 builds at once in one folder",
    20,
    "at least one succeeds, the others say that another one is writing; the folder has the bytes of an undisturbed "
    "build; no process and no hidden sibling is left" + _TOOLS,
    _at_once,
)
DISK_FULL = _trial(
    "disk-full",
    "a file system that is full at a random point of a build",
    50,
    "exit code 1 and one `error:` line, no build folder" + _RERUN + " (recorded tools)",
    _disk_full,
)


if __name__ == "__main__":
    case = full_disk(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps({"failures": case.failures, "counts": case.counts}))
