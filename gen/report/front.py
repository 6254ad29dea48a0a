"""The picture of a Pareto front as inline SVG: places are percentages, so text keeps its size in any width."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from xnorweave.report.facts import count

__all__ = ["Axis", "Mark", "front_chart"]

_HEIGHT, _TOP, _BOTTOM = 360, 14, 326
_LEFT, _RIGHT = 8.0, 97.0
# An axis whose ends are further apart is logarithmic.
_WIDE = 6.0
_MOST_OTHERS = 3000


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What one direction of the picture is.

    Parameters
    ----------
    key : str
        Of the figures.
    name : str
        Unit.
    more : bool
        Whether more of it is better.
    """

    key: str
    name: str
    more: bool


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A candidate in the picture.

    Parameters
    ----------
    number : int
        Of the candidate.
    kind : str
        Its status, as a class of the style sheet.
    label : str
        In a few words.
    figures : dict
        By key of an axis.
    line : str, optional
        Marks of the front with one name are joined by a line.
    """

    number: int
    kind: str
    label: str
    figures: Mapping[str, Any]
    line: str | None = None


class _Scale:
    """From a figure to its share of an axis."""

    def __init__(self, values: Sequence[float]):
        self.low, self.high = min(values), max(values)
        self.logarithmic = self.low > 0 and self.high / self.low > _WIDE

    def share(self, value: float) -> float:
        if self.high == self.low:
            return 0.5
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """A few round figures between the ends."""
        if self.logarithmic:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            every = [lead * 10.0**power for power in powers for lead in (1, 2, 5)]
        else:
            step = _round_step((self.high - self.low) / 5)
            first = math.ceil(self.low / step)
            every = [step * number for number in range(first, first + 8)]
        return [value for value in every if self.low <= value <= self.high]


def _round_step(step: float) -> float:
    if step <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return next(lead * power for lead in (1, 2, 5, 10) if lead * power >= step)


def front_chart(marks: Sequence[Mark], horizontal: Axis, vertical: Axis) -> Markup:
    """Every candidate that is a design of its own; those on the front are links to their rows.

    Parameters
    ----------
    marks : sequence of Mark
        At least one.
    horizontal, vertical : Axis
        What is shown.
    """
    across = _Scale([mark.figures[horizontal.key] for mark in marks])
    up = _Scale([mark.figures[vertical.key] for mark in marks])

    def place(mark: Mark) -> tuple[float, float]:
        x = _LEFT + (_RIGHT - _LEFT) * across.share(mark.figures[horizontal.key])
        return x, _BOTTOM - (_BOTTOM - _TOP) * up.share(mark.figures[vertical.key])

    front = [mark for mark in marks if mark.kind == "front"]
    others = _different([(mark, place(mark)) for mark in marks if mark.kind != "front"])
    parts = [*_grid(across, horizontal, up, vertical)]
    parts += [_point(mark, where, horizontal, vertical) for mark, where in others[:_MOST_OTHERS]]
    for line in dict.fromkeys(mark.line for mark in front if mark.line is not None):
        places = sorted(place(mark) for mark in front if mark.line == line)
        parts += _stairs(places, horizontal.more, vertical.more)
        parts.append(_line_name(line or "", places[-1]))
    parts += [_point(mark, place(mark), horizontal, vertical) for mark in front]
    text = f"{vertical.name} against {horizontal.name}: {len(front)} designs on the front, {len(marks)} in all"
    return Markup('<svg class="front" role="group" aria-label="{}" width="100%" height="{}">{}</svg>').format(
        text, _HEIGHT, Markup("").join(parts)
    )


def _different(placed: list[tuple[Mark, tuple[float, float]]]) -> list[tuple[Mark, tuple[float, float]]]:
    """One of those at the same place; built ones before estimated ones."""
    found: dict[tuple[float, float, bool], tuple[Mark, tuple[float, float]]] = {}
    for mark, (x, y) in placed:
        found.setdefault((round(x, 1), round(y), mark.kind == "built"), (mark, (x, y)))
    return list(found.values())


def _grid(across: _Scale, horizontal: Axis, up: _Scale, vertical: Axis) -> list[Markup]:
    parts = []
    for value in up.ticks():
        y = _BOTTOM - (_BOTTOM - _TOP) * up.share(value)
        parts.append(
            Markup('<line class="frame" x1="{0}%" x2="{1}%" y1="{2:.1f}" y2="{2:.1f}"/>').format(_LEFT, _RIGHT, y)
        )
        parts.append(Markup('<text x="0" y="{:.1f}">{}</text>').format(y + 4, count(value)))
    for value in across.ticks():
        x = _LEFT + (_RIGHT - _LEFT) * across.share(value)
        parts.append(
            Markup('<line class="frame" x1="{0:.2f}%" x2="{0:.2f}%" y1="{1}" y2="{2}"/>').format(x, _TOP, _BOTTOM)
        )
        parts.append(
            Markup('<text x="{:.2f}%" y="{}" text-anchor="middle">{}</text>').format(x, _BOTTOM + 16, count(value))
        )
    parts.append(Markup('<text x="0" y="{}">{}</text>').format(_TOP - 12, f"{vertical.name} {_better(vertical, 'up')}"))
    parts.append(
        Markup('<text x="{}%" y="{}" text-anchor="end">{}</text>').format(
            _RIGHT, _BOTTOM + 32, f"{horizontal.name} {_better(horizontal, 'right')}"
        )
    )
    return parts


def _better(axis: Axis, towards: str) -> str:
    arrows = {("up", True): "\u2191", ("up", False): "\u2193", ("right", True): "\u2192", ("right", False): "\u2190"}
    return f"{arrows[towards, axis.more]} better"


def _stairs(places: list[tuple[float, float]], more_is_right: bool, more_is_up: bool) -> list[Markup]:
    """From point to point of a front: what is no better than one of its points lies beyond the line."""
    parts = []
    for (x1, y1), (x2, y2) in pairwise(places):
        # Of two neighbours the one that is worse across has the better height: the corner is worse in both.
        corner_x = x1 if more_is_right else x2
        corner_y = y2 if more_is_right else y1
        for ax, ay, bx, by in ((x1, y1, corner_x, corner_y), (corner_x, corner_y, x2, y2)):
            parts.append(
                Markup('<line class="stairs" x1="{:.2f}%" y1="{:.1f}" x2="{:.2f}%" y2="{:.1f}"/>').format(
                    ax, ay, bx, by
                )
            )
    return parts


def _line_name(line: str, end: tuple[float, float]) -> Markup:
    x, y = end
    return Markup('<text x="{:.2f}%" y="{:.1f}" text-anchor="end">{}</text>').format(x, y - 12, line)


def _point(mark: Mark, where: tuple[float, float], horizontal: Axis, vertical: Axis) -> Markup:
    x, y = where
    said = f"{_told(mark, horizontal)}, {_told(mark, vertical)}"
    title = Markup("<title>{}: {}</title>").format(mark.label, said)
    if mark.kind != "front":
        shape = Markup('<circle r="{}">{}</circle>').format(4 if mark.kind == "built" else 3, title)
        inner = Markup('<g class="pt {}">{}</g>').format(mark.kind, shape)
    else:
        # The text goes where there is room, and has a second line.
        anchor, dx = ("end", -11) if x > 50 else ("start", 11)
        dy = 18 if y < _TOP + 40 else -18
        tip = Markup(
            '<text class="tip" text-anchor="{0}" x="{1}" y="{2}">{3}<tspan x="{1}" dy="16">{4}</tspan></text>'
        ).format(anchor, dx, dy, mark.label, said)
        square = Markup('<rect x="-6" y="-6" width="12" height="12">{}</rect>').format(title)
        link = Markup('<a href="#d{}" class="pt front" aria-label="{}: {}">{}{}</a>')
        inner = link.format(mark.number, mark.label, said, square, tip)
    return Markup('<svg x="{:.2f}%" y="{:.1f}" overflow="visible">{}</svg>').format(x, y, inner)


def _told(mark: Mark, axis: Axis) -> str:
    return f"{count(mark.figures[axis.key])} {axis.name}"
