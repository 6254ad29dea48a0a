"""Signals of tests."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def heeding(number: signal.Signals = signal.SIGINT) -> Iterator[None]:
    """A child that is started in the block heeds Ctrl-C, as a user's does: those of a background job ignore it."""
    before = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(number, before)
