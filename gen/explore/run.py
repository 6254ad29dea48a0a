"""Explore: estimate every candidate, build those that may be best, and write what came of it."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xnorweave import __version__
from xnorweave.boards.catalogue import Board
from xnorweave.boards.catalogue import board as find_board
from xnorweave.build_folder import BuildFolderError, locked, write_whole
from xnorweave.commands.networks import known_strategy
from xnorweave.commands.planning import core_clock
from xnorweave.commands.source import Report, head
from xnorweave.console import Stages
from xnorweave.errors import DeviceError, ExploreError, UnsupportedError, XnorweaveError
from xnorweave.explore.candidate import Candidate, Space, build_key, estimate_key
from xnorweave.explore.cluster import Task
from xnorweave.explore.document import EXPLORE_FORMAT, exploration
from xnorweave.explore.networks import Variant, find_source, variants
from xnorweave.explore.options import Effort, ExploreOptions
from xnorweave.explore.runner import Runner
from xnorweave.explore.search import OBJECTIVES, Design, Result, designs_of, next_round, note_builds
from xnorweave.explore.store import open_store
from xnorweave.explore.work import build_versions, estimate_versions
from xnorweave.network import ArgMax, Network
from xnorweave.passes.choose_plan import Budget
from xnorweave.passes.workers import usable_cpus
from xnorweave.report.explored import render_explored

__all__ = [
    "candidates_of",
    "check_folder",
    "check_network",
    "check_options",
    "explore",
]

# A core takes at least one cycle for each pixel; the candidates' intervals are so many times that.
_MULTIPLES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_STORE, _OWN = "results.sqlite", ("results.sqlite", "results.sqlite-journal", ".lock", ".workers")


def explore(text: str, output: Path, options: ExploreOptions, stages: Stages) -> Report:
    """Explore a network, or what a recipe trains; what was done before in the folder is not done again.

    Parameters
    ----------
    text : str
        A shipped network's word, a file, or a recipe.
    output : Path
        Folder for ``explore.json``, ``explore.html``, the results and the networks made on the way.
    options : ExploreOptions
        What to sweep.
    stages : Stages
        Told how far it is.

    Raises
    ------
    ExploreError
        Where an option is not known, or the folder, the store or the cluster cannot be used.
    DeviceError
        Where a board is unknown, or has no serial port.
    UnsupportedError
        Where the network gives no class.
    """
    boards = check_options(options)
    networks = output / "networks"
    with _folder(output), open_store(output / _STORE) as store:
        source, name = find_source(text, networks, stages)
        check_network(source.network)
        made = variants(
            source, name, data=options.data, codes=options.codes, folder=networks, store=store, stages=stages
        )
        runner = Runner(
            store,
            {variant.subject.digest: variant.subject for variant in made},
            workers=options.workers or usable_cpus(),
            scheduler=options.scheduler,
            folder=output / ".workers",
            stages=stages,
        )
        with runner:
            part = _explored(made, boards, options, runner)
        document = {"format": EXPLORE_FORMAT, "version": __version__, "network": head(source.network)["network"]}
        document["exploration"] = part
        _write(output / "explore.json", json.dumps(document, indent=1, allow_nan=False) + "\n")
        _write(output / "explore.html", render_explored(document))
    return document | {"folder": str(output)}


def _usable_board(name: str) -> Board:
    board = find_board(name)
    if not board.link:
        raise DeviceError(f"{name}: has nothing for a link, and builds need one; leave it out")
    return board


def check_options(options: ExploreOptions) -> list[Board]:
    """The boards, where all that the options name is known.

    Raises
    ------
    DeviceError
        Where a board is unknown, or has no link.
    UnsupportedError, ExploreError
        Where another word or number is none.
    """
    boards = [_usable_board(name) for name in options.boards]
    for strategy in options.strategies:
        known_strategy(strategy)
    unknown = [name for name in options.objectives if name not in OBJECTIVES]
    if unknown:
        raise ExploreError(f"--objective {unknown[0]}: is not known; choose from {', '.join(OBJECTIVES)}")
    if "accuracy" in options.objectives and options.data is None:
        raise ExploreError("--objective accuracy: no images to measure it on; give some with --data D.npz")
    for what, values in (("--fps", options.fps), ("--clock", options.clocks_mhz)):
        if wrong := [value for value in values if not 0 < value < float("inf")]:
            raise ExploreError(f"{what} {wrong[0]:g}: give numbers above 0")
    return boards


def check_network(network: Network) -> None:
    """Refuse a network that a board's link cannot answer for.

    Raises
    ------
    UnsupportedError
        Where it gives no class.
    """
    last = network.layers[-1]
    if not isinstance(last, ArgMax):
        raise UnsupportedError(
            f"{last.name}: the network ends in a {last.kind}, and the boards' serial link answers with one class; "
            "end it with an ArgMax"
        )


def _explored(
    made: Sequence[Variant], boards: Sequence[Board], options: ExploreOptions, runner: Runner
) -> dict[str, Any]:
    _, height, width = made[0].subject.network.input.shape
    candidates = candidates_of([variant.subject.digest for variant in made], height * width, options)
    families = {board.name: board.family for board in boards}
    objectives = [*options.objectives]
    if len({variant.accuracy_percent for variant in made}) > 1 and "accuracy" not in objectives:
        objectives.append("accuracy")
    accuracy = {variant.subject.digest: variant.accuracy_percent for variant in made}
    estimates = [
        (candidate, estimate | {"family": families[candidate.board]} | _known(accuracy[candidate.network]))
        for candidate, estimate in _estimates(candidates, runner)
    ]
    designs = designs_of(estimates)
    builds = _built(designs, objectives, options.effort, families, runner)
    versions = estimate_versions()
    for candidate in builds:
        versions |= build_versions(families[candidate.board])
    return exploration(
        made,
        estimates,
        designs,
        builds,
        objectives=objectives,
        budget=options.effort.document(),
        versions=versions,
        failures=runner.failures,
    )


def _known(accuracy_percent: float | None) -> dict[str, float]:
    return {} if accuracy_percent is None else {"accuracy_percent": accuracy_percent}


def candidates_of(networks: Sequence[str], pixels: int, options: ExploreOptions) -> list[Candidate]:
    """Everything that is tried.

    Parameters
    ----------
    networks : sequence of str
        Their digests.
    pixels : int
        Of a frame.
    options : ExploreOptions
        What to sweep.
    """
    space = Space(
        networks=tuple(dict.fromkeys(networks)),
        boards=tuple(dict.fromkeys(options.boards)),
        strategies=tuple(dict.fromkeys(options.strategies)),
        clocks_mhz=tuple(dict.fromkeys(float(mhz) for mhz in options.clocks_mhz)) or (None,),
        seeds=tuple(range(1, options.seeds + 1)),
    )
    return list(space.candidates(lambda name, mhz: _intervals(name, mhz, pixels, options)))


def _intervals(
    board_name: str, clock_mhz: float | None, pixels: int, options: ExploreOptions
) -> tuple[int | None, ...]:
    """Most cycles a frame, for each rate to try: those of the rates asked for, at the clock that the board makes."""
    if not options.fps:
        return (None, *(multiple * pixels for multiple in _MULTIPLES))
    board = find_board(board_name)
    try:
        mhz = core_clock(board, clock_mhz)
    except DeviceError:  # the estimates say so of each candidate
        mhz = clock_mhz or board.clock_mhz
    every = (Budget(family=board.family, luts=0, block_rams=0, clock_mhz=mhz).cycles(fps) for fps in options.fps)
    return tuple(dict.fromkeys(every))


def _estimates(candidates: Sequence[Candidate], runner: Runner) -> list[tuple[Candidate, Result]]:
    """Every candidate with its estimate; those that have none are told of as failures."""
    versions = estimate_versions()
    keys = {candidate: estimate_key(candidate, versions) for candidate in candidates}
    tasks = [Task(kind="estimate", key=keys[each], candidate=each, versions=versions) for each in candidates]
    found = runner.results(f"estimating {len(candidates):,} candidates", tasks)
    every = ((candidate, found[keys[candidate]]) for candidate in candidates)
    return [(candidate, result) for candidate, result in every if not isinstance(result, XnorweaveError)]


def _built(
    designs: Sequence[Design], objectives: Sequence[str], effort: Effort, families: Mapping[str, str], runner: Runner
) -> dict[Candidate, Result]:
    """Build in rounds until the front is built, or the budget spent; gives what was built."""
    deadline = None if effort.seconds is None else time.monotonic() + effort.seconds
    builds: dict[Candidate, Result] = {}
    number = 0
    while batch := next_round(designs, objectives, _left(effort.builds, len(builds))):
        number += 1
        versions = {candidate: build_versions(families[candidate.board]) for candidate in batch}
        keys = {candidate: build_key(candidate, versions[candidate]) for candidate in batch}
        tasks = [Task(kind="build", key=keys[each], candidate=each, versions=versions[each]) for each in batch]
        found = runner.results(f"building {len(batch)} of the front, round {number}", tasks, deadline)
        results = {candidate: found[keys[candidate]] for candidate in batch if keys[candidate] in found}
        builds |= {candidate: _result(result) for candidate, result in results.items()}
        note_builds(designs, builds)
        if len(results) < len(batch):
            break  # the time is spent
    return builds


def _left(most: int | None, done: int) -> int | None:
    return None if most is None else most - done


def _result(result: Result | XnorweaveError) -> Result:
    return {"met": False, "reason": str(result)} if isinstance(result, XnorweaveError) else result


@contextmanager
def _folder(path: Path) -> Iterator[None]:
    """The folder, made where there is none, and for this process alone."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise BuildFolderError(f"{path}: cannot be written ({e.strerror}); choose another path") from e
    check_folder(path)
    with locked(path, path / ".lock", "exploration"):
        yield


def check_folder(path: Path) -> None:
    """Refuse a folder that holds something else than an exploration.

    Raises
    ------
    BuildFolderError
        Where it does, or cannot be read.
    """
    try:
        others = sorted(each.name for each in path.iterdir() if each.name not in _OWN) if path.exists() else []
    except OSError as e:
        raise BuildFolderError(f"{path}: cannot be written ({e.strerror}); choose another path") from e
    if others and not (path / _STORE).is_file():
        raise BuildFolderError(f"{path}: holds files ({others[0]}), but no exploration; choose another path")


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text)
    except OSError as e:
        raise BuildFolderError(f"{path}: cannot be written ({e.strerror}); choose another path") from e
