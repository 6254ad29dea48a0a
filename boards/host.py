"""Classify images on a board: the host's side of `docs/reference/link.md` over a serial port."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from xnorweave.boards.exchange import MAX_WINDOW, Exchange, SequenceNumbers
from xnorweave.boards.link_format import DIGEST_BYTES
from xnorweave.boards.packets import Kind, Packet, Refusal, Result, Status, packet_bytes
from xnorweave.boards.serial_line import SerialLine
from xnorweave.errors import DataError, DeviceError, located
from xnorweave.images import pixel_bytes
from xnorweave.network import ArgMax, Network
from xnorweave.network_file import network_digest

__all__ = ["DEFAULT_BAUD", "Board", "Classification", "Run", "frame_payloads", "network_id"]

DEFAULT_BAUD = 1_000_000

_PAUSE_S = 0.005
_MOST_DOUBLINGS = 10
_SILENCES_TO_RESET = 2

Progress = Callable[[int, int], None]
"""Called with frames done and frames in all."""


def network_id(network: Network) -> bytes:
    """By what a board tells which network it holds."""
    return network_digest(network)[:DIGEST_BYTES]


def frame_payloads(network: Network, frames: NDArray[np.uint8]) -> list[bytes]:
    """What goes over the line for each frame: one word a pixel, channels innermost, low byte first.

    Parameters
    ----------
    network : Network
        Tells the frame's shape and whether a channel takes 8 bits (pixels) or 1 (bits).
    frames : uint8 array [N, channels, height, width]
        As the golden model takes them.

    Raises
    ------
    DataError
        Where the frames do not have the network's shape, type or values.
    """
    return [frame.tobytes() for frame in pixel_bytes(network, frames)]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a board gave for some frames.

    Parameters
    ----------
    results : tuple of Result
        Word and cycles of each frame.
    seconds : float
        From the first byte sent to the last result.
    sent_again : int
        Frames sent again, for want of an answer or of room on the board.
    ignored : int
        Answers that were late, copies, or to nothing asked.
    dropped : int
        Packets from the board that did not come whole.
    """

    results: tuple[Result, ...]
    seconds: float
    sent_again: int
    ignored: int
    dropped: int

    @property
    def frames_per_second(self) -> float:
        """Over the line, everything included."""
        return len(self.results) / self.seconds if self.seconds else 0.0

    @property
    def cycles(self) -> NDArray[np.int64]:
        """Of each frame, from its first word taken by the core to its result."""
        return np.array([result.cycles for result in self.results], np.int64)

    @property
    def words(self) -> tuple[int, ...]:
        """Result word of each frame."""
        return tuple(result.word for result in self.results)


@dataclass(frozen=True, kw_only=True)
class Classification(Run):
    """A run of a network.

    Parameters
    ----------
    classes : int array [N], optional
        Class index of each frame; None where the network ends in no ArgMax, so that only ``words`` tell.
    """

    classes: NDArray[np.int64] | None = None


class Board:
    """A board with a network on it, at a serial port; a context manager.

    Parameters
    ----------
    port : str
        Such as ``/dev/ttyUSB1``.
    network : Network, optional
        What the board is to hold. Where it is absent, only `run` and `status` can be used.
    baud : int
        As the board's build reports.
    timeout_s : float
        Longest silence after which something is sent again, besides the time that the line takes. Must be longer than
        the board takes for a frame.
    tries : int
        How often a question or a frame is sent at most.

    Raises
    ------
    DeviceError
        On entry: where the port cannot be opened, nothing answers, the protocol has another version, or the board
        holds another network. Later: where it stops to answer.

    Examples
    --------
    >>> with Board("/dev/ttyUSB1", network) as board:
    ...     print(board.classify(frames).classes)
    """

    def __init__(
        self,
        port: str,
        network: Network | None = None,
        *,
        baud: int = DEFAULT_BAUD,
        timeout_s: float = 1.0,
        tries: int = 8,
    ) -> None:
        for name, value in (("baud", baud), ("timeout_s", timeout_s), ("tries", tries)):
            if not value > 0:
                raise DeviceError(f"{port}: {name}={value!r} is not above 0")
        self.port, self.network = port, network
        self._baud, self._timeout_s, self._tries = baud, timeout_s, tries
        self._line: SerialLine | None = None
        self._status: Status | None = None
        self._settled = False

    def __enter__(self) -> "Board":
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Open the port, and check that it is the board wanted."""
        self.close()
        # Not always the same number: answers to an earlier host may still be on the line.
        sequence = SequenceNumbers(random.randrange(256))
        with located(self.port):
            self._line = SerialLine(
                self.port, baud=self._baud, timeout_s=self._timeout_s, tries=self._tries, sequence=sequence
            )
            try:
                self._status = self._line.ask(Kind.STATUS_REQUEST)
                _check(self._status, self.network)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close the port; it may be opened again."""
        if self._line is not None:
            self._line.close()
        self._line, self._status, self._settled = None, None, False

    def status(self) -> Status:
        """What the board tells of itself now."""
        with located(self.port):
            line, _ = self._opened()
            return line.ask(Kind.STATUS_REQUEST)

    def classify(self, frames: NDArray[np.uint8], progress: Progress | None = None) -> Classification:
        """Run frames of the network through the board.

        Parameters
        ----------
        frames : uint8 array [N, channels, height, width]
            As `xnorweave.images` gives them.
        progress : Progress, optional
            Called after each result.

        Raises
        ------
        DataError
            Where the frames do not fit the network.
        DeviceError
            Where the board does not answer as it should; there is never a wrong answer instead.
        """
        if self.network is None:
            raise DeviceError(f"{self.port}: opened without a network, so images cannot be coded; give one to Board")
        run = self.run(frame_payloads(self.network, frames), progress)
        with located(self.port):
            return Classification(**vars(run), classes=_classes(self.network, run.words))

    def run(self, payloads: Sequence[bytes], progress: Progress | None = None) -> Run:
        """Run frames through the board in the bytes in which they go over the line; see `classify`."""
        with located(self.port):
            line, status = self._opened()
            for frame, payload in enumerate(payloads):
                if len(payload) != status.frame_bytes:
                    raise DataError(f"frame {frame} has {len(payload)} bytes, the board takes {status.frame_bytes}")
            begin, dropped = time.monotonic(), line.dropped
            if not self._settled:
                line.ask(Kind.RESET)
            self._settled = False
            traffic = Exchange(len(payloads), window=status.buffer_frames, tries=self._tries, sequence=line.sequence)
            _Courier(line, traffic, payloads, status, progress).carry()
            self._settled = not (traffic.sent_again or traffic.ignored)
            return Run(
                results=tuple(result for result in traffic.results if result is not None),
                seconds=time.monotonic() - begin,
                sent_again=traffic.sent_again,
                ignored=traffic.ignored,
                dropped=line.dropped - dropped,
            )

    def _opened(self) -> tuple[SerialLine, Status]:
        if self._line is None or self._status is None:
            raise DeviceError("is not open; use `with Board(...)`, or open() it")
        return self._line, self._status


def _check(status: Status, network: Network | None) -> None:
    """See that the board holds the network."""
    if network is None:
        return
    wanted = network_id(network)
    if status.network != wanted:
        raise DeviceError(
            f"the board holds network {status.network.hex()}, but {network.name!r} is {wanted.hex()}; load the "
            f"bitstream built of {network.name!r}, or give the network that the board was built of"
        )
    channels, height, width = network.input.shape
    frame_bytes = height * width * (channels if network.input.kind == "pixels" else -(-channels // 8))
    if status.frame_bytes != frame_bytes:
        raise DeviceError(
            f"the board takes frames of {status.frame_bytes} bytes, those of {network.name!r} have {frame_bytes}; "
            "build its bitstream again"
        )


def _classes(network: Network, words: Sequence[int]) -> NDArray[np.int64] | None:
    if not isinstance(network.layers[-1], ArgMax):
        return None
    classes = network.shapes[-2][0]
    for frame, word in enumerate(words):
        if word >= classes:
            raise DeviceError(
                f"frame {frame}: the board gives class {word}, but {network.name!r} has {classes}; "
                "build its bitstream again"
            )
    return np.array(words, np.int64)


class _Courier:
    """Carries frames to the board and results back until every frame has one.

    The board is silent where no result comes for the time that its answer may take and the line needs for all frames
    on their way: then these are sent again, every second time after a reset of the board.
    """

    def __init__(
        self,
        line: SerialLine,
        traffic: Exchange,
        payloads: Sequence[bytes],
        status: Status,
        progress: Progress | None,
    ) -> None:
        self._line, self._traffic, self._payloads = line, traffic, payloads
        self._word_bytes = status.word_bytes
        self._progress = progress
        longest = packet_bytes(Packet(kind=Kind.FRAME, sequence=0, payload=bytes(status.frame_bytes)))
        window = min(status.buffer_frames, MAX_WINDOW)
        self._patience_s = line.timeout_s + line.seconds(window * (len(longest) + 1))
        self._pauses_s = (max(_PAUSE_S, line.seconds(len(longest))), line.timeout_s / 4)
        self._heard_at = time.monotonic()
        self._paused_until = 0.0
        self._refusals = 0
        self._silences = 0

    def carry(self) -> None:
        """Do all of it."""
        while not self._traffic.is_done:
            sent = self._send_one()
            for packet in self._line.receive(wait=not sent):
                self._take(packet)
            if time.monotonic() - self._heard_at > self._patience_s:
                self._be_patient_no_more()

    def _send_one(self) -> bool:
        if self._traffic.exhausted:
            self._reset()
        if time.monotonic() < self._paused_until:
            return False
        found = self._traffic.next()
        if found is None:
            return False
        number, frame = found
        self._line.send(Packet(kind=Kind.FRAME, sequence=number, payload=self._payloads[frame]))
        return True

    def _take(self, packet: Packet) -> None:
        if packet.kind == Kind.RESULT:
            self._take_result(packet)
        elif packet.kind == Kind.REFUSED and self._traffic.is_ours(packet.sequence):
            self._take_refusal(packet)
        else:
            self._traffic.ignored += 1

    def _take_result(self, packet: Packet) -> None:
        result = Result.of(packet.payload, self._word_bytes)
        if result is None:
            self._traffic.ignored += 1
        elif self._traffic.take_result(packet.sequence, result):
            self._heard_at, self._paused_until = time.monotonic(), 0.0
            self._refusals = self._silences = 0
            if self._progress is not None:
                self._progress(self._traffic.done, len(self._payloads))

    def _take_refusal(self, packet: Packet) -> None:
        why = packet.payload[0] if len(packet.payload) == 1 else 0
        if why in (Refusal.LENGTH, Refusal.KIND):
            raise DeviceError(
                f"the board refuses a frame for its {Refusal(why).name.lower()}, though its status says otherwise; "
                "open the port again, and see what the board holds"
            )
        if why == Refusal.NO_ROOM and self._traffic.take_refusal(packet.sequence):
            # Longer each time, as a slow board would else be asked until there are no numbers left.
            least_s, most_s = self._pauses_s
            self._paused_until = time.monotonic() + min(least_s * 2**self._refusals, max(least_s, most_s))
            self._refusals = min(self._refusals + 1, _MOST_DOUBLINGS)

    def _be_patient_no_more(self) -> None:
        self._silences += 1
        if self._silences >= self._line.tries:
            raise DeviceError(
                f"no result for {self._line.tries} times {self._patience_s:.3g} s, {self._traffic.done} of "
                f"{len(self._payloads)} frames done; check power and cable, and load the bitstream again"
            )
        self._traffic.give_up_waiting()
        if self._silences % _SILENCES_TO_RESET == 0:
            self._reset()
        self._heard_at = time.monotonic()

    def _reset(self) -> None:
        """Make the board forget every frame; afterwards no answer to one comes."""
        self._line.ask(Kind.RESET)
        self._traffic.forget()
