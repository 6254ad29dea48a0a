import itertools
import random

import cobs_reference
import pytest
from amaranth.hdl import Array, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.sim import Simulator

from xnorweave.hw.cobs import CobsDecoder, CobsEncoder, CobsEncoderControl, encoded_bytes

SEED = 33
PACES = [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.3, 0.6)]
# From the authors' paper and its usual table of examples.
EXAMPLES = [
    (b"", b"\x01"),
    (b"\0", b"\x01\x01"),
    (b"\0\0", b"\x01\x01\x01"),
    (b"\0\x11\0", b"\x01\x02\x11\x01"),
    (b"\x11\x22\0\x33", b"\x03\x11\x22\x02\x33"),
    (b"\x11\0\0\0", b"\x02\x11\x01\x01\x01"),
    (bytes(range(1, 255)), b"\xff" + bytes(range(1, 255))),
    (bytes(range(255)), b"\x01\xff" + bytes(range(1, 255))),
    (bytes(range(1, 256)), b"\xff" + bytes(range(1, 255)) + b"\x02\xff"),
    (bytes([*range(2, 256), 0]), b"\xff" + bytes(range(2, 256)) + b"\x01\x01"),
    (bytes([*range(3, 256), 0, 1]), b"\xfe" + bytes(range(3, 256)) + b"\x02\x01"),
]


def packets(count):
    rng = random.Random(SEED)
    lengths = [0, 1, 252, 253, 254, 255, 256, 509, *(rng.randrange(700) for _ in range(count))][-count:]
    alphabets = [range(256), range(1, 256), range(2), range(1)]
    return [bytes(rng.choices(alphabets[k % 4], k=length)) for k, length in enumerate(lengths)]


def run(dut, sent, *, until, idle=0.0, stall=0.0, limit_cycles=100_000):
    """Send payloads; gives payloads that came, with their cycles, and the cycles in which the sent ones went."""
    rng = random.Random(SEED)
    i, o = dut.i, dut.o
    given, taken = Value.cast(i.payload), Value.cast(o.payload)
    got, went = [], []

    async def testbench(ctx):
        waiting, offered, held = list(reversed(sent)), False, None
        for cycle in range(limit_cycles):
            if waiting and not offered and rng.random() >= idle:
                ctx.set(given, waiting[-1])
                ctx.set(i.valid, 1)
                offered = True
            ready = rng.random() >= stall
            ctx.set(o.ready, ready)
            _, _, took, valid, payload = await ctx.tick().sample(i.ready, o.valid, taken)
            assert held is None or (valid and payload == held), "a payload changed while it waited"
            held = payload if valid and not ready else None
            if offered and took:
                waiting.pop()
                went.append(cycle)
                ctx.set(i.valid, 0)
                offered = False
            if valid and ready:
                got.append((payload, cycle))
                if until(got):
                    return
        raise AssertionError("no end came")

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return got, went


def encode(dut, packets, **pace):
    sent = [each for packet in packets for each in [*packet, 256]]
    ends = iter(range(1, len(packets) + 1))
    got, went = run(dut, sent, until=lambda got: not got[-1][0] and next(ends) == len(packets), **pace)
    return bytes(byte for byte, _ in got), [at for _, at in got], went


def decode(line, ends, **pace):
    left = iter(range(1, ends + 1))
    got, _ = run(CobsDecoder(), line, until=lambda got: bool(got[-1][0] & 256) and next(left) == ends, **pace)
    found, packet = [], bytearray()
    for value, _ in got:
        if value & 256:
            found.append(None if value & 512 else bytes(packet))
            packet.clear()
        else:
            packet.append(value & 255)
    return found


def test_reference_follows_the_examples():
    for packet, line in EXAMPLES:
        assert cobs_reference.encode(packet) == line
        assert cobs_reference.decode(line) == packet
    for packet in packets(68):
        line = cobs_reference.encode(packet)
        assert 0 not in line
        assert cobs_reference.decode(line) == packet
        assert len(line) < encoded_bytes(len(packet))


@pytest.mark.parametrize("length", [0, 1, 253, 254, 255, 507, 508, 509])
def test_most_bytes_on_the_line_are_those_of_a_packet_without_zeros(length):
    assert encoded_bytes(length) == len(cobs_reference.encode(b"\x01" * length)) + 1


@pytest.mark.parametrize(("idle", "stall"), PACES)
def test_encoder(idle, stall):
    check_encoder([*(packet for packet, _ in EXAMPLES)] if stall > idle else packets(2), idle, stall)


@pytest.mark.slow
@pytest.mark.parametrize(("idle", "stall"), PACES)
def test_encoder_on_many_packets(idle, stall):
    check_encoder(packets(40), idle, stall)


def check_encoder(sent, idle, stall):
    line, _, _ = encode(CobsEncoder(), sent, idle=idle, stall=stall)
    assert line.split(b"\0")[:-1] == [cobs_reference.encode(packet) for packet in sent]


@pytest.mark.parametrize(("idle", "stall"), PACES)
def test_decoder(idle, stall):
    check_decoder([*(packet for packet, _ in EXAMPLES)] if stall > idle else packets(2), idle, stall)


@pytest.mark.slow
@pytest.mark.parametrize(("idle", "stall"), PACES)
def test_decoder_on_many_packets(idle, stall):
    check_decoder(packets(40), idle, stall)


def check_decoder(sent, idle, stall):
    line = b"".join(cobs_reference.encode(packet) + b"\0" for packet in sent)
    assert decode(line, len(sent), idle=idle, stall=stall) == sent


def test_decoder_takes_a_last_piece_of_nothing():
    """Some encoders put one behind 254 bytes that end a packet."""
    packet = bytes(range(1, 255))
    assert decode(b"\xff" + packet + b"\x01\0", 1) == [packet]


def test_decoder_on_any_bytes():
    rng = random.Random(SEED)
    line = bytes(rng.choices(range(5), k=1000)) + b"\0"
    parts = line.split(b"\0")[:-1]
    expected = [cobs_reference.decode(part) for part in parts]
    assert None in expected
    assert b"" in expected
    assert decode(line, len(parts), idle=0.2, stall=0.2) == expected


def test_encoder_rate_and_latency():
    """A byte a cycle both ways, and the code of a piece 2 cycles after its end."""
    dut = CobsEncoder()
    line, at, went = encode(dut, [b"\1\2\3\0", b"\5" * 40])
    assert line == b"\4\1\2\3\1\0" + b"\x29" + b"\5" * 40 + b"\0"
    assert at[0] == went[3] + 2
    assert [b - a for a, b in itertools.pairwise(went[:5])] == [1, 1, 1, 2]
    assert at[-1] - at[6] == 41


def test_small_ring_holds_what_lies_between_zeros():
    class Ring(wiring.Component):
        """The control with a memory of flip-flops, which is busy now and then."""

        def __init__(self, address_bits):
            self.control = CobsEncoderControl(address_bits=address_bits)
            packet = self.control.i.signature.flip()
            super().__init__({"i": In(packet), "o": Out(stream.Signature(8))})

        def elaborate(self, platform):
            m = Module()
            m.submodules.control = control = self.control
            ring = Array(Signal(8) for _ in range(2**control.address_bits))
            connect(m, flipped(self.i), control.i)
            connect(m, control.o, flipped(self.o))
            turn = Signal(3)
            m.d.sync += turn.eq(turn + 1)
            m.d.comb += [control.write.ready.eq(turn != 3), control.read.ready.eq(turn[0])]
            with m.If(control.write.valid & control.write.ready):
                m.d.sync += ring[control.write.payload.address].eq(control.write.payload.data)
            with m.If(control.read.valid & control.read.ready):
                m.d.sync += control.stored.eq(ring[control.read.payload])
            return m

    sent = [b"\1\2\3\4\5\6", b"\0\0\0\0\0\0\0\0\0", b"\1\2\3\0\4\5\6\7\0\1", b""] * 3
    line, _, _ = encode(Ring(3), sent, stall=0.4)
    assert line.split(b"\0")[:-1] == [cobs_reference.encode(packet) for packet in sent]


def test_control_needs_a_ring():
    with pytest.raises(ValueError, match=r"address_bits must be at least 2, not 1"):
        CobsEncoderControl(address_bits=1)
