"""Errors a user can mend: one root, one class for each thing to mend.

Every message tells the place, the value found and the remedy. The command line catches
`XnorweaveError` once and exits with its ``exit_code``; anything else is a bug and keeps its traceback.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class XnorweaveError(Exception):
    """Root of every error that a user can mend."""

    exit_code = 1


class NetworkError(XnorweaveError):
    """A network file or its layers are not valid."""


class DataError(XnorweaveError):
    """Images, labels or another data file do not fit the network."""


class UnsupportedError(XnorweaveError):
    """A valid layer or option that this version has no hardware for."""


class DoesNotFitError(XnorweaveError):
    """The design needs more than the board has, or misses its clock."""


class CertificateError(XnorweaveError):
    """An adder graph does not compute the layer's weights; nothing is emitted."""


class MismatchError(XnorweaveError):
    """A simulation, or the framework that a network comes from, disagrees with the golden model."""


class ToolchainError(XnorweaveError):
    """An external tool is missing, too old or failed."""


class DeviceError(XnorweaveError):
    """A board is unknown, or does not answer as it should."""


class TrainingError(XnorweaveError):
    """A training run cannot start or go on."""


class ExploreError(XnorweaveError):
    """An exploration cannot start or go on, or could not try everything."""


@contextmanager
def located(place: object) -> Iterator[None]:
    """Put the place, and a colon, before the message of every error of ours that comes from within."""
    try:
        yield
    except XnorweaveError as e:
        raise type(e)(f"{place}: {e}") from e
