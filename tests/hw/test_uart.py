import itertools
import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.sim import Simulator

from xnorweave.hw.uart import UartReceiver, UartTransmitter

SEED = 20
CYCLE_S = 1e-6

# Components whose parameters are refused are never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


class Loopback(wiring.Component):
    """Transmitter to receiver; ``divisor`` of each side may differ."""

    def __init__(self, transmitter_divisor, receiver_divisor):
        self.transmitter = UartTransmitter(divisor=transmitter_divisor)
        self.receiver = UartReceiver(divisor=receiver_divisor)
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(8))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.transmitter = self.transmitter
        m.submodules.receiver = self.receiver
        connect(m, flipped(self.i), self.transmitter.i)
        connect(m, self.receiver.o, flipped(self.o))
        m.d.comb += self.receiver.rx.eq(self.transmitter.tx)
        return m


def run(dut, *testbenches, background=()):
    simulator = Simulator(dut)
    simulator.add_clock(CYCLE_S)
    for testbench in testbenches:
        simulator.add_testbench(testbench)
    for testbench in background:
        simulator.add_testbench(testbench, background=True)
    simulator.run()


async def send_line(ctx, line, byte, bit_s, *, stop=1):
    """Drive one byte on a serial line, bit by bit."""
    for bit in [0, *((byte >> k) & 1 for k in range(8)), stop]:
        ctx.set(line, bit)
        await ctx.delay(bit_s)
    ctx.set(line, 1)


async def put(ctx, port, byte):
    ctx.set(port.payload, byte)
    ctx.set(port.valid, 1)
    await ctx.tick().until(port.ready)
    ctx.set(port.valid, 0)


async def get(ctx, port, limit_cycles=100_000):
    ctx.set(port.ready, 1)
    for _ in range(limit_cycles):
        (_, _, valid, payload) = await ctx.tick().sample(port.valid, port.payload)
        if valid:
            ctx.set(port.ready, 0)
            return payload
    raise AssertionError("no byte came")


class ReceiverRun:
    """Collect what a receiver puts out while a testbench drives its line."""

    def __init__(self, divisor):
        self.dut = UartReceiver(divisor=divisor)
        self.bytes, self.framing_errors, self.overruns = [], 0, 0

    async def monitor(self, ctx):
        port = self.dut.o
        async for _, reset, valid, ready, payload, framing, overrun in ctx.tick().sample(
            port.valid, port.ready, port.payload, self.dut.framing_error, self.dut.overrun
        ):
            assert not reset
            if valid and ready:
                self.bytes.append(payload)
            self.framing_errors += framing
            self.overruns += overrun

    def run(self, testbench, ready=1):
        async def drive(ctx):
            ctx.set(self.dut.o.ready, ready)
            await testbench(ctx, self.dut)
            await ctx.tick().repeat(20 * self.dut.divisor)

        run(self.dut, drive, background=[self.monitor])
        return self


@pytest.mark.parametrize("divisor", [4, 5, 12, 25])
def test_loopback_carries_every_byte(divisor):
    dut = Loopback(divisor, divisor)
    data = list(range(256)) if divisor == 4 else random.Random(SEED).sample(range(256), 24)
    received = []

    async def source(ctx):
        for byte in data:
            await put(ctx, dut.i, byte)

    async def sink(ctx):
        for _ in data:
            received.append(await get(ctx, dut.o))

    run(dut, source, sink)
    assert received == data


@pytest.mark.parametrize("percent", [-3, 3])
@pytest.mark.parametrize("divisor", [8, 9, 12, 25])
def test_baud_off_by_three_percent(divisor, percent):
    data = random.Random(SEED).choices(range(256), k=40)
    bit_s = divisor * CYCLE_S * (100 + percent) / 100

    async def testbench(ctx, dut):
        for byte in data:
            await send_line(ctx, dut.rx, byte, bit_s)

    result = ReceiverRun(divisor).run(testbench)
    assert result.bytes == data
    assert (result.framing_errors, result.overruns) == (0, 0)


def test_glitch_is_no_start_bit():
    async def testbench(ctx, dut):
        for cycles in (1, 3, 5):
            ctx.set(dut.rx, 0)
            await ctx.delay(cycles * CYCLE_S)
            ctx.set(dut.rx, 1)
            await ctx.delay(20 * CYCLE_S)
        await send_line(ctx, dut.rx, 0xA5, 12 * CYCLE_S)

    result = ReceiverRun(12).run(testbench)
    assert result.bytes == [0xA5]
    assert result.framing_errors == 0


def test_framing_error_drops_the_byte_and_recovers():
    async def testbench(ctx, dut):
        await send_line(ctx, dut.rx, 0x5A, 12 * CYCLE_S, stop=0)
        await ctx.delay(24 * CYCLE_S)
        await send_line(ctx, dut.rx, 0x3C, 12 * CYCLE_S)

    result = ReceiverRun(12).run(testbench)
    assert result.bytes == [0x3C]
    assert result.framing_errors == 1


def test_break_is_one_framing_error():
    async def testbench(ctx, dut):
        ctx.set(dut.rx, 0)
        await ctx.delay(12 * 100 * CYCLE_S)
        ctx.set(dut.rx, 1)
        await ctx.delay(24 * CYCLE_S)
        await send_line(ctx, dut.rx, 0x81, 12 * CYCLE_S)

    result = ReceiverRun(12).run(testbench)
    assert result.bytes == [0x81]
    assert result.framing_errors == 1


def test_back_pressure_holds_the_first_byte_and_reports_the_second():
    run_ = ReceiverRun(12)

    async def testbench(ctx, dut):
        await send_line(ctx, dut.rx, 0x11, 12 * CYCLE_S)
        await send_line(ctx, dut.rx, 0x22, 12 * CYCLE_S)
        await ctx.delay(24 * CYCLE_S)
        assert ctx.get(dut.o.valid) == 1
        assert ctx.get(dut.o.payload) == 0x11
        ctx.set(dut.o.ready, 1)
        await ctx.delay(24 * CYCLE_S)
        await send_line(ctx, dut.rx, 0x33, 12 * CYCLE_S)

    run_.run(testbench, ready=0)
    assert run_.bytes == [0x11, 0x33]
    assert run_.overruns == 1


@pytest.mark.parametrize("divisor", [4, 7, 12])
def test_receiver_latency_is_as_documented(divisor):
    dut = UartReceiver(divisor=divisor)
    waited = []

    async def testbench(ctx):
        await ctx.tick().repeat(5)
        cycles = 0
        while not ctx.get(dut.o.valid):
            ctx.set(dut.rx, int(cycles >= divisor))
            await ctx.tick()
            cycles += 1
        waited.append(cycles)

    run(dut, testbench)
    assert waited == [9 * divisor + (divisor - 1) // 2 + 3]


@pytest.mark.parametrize("divisor", [4, 7, 12])
def test_transmitter_latency_interval_and_line(divisor):
    dut = UartTransmitter(divisor=divisor)
    data = [0x00, 0xFF, 0x96]
    levels, transfers = [], []

    async def source(ctx):
        for byte in data:
            await put(ctx, dut.i, byte)
        await ctx.tick().repeat(12 * divisor)

    async def monitor(ctx):
        async for _, _, tx, valid, ready in ctx.tick().sample(dut.tx, dut.i.valid, dut.i.ready):
            if valid and ready:
                transfers.append(len(levels))
            levels.append(tx)

    run(dut, source, background=[monitor])
    assert [b - a for a, b in itertools.pairwise(transfers)] == [10 * divisor] * (len(data) - 1)
    expected = [bit for byte in data for bit in [0, *((byte >> k) & 1 for k in range(8)), 1] for _ in range(divisor)]
    first = transfers[0] + 1
    assert levels[:first] == [1] * first
    assert levels[first : first + len(expected)] == expected
    assert set(levels[first + len(expected) :]) == {1}


@pytest.mark.parametrize("component", [UartReceiver, UartTransmitter])
@pytest.mark.parametrize("divisor", [-1, 0, 3])
def test_divisor_too_small(component, divisor):
    with pytest.raises(ValueError, match=rf"divisor must be at least 4 clock cycles per bit, not {divisor};"):
        component(divisor=divisor)
