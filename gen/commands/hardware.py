"""Commands that make and check hardware: generate, simulate, synth, plan, build."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np

from xnorweave.boards.catalogue import Board
from xnorweave.boards.catalogue import board as find_board
from xnorweave.boards.link import bytes_per_word
from xnorweave.boards.toolchain import synthesize
from xnorweave.build_folder import build_folder
from xnorweave.commands.networks import chosen_strategy, share
from xnorweave.commands.options import BuildOptions, SimulationOptions
from xnorweave.commands.source import Report, head
from xnorweave.console import Stages
from xnorweave.design import Design
from xnorweave.emit import emit
from xnorweave.errors import DataError, MismatchError, XnorweaveError
from xnorweave.images import ImageSet
from xnorweave.lower import lower
from xnorweave.network import ArgMax, Network
from xnorweave.passes.plan import Plan, make_plan
from xnorweave.report import write_report
from xnorweave.sim import golden
from xnorweave.sim.run import Pattern, SimulatorName, usable_simulators
from xnorweave.sim.run import simulate as run_simulation

__all__ = ["build", "generate", "mismatch_error", "plan", "simulate", "synth"]

DEFAULT_IMAGES = 50
_SERIAL_BITS_PER_BYTE = 10  # with start and stop bit


def generate(network: Network, output: Path, *, strategy: str, force: bool, stages: Stages) -> Report:
    """Write ``design.v``, ``plan.json`` and the report of a core into the folder ``output``."""
    with build_folder(output, force=force) as folder:
        report = _shared(network, strategy, stages)
        _emit(network, folder, report, stages)
        report = write_report(folder, report)
    return report | {"folder": str(output)}


def simulate(network: Network, images: ImageSet, options: SimulationOptions, stages: Stages) -> Report:
    """Run the images through the design; gives ``simulation`` and, where there are labels, ``accuracy``."""
    strategy = chosen_strategy(options.strategy)
    report = head(network) | {"strategy": strategy}
    design = None
    if options.simulator in ("icarus", "verilator"):
        stages.start(f"generating the Verilog of {network.name}")
        design = emit(network, strategy=strategy)
    return report | _simulate(network, images, options, design, stages)


def synth(network: Network, output: Path, options: BuildOptions, stages: Stages) -> Report:
    """Synthesize, place and route into the folder ``output``; gives ``synthesis``."""
    board = find_board(options.board)
    with build_folder(output, force=options.force) as folder, _logs_kept(folder):
        report = _shared(network, options.strategy, stages)
        design = _emit(network, folder, report, stages)
        report["synthesis"] = _synthesize(design, board, folder, options.seed, stages)
        report = write_report(folder, report)
    return report | {"folder": str(output)}


def build(
    network: Network,
    data: ImageSet,
    output: Path,
    options: BuildOptions,
    *,
    images: int | None,
    simulator: str | None,
    stages: Stages,
) -> Report:
    """Do all of it into the folder ``output``, which appears only if every step succeeds.

    Parameters
    ----------
    network : Network
        What to build.
    data : ImageSet
        For the golden model's accuracy; the first ones are simulated.
    output : Path
        Build folder.
    options : BuildOptions
        Board, sharing, seed.
    images : int, optional
        How many to simulate.
    simulator : str, optional
        The fastest that this machine has, where absent.
    stages : Stages
        Told how far it is.

    Raises
    ------
    MismatchError
        Where the simulation differs from the golden model.
    DoesNotFitError
        Where the board is too small or the clock is missed.
    """
    board = find_board(options.board)
    count = min(DEFAULT_IMAGES, len(data.frames)) if images is None else images
    if count > len(data.frames):
        raise DataError(f"images={count}: only {len(data.frames)} are there; ask for 1 to {len(data.frames)}")
    with build_folder(output, force=options.force) as folder, _logs_kept(folder):
        report = _shared(network, options.strategy, stages)
        design = _emit(network, folder, report, stages)
        run = SimulationOptions(simulator=simulator or _fastest_simulator(), strategy=options.strategy)
        report |= _simulate(network, _first(data, count), run, design, stages)
        report["plan"]["latency_cycles"] = report["simulation"]["first_latency_cycles"]
        error = mismatch_error(report)
        if error is not None:
            raise error
        stages.start(f"golden model on {len(data.frames)} images")
        report |= _golden_accuracy(network, data)
        report["synthesis"] = _synthesize(design, board, folder, options.seed, stages)
        _add_rate(report, design)
        report = write_report(folder, report)
    return report | {"folder": str(output)}


def plan(network: Network, board: str) -> Report:
    """Each layer's engine and interval on the board; gives ``plan``."""
    find_board(board)
    return head(network) | {"plan": _plan_part(make_plan(network))}


def mismatch_error(report: Report) -> MismatchError | None:
    """The error that a report with mismatches ends with."""
    simulation = report["simulation"]
    if not simulation["mismatches"]:
        return None
    first = simulation.get("first_mismatch")
    return MismatchError(
        f"{report['network']['name']}: {simulation['simulator']} differs from the golden model on "
        f"{simulation['mismatches']} of {simulation['images']} images{f' (first: {first})' if first else ''}; "
        "`simulate --taps` names the first layer that differs; please report it as a bug"
    )


def _shared(network: Network, strategy: str, stages: Stages) -> Report:
    """Head and ``sharing`` of a build's report: every strategy is counted, one is built."""
    chosen = chosen_strategy(strategy)
    stages.start(f"sharing results of {network.name}, and proving every adder graph")
    return share(network, "auto") | {"strategy": chosen}


def _emit(network: Network, folder: Path, report: Report, stages: Stages) -> Design:
    stages.start("generating Verilog")
    made = make_plan(network)
    design = emit(network, strategy=report["strategy"], plan=made)
    report["plan"] = _plan_part(made)
    (folder / "design.v").write_text(design.verilog, "utf-8")
    (folder / "plan.json").write_text(json.dumps(report["plan"], indent=1) + "\n", "utf-8")
    return design


def _plan_part(made: Plan) -> dict[str, Any]:
    layers = []
    for layer in made.layers:
        row = {"name": layer.name, "engine": layer.engine, "interval_cycles": layer.interval_cycles}
        layers.append(row | ({"pe": layer.pe, "simd": layer.simd} if layer.engine == "folded" else {}))
    return {
        "interval_cycles": made.interval_cycles,
        "levels_per_register": made.levels_per_register,
        "layers": layers,
    }


def _simulate(
    network: Network, images: ImageSet, options: SimulationOptions, design: Design | None, stages: Stages
) -> dict[str, Any]:
    count = len(images.frames)
    stages.start(f"simulating {count} images in {options.simulator}", count)
    on_core = options.simulator == "amaranth"
    return run_simulation(
        network,
        images.frames,
        simulator=cast(SimulatorName, options.simulator),
        design=design,
        core=lower(network, strategy=chosen_strategy(options.strategy)) if on_core else None,
        labels=images.labels if isinstance(network.layers[-1], ArgMax) else None,
        taps=options.taps,
        pattern=Pattern(idle=options.idle, stall=options.stall, seed=options.seed),
        progress=lambda done, _: stages.advance(done),
    ).report()


def _golden_accuracy(network: Network, images: ImageSet) -> dict[str, Any]:
    if images.labels is None or not isinstance(network.layers[-1], ArgMax):
        return {}
    correct = int(np.count_nonzero(golden.run(network, images.frames).outputs == images.labels))
    count = len(images.frames)
    return {"accuracy": {"images": count, "correct": correct, "percent": round(100 * correct / count, 4)}}


def _fastest_simulator() -> str:
    usable = usable_simulators()
    return next(name for name in ("verilator", "icarus", "amaranth") if name in usable)


def _first(images: ImageSet, count: int) -> ImageSet:
    return ImageSet(frames=images.frames[:count], labels=None if images.labels is None else images.labels[:count])


def _synthesize(design: Design, board: Board, folder: Path, seed: int, stages: Stages) -> dict[str, Any]:
    stages.start(f"synthesis, placement and routing for {board.name}", 100)

    def tell(stage: str, share: float | None) -> None:
        stages.note(stage)
        if share is not None:
            stages.advance(round(100 * share))

    return asdict(synthesize(design, board, folder, seed=seed, progress=tell))


def _add_rate(report: Report, design: Design) -> None:
    """Frames per second: of the core, by the interval that the simulation measured; and of the serial link."""
    synthesis = report["synthesis"]
    cycles = report["simulation"].get("cycles_per_image")
    if cycles and report["simulation"]["images"] > 1:  # one image alone shows its latency, no interval
        synthesis["frames_per_second"] = round(synthesis["clock_mhz"] * 1e6 / cycles, 1)
    frame_bytes = design.input_words * bytes_per_word(design.input_bits)
    synthesis["link_frames_per_second"] = round(synthesis["baud"] / _SERIAL_BITS_PER_BYTE / frame_bytes, 1)


@contextmanager
def _logs_kept(folder: Path) -> Iterator[None]:
    """Where a step fails, keep the tools' logs: the folder they lie in is about to go, and the error names it."""
    try:
        yield
    except XnorweaveError as e:
        logs = sorted(folder.rglob("*.log"))
        if not logs:
            raise
        kept = Path(tempfile.mkdtemp(prefix="xnorweave-logs-"))
        for log in logs:
            shutil.copyfile(log, kept / log.name)
        message = str(e).replace(str(folder), str(kept))
        raise type(e)(message if str(kept) in message else f"{message}; logs: {kept}") from e
