"""Packets over a serial port or SPI, and questions that a board answers at once."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import serial

from xnorweave.boards.exchange import SequenceNumbers
from xnorweave.boards.link_format import BITS_PER_BYTE
from xnorweave.boards.packets import DELIMITER, Decoder, Kind, Packet, Refusal, Status, packet_bytes
from xnorweave.boards.spi_port import SpiPort, is_spi
from xnorweave.errors import DeviceError

__all__ = ["SerialLine"]

_POLL_S = 0.02
_LONGEST_ANSWER_BYTES = 300  # a result word of 255 bytes with its cycles; a status is shorter
_LONGEST_WRITE_BYTES = 1 << 16


class SerialLine:
    """An open serial port, or SPI device, that carries packets.

    Parameters
    ----------
    port : str
        Name; ``/dev/spidev...`` is SPI.
    baud : int
        Rate.
    timeout_s : float
        How long an answer may take, besides the time that the line takes.
    tries : int
        How often a question is asked.
    sequence : SequenceNumbers
        Numbers of this session.

    Attributes
    ----------
    came_bytes : int
        Bytes read so far.

    Raises
    ------
    DeviceError
        Where the port cannot be opened; later, where it is closed under us.
    """

    def __init__(self, port: str, *, baud: int, timeout_s: float, tries: int, sequence: SequenceNumbers) -> None:
        self.baud, self.timeout_s, self.tries, self.sequence = baud, timeout_s, tries, sequence
        self.came_bytes = 0
        self._decoder = Decoder(_LONGEST_ANSWER_BYTES)
        self._bits_per_byte = BITS_PER_BYTE["spi" if is_spi(port) else "uart"]
        patience_s = timeout_s + self.seconds(_LONGEST_WRITE_BYTES)
        try:
            self._port: serial.Serial | SpiPort = (
                SpiPort(port, baud, _POLL_S)
                if is_spi(port)
                else serial.Serial(port, baud, timeout=_POLL_S, write_timeout=patience_s, exclusive=True)
            )
        except (ValueError, OSError) as e:  # pyserial's own error is an OSError
            raise DeviceError(
                f"cannot be opened ({_reason(e)}); check the name, the cable, your rights to the port, and that no "
                "other program has it open"
            ) from e

    @property
    def dropped(self) -> int:
        """Packets that did not come whole."""
        return self._decoder.dropped

    def close(self) -> None:
        """Close the port."""
        self._port.close()

    def seconds(self, count: int) -> float:
        """How long so many bytes take."""
        return count * self._bits_per_byte / self.baud

    def send(self, *packets: Packet) -> None:
        """Send packets, whatever was on the line before."""
        with _port_errors():
            self._port.write(DELIMITER + b"".join(packet_bytes(packet) for packet in packets))

    def receive(self, *, wait: bool) -> list[Packet]:
        """Whole packets that are there, after a short wait if none of their bytes is and ``wait``."""
        with _port_errors():
            ready = self._port.in_waiting
            if not ready and not wait:
                return []
            data = self._port.read(max(1, ready))
        self.came_bytes += len(data)
        return self._decoder.feed(data)

    def ask(self, kind: Kind) -> Status:
        """Send a question until its answer comes; other answers are ignored.

        Raises
        ------
        DeviceError
            Where none comes, or it is no status.
        """
        before, numbers = self.came_bytes, set[int]()
        for _ in range(self.tries):
            numbers.add(number := self.sequence.take())
            self.send(Packet(kind=kind, sequence=number))
            deadline = time.monotonic() + self.timeout_s
            while time.monotonic() < deadline:
                for packet in self.receive(wait=True):
                    if packet.sequence in numbers and (status := _status(packet, kind)) is not None:
                        return status
        heard = self.came_bytes - before
        found = f"{heard} bytes came, but no answer that is whole" if heard else "nothing came"
        raise DeviceError(
            f"no board answers at {self.baud} baud: {found} in {self.tries} tries of {self.timeout_s:g} s; check that "
            "the bitstream is loaded, that this is the board's port, and the baud rate that its build reports"
        )


def _status(packet: Packet, kind: Kind) -> Status | None:
    if packet.kind == Kind.STATUS:
        return Status.of(packet.payload)
    if packet.kind == Kind.REFUSED and packet.payload == bytes([Refusal.KIND]):
        raise DeviceError(f"the board does not know packets of kind {int(kind)}; build its bitstream again")
    return None


@contextmanager
def _port_errors() -> Iterator[None]:
    try:
        yield
    except serial.SerialTimeoutException as e:
        raise DeviceError("the port takes no more bytes; plug the board in again") from e
    except (OSError, TypeError) as e:  # pyserial uses a descriptor that another thread has closed: TypeError
        raise DeviceError(f"closed or unplugged ({_reason(e)}); plug the board in again, and look at its cable") from e


def _reason(error: Exception) -> str:
    """The system's words; pyserial wraps them, and the port's name, in its own."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else str(error)
