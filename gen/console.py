"""What the command line shows: results on standard output, progress and errors on standard error."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

__all__ = ["Stages", "live_stages", "print_error", "print_json", "result_console", "stdout_kept_clean"]

_PLAIN_WIDTH = 110
_MAX_ERROR_LENGTH = 2000


class Stages(Protocol):
    """Where long work tells how far it is."""

    def start(self, text: str, total: int | None = None) -> None:
        """Begin a stage; the one before is done. ``total`` is the number of steps, where it is known."""
        ...

    def advance(self, done: int) -> None:
        """So many steps of the stage are done."""
        ...

    def note(self, text: str) -> None:
        """Say what the stage is doing now; may be called often."""
        ...


class _LiveStages:
    """A line with bar and clock for each stage, redrawn in place."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def start(self, text: str, total: int | None = None) -> None:
        self.finish()
        self._task = self._progress.add_task(text, total=total, note="")

    def advance(self, done: int) -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=done)

    def note(self, text: str) -> None:
        if self._task is not None:
            self._progress.update(self._task, note=_printable(text)[:60])

    def finish(self) -> None:
        if self._task is not None:
            task = self._progress.tasks[self._task]
            total = task.total or 1
            self._progress.update(self._task, total=total, completed=total, note="")
            self._progress.stop_task(self._task)


class _PlainStages:
    """One line for each stage as it begins; for logs and pipes."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._note = ""

    def start(self, text: str, total: int | None = None) -> None:
        self._print(text)

    def advance(self, done: int) -> None:
        pass

    def note(self, text: str) -> None:
        if text != self._note:
            self._note = text
            self._print(f"  {text}")

    def _print(self, text: str) -> None:
        print(f"[{time.monotonic() - self._begin:6.1f} s] {_printable(text)}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def live_stages() -> Iterator[Stages]:
    """Progress on standard error: drawn live on a terminal, plain lines elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _PlainStages()
        return
    columns = (
        SpinnerColumn(finished_text="[green]\u2713"),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )
    with Progress(*columns, console=console) as progress:
        stages = _LiveStages(progress)
        yield stages
        stages.finish()


@contextlib.contextmanager
def stdout_kept_clean() -> Iterator[None]:
    """Send whatever the block, its libraries and its child processes write to standard output to standard error."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        # An error here would hide the block's own; what is left in the buffer belongs to standard error.
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def result_console() -> Console:
    """Console for results: as wide as the terminal, or wide enough for every table where there is none."""
    console = Console(highlight=False, emoji=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, emoji=False, markup=False, width=_PLAIN_WIDTH)


def print_json(document: Mapping[str, Any]) -> None:
    """Write one JSON document to standard output."""
    sys.stdout.write(json.dumps(document, indent=1, ensure_ascii=True, allow_nan=False) + "\n")
    sys.stdout.flush()


def print_error(message: str) -> None:
    """Write exactly one ``error:`` line to standard error, whatever a file name in the message holds."""
    text = _printable(message)
    if len(text) > _MAX_ERROR_LENGTH:
        text = f"{text[: _MAX_ERROR_LENGTH // 2]} ... {text[-_MAX_ERROR_LENGTH // 2 :]}"
    print(f"error: {text}", file=sys.stderr, flush=True)


def _printable(text: str) -> str:
    """The text on one line, with nothing in it that could steer a terminal."""
    return "".join(c if c.isprintable() else " " if c in "\n\t" else repr(c)[1:-1] for c in text.rstrip())
