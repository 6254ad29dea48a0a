"""The host on a real pseudo-terminal, against a simulated board behind a line with every kind of fault.

The board's core here answers with a hash of the frame, so a wrong answer for any frame shows.
"""

import os
import random
import threading
import time
import tty
import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import xnorweave
from xnorweave.boards.exchange import MAX_WINDOW
from xnorweave.boards.host import Board, frame_payloads, network_id
from xnorweave.boards.packets import Decoder, Kind, Packet, Refusal, Result, Status, packet_bytes
from xnorweave.boards.simulated import Faults, SimulatedBoard
from xnorweave.errors import DataError, DeviceError
from xnorweave.network import ArgMax, Dense, InputSpec, Network
from xnorweave.sim.vectors import input_words

FRAME_BYTES = 30
STATUS = Status(frame_bytes=FRAME_BYTES, word_bytes=4, buffer_frames=4, clock_hz=12_000_000)
KINDS = ("flip", "drop", "lose", "duplicate", "truncate", "garbage", "delay")


def answer(frame: bytes) -> Result:
    return Result(word=zlib.crc32(frame), cycles=1000 + frame[0])


def payloads(count: int, seed: int = 1) -> list[bytes]:
    draw = random.Random(seed)
    return [draw.randbytes(FRAME_BYTES) for _ in range(count)]


def simulated(faults: Faults | None = None, **changes: int) -> SimulatedBoard:
    return SimulatedBoard(answer, replace(STATUS, **changes), faults)


def host(board: SimulatedBoard, **options: float) -> Board:
    return Board(board.port, **{"timeout_s": 3.0, "tries": 30} | options)  # type: ignore[arg-type]


def network(kind="pixels", channels=3, classes=7, last=True) -> Network:
    weights = np.random.default_rng(2).choice(np.array([-1, 1], np.int8), (classes, channels * 6))
    layers = (Dense(name="fc", weights=weights), *([ArgMax(name="best")] if last else []))
    return Network(name="net", input=InputSpec(kind=kind, shape=(channels, 2, 3)), layers=layers)


def status_of(net: Network, **changes: int) -> Status:
    size = len(frame_payloads(net, np.zeros((1, *net.input.shape), np.uint8))[0])
    return replace(Status(network=network_id(net), frame_bytes=size, buffer_frames=2), **changes)


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    yield
    assert "simulated board" not in {thread.name for thread in threading.enumerate()}


# A line without faults


def test_words_and_cycles_of_every_frame() -> None:
    frames = payloads(300)
    with simulated() as board, host(board) as it:
        run = it.run(frames)
        assert run.words == tuple(zlib.crc32(frame) for frame in frames)
        assert run.cycles.tolist() == [1000 + frame[0] for frame in frames]
        assert (run.sent_again, run.ignored, run.dropped) == (0, 0, 0)
        assert run.frames_per_second == pytest.approx(300 / run.seconds)
        status = it.status()
        assert (status.taken, status.answered, status.refused, status.dropped) == (300, 300, 0, 0)
        assert it.run([]).words == ()
        assert it.run(frames[:5]).words == run.words[:5]


def test_as_many_frames_go_ahead_as_the_board_holds() -> None:
    """The board takes a frame only when so many came that a further one would be too many."""
    most = 0

    class Slow(SimulatedBoard):
        def _answer_oldest(self) -> None:
            nonlocal most
            time.sleep(0.005)
            self._move_bytes()
            for packet in self._decoder.feed(self._inward.get()):
                self._take(packet)
            most = max(most, len(self._buffer))
            super()._answer_oldest()

    with Slow(answer, STATUS) as board, host(board, timeout_s=2) as it:
        assert it.run(payloads(60)).sent_again == 0
        assert it.status().refused == 0
    assert most == STATUS.buffer_frames


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    with simulated() as board, host(board) as it:
        it.run(payloads(20), lambda done, total: told.append((done, total)))
    assert told == [(number, 20) for number in range(1, 21)]


@pytest.mark.parametrize(("kind", "channels"), [("pixels", 1), ("pixels", 3), ("bits", 3), ("bits", 12)])
def test_frames_are_the_words_of_the_core_in_bytes(kind: str, channels: int) -> None:
    net = network(kind, channels)
    high = 256 if kind == "pixels" else 2
    frames = np.random.default_rng(3).integers(0, high, (5, *net.input.shape), dtype=np.uint8)
    size = channels if kind == "pixels" else -(-channels // 8)
    wanted = [b"".join(word.to_bytes(size, "little") for word in frame) for frame in input_words(net, frames)]
    assert frame_payloads(net, frames) == wanted


def test_classes_of_a_network() -> None:
    net = network()
    with SimulatedBoard(lambda frame: Result(word=frame[0] % 7, cycles=5), status_of(net)) as board:
        frames = np.random.default_rng(4).integers(0, 256, (40, 3, 2, 3), dtype=np.uint8)
        with Board(board.port, net) as it:
            done = it.classify(frames)
    assert done.classes is not None
    assert done.classes.tolist() == (frames[:, 0, 0, 0] % 7).tolist()
    assert set(done.cycles.tolist()) == {5}


def test_a_network_without_classes_gives_words() -> None:
    net = network(last=False)
    core = SimulatedBoard(lambda frame: Result(word=200 + frame[0] % 7, cycles=5), status_of(net))
    with core as board, Board(board.port, net) as it:
        done = it.classify(np.zeros((2, 3, 2, 3), np.uint8))
    assert done.classes is None
    assert done.words == (200, 200)


def test_the_package_gives_the_host() -> None:
    assert xnorweave.Board is Board
    with pytest.raises(AttributeError, match="no attribute 'Bord'"):
        _ = xnorweave.Bord  # type: ignore[attr-defined]


# A line with faults


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [1, 2])
def test_no_fault_gives_a_wrong_answer(kind: str, seed: int) -> None:
    frames = payloads(80, seed)
    faults = Faults(seed=seed, delay_s=0.15, **{kind: 0.15 if kind != "delay" else 0.04})
    with simulated(faults) as board, host(board, timeout_s=0.1) as it:
        run = it.run(frames)
        assert run.words == tuple(zlib.crc32(frame) for frame in frames)
        assert board.faults[kind] >= 3
        if kind not in ("garbage", "duplicate"):
            assert run.sent_again > 0
        if kind == "duplicate":
            assert run.ignored > 0


@pytest.mark.parametrize(("buffer_frames", "count"), [(1, 25), (2, 50), (255, 120)])
def test_all_faults_at_once_and_buffers_of_every_size(buffer_frames: int, count: int) -> None:
    frames = payloads(count, buffer_frames)
    faults = Faults(seed=7, delay_s=0.05, **dict.fromkeys(KINDS, 0.04))
    with simulated(faults, buffer_frames=buffer_frames) as board, host(board, timeout_s=0.07) as it:
        assert it.run(frames).words == tuple(zlib.crc32(frame) for frame in frames)
        assert it.run(frames[:9]).words == tuple(zlib.crc32(frame) for frame in frames[:9])
        assert len(board.faults) > len(KINDS) // 2


@pytest.mark.slow
def test_ten_thousand_frames_over_a_bad_line() -> None:
    frames = payloads(10_000, 5)
    faults = Faults(seed=11, delay_s=0.03, **dict.fromkeys(KINDS, 0.01))
    with simulated(faults, buffer_frames=8) as board, host(board, timeout_s=0.1) as it:
        run = it.run(frames)
        assert run.words == tuple(zlib.crc32(frame) for frame in frames)
        assert sum(board.faults.values()) > 500


def test_a_board_with_less_room_than_it_says_refuses_and_is_asked_again() -> None:
    class Small(SimulatedBoard):
        def _take(self, packet: Packet) -> None:
            if packet.kind == Kind.FRAME and len(self._buffer) >= 2:
                self._refuse(packet, Refusal.NO_ROOM)
            else:
                super()._take(packet)

        def _answer_oldest(self) -> None:
            time.sleep(0.003)
            super()._answer_oldest()

    frames = payloads(40)
    with Small(answer, STATUS) as board, host(board, tries=3, timeout_s=1) as it:
        run = it.run(frames)
        assert run.words == tuple(zlib.crc32(frame) for frame in frames)
        assert it.status().refused > 0


def test_a_slow_board_is_waited_for_and_a_hasty_host_still_gets_no_wrong_answer() -> None:
    def slow(frame: bytes) -> Result:
        time.sleep(0.03)
        return answer(frame)

    frames = payloads(12)
    with SimulatedBoard(slow, STATUS) as board, host(board, timeout_s=0.02) as it:
        assert it.run(frames).words == tuple(zlib.crc32(frame) for frame in frames)


def test_answers_to_an_earlier_host_are_not_taken() -> None:
    """A host is stopped with frames under way, of every sequence number that the next one can use."""

    def compute(frame: bytes) -> Result:
        time.sleep(0.003)
        return answer(frame)

    frames = payloads(8)
    with SimulatedBoard(compute, replace(STATUS, buffer_frames=255)) as board:
        earlier = os.open(board.port, os.O_RDWR)
        for number in range(255):
            os.write(earlier, packet_bytes(Packet(kind=Kind.FRAME, sequence=number, payload=bytes(FRAME_BYTES))))
        os.close(earlier)
        with host(board, timeout_s=3) as it:
            assert it.run(frames).words == tuple(zlib.crc32(frame) for frame in frames)
            assert it.status().taken > 255


def test_an_interrupted_run_leaves_nothing_for_the_next() -> None:
    frames = payloads(30)

    def stop(done: int, _: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with simulated() as board, host(board) as it:
        with pytest.raises(KeyboardInterrupt):
            it.run(frames, stop)
        assert it.run(frames[::-1]).words == tuple(zlib.crc32(frame) for frame in frames[::-1])


# Boards that are not what they should be


class Scripted:
    """A board that gives a fixed answer to every packet of a kind."""

    def __init__(self, status: bytes, *answers: tuple[Kind, bytes]) -> None:
        self.status, self.answers = status, answers

    def __enter__(self) -> "Scripted":
        self._end, self._terminal = os.openpty()
        tty.setraw(self._terminal)
        self.port = os.ttyname(self._terminal)
        self._going = True
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._going = False
        os.write(self._terminal, b"\0")
        self._thread.join()
        os.close(self._terminal)
        os.close(self._end)

    def _serve(self) -> None:
        decoder = Decoder(FRAME_BYTES)
        while self._going:
            for packet in decoder.feed(os.read(self._end, 4096)):
                said = self.answers if packet.kind == Kind.FRAME else [(Kind.STATUS, self.status)]
                for kind, payload in said:
                    line = packet_bytes(Packet(kind=kind, sequence=packet.sequence, payload=payload))
                    os.write(self._end, line)


@pytest.mark.parametrize(
    ("kind", "payload", "message"),
    [
        (
            Kind.STATUS,
            b"\2" + bytes(46),
            r"^/dev/\S+: the board speaks version 2 of the protocol, this host version 1; ",
        ),
        (Kind.STATUS, b"\1" + bytes(9), r"status has 10 bytes, not 47"),
    ],
)
def test_a_status_of_another_protocol(kind: Kind, payload: bytes, message: str) -> None:
    with Scripted(payload) as board, pytest.raises(DeviceError, match=message):
        Board(board.port, timeout_s=0.5).open()


def test_a_board_with_another_network_is_refused_and_both_are_told() -> None:
    net, other = network(), network(classes=6)
    message = f"the board holds network {network_id(other).hex()}, but 'net' is {network_id(net).hex()}; load"
    with SimulatedBoard(answer, status_of(other)) as board, pytest.raises(DeviceError, match=message):
        Board(board.port, net).open()


def test_a_board_with_frames_of_another_size_is_refused() -> None:
    net = network()
    message = r"takes frames of 19 bytes, those of 'net' have 18; build"
    with SimulatedBoard(answer, status_of(net, frame_bytes=19)) as board, pytest.raises(DeviceError, match=message):
        Board(board.port, net).open()


def test_a_class_that_the_network_does_not_have() -> None:
    net = network()
    core = SimulatedBoard(lambda _: Result(word=7, cycles=1), status_of(net))
    message = r"frame 0: the board gives class 7, but 'net' has 7"
    with core as board, Board(board.port, net) as it, pytest.raises(DeviceError, match=message):
        it.classify(np.zeros((1, 3, 2, 3), np.uint8))


@pytest.mark.parametrize(
    ("why", "message"),
    [(Refusal.LENGTH, r"refuses a frame for its length"), (Refusal.KIND, r"refuses a frame for its kind")],
)
def test_a_refusal_that_sending_again_does_not_mend(why: Refusal, message: str) -> None:
    refusing = Scripted(STATUS.to_bytes(), (Kind.REFUSED, bytes([why])))
    with refusing as board, Board(board.port) as it, pytest.raises(DeviceError, match=message):
        it.run(payloads(1))


@pytest.mark.parametrize(
    "said",
    [
        [],
        [(Kind.REFUSED, bytes([Refusal.NO_ROOM]))],
        [(Kind.REFUSED, b"")],
        [(Kind.RESULT, b"short")],
        [(Kind.RESULT, bytes(9))],
        [(Kind.STATUS, STATUS.to_bytes())],
        [(Kind.FRAME, bytes(8))],
    ],
)
def test_a_board_that_never_gives_a_result_is_given_up(said: list[tuple[Kind, bytes]]) -> None:
    with Scripted(STATUS.to_bytes(), *said) as board, Board(board.port, timeout_s=0.1, tries=3) as it:
        begin = time.monotonic()
        with pytest.raises(DeviceError, match=r"^/dev/\S+: no result for 3 times 0\.1\d* s, 0 of 9 frames done; check"):
            it.run(payloads(9))
        assert time.monotonic() - begin < 10


def test_a_frame_that_never_comes_through_is_given_up() -> None:
    class Deaf(SimulatedBoard):
        def _take(self, packet: Packet) -> None:
            if packet.payload != bytes(FRAME_BYTES):
                super()._take(packet)

    frames = [*payloads(5), bytes(FRAME_BYTES), *payloads(200, 2)]
    message = r"frame 5: no answer that is whole in 4 tries; check cable and baud"
    with (
        Deaf(answer, STATUS) as board,
        host(board, tries=4, timeout_s=0.5) as it,
        pytest.raises(DeviceError, match=message),
    ):
        it.run(frames)


def test_a_core_that_hangs_is_reset() -> None:
    class Hanging(SimulatedBoard):
        hung = True

        def _take(self, packet: Packet) -> None:
            self.hung = self.hung and not (packet.kind == Kind.RESET and self.status.taken)
            super()._take(packet)

        def _answer_oldest(self) -> None:
            if not self.hung:
                super()._answer_oldest()

    frames = payloads(10)
    with Hanging(answer, STATUS) as board, host(board, timeout_s=0.2, tries=6) as it:
        run = it.run(frames)
        assert run.words == tuple(zlib.crc32(frame) for frame in frames)
        assert run.sent_again >= 2


# Ports


def test_a_port_that_is_not_there() -> None:
    with pytest.raises(DeviceError, match=r"^/dev/nothing: cannot be opened \(No such file or directory\); check"):
        Board("/dev/nothing").open()


def test_a_port_that_another_program_has() -> None:
    with simulated() as board, host(board), pytest.raises(DeviceError, match=r"cannot be opened .*no other program"):
        host(board).open()


def test_a_silent_port() -> None:
    end, terminal = os.openpty()
    try:
        with pytest.raises(
            DeviceError, match=r"no board answers at 9600 baud: nothing came in 2 tries of 0\.05 s; check"
        ):
            Board(os.ttyname(terminal), baud=9600, timeout_s=0.05, tries=2).open()
    finally:
        os.close(end)
        os.close(terminal)


def test_a_port_where_something_else_talks() -> None:
    end, terminal = os.openpty()
    try:
        tty.setraw(terminal)
        talk = threading.Timer(0.1, os.write, (end, b"login: \0\r\n" * 20))
        talk.start()
        with pytest.raises(DeviceError, match=r"200 bytes came, but no answer that is whole in 2 tries"):
            Board(os.ttyname(terminal), timeout_s=0.2, tries=2).open()
        talk.join()
    finally:
        os.close(end)
        os.close(terminal)


def test_a_port_that_closes() -> None:
    def unplug(done: int, _: int) -> None:
        if done == 10:
            board.close()

    message = r"^/dev/\S+: closed or unplugged \(.*\); plug the board in again"
    with simulated() as board, host(board) as it, pytest.raises(DeviceError, match=message):
        it.run(payloads(1000), unplug)


def test_a_core_that_fails_closes_the_port_and_tells() -> None:
    def fail(_: bytes) -> Result:
        raise ZeroDivisionError("core")

    with SimulatedBoard(fail, STATUS) as board, host(board) as it:
        with pytest.raises(DeviceError, match=r"closed or unplugged"):
            it.run(payloads(1))
        assert isinstance(board.error, ZeroDivisionError)


def test_what_cannot_be_asked() -> None:
    with simulated() as board:
        it = host(board)
        with pytest.raises(DeviceError, match=r"is not open; use `with Board"):
            it.run(payloads(1))
        with it:
            with pytest.raises(DataError, match=r"frame 1 has 3 bytes, the board takes 30"):
                it.run([bytes(FRAME_BYTES), b"abc"])
            with pytest.raises(DeviceError, match=r"opened without a network"):
                it.classify(np.zeros((1, 3, 2, 3), np.uint8))
        with it:
            assert it.status().frame_bytes == FRAME_BYTES
    with pytest.raises(DeviceError, match=r"/dev/x: tries=0 is not above 0"):
        Board("/dev/x", tries=0)
    with pytest.raises(DataError, match=r"frames are uint8 \[1, 3, 2, 2\], not uint8 \[N, 3, 2, 3\]"):
        frame_payloads(network(), np.zeros((1, 3, 2, 2), np.uint8))
    with pytest.raises(DataError, match=r"frames hold 2, but the network's input is bits"):
        frame_payloads(network("bits"), np.full((1, 3, 2, 3), 2, np.uint8))


def test_a_window_leaves_numbers_enough() -> None:
    assert 4 * MAX_WINDOW <= 256
