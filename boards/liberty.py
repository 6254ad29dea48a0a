"""Read enough of a Liberty file to know that it is one, before tools that trust it see it."""

import hashlib
import math
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from xnorweave.errors import DataError

__all__ = ["CellLibrary", "read_liberty"]

_MAX_BYTES = 256 << 20
_REMEDY = "give a library of standard cells in Liberty format, such as a PDK's typical corner"
_TOKENS = re.compile(
    r"/\*.*?\*/|//[^\n]*|"  # comments
    r'"(?:[^"\\]|\\.)*"|'
    r"\barea\s*:\s*(?P<area>[^;{}\n]*);|"
    r'(?P<kind>\w+)\s*\((?P<name>(?:"[^"]*"|[^(){};"])*)\)\s*\{|'
    r"(?P<mark>/\*|[{}\"])",
    re.DOTALL,
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*\Z")
_STATEFUL = frozenset({"ff", "ff_bank", "latch", "latch_bank", "statetable"})


@dataclass(frozen=True, kw_only=True)
class CellLibrary:
    """A library that was read.

    Parameters
    ----------
    name : str
        What it calls itself.
    file : str
        Name of the file, without folders.
    content : bytes
        The file.
    cells : int
        How many have an area.
    flip_flops : frozenset of str
        Those of them that are flip-flops.
    """

    name: str
    file: str
    content: bytes
    cells: int
    flip_flops: frozenset[str]

    @property
    def sha256(self) -> str:
        """Of the file, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()


def read_liberty(path: Path) -> CellLibrary:
    """Read a Liberty file, and refuse one that cannot be mapped to.

    Raises
    ------
    DataError
        Where it cannot be read, is no Liberty file or not a whole one, or has no flip-flop or no gate; names file,
        line, what was found and what to do.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path}: is no file; {_REMEDY}")
        if status.st_size > _MAX_BYTES:
            raise DataError(f"{path}: {status.st_size:,} bytes are too many; give a library of at most {_MAX_BYTES:,}")
        content = path.read_bytes()
    except (OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) else e
        raise DataError(f"{path}: cannot be read ({reason}); {_REMEDY}") from e
    reader = _Reader(path, content.decode("utf-8", "replace"))
    reader.read()
    return CellLibrary(
        name=reader.library,
        file=path.name,
        content=content,
        cells=len(reader.areas),
        flip_flops=frozenset(reader.flip_flops),
    )


class _Reader:
    """Follows the groups of a file; what is in them beyond areas and flip-flops is the tools' to read."""

    def __init__(self, path: Path, text: str) -> None:
        self._path, self._text = path, text
        self._groups: list[tuple[str, str]] = []
        self.library = ""
        self.areas: dict[str, float] = {}
        self.flip_flops: set[str] = set()
        self._stateful: set[str] = set()

    def read(self) -> None:
        for match in _TOKENS.finditer(self._text):
            if match["kind"] is not None:
                self._open(match["kind"], match["name"].strip(' \t\r\n"'), match.start())
            elif match["area"] is not None:
                self._area(match["area"].strip(' \t\r"'), match.start())
            elif match["mark"] is not None:
                self._mark(match["mark"], match.start())
        self._check_whole()

    def _fail(self, at: int, what: str) -> DataError:
        line = self._text.count("\n", 0, at) + 1
        return DataError(f"{self._path}: line {line}: {what}; {_REMEDY}")

    def _open(self, kind: str, name: str, at: int) -> None:
        depth = len(self._groups)
        if depth == 0 and (kind != "library" or self.library):
            raise self._fail(at, f"{kind!r} outside of the library")
        if (depth == 0 or (depth == 1 and kind == "cell")) and not _NAME.match(name):
            raise self._fail(at, f"{kind} name {_shown(name)} is not letters, digits and _")
        if depth == 0:
            self.library = name
        elif depth == 2 and self._groups[1][0] == "cell" and kind in _STATEFUL:
            self._stateful.add(self._groups[1][1])
            if kind == "ff":
                self.flip_flops.add(self._groups[1][1])
        self._groups.append((kind, name))

    def _area(self, text: str, at: int) -> None:
        if len(self._groups) != 2 or self._groups[1][0] != "cell":
            return
        try:
            area = float(text)
        except ValueError:
            area = math.nan
        if not 0 <= area < math.inf:
            raise self._fail(at, f"area {_shown(text)} of cell {self._groups[1][1]} is no number from 0")
        self.areas[self._groups[1][1]] = area

    def _mark(self, mark: str, at: int) -> None:
        if mark == "{":
            if not self._groups:
                raise self._fail(at, "'{' without a name before the library")
            self._groups.append(("", ""))
        elif mark == "}":
            if not self._groups:
                raise self._fail(at, "'}' that closes nothing")
            self._groups.pop()
        else:
            raise self._fail(at, f"{mark} without its end")

    def _check_whole(self) -> None:
        if not self.library:
            raise self._fail(0, "no library in it")
        if self._groups:
            kind, name = self._groups[-1]
            raise self._fail(len(self._text), f"the file ends within {kind or '{'} {name}".rstrip())
        self.flip_flops &= self.areas.keys()
        gates = [name for name, area in self.areas.items() if area > 0 and name not in self._stateful]
        if not self.flip_flops or len(gates) < 2:
            raise DataError(
                f"{self._path}: library {self.library} has {len(self.flip_flops)} flip-flops and {len(gates)} gates "
                f"with an area, at least 1 and 2 are needed; {_REMEDY}"
            )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
