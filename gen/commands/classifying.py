"""The command about a board that is running: classify."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from xnorweave.boards.host import Board, Classification, network_id
from xnorweave.boards.packets import DIGEST_BYTES, Result, Status, digest
from xnorweave.boards.simulated import Faults, SimulatedBoard
from xnorweave.commands.options import ClassifyOptions
from xnorweave.commands.source import Report, head
from xnorweave.console import Stages
from xnorweave.errors import DeviceError, UnsupportedError
from xnorweave.images import ImageSet
from xnorweave.network import ArgMax, Network
from xnorweave.processes import scratch
from xnorweave.sim.frame_core import FrameCore, amaranth_core, golden_core, verilator_core
from xnorweave.sim.run import usable_simulators

__all__ = ["classify", "simulated_board"]

_BUFFER_FRAMES = 4
_FEW_IMAGES = 8
_SIMULATION_PATIENCE_S = 120.0


def classify(
    network: Network, names: Sequence[str], images: ImageSet, options: ClassifyOptions, stages: Stages
) -> Report:
    """Run the images through a board; gives ``classification`` and, where there are labels, ``accuracy``.

    Parameters
    ----------
    network : Network
        What the board is to hold.
    names : sequence of str
        Of the images.
    images : ImageSet
        What to classify.
    options : ClassifyOptions
        Which board.
    stages : Stages
        Told how far it is.

    Raises
    ------
    DeviceError
        Where there is no such board, it holds another network, or does not answer.
    """
    if options.port is not None:
        with Board(options.port, network, baud=options.baud, timeout_s=options.timeout_s) as board:
            return _classified(board, network, names, images, stages, {"port": options.port, "baud": options.baud})
    simulator = options.simulator or _fastest(len(images.frames))
    with simulated_board(network, simulator, stages) as simulated:
        try:
            with Board(simulated.port, network, timeout_s=_SIMULATION_PATIENCE_S) as board:
                return _classified(board, network, names, images, stages, {"board": f"simulated by {simulator}"})
        except DeviceError as e:
            if simulated.error is not None:
                raise simulated.error from e
            raise


def _classified(
    board: Board, network: Network, names: Sequence[str], images: ImageSet, stages: Stages, where: dict[str, Any]
) -> Report:
    count = len(images.frames)
    named = ", ".join(f"{name} {value}" for name, value in where.items())
    stages.start(f"classifying {count} images on {named}", count)
    done = board.classify(images.frames, lambda frames, _: stages.advance(frames))
    status = board.status()
    facts = where | {"network": status.network.hex()}
    facts |= {"build": status.build.hex()} if any(status.build) else {}
    part = facts | _measured(done, status) | {"frames": _rows(network, names, images, done)}
    return head(network) | {"classification": part} | _accuracy(images, done)


def _measured(done: Classification, status: Status) -> dict[str, Any]:
    """Throughput, cycles where the board counts them, and what went wrong on the line."""
    least, most = int(done.cycles.min()), int(done.cycles.max())
    cycles = {"cycles_per_frame": round(float(done.cycles.mean()), 1), "cycles_least": least, "cycles_most": most}
    clock = {"clock_mhz": status.clock_hz / 1e6} if status.clock_hz else {}
    return {
        "images": len(done.results),
        "seconds": round(done.seconds, 6),
        "frames_per_second": round(done.frames_per_second, 2),
        **(cycles if most else {}),
        **clock,
        "sent_again": done.sent_again,
        "answers_ignored": done.ignored,
        "packets_dropped_here": done.dropped,
        "packets_dropped_there": status.dropped,
    }


def _rows(network: Network, names: Sequence[str], images: ImageSet, done: Classification) -> list[dict[str, Any]]:
    rows = []
    for number, (name, result) in enumerate(zip(names, done.results, strict=True)):
        row: dict[str, Any] = {"image": name}
        if done.classes is None:
            row["word"] = f"{result.word:#x}"
        else:
            row |= {"class": result.word, "label": _label(network, result.word)}
            if images.labels is not None:
                expected = int(images.labels[number])
                row |= {"expected": _label(network, expected), "right": expected == result.word}
        rows.append(row | ({"cycles": result.cycles} if result.cycles else {}))
    return rows


def _label(network: Network, number: int) -> str:
    return network.classes[number] if 0 <= number < len(network.classes) else str(number)


def _accuracy(images: ImageSet, done: Classification) -> dict[str, Any]:
    if images.labels is None or done.classes is None:
        return {}
    correct, count = int(np.count_nonzero(done.classes == images.labels)), len(images.labels)
    return {"accuracy": {"images": count, "correct": correct, "percent": round(100 * correct / count, 4)}}


def _fastest(count: int) -> str:
    """What counts cycles and is done first: Verilator's compiler takes longer than Amaranth for a few images."""
    return "verilator" if count > _FEW_IMAGES and "verilator" in usable_simulators() else "amaranth"


@contextmanager
def simulated_board(
    network: Network, simulator: str, stages: Stages, *, faults: Faults | None = None
) -> Iterator[SimulatedBoard]:
    """A board that holds the network, with a core simulated by ``golden``, ``amaranth`` or ``verilator``.

    Raises
    ------
    UnsupportedError
        For another simulator, and where the network gives more than one word a frame.
    ToolchainError
        Where the simulator is missing.
    """
    with _core(network, simulator, stages) as (core, output_bits, build):
        channels, height, width = network.input.shape
        word_bytes = channels if network.input.kind == "pixels" else -(-channels // 8)

        def compute(frame: bytes) -> Result:
            words = [int.from_bytes(frame[at : at + word_bytes], "little") for at in range(0, len(frame), word_bytes)]
            answer = core(words)
            return Result(word=answer.word, cycles=answer.cycles)

        status = Status(
            network=network_id(network),
            build=build,
            frame_bytes=word_bytes * height * width,
            word_bytes=-(-output_bits // 8),
            buffer_frames=_BUFFER_FRAMES,
        )
        with SimulatedBoard(compute, status, faults) as board:
            yield board


@contextmanager
def _core(network: Network, simulator: str, stages: Stages) -> Iterator[tuple[FrameCore, int, bytes]]:
    """The core, the bits of its result, and the digest of its Verilog (zeros where there is none)."""
    match simulator:
        case "golden":
            classes = network.shapes[-2][0] if isinstance(network.layers[-1], ArgMax) else 1
            yield golden_core(network), max(1, (classes - 1).bit_length()), bytes(DIGEST_BYTES)
        case "amaranth":
            from xnorweave.lower import lower

            stages.start(f"building {network.name} in Amaranth")
            core: Any = lower(network, strategy="auto")
            yield amaranth_core(core), len(core.o.payload), bytes(DIGEST_BYTES)
        case "verilator":
            from xnorweave.emit import emit

            stages.start(f"generating the Verilog of {network.name}")
            design = emit(network, strategy="auto")
            with scratch("verilator") as folder:
                stages.start("compiling it with Verilator")
                yield verilator_core(design, folder), design.output_bits, digest(design.verilog.encode())
        case _:
            raise UnsupportedError(f"simulator {simulator}: takes no single frames; give golden, amaranth or verilator")
