"""Consistent overhead byte stuffing as its authors define it, byte by byte, and packets of the link with their CRC."""

import zlib


def encode(packet: bytes) -> bytes:
    """One packet, without its delimiter."""
    out = bytearray()
    pieces = packet.split(b"\0")
    for number, piece in enumerate(pieces):
        while len(piece) > 254:
            out += b"\xff" + piece[:254]
            piece = piece[254:]
        if len(piece) == 254:
            # Full, and without a zero of its own: the zero, or the end, is a piece by itself.
            out += b"\xff" + piece
            if number < len(pieces) - 1:
                out.append(1)
            continue
        out.append(len(piece) + 1)
        out += piece
    return bytes(out)


def decode(encoded: bytes) -> bytes | None:
    """One packet without its delimiter; None where it is broken."""
    out, at = bytearray(), 0
    while at < len(encoded):
        code = encoded[at]
        piece = encoded[at + 1 : at + code]
        if code == 0 or len(piece) != code - 1 or 0 in piece:
            return None
        out += piece
        at += code
        if code < 255 and at < len(encoded):
            out.append(0)
    return bytes(out)


def packet(kind: int, sequence: int, payload: bytes = b"") -> bytes:
    """A packet of the link, with its delimiter."""
    body = bytes([kind, sequence]) + payload
    return encode(body + zlib.crc32(body).to_bytes(4, "little")) + b"\0"


def bodies(line: bytes) -> list[bytes | None]:
    """Bodies of the packets on a line, None for each that is not right; what no delimiter ends is left out."""
    found: list[bytes | None] = []
    for part in line.split(b"\0")[:-1]:
        if not part:
            continue
        whole = decode(part)
        right = whole is not None and len(whole) >= 4 and zlib.crc32(whole[:-4]).to_bytes(4, "little") == whole[-4:]
        found.append(whole[:-4] if right else None)
    return found
