"""What commands would do: everything is checked that can be at once, nothing is written, and no tool is run for long.

Each function gives what its command is asked for as ``dry_run`` of a report: ``does``, the steps in order; ``writes``,
the files; and ``tools`` with their versions. What a command refuses at its start is refused here with the same error.
"""

from pathlib import Path
from typing import Any

from xnorweave.boards.catalogue import board as find_board
from xnorweave.boards.liberty import read_liberty
from xnorweave.boards.toolchain import BITSTREAMS
from xnorweave.boards.tools import tool_versions
from xnorweave.build_folder import check_build_folder
from xnorweave.commands.compressing import split_images
from xnorweave.commands.compression_file import compression_path
from xnorweave.commands.hardware import fastest_simulator, images_of_build, plan_of_no_board
from xnorweave.commands.networks import known_strategy
from xnorweave.commands.options import BuildOptions, GateOptions, GenerateOptions, SimulationOptions
from xnorweave.commands.planning import choice_for, plan
from xnorweave.commands.source import Report, Source, find_images, head
from xnorweave.commands.training import TrainOptions, recipe_to_train
from xnorweave.console import Stages
from xnorweave.errors import ToolchainError
from xnorweave.images import ImageSet
from xnorweave.network import Network
from xnorweave.passes.compress import CompressOptions
from xnorweave.passes.workers import usable_cpus
from xnorweave.plan_file import plan_document
from xnorweave.sim.run import usable_simulators
from xnorweave.wrappers import WRAPPER_MODULES
from xnorweave.yosys import yosys_version

__all__ = [
    "dry_build",
    "dry_compress",
    "dry_generate",
    "dry_part",
    "dry_simulate",
    "dry_synth",
    "dry_synth_gates",
    "dry_train",
]

_CORE = ("design.v", "plan.json")
_REPORTS = ("report.json", "report.html")


def dry_part(does: list[str], writes: list[str], tools: dict[str, str]) -> dict[str, Any]:
    """``dry_run`` of a report."""
    return {"dry_run": {"does": does, "writes": writes, "tools": tools}}


def dry_build(
    network: Network,
    data: ImageSet,
    output: Path,
    options: BuildOptions,
    *,
    images: int | None,
    simulator: str | None,
    stages: Stages,
) -> Report:
    """What `build` would do, with its plan."""
    count = images_of_build(data, images, simulator)
    name = simulator or fastest_simulator()
    simulated = [f"simulate {count} images in {name}", f"run the golden model on {len(data.frames)} images"]
    return _on_board(network, output, options, stages, simulated)


def dry_synth(network: Network, output: Path, options: BuildOptions, stages: Stages) -> Report:
    """What `synth` would do for a board, with its plan."""
    return _on_board(network, output, options, stages, [])


def _on_board(network: Network, output: Path, options: BuildOptions, stages: Stages, simulated: list[str]) -> Report:
    board, steps = find_board(options.board), _core_steps(options.strategy)
    check_build_folder(output, force=options.force)
    tools = tool_versions(board.family)
    report = plan(network, options.board, options.plan, stages=stages)
    if options.plan.file is not None:
        choice_for(network, board, options.plan)  # which refuses a plan that cannot fit
    does = [
        *steps,
        *simulated,
        f"map it to cells of {board.device} with Yosys",
        f"place and route it with nextpnr-{board.family}, seed {options.seed}, and pack the bitstream",
    ]
    files = [*_CORE, *_REPORTS, "core_netlist.v", BITSTREAMS[board.family], "logs of the tools"]
    return report | dry_part(does, _in(output, files), tools)


def dry_synth_gates(network: Network, output: Path, options: GateOptions) -> Report:
    """What `synth` would do for standard cells."""
    library = None if options.liberty is None else read_liberty(options.liberty)
    cells = "CMOS gates" if library is None else f"cells of {library.name}"
    does = [*_core_steps(options.strategy), f"map it to {cells} with Yosys"]
    return _of_core(network, output, options.plan, options.force, does, ["core_netlist.v", "logs of the tools"])


def dry_generate(network: Network, output: Path, options: GenerateOptions) -> Report:
    """What `generate` would do."""
    wrapper = [] if options.wrapper is None else [f"{WRAPPER_MODULES[options.wrapper]}.v"]
    return _of_core(network, output, options.plan, options.force, _core_steps(options.strategy), wrapper)


def _core_steps(strategy: str) -> list[str]:
    return [
        f"share results of the wired layers (strategy {known_strategy(strategy)}), and prove every adder graph",
        "generate Verilog",
    ]


def _of_core(
    network: Network, output: Path, file: Path | None, force: bool, does: list[str], further: list[str]
) -> Report:
    check_build_folder(output, force=force)
    document = plan_document(plan_of_no_board(network, file))
    files = _in(output, [*_CORE, *_REPORTS, *further])
    return head(network) | {"plan": document} | dry_part(does, files, {"yosys": yosys_version()})


def dry_simulate(network: Network, images: ImageSet, options: SimulationOptions) -> Report:
    """What `simulate` would do."""
    known_strategy(options.strategy)
    plan_of_no_board(network, options.plan)
    if options.simulator not in usable_simulators():
        raise ToolchainError(f"{options.simulator}: cannot run here; remedy: install what `xnorweave doctor` names")
    count = len(images.frames)
    return head(network) | dry_part([f"simulate {count} images in {options.simulator}"], [], {})


def dry_compress(
    source: Source, data: Path | None, output: Path, options: CompressOptions, *, images: int | None
) -> Report:
    """What `compress` would do."""
    found = find_images(source, data, images)
    calibration, validation = split_images(source.network, found, str(data or source.images), options.seed)
    does = [
        f"choose kernels by {len(calibration.labels)} images, count right answers on {len(validation.labels)} others",
        f"lower {options.objective} while at most {options.max_loss:g} % of these are lost, on {usable_cpus()} CPUs",
    ]
    return head(source.network) | dry_part(does, [str(output), str(compression_path(output))], {})


def dry_train(text: str, output: Path, options: TrainOptions) -> Report:
    """What `train` would do."""
    recipe, data = recipe_to_train(text, options)
    files = [output, options.checkpoint, options.samples, options.report]
    does = [
        f"read images ({data.kind}) from {data.path or 'where the recipe has them'}",
        f"train {recipe.name} for {recipe.fit.epochs} epochs on {options.device}, with {options.threads} threads",
        "write the network as exact integers, and check the file against the model on every test image",
    ]
    return dry_part(does, [str(file) for file in files if file is not None], {})


def _in(folder: Path, names: list[str]) -> list[str]:
    return [name if " " in name else str(folder / name) for name in names]
