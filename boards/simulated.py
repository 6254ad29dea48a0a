"""A board that is only simulated: it speaks `docs/reference/link.md` on a pseudo-terminal, over a bad line if told."""

import os
import random
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType

from xnorweave.boards.packets import DELIMITER, Decoder, Kind, Packet, Refusal, Result, Status, packet_bytes
from xnorweave.errors import UnsupportedError

__all__ = ["Compute", "Faults", "FaultyLine", "SimulatedBoard"]

Compute = Callable[[bytes], Result]
"""From a frame's bytes to the core's answer."""

_POLL_S = 0.05
_CHUNK_BYTES = 65536
_MOST_GARBAGE_BYTES = 40


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What a line does to packets, in both directions.

    Parameters
    ----------
    flip, drop, lose, duplicate, truncate, garbage, delay : float
        Probability for each packet: that one bit of it changes, that one byte is missing, that all of it is, that it
        comes twice, that it ends early and so runs into the next, that a break or noise comes before it, that it and
        all after it come later.
    delay_s : float
        By how much later.
    seed : int
        Of all of it.
    """

    flip: float = 0.0
    drop: float = 0.0
    lose: float = 0.0
    duplicate: float = 0.0
    truncate: float = 0.0
    garbage: float = 0.0
    delay: float = 0.0
    delay_s: float = 0.1
    seed: int = 0


class FaultyLine:
    """One direction of a line: bytes in, and later bytes out, in order.

    Parameters
    ----------
    faults : Faults
        What it does.
    seed : int
        Of this direction.

    Attributes
    ----------
    count : dict of str to int
        How often it did each.
    """

    def __init__(self, faults: Faults, seed: int) -> None:
        self._faults = faults
        self._random = random.Random(f"{faults.seed} {seed}")
        self._partial = b""
        self._coming: deque[tuple[float, bytes]] = deque()
        self._late_until = 0.0
        self.count: dict[str, int] = {}

    def put(self, data: bytes) -> None:
        """Bytes go into the line; what they do to a packet, they do once it is whole."""
        *ended, self._partial = (self._partial + data).split(DELIMITER)
        for piece in ended:
            self._coming.append((self._time(), self._disturbed(piece + DELIMITER)))

    def get(self) -> bytes:
        """Bytes that have come out by now."""
        now, out = time.monotonic(), b""
        while self._coming and self._coming[0][0] <= now:
            out += self._coming.popleft()[1]
        return out

    @property
    def wait_s(self) -> float | None:
        """How long until more comes out; None where nothing is on the way."""
        return max(0.0, self._coming[0][0] - time.monotonic()) if self._coming else None

    def _time(self) -> float:
        now = time.monotonic()
        if self._happens("delay"):
            self._late_until = max(now, self._late_until) + self._faults.delay_s
        return max(now, self._late_until)

    def _disturbed(self, packet: bytes) -> bytes:
        if len(packet) == 1:
            return packet
        draw = self._random
        before = self._noise() if self._happens("garbage") else b""
        if self._happens("flip"):
            at = draw.randrange(len(packet))
            packet = packet[:at] + bytes([packet[at] ^ 1 << draw.randrange(8)]) + packet[at + 1 :]
        if self._happens("drop"):
            at = draw.randrange(len(packet))
            packet = packet[:at] + packet[at + 1 :]
        if self._happens("truncate"):
            packet = packet[: draw.randrange(len(packet))]
        if self._happens("duplicate"):
            packet += packet
        return before if self._happens("lose") else before + packet

    def _noise(self) -> bytes:
        size = self._random.randint(1, _MOST_GARBAGE_BYTES)
        return self._random.choice([bytes(size), b"\xff" * size, self._random.randbytes(size)])

    def _happens(self, name: str) -> bool:
        share = getattr(self._faults, name)
        if not share or self._random.random() >= share:
            return False
        self.count[name] = self.count.get(name, 0) + 1
        return True


class SimulatedBoard:
    """A board at a pseudo-terminal, served by a thread; a context manager.

    Parameters
    ----------
    compute : callable
        The core: from a frame's bytes to its result.
    status : Status
        What the board tells of itself; it counts by itself.
    faults : Faults, optional
        Of the line; none where absent.

    Attributes
    ----------
    port : str
        Name of the terminal for a host.
    error : Exception or None
        What ended the thread: an error of ``compute``. The port is closed then.

    Raises
    ------
    UnsupportedError
        Where the system has no pseudo-terminals.
    """

    def __init__(self, compute: Compute, status: Status, faults: Faults | None = None) -> None:
        if not hasattr(os, "openpty"):
            raise UnsupportedError(f"simulated board: {os.name} has no pseudo-terminals; use Linux or macOS")
        self._compute = compute
        self._status = status
        self._inward, self._outward = (FaultyLine(faults or Faults(), seed) for seed in (0, 1))
        self._decoder = Decoder(status.frame_bytes)
        self._buffer: deque[tuple[int, bytes]] = deque()
        self._unsent = bytearray()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.port = ""
        self.error: Exception | None = None

    def __enter__(self) -> "SimulatedBoard":
        import tty

        self._end, terminal = os.openpty()
        # Held open, so that hosts may come and go.
        self._terminal = terminal
        tty.setraw(terminal)
        os.set_blocking(self._end, False)
        self.port = os.ttyname(terminal)
        self._thread = threading.Thread(target=self._serve, name="simulated board", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Pull the plug; waits until a frame that is being computed is done."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def status(self) -> Status:
        """With counters as they are now."""
        return replace(self._status, dropped=self._decoder.dropped)

    @property
    def faults(self) -> dict[str, int]:
        """How often the line did what, in both directions."""
        both = (self._inward.count, self._outward.count)
        return {name: sum(count.get(name, 0) for count in both) for name in both[0] | both[1]}

    def _serve(self) -> None:
        try:
            while not self._stop.is_set():
                self._move_bytes()
                for packet in self._decoder.feed(self._inward.get()):
                    self._take(packet)
                if self._buffer:
                    self._answer_oldest()
        except Exception as e:
            self.error = e
        finally:
            os.close(self._terminal)
            os.close(self._end)

    def _move_bytes(self) -> None:
        """Read and write what the terminal takes now; where nothing else is to be done, wait a little."""
        self._unsent += self._outward.get()
        waits = [wait for line in (self._inward, self._outward) if (wait := line.wait_s) is not None]
        wait_s = 0.0 if self._buffer else min([_POLL_S, *waits])
        reading, writing, _ = select.select([self._end], [self._end] if self._unsent else [], [], wait_s)
        if reading:
            self._inward.put(os.read(self._end, _CHUNK_BYTES))
        if writing:
            del self._unsent[: os.write(self._end, self._unsent)]

    def _take(self, packet: Packet) -> None:
        if packet.kind == Kind.FRAME:
            if len(packet.payload) != self._status.frame_bytes:
                self._refuse(packet, Refusal.LENGTH)
            elif len(self._buffer) >= self._status.buffer_frames:
                self._refuse(packet, Refusal.NO_ROOM)
            else:
                self._buffer.append((packet.sequence, packet.payload))
                self._count("taken")
        elif packet.kind in (Kind.STATUS_REQUEST, Kind.RESET):
            if packet.payload:
                self._decoder.dropped += 1
                return
            if packet.kind == Kind.RESET:
                self._buffer.clear()
            self._send(Kind.STATUS, packet.sequence, self.status.to_bytes())
        else:
            self._refuse(packet, Refusal.KIND)

    def _answer_oldest(self) -> None:
        sequence, frame = self._buffer[0]
        payload = self._compute(frame).to_bytes(self._status.word_bytes)
        self._buffer.popleft()
        self._count("answered")
        self._send(Kind.RESULT, sequence, payload)

    def _refuse(self, packet: Packet, why: Refusal) -> None:
        self._count("refused")
        self._send(Kind.REFUSED, packet.sequence, bytes([why]))

    def _send(self, kind: Kind, sequence: int, payload: bytes) -> None:
        self._outward.put(packet_bytes(Packet(kind=kind, sequence=sequence, payload=payload)))

    def _count(self, name: str) -> None:
        self._status = replace(self._status, **{name: getattr(self._status, name) + 1 & 0xFFFFFFFF})
