"""The files of a small folder or tar archive, in memory and without trusting them: nothing is ever extracted to disk.

An archive is read by its headers alone: plain files and folders count, all else (links, devices, sparse files, names
that lead out of the archive or do not fit a header) is refused. What it unpacks to is bounded before it is unpacked.
"""

import lzma
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from xnorweave.errors import NetworkError, UnsupportedError

__all__ = ["ARCHIVE_SUFFIXES", "is_packed", "read_files"]

ARCHIVE_SUFFIXES = (".tar", ".tar.xz", ".txz", ".tar.gz", ".tgz")
MAX_BYTES = 64 << 20
MAX_FILES = 4096
MAX_UNPACKER_BYTES = 128 << 20
_BLOCK = tarfile.BLOCKSIZE
_MOVING = (b" path=", b" size=", b" linkpath=", b" GNU.sparse")
_AGAIN = "copy or pack it again"


def is_packed(path: Path) -> bool:
    """Whether the path is a folder, or is named as an archive."""
    return os.path.isdir(path) or path.name.lower().endswith(ARCHIVE_SUFFIXES)  # noqa: PTH112 -- see source.py


def read_files(path: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Contents by name, without folders, of the files whose names are ``wanted``.

    Parameters
    ----------
    path : Path
        A folder, whose own files count, or an archive, in which all wanted files lie in one folder.
    wanted : callable
        Told a name without its folders.

    Raises
    ------
    NetworkError
        Where it cannot be read, is damaged, or has too many or too large files.
    UnsupportedError
        Where it holds what is never read.
    """
    try:
        if path.is_dir():
            return _of_folder(path, wanted)
        if not path.is_file():
            raise NetworkError("is a device or absent; give a folder or an archive")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise NetworkError(f"cannot be read ({e.strerror}); check the path") from e
    if len(data) > MAX_BYTES:
        raise NetworkError(f"is larger than {MAX_BYTES >> 20} MiB, more than packed parameters need")
    files: dict[str, bytes] = {}
    folders = set[PurePosixPath]()
    for name, content in _members(_unpacked(data, path.name.lower())):
        if not wanted(name.name):
            continue
        if name.name in files:
            raise NetworkError(f"holds {_shown(name.name)} twice; {_AGAIN}")
        files[name.name] = bytes(content)
        folders.add(name.parent)
    if len(folders) > 1:
        one, other = sorted(map(str, folders))[:2]
        raise UnsupportedError(f"holds parameters in {_shown(one)} and {_shown(other)}; pack one network alone")
    return files


def _of_folder(path: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    left = MAX_BYTES
    with os.scandir(path) as entries:
        for number, entry in enumerate(entries):
            if number >= MAX_FILES:
                raise NetworkError(f"holds more than {MAX_FILES} files; give the folder of one network alone")
            if not wanted(entry.name):
                continue
            if not entry.is_file(follow_symlinks=False):
                raise UnsupportedError(
                    f"{entry.name} is a link or no file, which is not followed; copy the file itself"
                )
            with Path(entry.path).open("rb") as file:
                files[entry.name] = file.read(left + 1)
            left -= len(files[entry.name])
            if left < 0:
                raise NetworkError(f"its files have more than {MAX_BYTES >> 20} MiB, more than packed parameters need")
    return files


def _unpacked(data: bytes, name: str) -> bytes:
    """The tar archive itself."""
    if name.endswith(".tar"):
        return data
    try:
        if name.endswith("xz"):
            unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_UNPACKER_BYTES)
        else:
            unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        result = unpacker.decompress(data, MAX_BYTES + 1)
    except (lzma.LZMAError, zlib.error, MemoryError) as e:
        raise NetworkError(f"cannot be unpacked ({e}); {_AGAIN}") from e
    if len(result) > MAX_BYTES:
        raise NetworkError(f"unpacks to more than {MAX_BYTES >> 20} MiB, more than packed parameters need")
    if not unpacker.eof or unpacker.unused_data:
        raise NetworkError(f"is cut short, or goes on behind its end; {_AGAIN}")
    return result


def _members(archive: bytes) -> Iterator[tuple[PurePosixPath, memoryview]]:
    """Name and content of every plain file."""
    view, at = memoryview(archive), 0
    for _ in range(MAX_FILES):
        block = archive[at : at + _BLOCK]
        if len(block) == _BLOCK and not any(block):
            return
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as e:
            raise NetworkError(f"is damaged at byte {at} ({e}); {_AGAIN}") from e
        start, where = at + _BLOCK, _shown(header.name)
        if not 0 <= header.size <= len(archive) - start:
            raise NetworkError(f"{where} says {header.size} bytes, and {len(archive) - start} follow; {_AGAIN}")
        content = view[start : start + header.size]
        at = start + -(-header.size // _BLOCK) * _BLOCK
        if header.type in (tarfile.XHDTYPE, tarfile.XGLTYPE):
            _check_extension(bytes(content))
        elif header.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
            name = PurePosixPath(header.name)
            if name.is_absolute() or ".." in name.parts:
                raise UnsupportedError(f"{where} leads out of the archive; pack the folder by a relative name")
            if header.type != tarfile.DIRTYPE:
                yield name, content
        else:
            raise UnsupportedError(
                f"{where} is a link, a device or a sparse file (type {_shown(header.type)}); pack plain files alone"
            )
    raise NetworkError(f"holds more than {MAX_FILES} entries; pack one network alone")


def _check_extension(records: bytes) -> None:
    """Refuse an extended header that changes what the plain one says; times and owners may pass."""
    if any(key in records for key in _MOVING):
        raise UnsupportedError("holds names or sizes that fit no plain header; pack it with tar --format=ustar")


def _shown(name: str | bytes) -> str:
    return ascii(name)[:60]
