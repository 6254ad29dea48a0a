"""What host and board agree on, as docs/reference/link.md has it: numbers, lengths and the status block."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from xnorweave.hw.cobs import BYTE_BITS, encoded_bytes
from xnorweave.hw.crc import CRC_BYTES

__all__ = [
    "BITS_PER_BYTE",
    "CONSTANT_BYTES",
    "COUNTERS",
    "COUNTER_BYTES",
    "DIGEST_BYTES",
    "HEAD_BYTES",
    "LINK_VERSION",
    "STATUS_BYTES",
    "Identity",
    "Kind",
    "LinkKind",
    "Refusal",
    "bytes_per_word",
    "packet_bytes",
    "status_constants",
]

LinkKind = Literal["uart", "spi"]
"""What carries the bytes."""

BITS_PER_BYTE: dict[LinkKind, int] = {"uart": 10, "spi": 8}
"""On the line; a UART's with start and stop bit."""

LINK_VERSION = 1
HEAD_BYTES = 2  # kind and sequence number
DIGEST_BYTES = 8
COUNTER_BYTES = 4
# In the order in which a status has them.
COUNTERS = ("taken", "sent", "dropped", "lost", "refused")
CONSTANT_BYTES = 1 + 2 * DIGEST_BYTES + 4 + 4 + 1 + 1
STATUS_BYTES = CONSTANT_BYTES + COUNTER_BYTES * len(COUNTERS)


class Kind(IntEnum):
    """First byte of a body."""

    FRAME = 0x01
    STATUS_REQUEST = 0x02
    RESET = 0x03
    RESULT = 0x81
    STATUS = 0x82
    REFUSED = 0x83


class Refusal(IntEnum):
    """Why a whole packet is not taken."""

    LENGTH = 1
    NO_ROOM = 2
    KIND = 3


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a board tells of itself.

    Parameters
    ----------
    network, build : bytes
        First bytes of the SHA-256 of the network file and of the emitted Verilog.
    clock_hz : int
        Clock of the core.

    Raises
    ------
    ValueError
        If a value does not fit into its field.
    """

    network: bytes
    build: bytes
    clock_hz: int

    def __post_init__(self) -> None:
        for name in ("network", "build"):
            digest = getattr(self, name)
            if len(digest) != DIGEST_BYTES:
                raise ValueError(f"{name} must be {DIGEST_BYTES} bytes of a digest, not {digest!r}")
        if not 0 < self.clock_hz < 1 << 32:
            raise ValueError(f"clock_hz must be 1 to {(1 << 32) - 1}, not {self.clock_hz!r}")


def bytes_per_word(bits: int) -> int:
    """Bytes that carry one word of so many bits."""
    return -(-bits // BYTE_BITS)


def packet_bytes(payload_bytes: int) -> int:
    """Most bytes that a packet takes on the line, its delimiter included."""
    return encoded_bytes(HEAD_BYTES + payload_bytes + CRC_BYTES)


def status_constants(identity: Identity, *, frame_bytes: int, result_bytes: int, frames: int) -> bytes:
    """The part of a status payload that never changes, which comes first."""
    return (
        bytes([LINK_VERSION])
        + identity.network
        + identity.build
        + identity.clock_hz.to_bytes(4, "little")
        + frame_bytes.to_bytes(4, "little")
        + bytes([result_bytes, frames])
    )
