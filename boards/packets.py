"""Packets between a host and a board, as `docs/reference/link.md` has them: COBS, CRC, body and status. No ports."""

import hashlib
import struct
import zlib
from dataclasses import astuple, dataclass

from xnorweave.boards.link_format import DIGEST_BYTES, HEAD_BYTES, LINK_VERSION, Kind, Refusal
from xnorweave.errors import DeviceError
from xnorweave.hw.crc import CRC_BYTES

__all__ = [
    "DELIMITER",
    "DIGEST_BYTES",
    "MAX_SEQUENCE",
    "Decoder",
    "Kind",
    "Packet",
    "Refusal",
    "Result",
    "Status",
    "cobs_decode",
    "cobs_encode",
    "digest",
    "packet_bytes",
    "packet_of",
]

DELIMITER = b"\0"
MAX_SEQUENCE = 0xFF

_LONGEST_BLOCK = 254
_CYCLES_BYTES = 4


def digest(content: bytes) -> bytes:
    """How a status names a file: the first bytes of the SHA-256 of its content."""
    return hashlib.sha256(content).digest()[:DIGEST_BYTES]


def cobs_encode(data: bytes) -> bytes:
    """Take every zero out: each block that ends in one begins with the block's length instead."""
    out = bytearray()
    for block in data.split(DELIMITER):
        for start in range(0, len(block) + 1, _LONGEST_BLOCK):
            part = block[start : start + _LONGEST_BLOCK]
            out.append(len(part) + 1)
            out += part
    return bytes(out)


def cobs_decode(data: bytes) -> bytes | None:
    """Put the zeros back; None where a block is longer than what is there, or a zero is in the data."""
    out = bytearray()
    at = 0
    while at < len(data):
        code = data[at]
        block = data[at + 1 : at + code]
        if code == 0 or len(block) != code - 1 or 0 in block:
            return None
        out += block
        at += code
        # A full block ends without a zero, and so does the last one, full or not.
        if code <= _LONGEST_BLOCK and at < len(data):
            out.append(0)
    return bytes(out)


@dataclass(frozen=True, kw_only=True)
class Packet:
    """One body.

    Parameters
    ----------
    kind : int
        A `Kind`, or one that this version does not know.
    sequence : int
        0 to 255; an answer repeats that of the question.
    payload : bytes
        What the kind says.
    """

    kind: int
    sequence: int
    payload: bytes = b""

    def __post_init__(self) -> None:
        for name, value in (("kind", self.kind), ("sequence", self.sequence)):
            if not 0 <= value <= MAX_SEQUENCE:
                raise ValueError(f"{name} must be a byte, not {value!r}")


def packet_bytes(packet: Packet) -> bytes:
    """What goes over the line for a packet, delimiter included."""
    body = bytes([packet.kind, packet.sequence]) + packet.payload
    return cobs_encode(body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")) + DELIMITER


def packet_of(encoded: bytes) -> Packet | None:
    """The packet of what came before a delimiter; None where COBS, CRC or length is not right."""
    decoded = cobs_decode(encoded)
    if decoded is None or len(decoded) < HEAD_BYTES + CRC_BYTES:
        return None
    body, crc = decoded[:-CRC_BYTES], decoded[-CRC_BYTES:]
    if zlib.crc32(body) != int.from_bytes(crc, "little"):
        return None
    return Packet(kind=body[0], sequence=body[1], payload=body[HEAD_BYTES:])


class Decoder:
    """Packets of a stream of bytes that comes in pieces; whatever garbage came, one delimiter is enough to go on.

    Parameters
    ----------
    payload_bytes : int
        Longest payload expected; what is longer is dropped and never held.

    Attributes
    ----------
    dropped : int
        Packets that were not right.
    """

    def __init__(self, payload_bytes: int) -> None:
        body_bytes = HEAD_BYTES + payload_bytes + CRC_BYTES
        self._most_bytes = body_bytes + body_bytes // _LONGEST_BLOCK + 1
        self._held = bytearray()
        self._too_long = False
        self.dropped = 0

    def feed(self, data: bytes) -> list[Packet]:
        """Take bytes as they came; gives the packets that they complete."""
        packets = []
        *ended, rest = data.split(DELIMITER)
        for piece in ended:
            self._hold(piece)
            packet = None if self._too_long else packet_of(bytes(self._held))
            if packet is not None:
                packets.append(packet)
            elif self._held or self._too_long:
                self.dropped += 1
            self._held.clear()
            self._too_long = False
        self._hold(rest)
        return packets

    def _hold(self, piece: bytes) -> None:
        self._held += piece
        if len(self._held) > self._most_bytes:
            self._too_long = True
            self._held.clear()


@dataclass(frozen=True, kw_only=True)
class Result:
    """Payload of `Kind.RESULT`.

    Parameters
    ----------
    word : int
        What the core gave.
    cycles : int
        From the frame's first word taken by the core to its result.
    """

    word: int
    cycles: int

    def to_bytes(self, word_bytes: int) -> bytes:
        """The payload, where a board's words have so many bytes."""
        return self.word.to_bytes(word_bytes, "little") + self.cycles.to_bytes(_CYCLES_BYTES, "little")

    @classmethod
    def of(cls, payload: bytes, word_bytes: int) -> "Result | None":
        """Read a payload; None where it does not have the length that it should."""
        if len(payload) != word_bytes + _CYCLES_BYTES:
            return None
        word, cycles = payload[:word_bytes], payload[word_bytes:]
        return cls(word=int.from_bytes(word, "little"), cycles=int.from_bytes(cycles, "little"))


_STATUS = struct.Struct(f"<B{DIGEST_BYTES}s{DIGEST_BYTES}sIIBBIIIII")


@dataclass(frozen=True, kw_only=True)
class Status:
    """Payload of `Kind.STATUS`.

    Parameters
    ----------
    version : int
        Of the protocol.
    network, build : bytes
        First bytes of the SHA-256 of the network file, and of the emitted Verilog.
    clock_hz : int
        Of the core.
    frame_bytes, word_bytes : int
        Of a frame and of a result word.
    buffer_frames : int
        Frames that the board holds.
    taken, answered : int
        Frames taken, results sent; all counters are since power-up, modulo 2**32.
    dropped : int
        Packets whose COBS, CRC or length was not right.
    lost_bytes : int
        Bytes lost on the line.
    refused : int
        Packets refused.
    """

    version: int = LINK_VERSION
    network: bytes = bytes(DIGEST_BYTES)
    build: bytes = bytes(DIGEST_BYTES)
    clock_hz: int = 0
    frame_bytes: int
    word_bytes: int = 1
    buffer_frames: int = 1
    taken: int = 0
    answered: int = 0
    dropped: int = 0
    lost_bytes: int = 0
    refused: int = 0

    def to_bytes(self) -> bytes:
        """The payload."""
        return _STATUS.pack(*astuple(self))

    @classmethod
    def of(cls, payload: bytes) -> "Status":
        """Read a payload.

        Raises
        ------
        DeviceError
            Where the protocol is of another version, or the payload is not one.
        """
        if payload[:1] != bytes([LINK_VERSION]):
            found = f"version {payload[0]}" if payload else "no version"
            raise DeviceError(
                f"the board speaks {found} of the protocol, this host version {LINK_VERSION}; "
                "use the xnorweave that built the board's bitstream, or build it again"
            )
        if len(payload) != _STATUS.size:
            raise DeviceError(f"the board's status has {len(payload)} bytes, not {_STATUS.size}; build it again")
        names = cls.__dataclass_fields__
        status = cls(**dict(zip(names, _STATUS.unpack(payload), strict=True)))
        for name in ("frame_bytes", "word_bytes", "buffer_frames"):
            if not getattr(status, name):
                raise DeviceError(f"the board's status says {name}=0; build it again")
        return status
