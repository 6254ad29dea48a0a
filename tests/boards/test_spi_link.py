"""The link over SPI, pin by pin: the host's own packets, at the fastest clock and at slower ones."""

import random

import pytest
from amaranth.sim import Simulator
from linked_core import SpiCore, status_counters
from spi_host import SpiHost

from xnorweave.boards.packets import Decoder, Kind, Packet, packet_bytes
from xnorweave.hw.spi import CYCLES_PER_BIT

CYCLE_S = 1e-6


class Conversation:
    """What a host sends in transfers of any length, and the packets that it gets."""

    def __init__(self, host, seed):
        self.host, self.decoder, self.draw = host, Decoder(300), random.Random(seed)
        self.packets = []

    async def transfer(self, data, longest=40):
        """Send bytes; the device is selected anew after each piece."""
        while data:
            size = self.draw.randint(1, longest)
            piece, data = data[:size], data[size:]
            self.packets += self.decoder.feed(bytes(await self.host.exchange(piece)))

    async def hear(self, limit_bytes=400):
        while not self.packets and limit_bytes > 0:
            await self.transfer(bytes(10))
            limit_bytes -= 10
        assert self.packets, "no answer"
        return self.packets.pop(0)

    async def ask(self, kind, sequence, payload=b""):
        await self.transfer(b"\0" + packet_bytes(Packet(kind=kind, sequence=sequence, payload=payload)))
        return await self.hear()


def converse(dut, talk, *, period=CYCLES_PER_BIT, phase=0.3, seed=5):
    async def testbench(ctx):
        await ctx.delay(phase * CYCLE_S)
        await talk(Conversation(SpiHost(ctx, dut, period * CYCLE_S, CYCLE_S), seed))

    simulator = Simulator(dut)
    simulator.add_clock(CYCLE_S)
    simulator.add_testbench(testbench)
    simulator.run()


@pytest.mark.parametrize(("period", "buffer_frames"), [(CYCLES_PER_BIT, 1), (6.4, 2), (13.0, 1)])
def test_every_frame_is_answered_and_no_packet_is_broken(period, buffer_frames):
    """Answers are never interrupted by a filler: at the fastest clock the link has each byte in time."""
    dut = SpiCore(input_bits=12, output_bits=17, input_words=6, latency=9, buffer_frames=buffer_frames)

    async def talk(it):
        first = await it.ask(Kind.RESET, 200)
        assert (first.kind, first.sequence) == (Kind.STATUS, 200)
        for number in range(6):
            payload, expected = dut.inner.frame(it.draw)
            answer = await it.ask(Kind.FRAME, number, payload)
            assert (answer.kind, answer.sequence) == (Kind.RESULT, number)
            assert answer.payload[:-4] == expected
        status = await it.ask(Kind.STATUS_REQUEST, 9)
        counters = status_counters(bytes([status.kind, status.sequence]) + status.payload)
        assert counters == {"taken": 6, "sent": 6, "dropped": 0, "lost": 0, "refused": 0}
        assert it.decoder.dropped == 0

    converse(dut, talk, period=period)


def test_a_transfer_that_breaks_off_within_a_byte_spoils_its_packet_alone():
    dut = SpiCore(output_bits=8)

    async def talk(it):
        await it.ask(Kind.RESET, 0)
        payload, expected = dut.inner.frame(it.draw)
        frame = packet_bytes(Packet(kind=Kind.FRAME, sequence=1, payload=payload))
        await it.host.select()
        for byte in frame[:4]:
            await it.host.bits(byte)
        await it.host.bits(frame[4], 3)
        await it.host.rest()
        await it.transfer(frame[5:])
        answer = await it.ask(Kind.FRAME, 2, payload)
        assert (answer.kind, answer.sequence, answer.payload[:-4]) == (Kind.RESULT, 2, expected)
        status = await it.ask(Kind.STATUS_REQUEST, 3)
        counters = status_counters(bytes([status.kind, status.sequence]) + status.payload)
        assert counters == {"taken": 1, "sent": 1, "dropped": 1, "lost": 1, "refused": 0}

    converse(dut, talk)
