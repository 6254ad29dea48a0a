"""Run images through a design in any simulator and compare with the golden model."""

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from xnorweave.design import Design, Tap
from xnorweave.errors import DataError, MismatchError, ToolchainError
from xnorweave.network import Network
from xnorweave.processes import scratch
from xnorweave.sim import golden
from xnorweave.sim.amaranth_bench import run_amaranth
from xnorweave.sim.bench import BenchResult, Progress, Stimulus
from xnorweave.sim.cocotb_bench import run_cocotb
from xnorweave.sim.simulators import find_icarus, find_verilator
from xnorweave.sim.vectors import Mismatch, first_mismatch, input_words, tap_values
from xnorweave.sim.verilator_bench import compile_bench

__all__ = ["Pattern", "SimulationReport", "SimulatorName", "simulate", "usable_simulators"]

SimulatorName = Literal["golden", "amaranth", "icarus", "verilator"]

_BATCH_FRAMES = 256


class _Core(Protocol):
    """What `xnorweave.core.Core` has."""

    taps: tuple[Tap, ...]
    tap_streams: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """How frames are offered and taken; see `Stimulus` for the fields."""

    idle: float = 0.0
    stall: float = 0.0
    burst: int = 1
    cyclic: bool = False
    seed: int = 0
    reset_at: tuple[int, ...] = ()
    patience_cycles: int = 200_000


@dataclass(frozen=True, kw_only=True)
class SimulationReport:
    """What a simulation found.

    Parameters
    ----------
    simulator : str
        Which, with its version.
    images : int
        How many ran.
    mismatches : int
        Images whose output differs from the golden model's.
    cycles_per_image : int, optional
        Cycles between the ends of successive images, or the latency of a single one; None of the golden model.
    first_latency_cycles : int, optional
        From the first input word of the first image to its last output word.
    first_mismatch : Mismatch, optional
        Where the first difference is: with taps in the first layer that differs, else in the output.
    correct : int, optional
        Images whose output is their label; None where there are no labels.
    outputs : array
        Class indices [N] after an ArgMax, else the last layer's values [N, channels, height, width].
    """

    simulator: str
    images: int
    mismatches: int
    cycles_per_image: int | None = None
    first_latency_cycles: int | None = None
    first_mismatch: Mismatch | None = None
    correct: int | None = None
    outputs: NDArray = field(repr=False)

    def report(self) -> dict[str, Any]:
        """Parts ``simulation`` and, with labels, ``accuracy`` of ``report.json``."""
        simulation: dict[str, Any] = {
            "simulator": self.simulator,
            "images": self.images,
            "mismatches": self.mismatches,
        }
        if self.cycles_per_image is not None:
            simulation |= {"cycles_per_image": self.cycles_per_image, "first_latency_cycles": self.first_latency_cycles}
        if self.first_mismatch is not None:
            simulation["first_mismatch"] = str(self.first_mismatch)
        if self.correct is None:
            return {"simulation": simulation}
        percent = round(100 * self.correct / self.images, 4)
        return {
            "simulation": simulation,
            "accuracy": {"images": self.images, "correct": self.correct, "percent": percent},
        }


def usable_simulators() -> tuple[SimulatorName, ...]:
    """Simulators that this machine can run."""
    usable: list[SimulatorName] = ["golden", "amaranth"]
    if importlib.util.find_spec("cocotb") is not None and _found(find_icarus):
        usable.append("icarus")
    if _found(find_verilator):
        usable.append("verilator")
    return tuple(usable)


def _found(find: Callable[[], object]) -> bool:
    try:
        find()
    except ToolchainError:
        return False
    return True


def simulate(
    network: Network,
    frames: NDArray[np.uint8],
    *,
    simulator: SimulatorName,
    design: Design | None = None,
    core: Any = None,
    labels: NDArray[np.integer] | None = None,
    taps: bool = False,
    pattern: Pattern | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> SimulationReport:
    """Run frames through the design and compare every output with the golden model.

    Parameters
    ----------
    network : Network
        What the design computes.
    frames : uint8 array [N, channels, height, width]
        Images.
    simulator : {"golden", "amaranth", "icarus", "verilator"}
        Icarus runs under cocotb, Verilator with a C++ bench.
    design : Design, optional
        The emitted core; needed by Icarus and Verilator.
    core : xnorweave.core.Core, optional
        The Amaranth core; needed by ``amaranth``.
    labels : int array [N], optional
        Correct classes.
    taps : bool
        Watch every layer, and name the first that differs.
    pattern : Pattern, optional
        Idle and stall cycles and resets; none by default.
    folder : Path, optional
        Where a compiled Verilator bench is kept for the next call.
    progress : Progress, optional
        Called with images done and images in all.

    Raises
    ------
    DataError
        Where frames or labels do not fit the network, or the design is not given.
    MismatchError
        Where the design breaks the stream protocol or is deadlocked; wrong values are counted in the report instead.
    ToolchainError
        Where the simulator is missing or does not take the design.
    """
    if simulator not in get_args(SimulatorName):
        raise DataError(f"simulator {simulator!r}: not one of {', '.join(get_args(SimulatorName))}")
    if labels is not None and len(labels) != len(frames):
        raise DataError(f"{len(labels)} labels for {len(frames)} images; give one for each")
    expected = golden.run(network, frames, keep_layers=taps)
    if simulator == "golden":
        return SimulationReport(
            simulator="golden",
            images=len(frames),
            mismatches=0,
            correct=_correct(expected.outputs, labels),
            outputs=expected.outputs,
        )
    watched = _taps(simulator, design, core)
    runs = _runs(network, frames, simulator, design, core, taps, pattern or Pattern(), folder, progress)
    return _compare(list(runs), watched, expected, labels)


def _taps(simulator: SimulatorName, design: Design | None, core: _Core | None) -> tuple[Tap, ...]:
    source = core if simulator == "amaranth" else design
    if source is None:
        what = "the Amaranth core" if simulator == "amaranth" else "the emitted design"
        raise DataError(f"simulator {simulator}: {what} is not given; generate it first")
    return source.taps


def _runs(
    network: Network,
    frames: NDArray[np.uint8],
    simulator: SimulatorName,
    design: Design | None,
    core: Any,
    taps: bool,
    pattern: Pattern,
    folder: Path | None,
    progress: Progress | None,
) -> Iterator[BenchResult]:
    if simulator == "verilator":
        assert design is not None
        yield from _verilator_runs(network, frames, design, taps, pattern, folder, progress)
        return
    stimulus = _stimulus(network, frames, pattern)
    if simulator == "amaranth":
        inner = {tap.layer: (core.tap_streams[tap.layer], tap.words) for tap in core.taps} if taps else {}
        yield run_amaranth(core, stimulus, output_words=core.taps[-1].words, taps=inner, progress=progress)
        return
    assert design is not None
    yield run_cocotb(design, stimulus, simulator="icarus", taps=design.taps if taps else ())
    if progress:
        progress(len(frames), len(frames))


def _verilator_runs(
    network: Network,
    frames: NDArray[np.uint8],
    design: Design,
    taps: bool,
    pattern: Pattern,
    folder: Path | None,
    progress: Progress | None,
) -> Iterator[BenchResult]:
    with scratch("verilator") as temporary:
        compiled = compile_bench(design, folder or temporary, taps=design.taps if taps else ())
        for start in range(0, len(frames), _BATCH_FRAMES):
            batch = frames[start : start + _BATCH_FRAMES]
            # Every batch with idle and stall cycles of its own.
            yield compiled.run(_stimulus(network, batch, replace(pattern, seed=pattern.seed + start)))
            if progress:
                progress(start + len(batch), len(frames))


def _stimulus(network: Network, frames: NDArray[np.uint8], pattern: Pattern) -> Stimulus:
    return Stimulus(
        frames=input_words(network, frames),
        idle=pattern.idle,
        stall=pattern.stall,
        burst=pattern.burst,
        cyclic=pattern.cyclic,
        seed=pattern.seed,
        reset_at=pattern.reset_at,
        patience_cycles=pattern.patience_cycles,
    )


def _compare(
    runs: list[BenchResult], taps: tuple[Tap, ...], expected: golden.GoldenResult, labels: NDArray[np.integer] | None
) -> SimulationReport:
    last = taps[-1]
    wanted = expected.outputs
    shape = wanted.reshape(len(wanted), -1, 1, 1).shape[1:] if wanted.ndim == 1 else wanted.shape[1:]
    words = [frame for run in runs for frame in run.outputs]
    outputs = tap_values(last, words, (shape[0], shape[1], shape[2])).reshape(wanted.shape)
    wrong = (outputs != wanted).reshape(len(wanted), -1).any(axis=1)
    mismatch = _first_layer_mismatch(runs, taps, expected) or first_mismatch(last, words, wanted)
    first = runs[0]
    interval = first.interval_cycles
    return SimulationReport(
        simulator=first.simulator,
        images=len(wanted),
        mismatches=int(wrong.sum()),
        cycles_per_image=first.first_latency_cycles if interval is None else interval,
        first_latency_cycles=first.first_latency_cycles,
        first_mismatch=mismatch,
        correct=_correct(outputs, labels),
        outputs=outputs,
    )


def _first_layer_mismatch(
    runs: list[BenchResult], taps: tuple[Tap, ...], expected: golden.GoldenResult
) -> Mismatch | None:
    for tap in taps:
        if tap.layer not in runs[0].taps:
            continue
        if tap.layer not in expected.layers:
            raise MismatchError(f"tap {tap.layer}: the golden model has no such layer; correct the tap")
        words = [frame for run in runs for frame in run.taps[tap.layer]]
        mismatch = first_mismatch(tap, words, expected.layers[tap.layer])
        if mismatch is not None:
            return mismatch
    return None


def _correct(outputs: NDArray, labels: NDArray[np.integer] | None) -> int | None:
    if labels is None:
        return None
    classes = outputs if outputs.ndim == 1 else outputs.reshape(len(outputs), -1).argmax(axis=1)
    return int(np.count_nonzero(classes == labels))
