"""What the command line shows: results on standard output, progress and errors on standard error."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

__all__ = ["Pace", "Stages", "live_stages", "print_error", "print_json", "result_console", "stdout_kept_clean"]

_PLAIN_WIDTH = 110
_MAX_ERROR_LENGTH = 2000
# Steps told of so soon were done by an earlier run; before so long nothing can be said of what is left.
_AT_ONCE_S, _SOONEST_S = 0.5, 1.0
# So often a line says how far a stage is, where nobody sees a bar.
_LINE_EVERY_S = 10.0


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


class Pace:
    """How long a stage has yet to go, if it goes on at the pace so far.

    Parameters
    ----------
    total : int, optional
        Steps of the stage, where they are known.
    clock : callable
        Seconds since any moment.
    """

    def __init__(self, total: int | None, clock: Callable[[], float] = time.monotonic):
        self._total, self._clock, self._begin = total, clock, clock()
        self._first = self._done = 0

    def advance(self, done: int) -> None:
        """So many steps are done."""
        if self._clock() - self._begin < _AT_ONCE_S:
            self._first = done
        self._done = done

    @property
    def seconds_left(self) -> float | None:
        """None where nothing can be said yet."""
        elapsed, made = self._clock() - self._begin, self._done - self._first
        if self._total is None or made <= 0 or elapsed < _SOONEST_S:
            return None
        return elapsed * max(0, self._total - self._done) / made

    def __str__(self) -> str:
        """Such as ``about 1:05 left``; empty where nothing can be said."""
        left = self.seconds_left
        if left is None:
            return ""
        minutes, seconds = divmod(round(left), 60)
        hours, minutes = divmod(minutes, 60)
        return f"about {f'{hours}:{minutes:02}' if hours else minutes}:{seconds:02} left"


class _LeftColumn(ProgressColumn):
    """The time left of a stage that is not done."""

    def render(self, task: Task) -> Text:
        return Text("" if task.finished else str(task.fields["pace"]), style="cyan")


class _LiveStages:
    """A line with bar, clock and time left for each stage, redrawn in place."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None
        self._pace = Pace(None)

    def start(self, text: str, total: int | None = None) -> None:
        self.finish()
        self._pace = Pace(total)
        self._task = self._progress.add_task(_printable(text), total=total, note="", pace=self._pace)

    def advance(self, done: int) -> None:
        self._pace.advance(done)
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
    """Lines for logs and pipes: one for each stage as it begins, for each note, and now and then how far it is."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._begin = clock, clock()
        self._pace, self._total, self._note, self._last = Pace(None, clock), 0, "", self._begin

    def start(self, text: str, total: int | None = None) -> None:
        self._pace, self._total, self._note = Pace(total, self._clock), total or 0, ""
        self._print(text)

    def advance(self, done: int) -> None:
        self._pace.advance(done)
        if self._total and self._clock() - self._last >= _LINE_EVERY_S:
            self._print(f"  {100 * done // self._total} %{self._left()}")

    def note(self, text: str) -> None:
        if text != self._note:
            self._note = text
            self._print(f"  {text}{self._left()}")

    def _left(self) -> str:
        left = str(self._pace)
        return f", {left}" if left else ""

    def _print(self, text: str) -> None:
        self._last = self._clock()
        print(f"[{self._last - self._begin:6.1f} s] {_printable(text)}", file=sys.stderr, flush=True)


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
        _LeftColumn(),
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
