"""Commands that make and check hardware: generate, simulate, synth, build."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np

from xnorweave.adder_graph import AdderGraph
from xnorweave.boards.catalogue import Board
from xnorweave.boards.catalogue import board as find_board
from xnorweave.boards.link_format import BITS_PER_BYTE, bytes_per_word, packet_bytes
from xnorweave.boards.progress import Progress
from xnorweave.boards.toolchain import synthesize
from xnorweave.build_folder import build_folder
from xnorweave.commands.compression_file import Compressed, Counts
from xnorweave.commands.described import pictures, provenance, usage
from xnorweave.commands.networks import known_strategy, share_for_build, sharing_part
from xnorweave.commands.options import BuildOptions, GenerateOptions, SimulationOptions
from xnorweave.commands.planning import choice_for, foreseen
from xnorweave.commands.source import Report, head
from xnorweave.console import Stages
from xnorweave.cost import CostFamily
from xnorweave.design import Design
from xnorweave.emit import emit
from xnorweave.errors import DataError, MismatchError, UnsupportedError, XnorweaveError
from xnorweave.images import ImageSet
from xnorweave.lower import lower
from xnorweave.network import ArgMax, Network
from xnorweave.passes.plan import make_plan
from xnorweave.passes.plan_types import Plan
from xnorweave.plan_file import load_plan, plan_document
from xnorweave.report import write_report
from xnorweave.sim import golden
from xnorweave.sim.run import Pattern, SimulatorName, usable_simulators
from xnorweave.sim.run import simulate as run_simulation
from xnorweave.wrappers import WRAPPER_MODULES, WrapperKind, emit_wrapper

__all__ = [
    "build",
    "emit_into",
    "fastest_simulator",
    "generate",
    "images_of_build",
    "logs_kept",
    "mismatch_error",
    "plan_of_no_board",
    "shared",
    "simulate",
    "synth",
    "told_in_percent",
]

DEFAULT_IMAGES = 50


def generate(network: Network, output: Path, options: GenerateOptions, stages: Stages) -> Report:
    """Write ``design.v``, ``plan.json``, the report and, where wanted, a wrapper of a core into ``output``."""
    with build_folder(output, force=options.force) as folder:
        made = plan_of_no_board(network, options.plan)
        report, graphs = shared(network, options.strategy, made, "ice40", stages, compressed=options.compressed)
        design = emit_into(network, folder, made, graphs, report, stages)
        if options.wrapper is not None:
            report["wrapper"] = _wrap(design, options.wrapper, folder)
        report = write_report(folder, report)
    return report | {"folder": str(output)}


def _wrap(design: Design, kind: WrapperKind, folder: Path) -> dict[str, str]:
    """Write the core's wrapper beside it; gives ``wrapper`` of the report."""
    module = WRAPPER_MODULES[kind]
    (folder / f"{module}.v").write_text(emit_wrapper(design, kind), "utf-8")
    return {"bus": kind, "module": module, "file": f"{module}.v"}


def simulate(network: Network, images: ImageSet, options: SimulationOptions, stages: Stages) -> Report:
    """Run the images through the design; gives ``simulation`` and, where there are labels, ``accuracy``."""
    strategy = known_strategy(options.strategy)
    report = head(network) | {"strategy": strategy}
    design, made = None, plan_of_no_board(network, options.plan)
    if options.simulator in ("icarus", "verilator"):
        stages.start(f"generating the Verilog of {network.name}")
        design = emit(network, strategy=strategy, plan=made)
    return report | _simulate(network, images, options, design, stages, made)


def synth(network: Network, output: Path, options: BuildOptions, stages: Stages) -> Report:
    """Synthesize, place and route into the folder ``output``; gives ``synthesis``."""
    board = find_board(options.board)
    with build_folder(output, force=options.force) as folder, logs_kept(folder):
        stages.start(f"planning {network.name} for {board.name}")
        chosen = choice_for(network, board, options.plan)
        report, graphs = shared(
            network, options.strategy, chosen.plan, board.family, stages, compressed=options.compressed
        )
        report |= foreseen(chosen, board, network, options.plan)
        design = emit_into(network, folder, chosen.plan, graphs, report, stages)
        report["synthesis"] = _synthesize(design, board, folder, options, stages)
        report |= provenance(network, options) | usage(network, design, board, report["synthesis"])
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
    UnsupportedError
        For the golden model as simulator.
    MismatchError
        Where the simulation differs from the golden model.
    DoesNotFitError
        Where the board is too small or the clock is missed.
    """
    board = find_board(options.board)
    count = images_of_build(data, images, simulator)
    with build_folder(output, force=options.force) as folder, logs_kept(folder):
        stages.start(f"planning {network.name} for {board.name}")
        chosen = choice_for(network, board, options.plan)
        made = chosen.plan
        report, graphs = shared(
            network, options.strategy, made, board.family, stages, control=True, compressed=options.compressed
        )
        report |= foreseen(chosen, board, network, options.plan)
        design = emit_into(network, folder, made, graphs, report, stages)
        run = SimulationOptions(simulator=simulator or fastest_simulator(), strategy=options.strategy)
        report |= _simulate(network, _first(data, count), run, design, stages, made, graphs)
        _add_measured(report)
        _write_plan(folder, report)
        error = mismatch_error(report)
        if error is not None:
            raise error
        stages.start(f"golden model on {len(data.frames)} images")
        report |= _golden_accuracy(network, data)
        report["synthesis"] = _synthesize(design, board, folder, options, stages)
        _add_rate(report, design)
        report |= provenance(network, options) | usage(network, design, board, report["synthesis"])
        report = write_report(folder, report)
    return report | {"folder": str(output)}


def images_of_build(data: ImageSet, images: int | None, simulator: str | None) -> int:
    """How many images a build simulates.

    Raises
    ------
    DataError
        Where there are fewer than asked for.
    UnsupportedError
        For the golden model as simulator.
    """
    count = min(DEFAULT_IMAGES, len(data.frames)) if images is None else images
    if count > len(data.frames):
        raise DataError(f"images={count}: only {len(data.frames)} are there; ask for 1 to {len(data.frames)}")
    if simulator == "golden":
        raise UnsupportedError(
            "simulator=golden: is what the hardware is compared with; give amaranth, icarus or verilator"
        )
    return count


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


def shared(
    network: Network,
    strategy: str,
    made: Plan,
    family: CostFamily,
    stages: Stages,
    *,
    control: bool = False,
    compressed: Compressed | None = None,
) -> tuple[Report, dict[str, AdderGraph]]:
    """Head, ``sharing`` and ``compression`` of a build's report, every form counted; and the graphs to build."""
    wired = {layer.name for layer in made.layers if layer.engine == "spatial"}
    rows = share_for_build(
        network, strategy, stages, layers=wired, family=family, unit_levels=made.unit_levels, control=control
    )
    graphs = {row.name: row.graph for row in rows if row.graph is not None}
    built = {row.strategy for row in rows}
    report = head(network) | {"strategy": built.pop() if len(built) == 1 else strategy}
    if graphs:
        coefficients = sum(row.inputs * row.outputs for row in rows if row.name in graphs)
        report["certificate"] = {"graphs": len(graphs), "coefficients": coefficients}
    if compressed is not None:
        report["compression"] = dict(compressed.search)
    before = None if compressed is None else _comparable(compressed, family)
    return report | {"sharing": sharing_part(rows, family, before=before)} | pictures(network), graphs


def _comparable(compressed: Compressed, family: CostFamily) -> dict[str, Counts]:
    """What the layers came to before; of another family's cells nothing is known."""
    if compressed.search["family"] == family:
        return dict(compressed.before)
    return {
        name: {count: value for count, value in counts.items() if not count.startswith("luts_")}
        for name, counts in compressed.before.items()
    }


def plan_of_no_board(network: Network, file: Path | None) -> Plan:
    return make_plan(network) if file is None else load_plan(file, network)


def emit_into(
    network: Network, folder: Path, made: Plan, graphs: Mapping[str, AdderGraph], report: Report, stages: Stages
) -> Design:
    stages.start("generating Verilog")
    core = lower(network, strategy=report["strategy"], plan=made, graphs=graphs)
    design = emit(network, strategy=report["strategy"], plan=made, core=core)
    report["plan"] = _plan_part(made, core.latencies)
    (folder / "design.v").write_text(design.verilog, "utf-8")
    _write_plan(folder, report)
    return design


def _write_plan(folder: Path, report: Report) -> None:
    (folder / "plan.json").write_text(json.dumps(report["plan"], indent=1) + "\n", "utf-8")


def _plan_part(made: Plan, latencies: Mapping[str, int]) -> dict[str, Any]:
    """``plan`` of the report; the latencies of spatial layers are known once their sums are shared."""
    document = plan_document(made)
    for row in document["layers"]:
        row |= {"latency_cycles": latencies[row["name"]]} if row["name"] in latencies else {}
    return document


def _simulate(
    network: Network,
    images: ImageSet,
    options: SimulationOptions,
    design: Design | None,
    stages: Stages,
    made: Plan | None = None,
    graphs: Mapping[str, AdderGraph] | None = None,
) -> dict[str, Any]:
    count = len(images.frames)
    stages.start(f"simulating {count} images in {options.simulator}", count)
    on_core = options.simulator == "amaranth"
    return run_simulation(
        network,
        images.frames,
        simulator=cast(SimulatorName, options.simulator),
        design=design,
        core=lower(network, strategy=known_strategy(options.strategy), plan=made, graphs=graphs) if on_core else None,
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


def fastest_simulator() -> str:
    usable = usable_simulators()
    return next(name for name in ("verilator", "icarus", "amaranth") if name in usable)


def _first(images: ImageSet, count: int) -> ImageSet:
    return ImageSet(frames=images.frames[:count], labels=None if images.labels is None else images.labels[:count])


def _synthesize(design: Design, board: Board, folder: Path, options: BuildOptions, stages: Stages) -> dict[str, Any]:
    stages.start(f"synthesis, placement and routing for {board.name}", 100)
    how = {"seed": options.seed, "clock_mhz": options.plan.clock_mhz, "link": options.link}
    done = asdict(synthesize(design, board, folder, progress=told_in_percent(stages), **how))
    return {name: value for name, value in done.items() if value is not None}


def told_in_percent(stages: Stages) -> Progress:
    """What tools tell of themselves, for a stage of 100 steps."""

    def tell(stage: str, share: float | None) -> None:
        if share is not None:
            stages.advance(round(100 * share))
        stages.note(stage)

    return tell


def _add_measured(report: Report) -> None:
    """What the simulation measured, beside what was planned: images come back to back, and every output is taken."""
    simulation, made = report["simulation"], report["plan"]
    made["latency_cycles"] = simulation["first_latency_cycles"]
    if simulation["images"] > 1:  # one image alone shows its latency, no interval
        made["interval_cycles_measured"] = simulation["cycles_per_image"]
        made["slower_than_planned"] = simulation["cycles_per_image"] > made["interval_cycles"]


def _add_rate(report: Report, design: Design) -> None:
    """Frames per second: of the core, by the interval that the simulation measured; and of the link."""
    synthesis = report["synthesis"]
    cycles = report["plan"].get("interval_cycles_measured")
    if cycles:
        synthesis["frames_per_second"] = round(synthesis["clock_mhz"] * 1e6 / cycles, 1)
    bits = BITS_PER_BYTE[synthesis["link"]]
    line_bytes = packet_bytes(design.input_words * bytes_per_word(design.input_bits))
    synthesis["link_frames_per_second"] = round(synthesis["baud"] / bits / line_bytes, 1)


@contextmanager
def logs_kept(folder: Path) -> Iterator[None]:
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
