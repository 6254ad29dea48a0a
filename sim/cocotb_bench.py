"""Run an emitted core under cocotb, in Icarus or Verilator."""

import importlib.util
import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from xnorweave.design import Design, Tap
from xnorweave.errors import MismatchError, ToolchainError
from xnorweave.processes import scratch
from xnorweave.sim.bench import BenchResult, Stimulus
from xnorweave.sim.simulators import command, find_icarus, find_verilator, log_tail, verilate
from xnorweave.sim.wrapper import BENCH_MODULE, CellModels, write_sources

__all__ = ["run_cocotb"]

_DRIVER = "xnorweave.sim.cocotb_driver"


def run_cocotb(
    design: Design,
    stimulus: Stimulus,
    *,
    simulator: Literal["icarus", "verilator"] = "icarus",
    taps: tuple[Tap, ...] = (),
    models: CellModels | None = None,
) -> BenchResult:
    """Send the stimulus through the core's Verilog and return what came out.

    Parameters
    ----------
    design : Design
        The core.
    stimulus : Stimulus
        What to send.
    simulator : {"icarus", "verilator"}
        Icarus compiles at once and does some 700 cycles a second on a middling core; Verilator needs half a minute to
        compile, and does tens of thousands.
    taps : tuple of Tap
        Inner streams to record.
    models : CellModels, optional
        Cells of a netlist.

    Raises
    ------
    MismatchError
        Where a stream does not hold its payload, is unknown, gives a word too many, or the design is deadlocked.
    ToolchainError
        Where the simulator is missing or does not compile the design.
    """
    if importlib.util.find_spec("cocotb") is None:
        raise ToolchainError("cocotb is not installed; install it with 'pip install xnorweave[sim]'")
    with scratch(f"cocotb-{simulator}") as folder:
        models = models or CellModels()
        sources = write_sources(folder, design, taps, models)
        build = _build_icarus if simulator == "icarus" else _build_verilator
        version = build(folder, sources, models)
        found = _test(folder, _job(design, stimulus, taps, folder), simulator)
    return BenchResult(
        outputs=_integers(found["outputs"]),
        taps={layer: _integers(words) for layer, words in found["taps"].items()},
        cycles=found["cycles"],
        first_latency_cycles=found["first_latency_cycles"],
        interval_cycles=found["interval_cycles"],
        resets=found["resets"],
        simulator=f"cocotb, {simulator} {version}",
    )


def _job(design: Design, stimulus: Stimulus, taps: tuple[Tap, ...], folder: Path) -> dict[str, Any]:
    fields = {name: getattr(stimulus, name) for name in ("idle", "stall", "burst", "cyclic", "seed", "patience_cycles")}
    return {
        "stimulus": {
            **fields,
            "frames": [[f"{word:x}" for word in frame] for frame in stimulus.frames],
            "reset_at": list(stimulus.reset_at),
        },
        "output_words": design.output_words,
        "taps": [[tap.layer, tap.words] for tap in taps],
        "result": str(folder / "result.json"),
    }


def _integers(frames: list[list[str]]) -> list[list[int]]:
    return [[int(word, 16) for word in frame] for frame in frames]


def _build_icarus(folder: Path, sources: list[Path], models: CellModels) -> str:
    version = find_icarus()
    arguments = ["iverilog", "-o", "sim.vvp", "-s", BENCH_MODULE, "-g2012"]
    arguments += [f"-D{name}" for name in models.defines]
    command([*arguments, *sources], folder=folder, log="build.log", what="iverilog")
    return version


def _build_verilator(folder: Path, sources: list[Path], models: CellModels) -> str:
    """As cocotb's own runner does, but only the wrapper's ports are public: more of them cost most of the speed."""
    from cocotb_tools import config

    tool = find_verilator()
    libraries = config.libs_dir
    arguments = ["--vpi", "--timescale", "1ns/1ps", "-LDFLAGS"]
    arguments += [f"-Wl,-rpath,{libraries} -L{libraries} -lcocotbvpi_verilator"]
    arguments += [str(config.share_dir / "lib" / "verilator" / "verilator.cpp")]
    verilate(tool, folder, sources=sources, models=models, top=BENCH_MODULE, prefix="Vtop", arguments=arguments)
    (folder / "objects" / "Vtop").replace(folder / BENCH_MODULE)
    return tool.version


def _test(folder: Path, job: dict[str, Any], simulator: str) -> dict[str, Any]:
    from cocotb_tools.runner import get_runner

    from xnorweave.sim.cocotb_driver import JOB_VARIABLE

    job_file = folder / "job.json"
    job_file.write_text(json.dumps(job))
    log = folder / "simulation.log"
    runner: Any = get_runner(simulator)  # its way to run commands is not its type's
    runner.build_dir = folder
    runner._execute = partial(_execute, runner, folder, log.name, "vvp" if simulator == "icarus" else simulator)
    try:
        runner.test(
            test_module=_DRIVER,
            hdl_toplevel=BENCH_MODULE,
            hdl_toplevel_lang="verilog",
            build_dir=folder,
            test_dir=folder,
            results_xml=str(folder / "results.xml"),
            extra_env={JOB_VARIABLE: str(job_file), "COCOTB_LOG_LEVEL": "WARNING"},
        )
    except ToolchainError:
        raise
    except (Exception, SystemExit) as error:
        raise ToolchainError(f"{simulator} under cocotb failed: {error}; end of {log}:\n{log_tail(log)}") from error
    result = Path(job["result"])
    if not result.exists():
        raise ToolchainError(f"{simulator} under cocotb gave no result; end of {log}:\n{log_tail(log)}")
    try:
        found = json.loads(result.read_text("utf-8"))
    except ValueError as error:  # text that is none is one, too
        raise ToolchainError(
            f"{simulator} under cocotb: {result} is no result ({error}); free some space on the disk"
        ) from error
    if "error" in found:
        raise MismatchError(f"{simulator}: {found['error']}")
    return found


def _execute(runner: Any, folder: Path, log: str, what: str, commands: Sequence[Sequence[str]], cwd: Any) -> None:
    """In place of cocotb's own way to run a simulator, which has no time limit."""
    environment = {name: value for name, value in runner.env.items() if os.environ.get(name) != value}
    for line in commands:
        command(line, folder=folder, log=log, what=what, environment=environment)
