"""Packets: COBS and CRC against published vectors, every round trip, and recovery from any garbage."""

import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xnorweave.boards.packets import (
    Decoder,
    Kind,
    Packet,
    Result,
    Status,
    cobs_decode,
    cobs_encode,
    packet_bytes,
    packet_of,
)
from xnorweave.errors import DeviceError

BYTES = st.integers(0, 255)
# Mostly zeros and long runs without one: where COBS has its edges.
DATA = st.one_of(
    st.binary(max_size=600),
    st.lists(st.sampled_from([b"\0", b"\1", b"\xff", b"\7" * 253, b"\7" * 254, b"\7" * 255]), max_size=5).map(b"".join),
)
PACKETS = st.builds(Packet, kind=BYTES, sequence=BYTES, payload=DATA)
PAYLOAD_BYTES = 5 * 255

RUN = bytes(range(1, 255))
PUBLISHED = [
    (b"", "01"),
    (b"\0", "01 01"),
    (b"\0\0", "01 01 01"),
    (b"\0\x11\0", "01 02 11 01"),
    (b"\x11\x22\0\x33", "03 11 22 02 33"),
    (b"\x11\x22\x33\x44", "05 11 22 33 44"),
    (b"\x11\0\0\0", "02 11 01 01 01"),
    (b"\0" + RUN, f"01 ff {RUN.hex()}"),
    (RUN + b"\xff", f"ff {RUN.hex()} 02 ff"),
    (RUN[1:] + b"\xff\0", f"ff {RUN[1:].hex()} ff 01 01"),
    (RUN[2:] + b"\xff\0\1", f"fe {RUN[2:].hex()} ff 02 01"),
]


@pytest.mark.parametrize(("data", "encoded"), PUBLISHED)
def test_cobs_of_published_vectors(data: bytes, encoded: str) -> None:
    wanted = bytes.fromhex(encoded)
    # After a full block at the end the paper's encoder adds an empty one; others leave it out. Both are read.
    assert cobs_encode(data) in (wanted, wanted + b"\1")
    assert cobs_decode(wanted) == data
    assert cobs_decode(cobs_encode(data)) == data


def test_a_full_last_block_is_read_with_and_without_an_empty_one() -> None:
    assert cobs_encode(RUN) == b"\xff" + RUN + b"\1"
    assert cobs_decode(b"\xff" + RUN) == cobs_decode(b"\xff" + RUN + b"\1") == RUN


@given(DATA)
@example(RUN)
@example(RUN + RUN)
@example(RUN + b"\0")
def test_cobs_has_no_zero_and_comes_back(data: bytes) -> None:
    encoded = cobs_encode(data)
    assert 0 not in encoded
    assert cobs_decode(encoded) == data
    assert len(encoded) <= len(data) + len(data) // 254 + 1


@given(st.binary(max_size=300))
def test_whatever_is_read_is_what_was_meant(data: bytes) -> None:
    decoded = cobs_decode(data)
    if decoded is not None:
        assert cobs_encode(decoded).removesuffix(b"\1") == data.removesuffix(b"\1")


@pytest.mark.parametrize("broken", ["00", "02", "03 11", "02 00", "01 00 01", "05 11 22 33"])
def test_what_is_no_cobs_is_refused(broken: str) -> None:
    assert cobs_decode(bytes.fromhex(broken)) is None


def test_the_bytes_of_a_packet() -> None:
    body = bytes([1, 7, 0x41])
    crc = zlib.crc32(body)
    assert zlib.crc32(b"123456789") == 0xCBF43926
    line = packet_bytes(Packet(kind=Kind.FRAME, sequence=7, payload=b"\x41"))
    assert line == cobs_encode(body + bytes([crc & 255, crc >> 8 & 255, crc >> 16 & 255, crc >> 24])) + b"\0"


@given(PACKETS)
def test_packets_come_back(packet: Packet) -> None:
    assert packet_of(packet_bytes(packet)[:-1]) == packet


def test_a_body_without_a_sequence_is_no_packet() -> None:
    for body in (b"", b"\x02"):
        assert packet_of(cobs_encode(body + zlib.crc32(body).to_bytes(4, "little"))) is None


@given(PACKETS, st.data())
def test_a_changed_packet_is_never_another_one(packet: Packet, data: st.DataObject) -> None:
    line = bytearray(packet_bytes(packet))
    bit = data.draw(st.integers(0, 8 * (len(line) - 1) - 1))
    line[bit // 8] ^= 1 << bit % 8
    decoder = Decoder(PAYLOAD_BYTES)
    assert decoder.feed(bytes(line)) == []
    assert decoder.dropped >= 1


@given(st.lists(PACKETS, max_size=6), st.lists(st.integers(1, 300), max_size=30))
def test_pieces_do_not_matter(packets: list[Packet], cuts: list[int]) -> None:
    line = b"".join(packet_bytes(packet) for packet in packets)
    decoder, found = Decoder(PAYLOAD_BYTES), []
    for cut in cuts:
        found += decoder.feed(line[:cut])
        line = line[cut:]
    assert found + decoder.feed(line) == packets
    assert decoder.dropped == 0


@given(st.binary(max_size=4000), PACKETS)
def test_after_any_garbage_one_delimiter_is_enough(garbage: bytes, packet: Packet) -> None:
    decoder = Decoder(PAYLOAD_BYTES)
    decoder.feed(garbage)
    found = decoder.feed(b"\0" + packet_bytes(packet) + b"\0\0")
    assert found[-1:] == [packet]


def test_empty_packets_are_ignored_and_broken_ones_counted() -> None:
    decoder = Decoder(4)
    assert decoder.feed(b"\0\0\0") == []
    assert decoder.dropped == 0
    decoder.feed(b"\1\2\3\0\0\7\0")
    assert decoder.dropped == 2


def test_what_is_too_long_is_counted_once_and_not_held() -> None:
    decoder = Decoder(4)
    for _ in range(1000):
        decoder.feed(b"\5" * 100)
    assert len(decoder._held) <= 100 + 11
    packet = Packet(kind=2, sequence=3, payload=b"full")
    assert decoder.feed(b"\0" + packet_bytes(packet)) == [packet]
    assert decoder.dropped == 1


@given(st.integers(1, 255), st.data(), st.integers(0, 2**32 - 1))
def test_results_come_back(word_bytes: int, data: st.DataObject, cycles: int) -> None:
    result = Result(word=data.draw(st.integers(0, 256**word_bytes - 1)), cycles=cycles)
    payload = result.to_bytes(word_bytes)
    assert Result.of(payload, word_bytes) == result
    assert Result.of(payload + b"\0", word_bytes) is Result.of(payload[:-1], word_bytes) is None


NUMBERS = st.integers(0, 2**32 - 1)
STATUS = st.builds(
    Status,
    network=st.binary(min_size=8, max_size=8),
    build=st.binary(min_size=8, max_size=8),
    clock_hz=NUMBERS,
    frame_bytes=st.integers(1, 2**32 - 1),
    word_bytes=st.integers(1, 255),
    buffer_frames=st.integers(1, 255),
    taken=NUMBERS,
    answered=NUMBERS,
    dropped=NUMBERS,
    lost_bytes=NUMBERS,
    refused=NUMBERS,
)


@given(STATUS)
def test_status_comes_back(status: Status) -> None:
    assert Status.of(status.to_bytes()) == status


def test_the_bytes_of_a_status() -> None:
    status = Status(network=b"NNNNNNNN", build=b"BBBBBBBB", clock_hz=12_000_000, frame_bytes=784, taken=1, refused=2)
    wanted = "01" + "4e" * 8 + "42" * 8 + "001bb700" + "10030000" + "01" + "01" + "01000000" + "00" * 12 + "02000000"
    assert status.to_bytes().hex() == wanted


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", r"no version of the protocol"),
        (b"\2" + bytes(60), r"the board speaks version 2 of the protocol, this host version 1; use the xnorweave that"),
        (b"\1" + bytes(40), r"status has 41 bytes, not 47"),
        (Status(frame_bytes=0).to_bytes(), r"status says frame_bytes=0"),
        (Status(frame_bytes=1, buffer_frames=0).to_bytes(), r"status says buffer_frames=0"),
    ],
)
def test_a_status_that_is_none(payload: bytes, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        Status.of(payload)


def test_numbers_that_are_no_bytes() -> None:
    with pytest.raises(ValueError, match="sequence must be a byte, not 256"):
        Packet(kind=1, sequence=256)
