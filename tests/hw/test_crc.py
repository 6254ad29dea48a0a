import random
import zlib

import pytest
from amaranth.sim import Simulator

from xnorweave.hw.crc import Crc32

SEED = 32
CHECK = b"123456789", 0xCBF43926  # published for this CRC


def run(dut, testbench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()


async def put(ctx, dut, data, idle=None):
    """Send bytes; the cycles that each took."""
    taken = []
    for byte in data:
        if idle is not None:
            await ctx.tick().repeat(idle.randrange(1, 4))
        ctx.set(dut.i.payload, byte)
        ctx.set(dut.i.valid, 1)
        cycles = 1
        while not ctx.get(dut.i.ready):
            await ctx.tick()
            cycles += 1
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
        taken.append(cycles)
    return taken


@pytest.mark.parametrize("bits_per_cycle", [1, 2, 4, 8])
@pytest.mark.parametrize("idles", [False, True])
def test_values_are_those_of_zlib(bits_per_cycle, idles):
    dut = Crc32(bits_per_cycle=bits_per_cycle)
    rng = random.Random(SEED)
    messages = [
        CHECK[0],
        b"",
        b"\0",
        b"\0\0\0\0",
        b"\xff" * 9,
        *(rng.randbytes(rng.randrange(1, 40)) for _ in range(8)),
    ]
    assert zlib.crc32(CHECK[0]) == CHECK[1]

    async def testbench(ctx):
        for message in messages:
            taken = await put(ctx, dut, message, rng if idles else None)
            assert set(taken) <= {8 // bits_per_cycle}
            assert ctx.get(dut.value) == zlib.crc32(message)
            await put(ctx, dut, zlib.crc32(message).to_bytes(4, "little"))
            assert ctx.get(dut.good)
            await put(ctx, dut, b"\0")
            assert not ctx.get(dut.good)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            assert ctx.get(dut.value) == 0

    run(dut, testbench)


@pytest.mark.parametrize("bits_per_cycle", [4, 8])
def test_any_flipped_bit_is_seen(bits_per_cycle):
    dut = Crc32(bits_per_cycle=bits_per_cycle)
    message = random.Random(SEED).randbytes(5)
    whole = message + zlib.crc32(message).to_bytes(4, "little")

    async def testbench(ctx):
        for bit in range(8 * len(whole)):
            flipped = int.from_bytes(whole, "little") ^ 1 << bit
            await put(ctx, dut, flipped.to_bytes(len(whole), "little"))
            assert not ctx.get(dut.good)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)

    run(dut, testbench)


@pytest.mark.parametrize("bits_per_cycle", [1, 2, 4, 8])
def test_drained_bytes_are_the_crc(bits_per_cycle):
    dut = Crc32(bits_per_cycle=bits_per_cycle)
    sent = bytearray()

    async def testbench(ctx):
        await put(ctx, dut, CHECK[0])
        ctx.set(dut.drain, 1)
        for _ in range(4):
            byte = ctx.get(dut.value) & 0xFF
            sent.append(byte)
            await put(ctx, dut, bytes([byte ^ 0x5A]))

    run(dut, testbench)
    assert sent == CHECK[1].to_bytes(4, "little")


def test_start_amid_a_byte_forgets_it():
    dut = Crc32(bits_per_cycle=1)

    async def testbench(ctx):
        ctx.set(dut.i.payload, 0xA5)
        ctx.set(dut.i.valid, 1)
        await ctx.tick().repeat(3)
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        assert await put(ctx, dut, CHECK[0]) == [8] * len(CHECK[0])
        assert ctx.get(dut.value) == CHECK[1]

    run(dut, testbench)


@pytest.mark.parametrize("bits_per_cycle", [0, 3, 16])
def test_parts_of_a_byte(bits_per_cycle):
    with pytest.raises(ValueError, match=rf"bits_per_cycle must be 1, 2, 4 or 8, not {bits_per_cycle}"):
        Crc32(bits_per_cycle=bits_per_cycle)
