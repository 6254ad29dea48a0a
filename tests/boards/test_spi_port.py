"""The host over SPI: a stand-in for the package spidev, whose other end is a simulated board."""

import os
import select
import sys
import zlib
from dataclasses import replace
from types import SimpleNamespace

import pytest

from xnorweave.boards.host import Board
from xnorweave.boards.packets import Result, Status
from xnorweave.boards.simulated import Faults, SimulatedBoard
from xnorweave.errors import DeviceError

PORT = "/dev/spidev0.0"
STATUS = Status(frame_bytes=30, word_bytes=4, buffer_frames=4, clock_hz=12_000_000)
FRAMES = [bytes([n]) * 29 + bytes([255 - n]) for n in range(120)]


class Bus:
    """Bytes to a simulated board's terminal; what it answers comes back packet by packet, with zeros between."""

    def __init__(self, terminal):
        self._terminal, self._coming = terminal, b""
        self.opened, self.closed, self.longest = [], 0, 0

    def device(self):
        bus = self

        class SpiDev:
            mode, max_speed_hz = 3, 0

            def open_path(self, path):
                if not path.endswith("0.0"):
                    raise FileNotFoundError(2, "No such file or directory")
                self._end = os.open(bus._terminal, os.O_RDWR | os.O_NOCTTY)
                bus.opened.append(self)

            def xfer2(self, values):
                assert self.mode == 0
                bus.longest = max(bus.longest, len(values))
                os.write(self._end, bytes(values))
                while select.select([self._end], [], [], 0)[0]:
                    bus._coming += os.read(self._end, 4096)
                whole = bus._coming.rfind(0) + 1
                out, bus._coming = bus._coming[: min(whole, len(values))], bus._coming[min(whole, len(values)) :]
                return list(out.ljust(len(values), bytes(1)))

            def close(self):
                bus.closed += 1
                if hasattr(self, "_end"):
                    os.close(self._end)

        return SpiDev


@pytest.fixture
def bus(monkeypatch):
    made = []

    def at(board):
        made.append(Bus(board.port))
        monkeypatch.setitem(sys.modules, "spidev", SimpleNamespace(SpiDev=made[0].device()))
        return made[0]

    return at


def answer(frame):
    return Result(word=zlib.crc32(frame), cycles=7)


def test_every_frame_has_its_answer(bus):
    with SimulatedBoard(answer, STATUS) as board:
        wires = bus(board)
        with Board(PORT, baud=2_000_000, timeout_s=3.0) as host:
            run = host.run(FRAMES)
        assert run.words == tuple(zlib.crc32(frame) for frame in FRAMES)
        assert run.dropped == 0
        assert [device.max_speed_hz for device in wires.opened] == [2_000_000]
        assert wires.closed == 1


def test_a_bad_line_gives_no_wrong_answer(bus):
    faults = Faults(flip=0.1, drop=0.1, truncate=0.1, garbage=0.1, seed=4)
    with SimulatedBoard(answer, STATUS, faults) as board:
        bus(board)
        with Board(PORT, timeout_s=0.2, tries=60) as host:
            assert host.run(FRAMES[:40]).words == tuple(zlib.crc32(frame) for frame in FRAMES[:40])
        assert sum(board.faults.values()) > 20


def test_long_frames_go_in_transfers_that_the_driver_takes(bus):
    frames = [bytes([n]) * 9000 for n in range(1, 4)]
    with SimulatedBoard(answer, replace(STATUS, frame_bytes=9000)) as board:
        wires = bus(board)
        with Board(PORT, timeout_s=3.0) as host:
            assert host.run(frames).words == tuple(zlib.crc32(frame) for frame in frames)
        assert wires.longest == 4096


def test_a_board_that_says_nothing_is_told_of(bus):
    with SimulatedBoard(answer, STATUS, Faults(lose=1.0)) as board:
        bus(board)
        with pytest.raises(DeviceError, match=r"spidev0\.0: no board answers .*nothing came"):
            Board(PORT, timeout_s=0.05, tries=2).open()


def test_a_device_that_is_absent(bus):
    with SimulatedBoard(answer, STATUS) as board:
        wires = bus(board)
        with pytest.raises(DeviceError, match=r"spidev9\.1: cannot be opened \(No such file or directory\)"):
            Board("/dev/spidev9.1").open()
        assert wires.closed == 1


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "spidev", None)
    with pytest.raises(DeviceError, match=r"spidev0\.0: SPI needs the package spidev; .*xnorweave\[spi\]"):
        Board(PORT).open()
