"""A device on the host's SPI bus as if it were a serial port: what a board sends is there once it was clocked out."""

import time
from typing import Any

from xnorweave.errors import DeviceError

__all__ = ["SpiPort", "is_spi"]

_PREFIX = "/dev/spidev"
_MODE = 0
_LONGEST_TRANSFER_BYTES = 4096  # what Linux's driver takes at once unless told otherwise
_POLL_BYTES = 64
_IDLE = 0


def is_spi(port: str) -> bool:
    """Whether a port is a device on an SPI bus, by its name."""
    return port.startswith(_PREFIX)


class SpiPort:
    """An open SPI device; the methods that are used here are those of ``serial.Serial``.

    A board has a zero to send where it has nothing to say, and zeros only end packets: of those that follow each other
    one is kept.

    Parameters
    ----------
    port : str
        Name, such as ``/dev/spidev0.0``.
    bits_per_s : int
        Rate of the clock.
    timeout_s : float
        How long a read waits for anything.

    Raises
    ------
    DeviceError
        Where the package spidev is missing.
    OSError
        Where the device cannot be opened; later, where it is gone.
    """

    def __init__(self, port: str, bits_per_s: int, timeout_s: float) -> None:
        try:
            import spidev  # pyright: ignore[reportMissingImports]
        except ImportError as e:
            raise DeviceError("SPI needs the package spidev; install it with pip install 'xnorweave[spi]'") from e
        self._timeout_s = timeout_s
        self._came = bytearray()
        self._before = _IDLE
        self._device: Any = spidev.SpiDev()
        try:
            self._device.open_path(port)
            self._device.mode = _MODE
            self._device.max_speed_hz = bits_per_s
        except BaseException:
            self._device.close()
            raise

    def close(self) -> None:
        """Close the device."""
        self._device.close()

    @property
    def in_waiting(self) -> int:
        """Bytes that came and were not read."""
        return len(self._came)

    def write(self, data: bytes) -> None:
        """Send bytes; what comes at the same time is kept."""
        for start in range(0, len(data), _LONGEST_TRANSFER_BYTES):
            for byte in self._device.xfer2(list(data[start : start + _LONGEST_TRANSFER_BYTES])):
                if byte != _IDLE or self._before != _IDLE:
                    self._came.append(byte)
                self._before = byte

    def read(self, size: int) -> bytes:
        """Up to so many bytes; none if none come in time."""
        deadline = time.monotonic() + self._timeout_s
        while not self._came and time.monotonic() < deadline:
            self.write(bytes(_POLL_BYTES))
        data = bytes(self._came[:size])
        del self._came[:size]
        return data
