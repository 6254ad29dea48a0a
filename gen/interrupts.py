"""Ctrl-C and SIGTERM end a command, wherever Python is when they come.

Each is an exception, and an exception may arise where Python cannot let it out: in a callback of compiled code or in a
destructor. Python prints and drops it there; here its signal is sent again. It may also cut an object of compiled code
short, whose destructor then fails on what is not there; that is the interrupt's doing and is not shown.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

__all__ = ["Interrupts", "interruptible"]

_AGAIN_S = 0.1
_NUMBERS: dict[type[BaseException], signal.Signals] = {
    KeyboardInterrupt: signal.SIGINT,
    SystemExit: signal.SIGTERM,
}


class Interrupts:
    """Signals that came while a command ran.

    Attributes
    ----------
    number : int or None
        The latest.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._again: list[threading.Timer] = []

    @property
    def exit_code(self) -> int | None:
        """A shell's code for a command that the latest signal ended; None if there was no signal."""
        return None if self.number is None else 128 + self.number

    def end(self, number: int, _frame: FrameType | None) -> NoReturn:
        """Handle a signal: `KeyboardInterrupt` for SIGINT, `SystemExit` for SIGTERM."""
        self.number = number
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(self.exit_code)

    def unraisable(self, lost: "sys.UnraisableHookArgs") -> None:
        """Take an exception that Python could not let out."""
        number = _NUMBERS.get(lost.exc_type)
        if number is not None:
            self.number = number
            again = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            self._again.append(again)
        elif self.number is None:
            sys.__unraisablehook__(lost)

    def end_sending(self) -> None:
        """Send none again: the command has ended."""
        for again in self._again:
            again.cancel()


@contextmanager
def interruptible() -> Iterator[Interrupts]:
    """Signals end what runs in the block; SIGINT only where it is not ignored, as a shell does for background jobs.

    After a signal the process is to end: destructors that fail at its exit stay silent.
    """
    interrupts = Interrupts()
    hook, sys.unraisablehook = sys.unraisablehook, interrupts.unraisable
    kinds = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        kinds.append(signal.SIGINT)
    handlers = {kind: signal.signal(kind, interrupts.end) for kind in kinds}
    try:
        yield interrupts
    finally:
        interrupts.end_sending()
        for kind, handler in handlers.items():
            signal.signal(kind, handler)
        if interrupts.number is None:
            sys.unraisablehook = hook
