"""Run an emitted core, or its netlist, in Verilator with a C++ bench: for many frames."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from xnorweave.design import Design, Tap
from xnorweave.errors import MismatchError, ToolchainError
from xnorweave.processes import scratch
from xnorweave.sim import bench
from xnorweave.sim.bench import BenchResult, Stimulus, StreamCount
from xnorweave.sim.simulators import command, find_verilator, verilate
from xnorweave.sim.wrapper import BENCH_MODULE, CellModels, flag_bits, wrap, write_sources

__all__ = ["CompiledBench", "compile_bench", "run_verilator"]

_PREFIX = "Vbench"
_PROGRAM = "xnorweave-bench"
_DONE, _NOT_HELD, _UNKNOWN, _SURPLUS, _DEADLOCK = range(5)


@dataclass(frozen=True, kw_only=True)
class CompiledBench:
    """A program that runs one core.

    Parameters
    ----------
    folder : Path
        Of the program, the jobs and the logs.
    design : Design
        The core.
    taps : tuple of Tap
        Streams that it records besides the output.
    version : str
        Verilator's.
    """

    folder: Path
    design: Design
    taps: tuple[Tap, ...]
    version: str

    @property
    def streams(self) -> list[tuple[str, int, int]]:
        """Name, words per frame and bits per word of the output and of each tap."""
        inner = [(f"tap {tap.layer}", tap.words, tap.lanes * tap.lane_bits) for tap in self.taps]
        return [("o", self.design.output_words, self.design.output_bits), *inner]

    def run(self, stimulus: Stimulus) -> BenchResult:
        """Send the stimulus through the core.

        Raises
        ------
        MismatchError
            Where a stream does not hold its payload, gives a word too many, or the design is deadlocked.
        """
        job, result = self.folder / "job.bin", self.folder / "result.bin"
        job.write_bytes(_job_bytes(self, stimulus))
        result.unlink(missing_ok=True)
        command([self.folder / _PROGRAM, job, result], folder=self.folder, log="simulation.log", what="verilated bench")
        return _read_result(self, stimulus, result.read_bytes())


def run_verilator(
    design: Design,
    stimulus: Stimulus,
    *,
    taps: tuple[Tap, ...] = (),
    models: CellModels | None = None,
    folder: Path | None = None,
) -> BenchResult:
    """Compile a core and send the stimulus through it; see `compile_bench`."""
    if folder is not None:
        return compile_bench(design, folder, taps=taps, models=models).run(stimulus)
    with scratch("verilator") as temporary:
        return compile_bench(design, temporary, taps=taps, models=models).run(stimulus)


def compile_bench(
    design: Design, folder: Path, *, taps: tuple[Tap, ...] = (), models: CellModels | None = None
) -> CompiledBench:
    """Compile a core with the C++ bench, or find it compiled in this folder.

    Parameters
    ----------
    design : Design
        The core.
    folder : Path
        Gets a subfolder named by a hash of everything that goes in.
    taps : tuple of Tap
        Inner streams to record.
    models : CellModels, optional
        Cells of a netlist.

    Raises
    ------
    ToolchainError
        Where Verilator or the C++ compiler is missing or fails.
    """
    models = CellModels() if models is None else models
    tool = find_verilator()
    program = (resources.files("xnorweave.sim") / "bench.cpp").read_text(encoding="utf-8")
    parts = [tool.version, design.verilog, wrap(design, taps), program, models.text, *models.defines]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    place = folder.resolve() / f"verilator-{digest}"
    compiled = CompiledBench(folder=place, design=design, taps=taps, version=tool.version)
    if (place / _PROGRAM).exists():
        return compiled
    place.mkdir(parents=True, exist_ok=True)
    sources = write_sources(place, design, taps, models)
    (place / "bench.cpp").write_text(program)
    (place / "bench_config.h").write_text(_config(compiled))
    verilate(
        tool,
        place,
        sources=sources,
        models=models,
        top=BENCH_MODULE,
        prefix=_PREFIX,
        arguments=["-O3", "--x-assign", "fast", "--x-initial", "fast", place / "bench.cpp"],
    )
    (place / "objects" / _PREFIX).replace(place / _PROGRAM)
    return compiled


def _config(compiled: CompiledBench) -> str:
    streams = compiled.streams
    listed = " ".join(f"X({number}, {bits})" for number, (_, _, bits) in enumerate(streams))
    return (
        f"#define INPUT_BITS {compiled.design.input_bits}\n"
        f"#define FLAG_BITS {flag_bits(len(streams))}\n"
        f"#define STREAMS(X) {listed}\n"
    )


def _chunks(bits: int) -> int:
    return (bits + 31) // 32


def _job_bytes(compiled: CompiledBench, stimulus: Stimulus) -> bytes:
    resets = sorted(set(stimulus.reset_at))
    mask = (1 << 64) - 1
    header = [
        len(stimulus.frames),
        len(stimulus.frames[0]),
        int(stimulus.idle * (1 << 32)),
        int(stimulus.stall * (1 << 32)),
        stimulus.burst,
        int(stimulus.cyclic),
        2 * stimulus.seed & mask,
        2 * stimulus.seed + 1 & mask,
        stimulus.patience_cycles,
        bench.DRAIN_CYCLES,
        bench.RESET_CYCLES,
        len(compiled.streams),
        *(words for _, words, _ in compiled.streams),
        len(resets),
        *resets,
    ]
    size = 4 * _chunks(compiled.design.input_bits)
    return np.array(header, dtype="<u8").tobytes() + _packed(stimulus.frames, size)


def _packed(frames: Sequence[Sequence[int]], size: int) -> bytes:
    if size <= 8:
        return np.array(frames, dtype=f"<u{size}").tobytes()
    return b"".join(word.to_bytes(size, "little") for frame in frames for word in frame)


def _read_result(compiled: CompiledBench, stimulus: Stimulus, raw: bytes) -> BenchResult:
    frames, streams = len(stimulus.frames), compiled.streams
    numbers = 6 + len(streams) + 2 * frames
    if len(raw) < 8 * numbers:
        raise ToolchainError(
            f"verilated bench: result of {len(raw)} bytes, not {8 * numbers} or more; see {compiled.folder}"
        )
    head = [int(value) for value in np.frombuffer(raw, dtype="<u8", count=numbers)]
    status, at_fault, cycle, moved, resets, sent = head[:6]
    counts = head[6 : 6 + len(streams)]
    starts, ends = head[6 + len(streams) : numbers - frames], head[numbers - frames :]
    if status != _DONE:
        raise _error(compiled, stimulus, status, at_fault, cycle, moved, sent, counts)
    words, at = [], 8 * numbers
    for (_, per_frame, bits), count in zip(streams, counts, strict=True):
        size = 4 * _chunks(bits)
        words.append(_unpacked(raw[at : at + count * size], size, per_frame))
        at += count * size
    return BenchResult(
        outputs=words[0],
        taps={tap.layer: found for tap, found in zip(compiled.taps, words[1:], strict=True)},
        cycles=moved + 1,
        first_latency_cycles=ends[0] - starts[0],
        interval_cycles=bench.interval(ends),
        resets=resets,
        simulator=f"verilator {compiled.version}",
    )


def _unpacked(raw: bytes, size: int, per_frame: int) -> list[list[int]]:
    if size <= 8:
        return np.frombuffer(raw, dtype=f"<u{size}").reshape(-1, per_frame).tolist()
    flat = [int.from_bytes(raw[at : at + size], "little") for at in range(0, len(raw), size)]
    return [flat[at : at + per_frame] for at in range(0, len(flat), per_frame)]


def _error(
    compiled: CompiledBench,
    stimulus: Stimulus,
    status: int,
    at_fault: int,
    cycle: int,
    moved: int,
    sent: int,
    counts: list[int],
) -> MismatchError:
    progress = [
        StreamCount(name=name, words=count, per_frame=words)
        for (name, words, _), count in zip(compiled.streams, counts, strict=True)
    ]
    if status == _NOT_HELD:
        return bench.not_held(cycle, progress[at_fault])
    if status == _UNKNOWN:
        return bench.unknown_bits(cycle, progress[at_fault])
    if status == _SURPLUS:
        return bench.surplus(cycle, progress[at_fault])
    taken = StreamCount(name="i", words=sent, per_frame=len(stimulus.frames[0]))
    return bench.deadlock(cycle, cycle - moved, [taken, *progress])
