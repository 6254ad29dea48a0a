"""Bytes over SPI, against a host whose clock has nothing to do with the device's."""

import random

import pytest
from amaranth.sim import Simulator
from spi_host import SpiHost

from xnorweave.hw.spi import CYCLES_PER_BIT, FILLER, SpiDevice

CYCLE_S = 1e-6
SEED = 31


class Run:
    """A device, the bytes it gave, and a host that drives its lines."""

    def __init__(self, *, period=CYCLES_PER_BIT, phase=0.0, duty=0.5, to_send=(), gap=0.0, ready=1.0):
        self.dut = SpiDevice()
        self.period_s, self.phase_s, self.duty = period * CYCLE_S, phase * CYCLE_S, duty
        self.to_send, self.gap, self.ready = list(to_send), gap, ready
        self.got, self.came, self.lost = [], [], 0
        self._random = random.Random(SEED)

    def run(self, conversation):
        async def host(ctx):
            self.host = SpiHost(ctx, self.dut, self.period_s, CYCLE_S, duty=self.duty)
            await ctx.delay(self.phase_s)
            await conversation(self)
            await ctx.delay(10 * CYCLE_S)

        simulator = Simulator(self.dut)
        simulator.add_clock(CYCLE_S)
        simulator.add_testbench(host)
        simulator.add_testbench(self._take, background=True)
        simulator.add_testbench(self._give, background=True)
        simulator.run()
        return self

    async def exchange(self, data):
        self.came += await self.host.exchange(data)

    async def _take(self, ctx):
        port, held = self.dut.o, None
        while True:
            ready = self._random.random() < self.ready
            ctx.set(port.ready, ready)
            _, _, valid, payload, lost = await ctx.tick().sample(port.valid, port.payload, self.dut.lost)
            assert held is None or (valid and payload == held), "a byte changed while it waited"
            held = payload if valid and not ready else None
            self.lost += lost
            if valid and ready:
                self.got.append(payload)

    async def _give(self, ctx):
        port = self.dut.i
        for byte in self.to_send:
            while self._random.random() < self.gap:
                await ctx.tick()
            ctx.set(port.payload, byte)
            ctx.set(port.valid, 1)
            await ctx.tick().until(port.ready)
            ctx.set(port.valid, 0)


def without_filler(data):
    return [byte for byte in data if byte != FILLER]


@pytest.mark.parametrize("duty", [0.5, 0.6])
@pytest.mark.parametrize("phase", [0.05, 0.65])
@pytest.mark.parametrize("period", [CYCLES_PER_BIT, 6.37, 17.0])
def test_bytes_go_both_ways(period, phase, duty):
    draw = random.Random(f"{period} {phase}")
    there, back = draw.sample(range(256), 24), draw.sample(range(1, 256), 20)
    duty = max(3 / period, min(duty, 1 - 3 / period))
    it = Run(period=period, phase=phase, duty=duty, to_send=back)

    async def conversation(it):
        await it.exchange(there)

    it.run(conversation)
    assert it.got == there
    assert it.came == [*back, *[FILLER] * 4]
    assert it.lost == 0


def test_every_byte():
    data = list(range(256))
    it = Run(to_send=data)

    async def conversation(it):
        await it.exchange(reversed(data))

    it.run(conversation)
    assert it.got == data[::-1]
    assert it.came == data


@pytest.mark.parametrize("gap", [0.9, 0.99])
def test_zeros_stand_between_bytes_that_come_late(gap):
    draw = random.Random(SEED)
    back = [draw.randrange(1, 256) for _ in range(24)]
    it = Run(to_send=back, gap=gap, period=7.3)

    async def conversation(it):
        for _ in range(20):
            await it.exchange(range(draw.randrange(1, 12)))
        await it.exchange([0] * 150)

    it.run(conversation)
    assert without_filler(it.came) == back
    assert len(it.came) > len(back)
    assert it.lost == 0


@pytest.mark.parametrize("count", range(1, 8))
def test_a_byte_cut_short_is_dropped_and_the_next_is_whole(count):
    it = Run(to_send=[0x81, 0x42, 0x24])

    async def conversation(it):
        await it.host.select()
        it.came.append(await it.host.bits(0x5A))
        await it.host.bits(0xFF, count)
        await it.host.rest()
        await it.exchange([0x3C, 0xC3])

    it.run(conversation)
    assert it.got == [0x5A, 0x3C, 0xC3]
    assert it.came == [0x81, 0x24, FILLER]  # the second was on its way when it was cut
    assert it.lost == 1


def test_nothing_comes_of_a_clock_while_another_device_is_selected():
    it = Run(to_send=[0x77])

    async def conversation(it):
        for byte in (0x12, 0x34):
            await it.host.bits(byte)
        await it.exchange([0x56])

    it.run(conversation)
    assert it.got == [0x56]
    assert it.came == [0x77]
    assert it.lost == 0


def test_bytes_that_nobody_takes_are_counted_as_lost():
    it = Run(ready=0.0)

    async def conversation(it):
        await it.exchange([1, 2, 3])

    it.run(conversation)
    assert it.lost == 2
    assert it.got == []


def test_a_reader_that_is_ready_within_a_byte_loses_none():
    data = list(range(40))
    it = Run(ready=0.15)

    async def conversation(it):
        await it.exchange(data)

    it.run(conversation)
    assert it.got == data
    assert it.lost == 0
