"""A core behind its serial link, and the host's own protocol code, over a wire that is bad.

The hardware is the emitted Verilog of UART, link and a small core, in Verilator; what is sent next, and which answers
are believed, is for `xnorweave.boards.exchange.Exchange`, and packets for `xnorweave.boards.packets`, as with a board.
"""

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from trials.records import Case, Trial, versions
from trials.wire import BYTE_FAULTS, CYCLE, WIRE_FAULTS, Piece, Transmission, packed
from xnorweave.boards.exchange import Exchange, SequenceNumbers
from xnorweave.boards.packets import DELIMITER, Decoder, Kind, Packet, Refusal, Result, packet_bytes
from xnorweave.emit import emit_verilog
from xnorweave.sim.simulators import find_verilator, verilate
from xnorweave.sim.wrapper import CellModels

__all__ = ["FRAMES_PER_CASE", "TRIAL", "Conversation", "LinkProgram", "compile_link"]

FRAMES_PER_CASE = 100
_SUPPORT = Path(__file__).parents[2] / "tests" / "support"
_DIVISOR = 8
_BAUD_ERROR = 0.03
_TRIES = 40
_DISTURBED = 0.6
_SETTLE_BITS = 12  # a wire that was disturbed is idle for more than a byte, so that the next start bit is one
_ANSWER_BITS = 900  # an answer of 16 bytes, twice over, and the time to build it
# What the core is, by seed: a frame at a time and at once; slow, with room for two frames and wide words.
_CORES: tuple[dict[str, Any], ...] = (
    {},
    {"input_bits": 12, "output_bits": 12, "input_words": 9, "buffer_frames": 2, "pace": 40, "latency": 60},
)

Answer = Callable[[bytes], int]


@dataclass(frozen=True, kw_only=True)
class LinkProgram:
    """A compiled board.

    Parameters
    ----------
    program : Path
        What to run.
    dut : SerialCore
        What it simulates.
    """

    program: Path
    dut: Any

    def frame(self, rng: random.Random) -> tuple[bytes, int]:
        """A frame's payload, and the word that answers it."""
        payload, answer = self.dut.inner.frame(rng)
        return payload, int.from_bytes(answer, "little")


@cache
def compile_link(folder: Path, number: int) -> LinkProgram:
    """Compile one of the cores into a folder, once."""
    sys.path.insert(0, str(_SUPPORT))
    try:
        from linked_core import SerialCore
    finally:
        sys.path.remove(str(_SUPPORT))
    dut = SerialCore(divisor=_DIVISOR, **_CORES[number])
    place = folder / f"link-{number}"
    place.mkdir()
    (place / "link.v").write_text(emit_verilog(dut, "link", []), "utf-8")
    verilate(
        find_verilator(),
        place,
        sources=[place / "link.v"],
        models=CellModels(),
        top="link",
        prefix="Vlink",
        arguments=["-O3", Path(__file__).with_name("link_bench.cpp")],
    )
    return LinkProgram(program=place / "objects" / "Vlink", dut=dut)


class Conversation:
    """Frames of one seed, and what came back.

    Parameters
    ----------
    board : LinkProgram
        Who answers.
    seed : int
        Of frames, faults and baud rate.
    frames : int
        How many.
    disturb : float
        Share of the transmissions that something happens to.

    Attributes
    ----------
    failures : list of str
        What went wrong.
    counts : Counter
        What was done.
    """

    def __init__(self, board: LinkProgram, seed: int, frames: int, disturb: float = _DISTURBED) -> None:
        self._rng = random.Random(seed)
        self._board, self._disturb = board, disturb
        self._frames = [board.frame(self._rng) for _ in range(frames)]
        inner = board.dut.inner
        self._word_bytes = -(-inner.output_bits // 8)
        self._exchange = Exchange(frames, window=2, tries=_TRIES, sequence=SequenceNumbers(seed))
        self._decoder = Decoder(self._word_bytes + 4)
        self._wanted: dict[int, int] = {}  # word by the number of the frame that had it last
        self._answered: set[int] = set()
        error = self._rng.choice((0, -_BAUD_ERROR, _BAUD_ERROR, self._rng.uniform(-_BAUD_ERROR, _BAUD_ERROR)))
        self._period = round(_DIVISOR * CYCLE * (1 + error))
        self.failures: list[str] = []
        self.counts: Counter[str] = Counter()

    def run(self) -> None:
        """Until every frame has a result: one transmission that may be disturbed, a good one behind it, and answers."""
        with subprocess.Popen([self._board.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as self._process:
            self._send([(1, 20 * self._period)])
            while not self._exchange.is_done and not self.failures:
                self._round()
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._compare()

    def _round(self) -> None:
        pieces: list[Piece] = []
        if self._rng.random() < self._disturb and (sent := self._exchange.next()):
            pieces = self._disturbed(*sent)
        sent = self._exchange.next()
        if sent is not None:
            pieces += self._transmission(*sent).pieces()
        number = None if sent is None else sent[0]
        if number is not None:
            self._answered.discard(number)
        self._hear(self._send([*pieces, (1, _ANSWER_BITS * self._period)]))
        if number is not None and number not in self._answered:
            self.failures.append(f"frame {number} behind a delimiter was not answered")
        self._exchange.give_up_waiting()

    def _transmission(self, number: int, frame: int) -> Transmission:
        payload, self._wanted[number] = self._frames[frame]
        packet = Packet(kind=Kind.FRAME, sequence=number, payload=payload)
        gap = self._rng.choice((0, 0, self._rng.randrange(3 * self._period)))
        self.counts["transmissions"] += 1
        return Transmission(data=DELIMITER + packet_bytes(packet), period=self._period, gap=gap)

    def _disturbed(self, number: int, frame: int) -> list[Piece]:
        """A transmission to which one or two things happen."""
        sent = self._transmission(number, frame)
        wire = []
        for _ in range(self._rng.randrange(1, 3)):
            name = self._rng.choice([*BYTE_FAULTS, *WIRE_FAULTS])
            self.counts[name] += 1
            if name in BYTE_FAULTS:
                sent.data = BYTE_FAULTS[name](self._rng, sent.data or DELIMITER)
            else:
                wire.append(WIRE_FAULTS[name])
        pieces = sent.pieces()
        for fault in wire:
            pieces = fault(self._rng, pieces or [(1, self._period)], self._period)
        return [*pieces, (1, _SETTLE_BITS * self._period)] if wire else pieces

    def _send(self, pieces: list[Piece]) -> bytes:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        head = self._period.to_bytes(4, "little") + len(pieces).to_bytes(4, "little")
        stdin.write(head + packed(pieces))
        stdin.flush()
        count, broken = (int.from_bytes(stdout.read(4), "little") for _ in range(2))
        if broken:
            self.failures.append(f"{broken} bytes from the board without a stop bit")
        return stdout.read(count)

    def _hear(self, data: bytes) -> None:
        dropped = self._decoder.dropped
        for packet in self._decoder.feed(data):
            self._take(packet)
        if self._decoder.dropped != dropped:
            self.failures.append("a packet from the board that is not whole")

    def _take(self, packet: Packet) -> None:
        number = packet.sequence
        if packet.kind == Kind.REFUSED and packet.payload == bytes([Refusal.NO_ROOM]):
            self.counts["refusals"] += 1
            self._answered.add(number)
            self._exchange.take_refusal(number)
            return
        result = Result.of(packet.payload, self._word_bytes) if packet.kind == Kind.RESULT else None
        if result is None:
            self.failures.append(f"a packet nobody asked for: {packet}")
        elif number not in self._wanted or result.word != self._wanted[number]:
            self.failures.append(f"a wrong answer: {result.word} to frame {number}, not {self._wanted.get(number)}")
        else:
            self._answered.add(number)
            self._exchange.take_result(number, result)
            self.counts["answers"] += 1

    def _compare(self) -> None:
        """What the host believes, against what it sent."""
        for frame, (result, (_, word)) in enumerate(zip(self._exchange.results, self._frames, strict=True)):
            if result is not None and result.word != word:
                self.failures.append(f"the host believes {result.word} of frame {frame}, which is {word}")
            self.counts["frames"] += result is not None


def run(seed: int, folder: Path) -> Case:
    """A hundred frames."""
    conversation = Conversation(compile_link(folder, seed % len(_CORES)), seed, FRAMES_PER_CASE)
    conversation.run()
    return Case(failures=tuple(conversation.failures), counts=conversation.counts)


TRIAL = Trial(
    name="link",
    title="flips, drops, repeats, truncations, noise, glitches and breaks on the serial line, baud off by up to 3 %",
    full=100_000 // FRAMES_PER_CASE,
    checked=f"{FRAMES_PER_CASE} frames by the host's own protocol code through UART, link and a small core "
    "(Verilator): no wrong answer, no packet that is not whole; behind whatever happened a delimiter and a good "
    "frame are answered",
    run=run,
    tools=partial(versions, "amaranth", "verilator", "yosys"),
)
