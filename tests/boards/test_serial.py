"""The link behind its UART, bit by bit, with a host whose clock is not the board's."""

import random

import cobs_reference
import pytest
from amaranth.sim import Simulator
from cobs_reference import packet
from linked_core import SerialCore, status_counters

from xnorweave.boards.link_format import Kind

CYCLE_S = 1e-6
DIVISOR = 8
BITS_PER_BYTE = 10


class SerialHost:
    """Sends and hears bits, each ``divisor`` cycles of the board long, or a few percent more or less."""

    def __init__(self, percent):
        self.dut = SerialCore(divisor=DIVISOR, input_words=4, latency=20)
        self._bit_s = DIVISOR * CYCLE_S * (100 + percent) / 100
        self._line = bytearray()
        self._seen = 0

    async def send(self, ctx, data):
        for byte in data:
            for bit in [0, *((byte >> k) & 1 for k in range(8)), 1]:
                ctx.set(self.dut.rx, bit)
                await ctx.delay(self._bit_s)

    async def pull_down(self, ctx, bits):
        ctx.set(self.dut.rx, 0)
        await ctx.delay(bits * self._bit_s)
        ctx.set(self.dut.rx, 1)
        await ctx.delay(self._bit_s)

    async def listen(self, ctx):
        while True:
            await ctx.edge(self.dut.tx, 0)
            await ctx.delay(1.5 * self._bit_s)
            byte = 0
            for k in range(8):
                byte |= ctx.get(self.dut.tx) << k
                await ctx.delay(self._bit_s)
            assert ctx.get(self.dut.tx), "no stop bit"
            self._line.append(byte)

    async def hear(self, ctx, limit_bytes=150):
        for _ in range(limit_bytes):
            if self._line.count(0) > self._seen:
                self._seen += 1
                return cobs_reference.bodies(bytes(self._line))[self._seen - 1]
            await ctx.delay(BITS_PER_BYTE * self._bit_s)
        raise AssertionError("no answer")

    def run(self, conversation):
        simulator = Simulator(self.dut)
        simulator.add_clock(CYCLE_S)
        simulator.add_testbench(conversation)
        simulator.add_testbench(self.listen, background=True)
        simulator.run()


@pytest.mark.parametrize("percent", [-3, 0, 3])
def test_clocks_apart(percent):
    """Frames back to back, and a status with its long answer; no bit is lost either way."""
    host, rng = SerialHost(percent), random.Random(percent)

    async def conversation(ctx):
        frames = [host.dut.inner.frame(rng) for _ in range(2)]
        for sequence, (payload, _) in enumerate(frames):
            await host.send(ctx, packet(Kind.FRAME, sequence, payload))
        for sequence, (_, answer) in enumerate(frames):
            assert host.dut.inner.result(await host.hear(ctx)) == (sequence, answer, 4 + 20)
        await host.send(ctx, packet(Kind.STATUS_REQUEST, 7))
        counters = status_counters(await host.hear(ctx))
        assert counters == {"taken": 2, "sent": 2, "dropped": 0, "lost": 0, "refused": 0}

    host.run(conversation)


def test_break_amid_a_packet():
    """A break is one lost byte however long it is; the packet is dropped, and the next one answered."""
    host, rng = SerialHost(1), random.Random(5)

    async def conversation(ctx):
        payload, answer = host.dut.inner.frame(rng)
        await host.send(ctx, packet(Kind.FRAME, 1, payload)[:4])
        await host.pull_down(ctx, 25)
        await host.send(ctx, packet(Kind.FRAME, 1, payload)[4:])
        await host.send(ctx, b"\0" + packet(Kind.FRAME, 2, payload))
        assert host.dut.inner.result(await host.hear(ctx))[:2] == (2, answer)
        await host.send(ctx, packet(Kind.STATUS_REQUEST, 3))
        counters = status_counters(await host.hear(ctx))
        assert counters == {"taken": 1, "sent": 1, "dropped": 1, "lost": 1, "refused": 0}

    host.run(conversation)
