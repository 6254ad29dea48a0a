"""Bytes of a file within bounds, and names of a file as an error may show them."""

from pathlib import Path

from xnorweave.errors import NetworkError

__all__ = ["quoted", "read_bytes"]


def quoted(name: object) -> str:
    """A name of the file as an error may show it: short, and without control characters."""
    text = ascii(str(name))
    return text if len(text) <= 60 else f"{text[:56]}...'"


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a file of at most ``most`` bytes.

    Raises
    ------
    NetworkError
        Where it is absent, no file, empty or larger; the message does not name it.
    """
    try:
        if path.exists() and not path.is_file():
            raise NetworkError(f"is a folder or a device, not a file; give the {path.suffix} file itself")
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as e:
        raise NetworkError(f"cannot be read ({e.strerror}); check the path") from e
    if len(data) > most:
        raise NetworkError(f"is larger than {most >> 20} MiB, more than a network that fits a board needs")
    if not data:
        raise NetworkError("is empty; copy or export it again")
    return data
