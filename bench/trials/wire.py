"""A serial wire: bytes as levels and times, and what may happen to either."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["BYTE_FAULTS", "CYCLE", "WIRE_FAULTS", "Piece", "Transmission"]

CYCLE = 256
"""Times are in 1/256 of a clock cycle."""

Piece = tuple[int, int]
"""Level of the wire, and how long it stays."""

_HIGH = 1 << 31


@dataclass
class Transmission:
    """Bytes on their way to the board.

    Parameters
    ----------
    data : bytes
        Delimiters included.
    period : int
        Of a bit.
    gap : int
        How long the wire is idle behind each byte.
    """

    data: bytes
    period: int
    gap: int = 0
    faults: list[str] = field(default_factory=list)

    def pieces(self) -> list[Piece]:
        """What the wire does: start bit, eight bits of data, stop bit."""
        found: list[Piece] = []
        for byte in self.data:
            found.append((0, self.period))
            found += [(byte >> bit & 1, self.period) for bit in range(8)]
            found.append((1, self.period + self.gap))
        return found


def packed(pieces: list[Piece]) -> bytes:
    """As the bench reads them."""
    return b"".join((_HIGH * level | time).to_bytes(4, "little") for level, time in pieces)


def _flip(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _burst(rng: random.Random, data: bytes) -> bytes:
    at, length = rng.randrange(len(data)), rng.randrange(1, 6)
    return data[:at] + rng.randbytes(min(length, len(data) - at)) + data[at + length :]


def _drop(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.randrange(1, 4) :]


def _duplicate(rng: random.Random, data: bytes) -> bytes:
    at, length = rng.randrange(len(data)), rng.randrange(1, 5)
    return data[: at + length] + data[at:]


def _repeat(_: random.Random, data: bytes) -> bytes:
    return data + data


def _truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _delimiters(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes(rng.randrange(1, 3)) + data[at:]


def _noise(rng: random.Random, data: bytes) -> bytes:
    return rng.randbytes(rng.randrange(1, 30)) + data


BYTE_FAULTS: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "bit flipped": _flip,
    "bytes changed": _burst,
    "bytes dropped": _drop,
    "bytes repeated": _duplicate,
    "packet repeated": _repeat,
    "packet truncated": _truncate,
    "stray delimiter": _delimiters,
    "noise before": _noise,
}


def _glitch(rng: random.Random, pieces: list[Piece], period: int) -> list[Piece]:
    """The wrong level for up to a bit and a half, anywhere."""
    at, length = rng.randrange(len(pieces)), rng.randrange(CYCLE, period * 3 // 2)
    level, time = pieces[at]
    before = rng.randrange(max(1, time))
    return [
        *pieces[:at],
        (level, before),
        (1 - level, length),
        (level, max(0, time - before - length)),
        *pieces[at + 1 :],
    ]


def _break(rng: random.Random, pieces: list[Piece], period: int) -> list[Piece]:
    """Low for much longer than a byte, and then what was to come, or nothing."""
    at = rng.randrange(len(pieces))
    rest = pieces[at:] if rng.random() < 0.5 else []
    return [*pieces[:at], (0, rng.randrange(10, 60) * period), (1, rng.randrange(1, 30) * period), *rest]


def _cut(rng: random.Random, pieces: list[Piece], _: int) -> list[Piece]:
    """Amid a byte the wire goes idle for good."""
    return pieces[: rng.randrange(len(pieces))]


WIRE_FAULTS: dict[str, Callable[[random.Random, list[Piece], int], list[Piece]]] = {
    "glitch": _glitch,
    "break": _break,
    "cable out": _cut,
}
