import random
import struct

import cobs_reference
import pytest
from cobs_reference import packet
from linked_core import IDENTITY, RESET_CYCLES, LinkedCore, converse, status_counters

from xnorweave.boards.link import Link, link_memory_bytes
from xnorweave.boards.link_format import COUNTERS, Identity, Kind, Refusal, packet_bytes

SEED = 20


@pytest.mark.parametrize(
    ("input_bits", "output_bits", "gap", "stall"),
    [(8, 8, 0, 0.0), (24, 4, 0, 0.7), (1, 12, 9, 0.0), (12, 40, 9, 0.7), (64, 1, 0, 0.0)],
)
def test_frames_in_results_out(input_bits, output_bits, gap, stall):
    dut = LinkedCore(input_bits=input_bits, output_bits=output_bits, input_words=2)

    async def conversation(host):
        for sequence in (0, 1, 255):
            payload, answer = dut.frame(host.rng)
            await host.send(packet(Kind.FRAME, sequence, payload), gap=gap)
            assert dut.result(await host.hear())[:2] == (sequence, answer)

    converse(dut, conversation, stall=stall)


@pytest.mark.parametrize(("input_bits", "input_words", "latency"), [(8, 7, 1), (3, 1, 40)])
def test_cycles_are_those_of_the_core(input_bits, input_words, latency):
    """First word taken to result, a word a cycle; the first one comes 8 cycles after the delimiter as documented."""
    dut = LinkedCore(input_bits=input_bits, input_words=input_words, latency=latency)

    async def conversation(host):
        for sequence in range(2):
            payload, answer = dut.frame(host.rng)
            await host.send(packet(Kind.FRAME, sequence, payload))
            waited = 0
            while not host._ctx.get(dut.core.i.valid):
                await host.step()
                waited += 1
            assert waited + 1 == 8
            assert dut.result(await host.hear()) == (sequence, answer, input_words + latency)

    converse(dut, conversation)


def test_cycles_of_wide_words_and_of_a_slow_core():
    dut = LinkedCore(input_bits=24, input_words=5, pace=7, latency=300)

    async def conversation(host):
        payload, answer = dut.frame(host.rng)
        body = await host.ask(Kind.FRAME, 9, payload)
        assert dut.result(body) == (9, answer, 4 * 7 + 1 + 300)

    converse(dut, conversation)


def test_status_says_what_the_board_is():
    dut = LinkedCore(input_bits=24, input_words=100, output_bits=12, buffer_frames=3)

    async def conversation(host):
        body = await host.ask(Kind.STATUS_REQUEST, 0x5A)
        constants = struct.pack("<B8s8sIIBB", 1, IDENTITY.network, IDENTITY.build, 12_000_000, 300, 2, 3)
        assert body == bytes([0x82, 0x5A]) + constants + bytes(20)

    converse(dut, conversation)


def test_every_event_is_counted_once():
    dut = LinkedCore()

    async def conversation(host):
        payload, _ = dut.frame(host.rng)
        broken = bytearray(packet(Kind.FRAME, 1, payload))
        broken[3] ^= 1
        assert (await host.ask(Kind.FRAME, 1, payload))[0] == Kind.RESULT
        await host.send(broken + b"\0\0")
        await host.lose()
        await host.send(b"\0\0\5\0")
        expected = {"taken": 1, "sent": 1, "dropped": 2, "lost": 1, "refused": 0}
        assert await host.counters() == expected
        assert (await host.ask(Kind.FRAME, 2, payload + b"\0"))[0] == Kind.REFUSED
        assert await host.counters() == expected | {"refused": 1}

    converse(dut, conversation)


def test_counters_carry():
    dut = LinkedCore(input_words=1)

    async def conversation(host):
        for _ in range(257):
            await host.send(b"\5\0")
        await host.wait(20)
        assert (await host.counters())["dropped"] == 257

    converse(dut, conversation)


def test_counters_do_not_change_while_they_are_told():
    """Packets are dropped all the time that a status is built; a carry must not come between two of its bytes."""
    dut = LinkedCore()
    packets = 60

    async def conversation(host):
        dropped = link_memory_bytes(dut.link.frame_bytes) - 128 + 40
        # So far below a carry over two bytes, it comes while they are told.
        for start in range(0x10000 - 42, 0x10000 - 30):
            for k, byte in enumerate(start.to_bytes(4, "little")):
                host._ctx.set(dut.link._memory.data[dropped + k], byte)
            await host.send(packet(Kind.STATUS_REQUEST, 1))
            await host.send(b"\5\0" * packets, gap=9)
            assert start < status_counters(await host.hear())["dropped"] < start + packets
            await host.wait(20)

    converse(dut, conversation)


@pytest.mark.parametrize(
    ("kind", "length", "refusal"),
    [
        (Kind.FRAME, 0, Refusal.LENGTH),
        (Kind.FRAME, 4, Refusal.LENGTH),
        (Kind.FRAME, 6, Refusal.LENGTH),
        (Kind.FRAME, 40, Refusal.LENGTH),
        (0x00, 0, Refusal.KIND),
        (0x04, 5, Refusal.KIND),
        (0x81, 5, Refusal.KIND),
    ],
)
def test_refusals(kind, length, refusal):
    dut = LinkedCore()

    async def conversation(host):
        body = await host.ask(kind, 0x77, bytes(length), limit_cycles=9000)
        assert body == bytes([Kind.REFUSED, 0x77, refusal])
        payload, answer = dut.frame(host.rng)
        assert dut.result(await host.ask(Kind.FRAME, 1, payload))[:2] == (1, answer)

    converse(dut, conversation)


@pytest.mark.parametrize(
    "line",
    [
        cobs_reference.encode(bytes(4)) + b"\0",  # the CRC of nothing
        cobs_reference.encode(b"\2" + (0x3C0C8EA1).to_bytes(4, "little")) + b"\0",  # a kind alone, with its CRC
        packet(Kind.STATUS_REQUEST, 5, b"\1"),
        packet(Kind.RESET, 5, b"\1"),
        packet(Kind.STATUS_REQUEST, 5)[:-2] + b"\0",
        b"\x09\1\1\1\0",
    ],
)
def test_packets_that_nobody_answers(line):
    dut = LinkedCore()

    async def conversation(host):
        await host.send(line)
        await host.wait(200)
        assert host.bodies == []
        assert (await host.counters())["dropped"] == 1

    converse(dut, conversation)


def test_next_frame_comes_while_the_core_works():
    """With room for one frame: it may lie over what the core has taken, and is refused where the core has not."""
    dut = LinkedCore(input_words=20, pace=40)

    async def conversation(host):
        payloads = [dut.frame(random.Random(k)) for k in range(4)]
        for sequence, (payload, _) in enumerate(payloads):
            await host.send(packet(Kind.FRAME, sequence, payload))
            # The second finds all of the first but its first word; the fourth much of the second.
            await host.wait(0 if sequence == 0 else 800)
        await host.wait(1500)
        found = host.news()
        refused = [body[1] for body in found if body == bytes([Kind.REFUSED, body[1], Refusal.NO_ROOM])]
        results = dict(dut.result(body)[:2] for body in found if body[0] == Kind.RESULT)
        assert 1 in refused
        assert results == {k: answer for k, (_, answer) in enumerate(payloads) if k not in refused}
        assert 2 in results

    converse(dut, conversation)


@pytest.mark.parametrize("buffer_frames", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_room_for_several_frames(buffer_frames):
    """One frame is in the core and off the buffer; so many wait; the next one is refused; and so again."""
    dut = LinkedCore(latency=1200, buffer_frames=buffer_frames)

    async def conversation(host):
        for turn in range(2):
            payloads = [dut.frame(host.rng) for _ in range(buffer_frames + 2)]
            for k, (payload, _) in enumerate(payloads):
                await host.send(packet(Kind.FRAME, 16 * turn + k, payload), gap=3)
            expected = bytes([Kind.REFUSED, 16 * turn + buffer_frames + 1, Refusal.NO_ROOM])
            assert await host.hear() == expected
            for k, (_, answer) in enumerate(payloads[:-1]):
                assert dut.result(await host.hear(9000))[:2] == (16 * turn + k, answer)

    converse(dut, conversation)


def test_reset_forgets_what_is_not_answered():
    dut = LinkedCore(latency=900, buffer_frames=2)

    async def conversation(host):
        frames = [dut.frame(host.rng) for _ in range(4)]
        for sequence in range(3):
            await host.send(packet(Kind.FRAME, sequence, frames[sequence][0]))
        assert (await host.ask(Kind.RESET, 0xEE))[:2] == bytes([Kind.STATUS, 0xEE])
        await host.wait(4000)
        assert host.news() == []
        assert dut.result(await host.ask(Kind.FRAME, 0, frames[3][0])) == (0, frames[3][1], 5 + 900)
        counters = await host.counters()
        assert (counters["taken"], counters["sent"]) == (4, 1)

    converse(dut, conversation)


def test_reset_forgets_a_result_that_waits_for_the_line():
    dut = LinkedCore()

    async def conversation(host):
        payload, _ = dut.frame(host.rng)
        await host.send(packet(Kind.STATUS_REQUEST, 1) + packet(Kind.FRAME, 2, payload))
        await host.wait(600)
        await host.send(packet(Kind.RESET, 3))
        assert host.news() == []
        assert (await host.hear())[:2] == bytes([Kind.STATUS, 1])
        assert (await host.hear())[:2] == bytes([Kind.STATUS, 3])
        await host.wait(1000)
        assert host.news() == []

    converse(dut, conversation, stall=0.95)


@pytest.mark.parametrize("step", [41, pytest.param(3, marks=pytest.mark.slow)])
def test_reset_at_any_time_gives_no_result_of_before(step):
    """After the status that answers it, that is; before, a result that is whole is on its way already."""
    dut = LinkedCore(input_words=2, latency=3)

    async def conversation(host):
        for delay in range(0, 260, step):
            before, after = dut.frame(host.rng), dut.frame(host.rng)
            await host.send(packet(Kind.FRAME, 7, before[0]))
            await host.wait(delay)
            await host.send(packet(Kind.RESET, 7))
            first = await host.hear()
            if first[0] == Kind.RESULT:
                assert dut.result(first)[:2] == (7, before[1])
                first = await host.hear()
            assert first[:2] == bytes([Kind.STATUS, 7])
            assert dut.result(await host.ask(Kind.FRAME, 7, after[0])) == (7, after[1], 5)
            assert host.news() == []

    converse(dut, conversation, stall=0.1)


def test_garbage_then_one_delimiter():
    dut = LinkedCore()

    async def conversation(host):
        for length in (1, 3, 40):
            payload, answer = dut.frame(host.rng)
            await host.send(host.rng.randbytes(length))
            heard = await host.ask(Kind.FRAME, length & 255, payload)
            assert dut.result(heard)[:2] == (length & 255, answer)

    converse(dut, conversation)


def test_lost_byte_spoils_its_packet_even_where_the_rest_is_whole():
    dut = LinkedCore()

    async def conversation(host):
        payload, answer = dut.frame(host.rng)
        line = packet(Kind.FRAME, 3, payload)
        await host.send(line[:4])
        await host.lose()
        await host.send(line[4:])
        await host.wait(400)
        assert host.bodies == []
        await host.lose()
        assert dut.result(await host.ask(Kind.FRAME, 4, payload))[:2] == (4, answer)

    converse(dut, conversation)


def test_questions_without_end_and_a_slow_line():
    """Answers may be left out, but those that come are right, and results go on."""
    dut = LinkedCore()

    async def conversation(host):
        for sequence in range(16):
            await host.send(packet(Kind.STATUS_REQUEST, sequence))
        payload, answer = dut.frame(host.rng)
        await host.send(packet(Kind.FRAME, 99, payload))
        await host.wait(2500)
        found = host.news()
        assert None not in found
        assert dut.result(found[-1])[:2] == (99, answer)
        asked = [body[1] for body in found[:-1]]
        assert asked == sorted(asked)
        assert len(asked) > 1

    converse(dut, conversation, stall=0.9)


def test_core_is_reset_from_power_up():
    dut = LinkedCore()
    levels = []

    async def conversation(host):
        for _ in range(RESET_CYCLES + 4):
            levels.append(host._ctx.get(dut.link.core_reset))
            await host.step()

    converse(dut, conversation)
    assert levels == [1] * RESET_CYCLES + [0] * 4


PARAMETERS = {"input_bits": 8, "output_bits": 8, "input_words": 4, "reset_cycles": 9}


@pytest.mark.parametrize("name", [*PARAMETERS, "buffer_frames"])
def test_link_refuses_zero(name):
    with pytest.raises(ValueError, match=rf"{name} must be at least 1, not 0"):
        Link(**{**PARAMETERS, "identity": IDENTITY, name: 0})


@pytest.mark.parametrize(("name", "value", "most"), [("buffer_frames", 256, 255), ("output_bits", 2041, 2040)])
def test_link_refuses_what_a_status_cannot_tell(name, value, most):
    with pytest.raises(ValueError, match=rf"{name} must be at most {most}, not {value}"):
        Link(**{**PARAMETERS, "identity": IDENTITY, name: value})


def test_identity_is_checked():
    with pytest.raises(ValueError, match=r"network must be 8 bytes of a digest, not b'abc'"):
        Identity(network=b"abc", build=bytes(8), clock_hz=1)
    with pytest.raises(ValueError, match=r"clock_hz must be 1 to 4294967295, not 0"):
        Identity(network=bytes(8), build=bytes(8), clock_hz=0)


def test_sizes():
    assert packet_bytes(784) == 784 + 6 + 4 + 1
    assert len(packet(Kind.FRAME, 1, b"\1" * 784)) == packet_bytes(784)
    # Two block RAMs of iCE40, as without packets.
    assert link_memory_bytes(784) == 960
    assert len(COUNTERS) == 5


# What may happen to a packet on its way: the bytes that arrive, with -1 where the line tells of a lost one.
def _flip(rng, line):
    at = rng.randrange(len(line))
    line[at] ^= 1 << rng.randrange(8)
    return line


def _flip_burst(rng, line):
    for at in range(first := rng.randrange(len(line)), min(len(line), first + rng.randrange(1, 6))):
        line[at] = rng.randrange(256)
    return line


def _drop(rng, line):
    at = rng.randrange(len(line))
    return line[:at] + rng.choice([[], [-1]]) + line[at + rng.randrange(1, 4) :]


def _duplicate(rng, line):
    at, length = rng.randrange(len(line)), rng.randrange(1, 5)
    return line[: at + length] + line[at:]


def _truncate(rng, line):
    return line[: rng.randrange(len(line))]


def _break(rng, line):
    at = rng.randrange(len(line))
    return [*line[:at], -1, *line[at:]]


def _stray_delimiter(rng, line):
    at = rng.randrange(len(line))
    return line[:at] + [0] * rng.randrange(1, 3) + line[at:]


def _noise(rng, line):
    return list(rng.randbytes(rng.randrange(1, 30))) + line


def _reset_amid(rng, line):
    at = rng.randrange(len(line))
    return line[:at] + list(packet(Kind.RESET, 0xAA)) + line[at:]


FAULTS = [_flip, _flip_burst, _drop, _duplicate, _truncate, _break, _stray_delimiter, _noise, _reset_amid]


def check_faults(dut, count, seed, *, gap=2, stall=0.2):
    """Frames, two thirds of them disturbed, with a good one behind a delimiter after each: no wrong result, ever.

    Sequence numbers are unique among the last 128, so a result tells whose it claims to be. A frame that is repeated
    by a fault may be answered twice.
    """
    frames = {}
    results = 0

    async def conversation(host):
        nonlocal results
        rng = host.rng

        def check(bodies):
            nonlocal results
            for body in bodies:
                assert body is not None, f"a packet that is not right; seed {seed}"
                if body[0] == Kind.RESULT:
                    number, answer, _ = dut.result(body)
                    assert answer == frames[number], f"a wrong result of frame {number}; seed {seed}"
                    results += 1

        async def put(line):
            for byte in line:
                if byte < 0:
                    await host.lose()
                else:
                    await host.send([byte], gap=gap)

        for number in range(0, 2 * count, 2):
            payload, frames[number % 128] = dut.frame(rng)
            line = list(packet(Kind.FRAME, number % 128, payload))
            for _ in range(rng.randrange(1, 3) if rng.random() < 0.67 else 0):
                line = rng.choice(FAULTS)(rng, line or [0])
            await put(line)
            await host.wait(rng.choice([0, 0, 50, 400]))
            check(host.news())
            good = (number + 1) % 128
            payload, frames[good] = dut.frame(rng)
            await put([0, *packet(Kind.FRAME, good, payload)])
            for _ in range(12):
                body = await host.hear()
                check([body])
                if body[0] == Kind.RESULT and body[1] == good:
                    break
                assert body != bytes([Kind.REFUSED, good, Refusal.LENGTH])
                if body == bytes([Kind.REFUSED, good, Refusal.NO_ROOM]):
                    await put([0, *packet(Kind.FRAME, good, payload)])
            else:
                raise AssertionError(f"frame {good} behind a delimiter was not answered; seed {seed}")
        await host.wait(1500)
        check(host.news())
        counters = await host.counters()
        assert counters["dropped"] > count // 5
        assert counters["lost"] > count // 20
        assert counters["sent"] >= count

    converse(dut, conversation, seed=seed, stall=stall)
    return results


@pytest.mark.parametrize("options", [{}, {"input_bits": 12, "buffer_frames": 2, "pace": 40, "latency": 60}])
def test_faults(options):
    assert check_faults(LinkedCore(**options), 16, SEED) >= 16


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "options", [{}, {"input_bits": 12, "buffer_frames": 2, "pace": 40, "latency": 60}, {"input_words": 290}]
)
def test_many_faults(options, seed):
    count = 40 if "input_words" in options else 150
    assert check_faults(LinkedCore(**options), count, seed) >= count
