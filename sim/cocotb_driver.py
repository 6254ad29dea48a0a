"""The module that cocotb loads inside the simulator: one wake-up per clock cycle.

The job comes as JSON in the file that the variable `JOB_VARIABLE` names; the result goes into the file that the job
names. Errors go into the result as text, so that the caller raises them as its own.
"""

import json
import os
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from xnorweave.errors import MismatchError
from xnorweave.sim.bench import RESET_CYCLES, Session, Stimulus, not_held, unknown_bits

JOB_VARIABLE = "XNORWEAVE_BENCH_JOB"


def read_stimulus(job: dict[str, Any]) -> Stimulus:
    """Stimulus of a job; words travel as hexadecimal text, for they may be wider than JSON readers take."""
    fields = dict(job["stimulus"])
    fields["frames"] = [[int(word, 16) for word in frame] for frame in fields["frames"]]
    fields["reset_at"] = tuple(fields["reset_at"])
    return Stimulus(**fields)


@cocotb.test()
async def run(dut: Any) -> None:
    """Run the job and write the result."""
    job = json.loads(Path(os.environ[JOB_VARIABLE]).read_text())
    taps = [(layer, words) for layer, words in job["taps"]]
    session = Session(read_stimulus(job), job["output_words"], taps)
    result: dict[str, Any] = {}
    try:
        await _drive(dut, session, 1 + len(taps))
    except MismatchError as error:
        result["error"] = str(error)
    else:
        done = session.result("")
        result["outputs"] = _hexadecimal(done.outputs)
        result["taps"] = {layer: _hexadecimal(words) for layer, words in done.taps.items()}
        for name in ("cycles", "first_latency_cycles", "interval_cycles", "resets"):
            result[name] = getattr(done, name)
    Path(job["result"]).write_text(json.dumps(result))


def _hexadecimal(frames: list[list[int]]) -> list[list[str]]:
    return [[f"{word:x}" for word in frame] for frame in frames]


async def _drive(dut: Any, session: Session, streams: int) -> None:
    low = FallingEdge(dut.clk)
    rst, valid, payload, ready, flags_at = dut.rst, dut.i_valid, dut.i_payload, dut.o_ready, dut.flags
    words = [getattr(dut, f"word{stream}") for stream in range(streams)]
    for signal in (rst, valid, payload, ready):
        signal.value = 0
    Clock(dut.clk, 2, "ns").start(start_high=False)
    for level in (0, 1):
        rst.value = level
        for _ in range(RESET_CYCLES):
            await low
    driven: list[int] = [1, 0, 0, 0]
    going = True
    while going:
        _apply(session, driven, (rst, valid, payload, ready))
        await low
        flags = int(flags_at.value)
        transfers: list[tuple[int, int]] = []
        if flags > 1:
            _observe(flags, words, transfers, session)
        going = session.step(bool(flags & 1), transfers)


def _apply(session: Session, driven: list[int], signals: tuple[Any, ...]) -> None:
    wanted = (int(session.rst), int(session.valid), session.payload, int(session.ready))
    for number, value in enumerate(wanted):
        if value != driven[number]:
            signals[number].value = value
            driven[number] = value


def _observe(flags: int, words: list[Any], transfers: list[tuple[int, int]], session: Session) -> None:
    flags >>= 1
    stream = 0
    while flags:
        if flags & 2:
            raise not_held(session.cycle, session.count(stream))
        if flags & 4:
            raise unknown_bits(session.cycle, session.count(stream))
        if flags & 1:
            transfers.append((stream, int(words[stream].value)))
        flags >>= 3
        stream += 1
