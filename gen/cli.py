"""Command line: words to commands, results to tables or JSON, errors to one line and an exit code.

Exit codes: 0 done; 1 an error that a user can mend; 2 wrong usage; 130 interrupted; 141 nobody reads the output.
"""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from xnorweave import __version__, commands, tables
from xnorweave import explore as exploring
from xnorweave.commands import Report, completing
from xnorweave.console import Stages, live_stages, print_error, print_json, result_console, stdout_kept_clean
from xnorweave.errors import ToolchainError, XnorweaveError
from xnorweave.interrupts import Interrupts, interruptible

__all__ = ["app", "main"]

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

app = typer.Typer(
    name="xnorweave",
    help="Trained binarized neural networks to small, proven FPGA hardware.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Strategy(StrEnum):
    """How results are shared."""

    none = "none"
    kernel = "kernel"
    graph = "graph"
    units = "units"
    auto = "auto"


class Family(StrEnum):
    """Whose cells are estimated."""

    ice40 = "ice40"
    ecp5 = "ecp5"


class Objective(StrEnum):
    """What compression lowers."""

    luts = "luts"
    additions = "additions"
    kernel_evaluations = "kernel-evaluations"
    block_ram = "block-ram"


class Device(StrEnum):
    """What trains."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class PixelInput(StrEnum):
    """What a graph's float input is for a pixel."""

    auto = "auto"
    unit = "unit"
    raw = "raw"


class NoBoard(StrEnum):
    """A board that is not at a port."""

    simulated = "simulated"


class FrameSimulator(StrEnum):
    """What a simulated board runs."""

    golden = "golden"
    amaranth = "amaranth"
    verilator = "verilator"


class Simulator(StrEnum):
    """What runs the design."""

    golden = "golden"
    amaranth = "amaranth"
    icarus = "icarus"
    verilator = "verilator"


class LinkLines(StrEnum):
    """What carries the bytes between host and board."""

    uart = "uart"
    spi = "spi"


class Cells(StrEnum):
    """Gates of no technology."""

    cmos = "cmos"


class Wrapper(StrEnum):
    """What bus a core is put behind."""

    axi_stream = "axi-stream"
    wishbone = "wishbone"


Net = Annotated[
    str,
    typer.Argument(
        metavar="NET", help="A shipped network, such as fashion_mnist, or a file.", autocompletion=completing.networks
    ),
]
Board = Annotated[
    str,
    typer.Option("--board", "-b", metavar="B", help="A board of `xnorweave boards`.", autocompletion=completing.boards),
]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write; an older build is replaced.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check, and tell what would be done; write nothing, run no tool for long.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace DIR even if it is no build of ours.")]
Sharing = Annotated[
    Strategy, typer.Option("--strategy", help="How results are shared; auto: the fewest estimated LUTs in each layer.")
]
GenericSharing = Annotated[
    Strategy,
    typer.Option(
        "--strategy", help="How results are shared; auto: the fewest estimated LUTs in each layer, those of iCE40."
    ),
]
Data = Annotated[
    Path | None, typer.Option("--data", metavar="D.npz", help="Images x and labels y; default: those shipped.")
]
Images = Annotated[int | None, typer.Option("--images", min=1, metavar="N", help="How many of the images to simulate.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="Seed of what is random.")]
PlanFile = Annotated[
    Path | None, typer.Option("--plan", metavar="FILE", help="Build by this file of `xnorweave plan -o`.")
]
Fps = Annotated[
    float | None,
    typer.Option("--fps", metavar="F", help="Frames per second to reach; default: as many as fit."),
]
Clock = Annotated[
    float | None, typer.Option("--clock", metavar="MHZ", help="Clock of the core; default: the board's own.")
]
LinkOption = Annotated[
    LinkLines, typer.Option("--link", help="Lines between host and board: its serial port, or SPI on a connector.")
]
Share = Annotated[float, typer.Option(min=0.0, max=0.95, help="Share of cycles in which the stream rests.")]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command came to: a document to show, how to show it, and an error to end with after that."""

    report: Report
    json: bool
    error: XnorweaveError | None = None


def _outcome(
    work: Callable[[Stages], Report], json: bool, check: Callable[[Report], XnorweaveError | None] | None = None
) -> Outcome:
    with stdout_kept_clean(), live_stages() as stages:
        report = work(stages)
    return Outcome(report=report, json=json, error=check(report) if check else None)


@app.command()
def inspect(net: Net, json: Json = False) -> Outcome:
    """Show a network's layers, shapes and weights."""
    return _outcome(lambda _: commands.inspect(commands.find_network(net).network), json)


@app.command("import")
def import_(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A network file of any kind known, or a folder of packed parameters.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="NET.npz", help="File to write.")],
    pixels: Annotated[
        PixelInput,
        typer.Option(
            "--pixels",
            help="A network's float input is pixel / 255 (unit) or the pixel (raw); auto: as its first step says.",
        ),
    ] = PixelInput.auto,
    check_images: Annotated[
        int,
        typer.Option(
            "--check-images",
            min=0,
            max=100_000,
            metavar="N",
            help="Random images to compare an ONNX graph's framework on.",
        ),
    ] = 20,
    check_data: Annotated[
        Path | None, typer.Option("--check-data", metavar="D.npz", help="Images x to compare it on as well.")
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> Outcome:
    """Read another tool's network, compare it with that tool, and write it as a network file of ours."""
    options = commands.ImportOptions(pixels=pixels.value, images=check_images, seed=seed, data=check_data)
    return _outcome(lambda stages: commands.import_(file, output, options, stages), json)


@app.command()
def share(
    net: Net,
    strategy: Sharing = Strategy.auto,
    family: Annotated[Family, typer.Option("--family", help="Whose LUTs are estimated.")] = Family.ice40,
    json: Json = False,
) -> Outcome:
    """Count each layer's kernels, additions, adder bits and LUTs, shared and unshared, beside random weights."""

    def work(stages: Stages) -> Report:
        network = commands.find_network(net).network
        return commands.share(network, strategy.value, stages, family=family.value)

    return _outcome(work, json)


@app.command()
def compress(
    net: Net,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="NET.npz", help="File to write.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="D.npz", help="Images x and labels y to measure losses on; no test images."),
    ] = None,
    max_loss: Annotated[
        float, typer.Option("--max-loss", min=0.0, max=100.0, metavar="PERCENT", help="Images that may be lost.")
    ] = 1.0,
    objective: Annotated[Objective, typer.Option("--objective", help="What to lower.")] = Objective.luts,
    layers: Annotated[
        str | None, typer.Option("--layers", metavar="A,B,...", help="Convolutions to compress; default: all.")
    ] = None,
    family: Annotated[Family, typer.Option("--family", help="Whose LUTs are estimated.")] = Family.ice40,
    images: Annotated[
        int | None, typer.Option("--images", min=1, metavar="N", help="How many of the images to use.")
    ] = None,
    seed: Seed = 0,
    dry_run: DryRun = False,
    json: Json = False,
) -> Outcome:
    """Make similar kernels equal, as far as an accuracy budget allows; a killed search goes on where it was."""

    def work(stages: Stages) -> Report:
        options = commands.CompressOptions(
            max_loss=max_loss,
            objective=objective.value,
            layers=None if layers is None else tuple(layers.split(",")),
            family=family.value,
            seed=seed,
        )
        if dry_run:
            return commands.dry_compress(commands.find_network(net), data, output, options, images=images)
        return commands.compress_network(commands.find_network(net), data, output, options, stages, images=images)

    return _outcome(work, json)


@app.command()
def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A preset, such as fashion-mnist, or a .toml file.",
            autocompletion=completing.presets,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="NET.npz", help="Network file to write.")],
    data: Annotated[
        Path | None, typer.Option("--data", metavar="PATH", help="Where the images are; default: the recipe's.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", metavar="FILE", help="Keep after each epoch, and go on from.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, metavar="N", help="Other number of epochs than the preset's.")
    ] = None,
    threads: Annotated[
        int, typer.Option("--threads", min=1, metavar="N", help="Of PyTorch; results repeat for equal numbers.")
    ] = 1,
    device: Annotated[Device, typer.Option("--device", help="auto: a GPU where there is one.")] = Device.auto,
    samples: Annotated[
        Path | None, typer.Option("--samples", metavar="D.npz", help="File for 200 test images.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="JSON file for recipe and accuracy.")
    ] = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> Outcome:
    """Train a binarized network, and write it as exact integers; a killed run goes on from its checkpoint."""

    def work(stages: Stages) -> Report:
        options = commands.TrainOptions(
            data=data,
            checkpoint=checkpoint,
            epochs=epochs,
            threads=threads,
            device=device.value,
            samples=samples,
            report=report,
        )
        if dry_run:
            return commands.dry_train(recipe, output, options)
        return commands.train(recipe, output, options, stages)

    return _outcome(work, json)


@app.command()
def generate(
    net: Net,
    output: Output,
    strategy: GenericSharing = Strategy.auto,
    plan: PlanFile = None,
    wrapper: Annotated[Wrapper | None, typer.Option("--wrapper", help="A bus to put the core behind as well.")] = None,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> Outcome:
    """Write the Verilog of a network's core."""

    def work(stages: Stages) -> Report:
        source = commands.find_network(net)
        options = commands.GenerateOptions(
            strategy=strategy.value,
            plan=plan,
            wrapper=None if wrapper is None else wrapper.value,
            force=force,
            compressed=commands.find_compression(source),
        )
        if dry_run:
            return commands.dry_generate(source.network, output, options)
        return commands.generate(source.network, output, options, stages)

    return _outcome(work, json)


@app.command()
def simulate(
    net: Net,
    simulator: Annotated[Simulator, typer.Option("--simulator", help="What runs the design.")] = Simulator.golden,
    data: Data = None,
    images: Images = None,
    strategy: GenericSharing = Strategy.auto,
    taps: Annotated[bool, typer.Option("--taps", help="Compare every layer, and name the first that differs.")] = False,
    idle: Share = 0.0,
    stall: Share = 0.0,
    seed: Seed = 0,
    plan: PlanFile = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> Outcome:
    """Run images through the design, and compare with the golden model."""

    def work(stages: Stages) -> Report:
        source = commands.find_network(net)
        frames = commands.find_images(source, data, images)
        run = commands.SimulationOptions(
            simulator=simulator.value,
            strategy=strategy.value,
            taps=taps,
            idle=idle,
            stall=stall,
            seed=seed,
            plan=plan,
        )
        if dry_run:
            return commands.dry_simulate(source.network, frames, run)
        return commands.simulate(source.network, frames, run, stages)

    return _outcome(work, json, None if dry_run else commands.mismatch_error)


@app.command()
def synth(
    net: Net,
    output: Output,
    board: Annotated[
        str | None,
        typer.Option("--board", "-b", metavar="B", help="A board of `boards`.", autocompletion=completing.boards),
    ] = None,
    liberty: Annotated[
        Path | None, typer.Option("--liberty", metavar="FILE", help="Map to this library's standard cells instead.")
    ] = None,
    cells: Annotated[
        Cells | None, typer.Option("--cells", help="Map to gates of no technology instead, and count transistors.")
    ] = None,
    strategy: Sharing = Strategy.auto,
    fps: Fps = None,
    clock: Clock = None,
    plan: PlanFile = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, max=2**31 - 1, help="Seed of placement; default: 1.")
    ] = None,
    link: Annotated[
        LinkLines | None, typer.Option("--link", help="Lines between host and board; default: its serial port.")
    ] = None,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> Outcome:
    """Synthesize, place and route for a board, or map to standard cells, without simulating."""
    if sum(target is not None for target in (board, liberty, cells)) != 1:
        raise typer.BadParameter("give one of --board, --liberty and --cells")
    if board is None and any(option is not None for option in (fps, clock, seed, link)):
        raise typer.BadParameter("--fps, --clock, --seed and --link need --board")

    def work(stages: Stages) -> Report:
        source = commands.find_network(net)
        network, compressed = source.network, commands.find_compression(source)
        if board is None:
            gates = commands.GateOptions(
                liberty=liberty, strategy=strategy.value, plan=plan, force=force, compressed=compressed
            )
            if dry_run:
                return commands.dry_synth_gates(network, output, gates)
            return commands.synth_gates(network, output, gates, stages)
        options = commands.PlanOptions(fps=fps, clock_mhz=clock, file=plan)
        placement, lines = 1 if seed is None else seed, link or LinkLines.uart
        run = commands.build_options(
            "synth",
            net,
            board,
            strategy.value,
            options,
            placement,
            force,
            link=lines.value,
            compressed=compressed,
            output=output,
        )
        if dry_run:
            return commands.dry_synth(network, output, run, stages)
        return commands.synth(network, output, run, stages)

    return _outcome(work, json)


@app.command()
def build(
    net: Net,
    board: Board,
    output: Output,
    data: Data = None,
    images: Images = None,
    simulator: Annotated[Simulator | None, typer.Option("--simulator", help="Default: the fastest here.")] = None,
    strategy: Sharing = Strategy.auto,
    fps: Fps = None,
    clock: Clock = None,
    plan: PlanFile = None,
    seed: Seed = 1,
    link: LinkOption = LinkLines.uart,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> Outcome:
    """Do all of it: share, generate, simulate against the golden model, synthesize, report."""

    def work(stages: Stages) -> Report:
        source = commands.find_network(net)
        frames = commands.find_images(source, data)
        options = commands.PlanOptions(fps=fps, clock_mhz=clock, file=plan)
        chosen = None if simulator is None else simulator.value
        own = {"data": data, "images": images, "simulator": chosen, "output": output}
        compressed = commands.find_compression(source)
        run = commands.build_options(
            *("build", net, board, strategy.value, options, seed, force), link=link.value, compressed=compressed, **own
        )
        does = commands.dry_build if dry_run else commands.build
        return does(source.network, frames, output, run, images=images, simulator=chosen, stages=stages)

    return _outcome(work, json)


@app.command()
def plan(
    net: Net,
    board: Board,
    fps: Fps = None,
    clock: Clock = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="File to write.")] = None,
    file: PlanFile = None,
    json: Json = False,
) -> Outcome:
    """Choose each layer's engine and fold, and show what they cost, without synthesizing."""

    def work(stages: Stages) -> Report:
        run = commands.PlanOptions(fps=fps, clock_mhz=clock, file=file)
        return commands.plan(commands.find_network(net).network, board, run, output, stages=stages)

    return _outcome(work, json)


@app.command()
def explore(
    net: Annotated[
        str,
        typer.Argument(
            metavar="NET|RECIPE",
            help="A shipped network, a file, or a recipe to train first.",
            autocompletion=completing.networks_and_presets,
        ),
    ],
    boards: Annotated[
        str,
        typer.Option(
            "--boards",
            "-b",
            metavar="A,B,...",
            help="Boards of `xnorweave boards`.",
            autocompletion=completing.board_list,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder; what is there already is not done again.")
    ],
    objective: Annotated[
        str, typer.Option("--objective", metavar="A,B,...", help="Of fps, luts, block-rams, chip and accuracy.")
    ] = ",".join(exploring.DEFAULT_OBJECTIVES),
    budget: Annotated[
        str, typer.Option("--budget", metavar="N", help="Builds at most; or a time, such as 90s, 30m or 2h; or all.")
    ] = str(exploring.DEFAULT_BUILDS),
    strategies: Annotated[
        str, typer.Option("--strategies", metavar="A,B,...", help="How results are shared.")
    ] = ",".join(exploring.STRATEGIES),
    clocks: Annotated[
        str | None, typer.Option("--clocks", metavar="MHZ,...", help="Clocks of the core; default: each board's own.")
    ] = None,
    fps: Annotated[
        str | None,
        typer.Option("--fps", metavar="F,...", help="Frame rates to reach; default: the highest that fits, and lower."),
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, max=1000, metavar="N", help="Seeds of placement to try for a clock.")
    ] = 3,
    codes: Annotated[
        str | None, typer.Option("--codes", metavar="N,...", help="Kernels of codebooks to try, 2 to 16; needs --data.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="D.npz", help="Images x and labels y; no test images.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, max=1024, metavar="N", help="Processes; default: one a CPU."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", metavar="ADDRESS", help="A Dask scheduler to use instead."),
    ] = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> Outcome:
    """Estimate designs for several boards, and build those that may be best; a killed run goes on where it was."""
    options = exploring.ExploreOptions(
        boards=tuple(_words("--boards", boards)),
        objectives=tuple(_words("--objective", objective, known=tuple(exploring.OBJECTIVES))),
        effort=_effort(budget),
        strategies=tuple(_words("--strategies", strategies, known=tuple(Strategy))),
        clocks_mhz=tuple(_numbers("--clocks", clocks)),
        fps=tuple(_numbers("--fps", fps)),
        seeds=seeds,
        codes=tuple(int(number) for number in _numbers("--codes", codes, whole=True)),
        data=data,
        workers=workers,
        scheduler=scheduler,
    )
    if dry_run:
        return _outcome(lambda _: exploring.dry_explore(net, output, options), json)
    return _outcome(lambda stages: exploring.explore(net, output, options, stages), json, exploring.unfinished)


def _words(option: str, text: str, known: Sequence[str] = ()) -> list[str]:
    words = list(dict.fromkeys(word.strip() for word in text.split(",")))
    if not all(words):
        raise typer.BadParameter(f"{option} {text!r}: has an empty part; give words with commas between them.")
    if unknown := [word for word in words if known and word not in known]:
        raise typer.BadParameter(f"{option} {unknown[0]!r}: is not known; choose from {', '.join(known)}.")
    return words


def _effort(text: str) -> exploring.Effort:
    try:
        return exploring.parse_budget(text)
    except ValueError as e:
        raise typer.BadParameter(str(e)) from None


def _numbers(option: str, text: str | None, *, whole: bool = False) -> list[float]:
    if text is None:
        return []
    try:
        return [int(word) if whole else float(word) for word in _words(option, text)]
    except ValueError:
        kind = "whole numbers" if whole else "numbers"
        raise typer.BadParameter(f"{option} {text!r}: give {kind} with commas between them.") from None


@app.command()
def classify(
    net: Net,
    pictures: Annotated[
        list[Path] | None,
        typer.Argument(metavar="IMAGES", help="Image files, or .npz files with x; default: --data, or those shipped."),
    ] = None,
    port: Annotated[str | None, typer.Option("--port", "-p", metavar="P", help="Serial port of the board.")] = None,
    board: Annotated[NoBoard | None, typer.Option("--board", "-b", help="A board that is not there.")] = None,
    baud: Annotated[
        int, typer.Option("--baud", min=300, max=12_000_000, metavar="B", help="As the board's build reports.")
    ] = 1_000_000,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.01, max=3600, metavar="S", help="Longest silence of the board, seconds.")
    ] = 1.0,
    data: Data = None,
    images: Annotated[int | None, typer.Option("--images", min=1, metavar="N", help="How many of the images.")] = None,
    resize: Annotated[bool, typer.Option("--resize", help="Scale image files of another size.")] = False,
    simulator: Annotated[
        FrameSimulator | None,
        typer.Option("--simulator", help="Of a simulated board; default: the fastest here that counts cycles."),
    ] = None,
    json: Json = False,
) -> Outcome:
    """Classify images on a board at a serial port, or on a simulated one."""
    if (port is None) == (board is None):
        raise typer.BadParameter("give either --port, or --board simulated.")
    if simulator is not None and board is None:
        raise typer.BadParameter("--simulator is for --board simulated.")

    def work(stages: Stages) -> Report:
        source = commands.find_network(net)
        names, found = commands.find_pictures(source, pictures or [], data, images, resize=resize)
        options = commands.ClassifyOptions(
            port=port, baud=baud, timeout_s=timeout, simulator=None if simulator is None else simulator.value
        )
        return commands.classify(source.network, names, found, options, stages)

    return _outcome(work, json)


@app.command()
def flash(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of `build` or `synth`.")],
    permanent: Annotated[
        bool,
        typer.Option("--permanent", help="Into the flash, so that it stays; some boards have no other way."),
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> Outcome:
    """Load a build onto its board."""
    return _outcome(lambda stages: commands.flash(folder, stages, permanent=permanent, dry_run=dry_run), json)


@app.command()
def boards(
    net: Annotated[
        str | None,
        typer.Argument(
            metavar="[NET]",
            help="Tell what fits, too: plan this network on every board.",
            autocompletion=completing.networks,
        ),
    ] = None,
    json: Json = False,
) -> Outcome:
    """List the boards, and what of a network fits them."""

    def work(stages: Stages) -> Report:
        return commands.boards(None if net is None else commands.find_network(net).network, stages)

    return _outcome(work, json)


@app.command()
def doctor(json: Json = False) -> Outcome:
    """Look for the tools that builds and simulations need."""

    def check(report: Report) -> XnorweaveError | None:
        wrong = [tool for tool in report["tools"] if tool["required"] and tool["problem"] is not None]
        if not wrong:
            return None
        return ToolchainError(
            "; ".join(f"{tool['name']}: {tool['problem']}; remedy: {tool['remedy']}" for tool in wrong)
        )

    def work(stages: Stages) -> Report:
        stages.start("looking for tools")
        return commands.doctor()

    return _outcome(work, json, check)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"xnorweave {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


def _show(outcome: Outcome) -> int:
    if outcome.json:
        print_json(outcome.report)
    else:
        tables.show(outcome.report, result_console())
    if outcome.error is not None:
        raise outcome.error
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code. Anything that is no `XnorweaveError` is a bug and keeps its traceback."""
    with interruptible() as interrupts:
        code = _main(arguments, interrupts)
    # One that was dropped may have come as the command ended.
    return code if interrupts.exit_code is None else interrupts.exit_code


def _main(arguments: list[str] | None, interrupts: Interrupts) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        outcome = typer.main.get_command(app).main(
            arguments or ["--help"], prog_name="xnorweave", standalone_mode=False
        )
        code = _show(outcome) if isinstance(outcome, Outcome) else int(outcome or 0) or (0 if arguments else 2)
        sys.stdout.flush()
        return code
    except XnorweaveError as e:
        print_error(str(e))
        return e.exit_code
    except TyperException as e:
        print_error(f"{e.format_message()} See `xnorweave --help`, or that of the command.")
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The interpreter flushes standard output once more as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as e:
        if e.errno not in _DISK_FULL:
            raise
        print_error(f"{e.filename or 'disk'}: {e.strerror}; free some space, or choose another folder")
        return 1
    except Exception:
        # Compiled code that a signal was to end may go on, and fail for want of what it was about to do.
        if interrupts.exit_code is not None:
            return interrupts.exit_code
        raise
