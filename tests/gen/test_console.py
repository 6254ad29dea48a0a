"""Progress: stages and the time left, on a terminal and in a log."""

import io
import re

import pytest
from rich.console import Console

from xnorweave import console
from xnorweave.console import Pace, live_stages


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "done", "total", "said"),
    [
        (0.9, 50, 100, ""),
        (10, 0, 100, ""),
        (10, 50, None, ""),
        (10, 50, 100, "about 0:10 left"),
        (65, 50, 100, "about 1:05 left"),
        (3600, 25, 100, "about 3:00:00 left"),
        (10, 100, 100, "about 0:00 left"),
        (10, 120, 100, "about 0:00 left"),
    ],
)
def test_the_time_left_is_that_of_the_pace_so_far(seconds: float, done: int, total: int | None, said: str) -> None:
    clock = Clock()
    pace = Pace(total, clock)
    clock.now += seconds
    pace.advance(done)
    assert str(pace) == said


def test_steps_of_an_earlier_run_are_not_counted_as_made() -> None:
    clock = Clock()
    pace = Pace(100, clock)
    pace.advance(90)
    clock.now += 10
    assert pace.seconds_left is None
    pace.advance(95)
    assert pace.seconds_left == 10


def test_a_log_gets_a_line_for_each_stage_and_note_and_now_and_then_how_far_it_is(capsys) -> None:
    clock = Clock()
    plain = console._PlainStages(clock)
    plain.start("synthesis", 100)
    for _ in range(40):
        clock.now += 1
        plain.advance(round(clock.now - 100))
    plain.note("routing")
    plain.note("routing")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "[   0.0 s] synthesis",
        "[  10.0 s]   10 %, about 1:30 left",
        "[  20.0 s]   20 %, about 1:20 left",
        "[  30.0 s]   30 %, about 1:10 left",
        "[  40.0 s]   40 %, about 1:00 left",
        "[  40.0 s]   routing, about 1:00 left",
    ]


def test_a_terminal_sees_stage_bar_and_time_left(monkeypatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(
        console, "Console", lambda **_: Console(file=screen, force_terminal=True, width=110, color_system=None)
    )
    monkeypatch.setattr(console, "_SOONEST_S", 0.0)
    monkeypatch.setattr(console, "_AT_ONCE_S", -1.0)
    with live_stages() as stages:
        stages.start("synthesis \x1b[31m", 4)
        stages.advance(1)
        stages.note("placing")
        stages._progress.refresh()
        stages.start("and more")
    text = screen.getvalue()
    assert re.search(r"synthesis \\x1b\[31m.* about 0:0\d left.*placing", text)
    assert "and more" in text
