"""A build folder that is either whole or not there.

A build is written to a hidden sibling, ``.NAME.building``, and renamed when it is complete. An exclusive lock on
``.NAME.lock`` keeps two builds of one folder apart; the lock goes with the process, so a killed build never blocks
the next one, which also clears away what it left.
"""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xnorweave.errors import XnorweaveError

__all__ = [
    "REPORT_FORMAT",
    "BuildFolderError",
    "build_folder",
    "check_build_folder",
    "locked",
    "read_report",
    "write_whole",
]

REPORT_FORMAT = "xnorweave-report/1"
_MAX_REPORT_BYTES = 16 << 20


class BuildFolderError(XnorweaveError):
    """A build folder cannot be written, or what is there must not be replaced."""


def write_whole(path: Path, text: str) -> None:
    """Write a file that is at any time either the old one or the new one; an OSError leaves the old one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, "utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def build_folder(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Give a folder to write to, which takes the place of ``path`` when the block ends without an error.

    On an error or an interrupt the new folder is removed, and an older build at ``path`` stays as it was.

    Parameters
    ----------
    path : Path
        Where the build is to be. Parent folders are made.
    force : bool
        Replace a folder there even if it is no build of ours. A file or a link is never replaced.

    Raises
    ------
    BuildFolderError
        Where ``path`` holds something else than a build, is being built already, or cannot be written.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 -- resolve() would follow a link at the path itself
    _check_own_folder(path)
    working, old, lock = (path.with_name(f".{path.name}.{suffix}") for suffix in ("building", "old", "lock"))
    with locked(path, lock):
        try:
            _prepare(path, working, old, force)
            yield working
            _check_replaceable(path, force)
            _put_in_place(path, working, old)
        except BaseException:
            shutil.rmtree(working, ignore_errors=True)
            raise


def check_build_folder(path: Path, *, force: bool = False) -> None:
    """Refuse what `build_folder` would refuse to replace; writes nothing.

    Raises
    ------
    BuildFolderError
        Where ``path`` holds something else than a build.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 -- as there
    _check_own_folder(path)
    _check_replaceable(path, force)


def _check_own_folder(path: Path) -> None:
    here, home = Path.cwd(), Path.home()
    if path in (here, *here.parents, home, *home.parents):
        raise BuildFolderError(f"{path}: would be replaced as a whole; give a folder of its own, such as build/demo")


def _check_replaceable(path: Path, force: bool) -> None:
    """Refuse what must not be replaced. Only under the lock: another build's exchange shows a folder that is gone."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise BuildFolderError(f"{path}: is a file or a link, not a folder; choose another path")
    if not force and path.is_dir() and not _is_build(path):
        raise BuildFolderError(f"{path}: holds files, but no build (no report.json of ours); choose another path")


def _is_build(path: Path) -> bool:
    try:
        if not any(path.iterdir()):
            return True
        read_report(path)
    except (OSError, BuildFolderError):
        return False
    return True


def read_report(folder: Path) -> dict[str, Any]:
    """Read ``report.json`` of a build folder.

    Raises
    ------
    BuildFolderError
        Where there is none that can be read, or none of ours.
    """
    path = folder / "report.json"
    try:
        if path.stat().st_size > _MAX_REPORT_BYTES or not path.is_file():
            raise ValueError(f"no file of at most {_MAX_REPORT_BYTES} bytes")
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BuildFolderError(f"{path}: cannot be read ({error}); name the folder of a build") from error
    if not isinstance(found, dict) or found.get("format") != REPORT_FORMAT:
        raise BuildFolderError(f"{path}: is no report of ours; name the folder of a build")
    return found


@contextmanager
def locked(path: Path, lock: Path, what: str = "build") -> Iterator[None]:
    """Hold the file ``lock``, for what writes ``path``; it goes with us, and does no harm where it outlives us.

    Parameters
    ----------
    path : Path
        For messages; its parent folder is made.
    lock : Path
        In the same folder.
    what : str
        What writes, in the message of whoever comes second.

    Raises
    ------
    BuildFolderError
        Where another process holds it, or it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _open_locked(path, lock, what)
        while not _same(descriptor, lock):
            os.close(descriptor)
            descriptor = _open_locked(path, lock, what)
    except OSError as e:
        raise BuildFolderError(f"{path}: cannot be written ({e.strerror}); choose another path") from e
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _open_locked(path: Path, lock: Path, what: str) -> int:
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(descriptor)
        if e.errno in (errno.EAGAIN, errno.EACCES):
            raise BuildFolderError(f"{path}: another {what} is writing it; wait for it, or choose another path") from e
        raise
    return descriptor


def _same(descriptor: int, lock: Path) -> bool:
    """Whether the file locked still has the name: the build that held it may have removed it meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), lock.stat())
    except FileNotFoundError:
        return False


def _prepare(path: Path, working: Path, old: Path, force: bool) -> None:
    """Make the working folder, and clear away what a killed build left."""
    try:
        if old.is_dir() and not path.exists():
            old.rename(path)
        _check_replaceable(path, force)
        for left in (old, working):
            if left.is_dir():
                shutil.rmtree(left)
        working.mkdir()
    except OSError as e:
        raise BuildFolderError(f"{path}: cannot be written ({e.strerror}); choose another path") from e


def _put_in_place(path: Path, working: Path, old: Path) -> None:
    try:
        replaced = path.is_dir()
        if replaced:
            path.rename(old)
        try:
            working.rename(path)
        except BaseException:
            if replaced:
                old.rename(path)
            raise
        if replaced:
            shutil.rmtree(old)
    except OSError as e:
        raise BuildFolderError(f"{path}: cannot be put in place ({e.strerror}); choose another path") from e
