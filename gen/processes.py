"""Run external tools as child processes that cannot outlive us, with their output in a log file."""

import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import BinaryIO

from xnorweave.errors import ToolchainError

__all__ = ["run_tool", "scratch"]

_GRACE_S = 3.0
_CHUNK_BYTES = 65536
_REASON_BYTES = 20000
# Asks the kernel to end the tool with us, even where we are killed, and becomes the tool. Not a `preexec_fn`: that may
# hang in a process of several threads. Python ignores SIGPIPE, and what is ignored stays so.
_BOUND = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""


def run_tool(
    argv: Sequence[str],
    *,
    folder: Path,
    log: str,
    timeout_s: float,
    tool: str,
    remedy: str,
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Run one command in ``folder`` until it ends, its output going to ``folder / log``.

    The command runs in a process session of its own without a shell, with nothing to read from standard input.
    Whatever ends this call early (the time limit, Ctrl-C, an exception of ``on_line``) ends the whole group first; on
    Linux the command also ends where this process is killed.

    Parameters
    ----------
    argv : sequence of str
        Program and arguments.
    folder : Path
        Working directory; must exist.
    log : str
        Name of the log file within ``folder``; standard output and error, in order of arrival.
    timeout_s : float
        Longest run, in seconds.
    tool : str
        Name of the tool in messages.
    remedy : str
        What a user does when the tool is missing, e.g. ``pip install pyosys``.
    on_line : callable, optional
        Called in this thread with every line of output, without its end.

    Raises
    ------
    ToolchainError
        If the tool is missing, fails, or is not done after ``timeout_s``.
    """
    log_path = folder / log
    with log_path.open("wb") as log_file:
        try:
            process = subprocess.Popen(
                _bound(argv),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise ToolchainError(f"{tool}: cannot run {argv[0]!r} ({error.strerror}); remedy: {remedy}") from error
        finished = False
        try:
            finished = _stream(process, log_file, time.monotonic() + timeout_s, on_line)
        finally:
            _end_group(process, whole=finished)
    if not finished:
        raise ToolchainError(
            f"{tool}: not done after {timeout_s:g} s and was stopped; log: {log_path}; "
            "remedy: a smaller design, or a faster machine"
        )
    if process.returncode != 0:
        raise ToolchainError(
            f"{tool}: {_reason(log_path, process.returncode)}; log: {log_path}; "
            "remedy: read the log, and check the tools with `xnorweave doctor`"
        )


def _bound(argv: Sequence[str]) -> list[str]:
    """The command, so that it ends with this process, where the system can do that and has the program."""
    if sys.platform != "linux" or shutil.which(argv[0]) is None:
        return list(argv)
    return [sys.executable, "-I", "-S", "-c", _BOUND, str(os.getpid()), *argv]


def _stream(
    process: subprocess.Popen[bytes], log_file: BinaryIO, deadline: float, on_line: Callable[[str], None] | None
) -> bool:
    """Copy the output to the log until it ends; False if the deadline came first."""
    assert process.stdout is not None
    pending = b""
    with process.stdout as pipe, selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            if not selector.select(left_s):
                continue
            chunk = os.read(pipe.fileno(), _CHUNK_BYTES)
            if not chunk:
                break
            log_file.write(chunk)
            log_file.flush()
            if on_line is not None:
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    on_line(line.decode(errors="replace").rstrip("\r"))
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    if on_line is not None and pending:
        on_line(pending.decode(errors="replace"))
    return True


def _end_group(process: subprocess.Popen[bytes], *, whole: bool) -> None:
    """End what is left of the child's process group, politely, then by force; nothing is where it ended as a whole."""
    if whole and process.poll() is not None:
        return
    for kind in (signal.SIGTERM, signal.SIGKILL):
        # Also where the first of them has ended: what it began may go on.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
    process.wait()


def _reason(log_path: Path, status: int) -> str:
    """The first line that says ERROR, near the end of a failed run's log, else the last line."""
    if status < 0:
        return f"ended by signal {-status} ({signal.strsignal(-status)}), perhaps for want of memory"
    with log_path.open("rb") as log_file:
        log_file.seek(max(0, log_path.stat().st_size - _REASON_BYTES))
        lines = [line.strip() for line in log_file.read().decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line or line.startswith(("error:", "fatal"))]
    reason = errors[0] if errors else (lines or ["no output"])[-1]
    return f"exit status {status}: {reason}"


@contextmanager
def scratch(what: str) -> Iterator[Path]:
    """Folder that is removed again, but stays where an error names a file in it."""
    folder = Path(mkdtemp(prefix=f"xnorweave-{what}-"))
    try:
        yield folder
    except ToolchainError:
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
