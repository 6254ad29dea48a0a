"""A link with a stand-in for a core, and a host that talks to it cycle by cycle."""

import random

import cobs_reference
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.sim import Simulator

from xnorweave.boards.link import Link
from xnorweave.boards.link_format import COUNTERS, Identity, Kind
from xnorweave.hw.spi import SpiDevice
from xnorweave.hw.uart import UartReceiver, UartTransmitter

RESET_CYCLES = 6
IDENTITY = Identity(network=bytes(range(0x10, 0x18)), build=bytes([0, 1, 0, 0, 0xFF, 0, 7, 0]), clock_hz=12_000_000)
FACTOR = 5


class HashCore(wiring.Component):
    """Answers a frame with a number that depends on every bit and on the order of its words.

    Takes one word in ``pace`` cycles; ``latency`` cycles from the last word to the answer, at least 1.
    """

    def __init__(self, input_bits, output_bits, input_words, pace=1, latency=1):
        self.input_words, self.pace, self.latency = input_words, pace, latency
        super().__init__({"rst": In(1), "i": In(stream.Signature(input_bits)), "o": Out(stream.Signature(output_bits))})

    def elaborate(self, platform):
        m = Module()
        words, wait = Signal(range(self.input_words)), Signal(range(self.pace + 1))
        total, late = Signal.like(self.o.payload), Signal(range(self.latency + 1))
        m.d.comb += self.i.ready.eq(~self.o.valid & (wait == 0) & (late == 0))
        with m.If(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [total.eq(total * FACTOR + self.i.payload + 1), words.eq(words + 1), wait.eq(self.pace - 1)]
            with m.If(words == self.input_words - 1):
                m.d.sync += [words.eq(0), late.eq(self.latency)]
        with m.If(late != 0):
            m.d.sync += late.eq(late - 1)
            with m.If(late == 1):
                m.d.sync += [self.o.payload.eq(total), self.o.valid.eq(1), total.eq(0)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.rst):
            m.d.sync += [words.eq(0), total.eq(0), self.o.valid.eq(0), wait.eq(0), late.eq(0)]
        return m


class LinkedCore(wiring.Component):
    def __init__(self, *, input_bits=8, output_bits=16, input_words=5, pace=1, latency=1, **options):
        self.link = Link(
            input_bits=input_bits,
            output_bits=output_bits,
            input_words=input_words,
            reset_cycles=RESET_CYCLES,
            identity=IDENTITY,
            **options,
        )
        self.core = HashCore(input_bits, output_bits, input_words, pace, latency)
        self.input_bits, self.output_bits, self.input_words = input_bits, output_bits, input_words
        super().__init__({"rx": In(stream.Signature(8)), "lost": In(1), "tx": Out(stream.Signature(8))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.link, m.submodules.core = self.link, self.core
        connect(m, flipped(self.rx), self.link.rx)
        connect(m, self.link.tx, flipped(self.tx))
        connect(m, self.link.core_i, self.core.i)
        connect(m, self.core.o, self.link.core_o)
        m.d.comb += [self.core.rst.eq(self.link.core_reset), self.link.lost.eq(self.lost)]
        return m

    def frame(self, rng):
        """A frame's payload, sometimes with many zeros or many ones, and its answer's bytes without the cycles."""
        bias = rng.choice([rng.getrandbits, rng.getrandbits, lambda bits: 0, lambda bits: (1 << bits) - 1])
        words = [bias(self.input_bits) for _ in range(self.input_words)]
        total = 0
        for word in words:
            total = (total * FACTOR + word + 1) % 2**self.output_bits
        width = -(-self.input_bits // 8)
        payload = b"".join(word.to_bytes(width, "little") for word in words)
        return payload, total.to_bytes(-(-self.output_bits // 8), "little")

    def result(self, body):
        """Sequence number, answer and cycles of a result's body."""
        assert body[0] == Kind.RESULT
        assert len(body) == 2 + -(-self.output_bits // 8) + 4
        return body[1], body[2:-4], int.from_bytes(body[-4:], "little")


class SerialCore(wiring.Component):
    """The same behind the UART, as on a board."""

    def __init__(self, *, divisor, **options):
        self.inner = LinkedCore(**options)
        self.divisor = divisor
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = self.inner
        m.submodules.receiver = receiver = UartReceiver(divisor=self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(divisor=self.divisor)
        connect(m, receiver.o, inner.rx)
        connect(m, inner.tx, transmitter.i)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            inner.lost.eq(receiver.framing_error | receiver.overrun),
        ]
        return m


class SpiCore(wiring.Component):
    """The same behind SPI."""

    def __init__(self, **options):
        self.inner = LinkedCore(**options)
        super().__init__({"sck": In(1), "mosi": In(1), "cs_n": In(1, init=1), "miso": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = self.inner
        m.submodules.spi = spi = SpiDevice()
        connect(m, spi.o, inner.rx)
        connect(m, inner.tx, spi.i)
        m.d.comb += [getattr(spi, name).eq(getattr(self, name)) for name in ("sck", "mosi", "cs_n")]
        m.d.comb += [self.miso.eq(spi.miso), inner.lost.eq(spi.lost)]
        return m


class Host:
    """Sends bytes to a `LinkedCore` and keeps what comes back."""

    def __init__(self, ctx, dut, seed, stall):
        self._ctx, self._dut = ctx, dut
        self.rng = random.Random(seed)
        self._stall, self._held = stall, None
        self._line = bytearray()
        self._seen = 0
        self.cycles = 0

    async def step(self):
        """One cycle; whether the link took a byte."""
        ctx, dut = self._ctx, self._dut
        ready = self.rng.random() >= self._stall
        ctx.set(dut.tx.ready, ready)
        _, _, took, valid, payload = await ctx.tick().sample(dut.rx.ready, dut.tx.valid, dut.tx.payload)
        self.cycles += 1
        assert self._held is None or (valid and payload == self._held), "a payload changed while it waited"
        self._held = payload if valid and not ready else None
        if valid and ready:
            self._line.append(payload)
        return took

    async def wait(self, cycles):
        for _ in range(cycles):
            await self.step()

    async def send(self, data, *, gap=0):
        """Send bytes, with up to ``gap`` idle cycles after each."""
        for byte in data:
            self._ctx.set(self._dut.rx.payload, byte)
            self._ctx.set(self._dut.rx.valid, 1)
            while not await self.step():
                pass
            self._ctx.set(self._dut.rx.valid, 0)
            await self.wait(self.rng.randrange(gap + 1) if gap else 0)

    async def lose(self):
        """Tell the link of a lost byte."""
        self._ctx.set(self._dut.lost, 1)
        await self.step()
        self._ctx.set(self._dut.lost, 0)

    @property
    def bodies(self):
        """Of all packets so far."""
        return cobs_reference.bodies(bytes(self._line))

    def news(self):
        """Bodies of the packets since the last call."""
        bodies = self.bodies
        fresh, self._seen = bodies[self._seen :], len(bodies)
        return fresh

    async def hear(self, limit_cycles=4000):
        """The next packet's body."""
        for _ in range(limit_cycles):
            if self._line.count(0) > self._seen:
                body = self.bodies[self._seen]
                self._seen += 1
                return body
            await self.step()
        raise AssertionError(f"no answer in {limit_cycles} cycles; seed {self.rng!r}")

    async def ask(self, kind, sequence, payload=b"", **options):
        """Send one packet behind a delimiter, and hear one answer."""
        await self.send(b"\0" + cobs_reference.packet(kind, sequence, payload))
        return await self.hear(**options)

    async def counters(self, sequence=0):
        """What a status tells of events, by name."""
        return status_counters(await self.ask(Kind.STATUS_REQUEST, sequence))


def status_counters(body):
    assert body[0] == Kind.STATUS
    return {
        name: int.from_bytes(body[2 + at : 6 + at], "little")
        for name, at in zip(COUNTERS, range(27, 47, 4), strict=True)
    }


def converse(dut, conversation, *, seed=20, stall=0.0):
    """Run ``conversation(host)`` in simulation."""

    async def testbench(ctx):
        await conversation(Host(ctx, dut, seed, stall))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
