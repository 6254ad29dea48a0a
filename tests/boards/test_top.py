import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.sim import Simulator

from xnorweave.boards.catalogue import board, boards
from xnorweave.boards.link import Link
from xnorweave.boards.top import BoardTop, link_baud, plan_board
from xnorweave.design import Design
from xnorweave.errors import DeviceError

SEED = 20
TIMEOUT_CYCLES = 40
RESET_CYCLES = 6

# Components whose parameters are refused are never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


class SumCore(wiring.Component):
    """Stands in for a core: answers a frame with the sum of its words; takes one word in ``pace`` cycles."""

    def __init__(self, input_bits, output_bits, input_words, pace=1):
        self.input_words, self.pace = input_words, pace
        super().__init__(
            {
                "rst": In(1),
                "i": In(stream.Signature(input_bits)),
                "o": Out(stream.Signature(output_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        words = Signal(range(self.input_words))
        wait = Signal(range(self.pace + 1))
        total = Signal.like(self.o.payload)
        m.d.comb += self.i.ready.eq(~self.o.valid & (wait == 0))
        with m.If(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [total.eq(total + self.i.payload), words.eq(words + 1), wait.eq(self.pace - 1)]
            with m.If(words == self.input_words - 1):
                m.d.sync += [
                    words.eq(0),
                    total.eq(0),
                    self.o.payload.eq(total + self.i.payload),
                    self.o.valid.eq(1),
                ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.rst):
            m.d.sync += [words.eq(0), total.eq(0), self.o.valid.eq(0), wait.eq(0)]
        return m


class LinkedCore(wiring.Component):
    def __init__(self, *, input_bits=8, output_bits=8, input_words=4, pace=1, buffer_bytes=None):
        self.link = Link(
            input_bits=input_bits,
            output_bits=output_bits,
            input_words=input_words,
            timeout_cycles=TIMEOUT_CYCLES,
            reset_cycles=RESET_CYCLES,
            buffer_bytes=buffer_bytes,
        )
        self.core = SumCore(input_bits, output_bits, input_words, pace)
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
        """A frame's bytes and its answer's bytes."""
        words = [rng.getrandbits(self.input_bits) for _ in range(self.input_words)]
        width = -(-self.input_bits // 8)
        answer = sum(words) % 2**self.output_bits
        data = b"".join(word.to_bytes(width, "little") for word in words)
        return data, answer.to_bytes(-(-self.output_bits // 8), "little")


def run(dut, testbench, *, stall=0):
    """Run ``testbench(ctx, send, heard)``; gives all bytes that came back."""
    rng = random.Random(SEED)
    heard = bytearray()

    async def send(ctx, data, *, gap=0):
        for byte in data:
            ctx.set(dut.rx.payload, byte)
            ctx.set(dut.rx.valid, 1)
            await ctx.tick().until(dut.rx.ready)
            ctx.set(dut.rx.valid, 0)
            if gap:
                for _ in range(rng.randrange(gap + 1)):
                    await ctx.tick()

    async def drive(ctx):
        await testbench(ctx, send, heard)
        await ctx.tick().repeat(100)

    async def listen(ctx):
        held = None
        while True:
            ready = rng.randrange(stall + 1) == 0
            ctx.set(dut.tx.ready, ready)
            _, _, valid, payload = await ctx.tick().sample(dut.tx.valid, dut.tx.payload)
            if held is not None:
                assert (valid, payload) == (1, held)
            held = payload if valid and not ready else None
            if valid and ready:
                heard.append(payload)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.add_testbench(listen, background=True)
    simulator.run()
    return bytes(heard)


@pytest.mark.parametrize(
    ("input_bits", "output_bits"), [(8, 8), (24, 4), (1, 8), (3, 3), (12, 8), (64, 1), (8, 12), (24, 16)]
)
@pytest.mark.parametrize(("gap", "stall"), [(0, 0), (3, 0), (0, 5), (3, 5)])
def test_frames_in_answers_out(input_bits, output_bits, gap, stall):
    dut = LinkedCore(input_bits=input_bits, output_bits=output_bits)
    rng = random.Random(SEED)
    frames = [dut.frame(rng) for _ in range(5)]

    async def testbench(ctx, send, heard):
        for data, answer in frames:
            before = len(heard)
            await send(ctx, data, gap=gap)
            while len(heard) < before + len(answer):
                await ctx.tick()

    assert run(dut, testbench, stall=stall) == b"".join(answer for _, answer in frames)


def test_back_to_back_frames_with_a_slow_core_and_room_for_them():
    dut = LinkedCore(input_bits=24, input_words=5, pace=30, buffer_bytes=64)
    rng = random.Random(SEED)
    frames = [dut.frame(rng) for _ in range(4)]

    async def testbench(ctx, send, heard):
        for data, _ in frames:
            await send(ctx, data)
        await ctx.tick().repeat(1000)

    assert run(dut, testbench, stall=3) == b"".join(answer for _, answer in frames)


@pytest.mark.parametrize("sent_bytes", [1, 2, 5, 11])
def test_partial_frame_is_forgotten_after_the_timeout(sent_bytes):
    dut = LinkedCore(input_bits=24)
    data, answer = dut.frame(random.Random(SEED))

    async def testbench(ctx, send, heard):
        await send(ctx, data[:sent_bytes])
        await ctx.tick().repeat(TIMEOUT_CYCLES + 1)
        await send(ctx, data)

    assert run(dut, testbench) == answer


def test_pause_below_the_timeout_is_no_end():
    dut = LinkedCore()
    data, answer = dut.frame(random.Random(SEED))

    async def testbench(ctx, send, heard):
        for byte in data:
            await send(ctx, bytes([byte]))
            await ctx.tick().repeat(TIMEOUT_CYCLES - 2)

    assert run(dut, testbench) == answer


def test_idle_line_between_frames_resets_nothing():
    dut = LinkedCore()
    rng = random.Random(SEED)
    frames = [dut.frame(rng) for _ in range(3)]

    async def testbench(ctx, send, heard):
        await ctx.tick().repeat(RESET_CYCLES + 1)
        for data, _ in frames:
            await send(ctx, data)
            for _ in range(3 * TIMEOUT_CYCLES):
                await ctx.tick()
                assert not ctx.get(dut.link.core_reset)

    assert run(dut, testbench) == b"".join(answer for _, answer in frames)


def test_lost_byte_spoils_the_frame_and_never_gives_a_wrong_answer():
    dut = LinkedCore()
    rng = random.Random(SEED)
    frames = [dut.frame(rng) for _ in range(3)]

    async def testbench(ctx, send, heard):
        await send(ctx, frames[0][0][:2])
        ctx.set(dut.lost, 1)
        await ctx.tick()
        ctx.set(dut.lost, 0)
        await send(ctx, frames[0][0][3:] + frames[1][0])
        await ctx.tick().repeat(TIMEOUT_CYCLES + 1)
        await send(ctx, frames[2][0])

    assert run(dut, testbench) == frames[2][1]


def test_full_buffer_spoils_the_frame():
    dut = LinkedCore(input_words=16, pace=30, buffer_bytes=4)
    rng = random.Random(SEED)
    (first, _), (second, answer) = dut.frame(rng), dut.frame(rng)

    async def testbench(ctx, send, heard):
        await send(ctx, first)
        await ctx.tick().repeat(TIMEOUT_CYCLES + 1)
        assert not heard
        for byte in second:
            await send(ctx, bytes([byte]))
            await ctx.tick().repeat(30)

    assert run(dut, testbench) == answer


def test_core_is_reset_from_power_up():
    dut = LinkedCore()
    levels = []

    async def testbench(ctx, send, heard):
        for _ in range(RESET_CYCLES + 4):
            levels.append(ctx.get(dut.link.core_reset))
            await ctx.tick()

    run(dut, testbench)
    assert levels == [1] * RESET_CYCLES + [0] * 4


@pytest.mark.parametrize("name", ["input_bits", "output_bits", "input_words", "timeout_cycles", "reset_cycles"])
def test_link_refuses_zero(name):
    parameters = {"input_bits": 8, "output_bits": 8, "input_words": 4, "timeout_cycles": 9, "reset_cycles": 9}
    with pytest.raises(ValueError, match=rf"{name} must be at least 1, not 0"):
        Link(**{**parameters, name: 0})


@pytest.mark.parametrize(
    ("name", "clock_mhz", "baud"),
    [("icebreaker", None, 1_000_000), ("ulx3s-85f", None, 1_000_000), ("icebreaker", 3.3, 115_200)],
)
def test_baud_rate(name, clock_mhz, baud):
    assert link_baud(board(name), clock_mhz) == baud


def test_baud_rate_needs_a_clock():
    with pytest.raises(DeviceError, match=r"icebreaker: no baud rate divides the clock of 0\.01 MHz; use a faster"):
        link_baud(board("icebreaker"), 0.01)


def test_board_without_serial_port():
    with pytest.raises(DeviceError, match=r"tinyfpga-bx: no serial port .* have one: .*ice40-hx8k-b-evn"):
        plan_board(board("tinyfpga-bx"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("clock_mhz", [None, 50.0])
@pytest.mark.parametrize("name", [each.name for each in boards() if each.has_uart])
def test_every_board_takes_the_top(name, clock_mhz):
    design = Design(verilog="", input_bits=24, output_bits=4, input_words=4, output_words=1, taps=())
    top = BoardTop(design, plan_board(board(name), clock_mhz))
    files = board(name).platform().prepare(top, "top", emit_src=False).files
    assert r"cell \xnorweave_core" in files["top.il"]
    assert any(file.endswith((".pcf", ".lpf")) for file in files)
