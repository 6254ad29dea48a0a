"""The page's pictures as inline SVG.

Widths are percentages, so a picture is as wide as its place and its text keeps its size; colours are classes of the
style sheet, so that they follow the theme. Nothing is told by colour alone: every picture has a label for those who
do not see it, and its numbers stand beside it.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup

from xnorweave.report.facts import count
from xnorweave.report.timeline import Timeline

__all__ = ["bar", "lane", "marks", "phases", "scatter", "stack"]

_BAR_HEIGHT, _LANE_HEIGHT = 14, 18
_PLOT_HEIGHT, _PLOT_MARGIN = 240, 14


def _percent(part: float, whole: float) -> str:
    share = 100 * part / whole if whole else 0.0
    return f"{min(100.0, max(0.0, share)):.2f}%"


def _svg(label: str, height: int, parts: Iterable[Markup], kind: str) -> Markup:
    return Markup('<svg class="{}" role="img" aria-label="{}" width="100%" height="{}">{}</svg>').format(
        kind, label, height, Markup("").join(parts)
    )


def _rect(start: str, width: str, kind: str, *, y: int = 0, height: int = _BAR_HEIGHT) -> Markup:
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}" rx="2"/>').format(
        kind, start, y, width, height
    )


def _tick(place: str, kind: str, height: int = _BAR_HEIGHT) -> Markup:
    return Markup('<line class="{}" x1="{}" x2="{}" y1="-2" y2="{}"/>').format(kind, place, place, height + 2)


def bar(
    value: float, whole: float, label: str, *, kind: str = "mark", ticks: Sequence[tuple[float, str]] = ()
) -> Markup:
    """A bar of ``value`` in a track of ``whole``, with ticks (place, class) across it."""
    parts = [_rect("0", "100%", "track"), _rect("0", _percent(value, whole), kind)]
    parts += [_tick(_percent(place, whole), tick) for place, tick in ticks]
    return _svg(label, _BAR_HEIGHT, parts, "bar")


def stack(
    values: Sequence[tuple[float, str]], whole: float, label: str, ticks: Sequence[tuple[float, str]] = ()
) -> Markup:
    """Bars (length, class) one behind the other in a track of ``whole``."""
    parts, start = [_rect("0", "100%", "track")], 0.0
    for value, kind in values:
        parts.append(_rect(_percent(start, whole), _percent(value, whole), kind))
        start += value
    parts += [_tick(_percent(place, whole), tick) for place, tick in ticks]
    return _svg(label, _BAR_HEIGHT, parts, "bar")


def lane(shown: Timeline, number: int) -> Markup:
    """When one stage works, frame by frame."""
    here, whole = shown.lanes[number], shown.span
    parts = [_rect("0", "100%", "track", height=_LANE_HEIGHT)]
    for frame in range(shown.frames):
        start = here.start + frame * shown.interval
        kind = f"{here.engine} f{frame % 2}"
        width = max(here.end - here.start, whole / 400)
        parts.append(_rect(_percent(start, whole), _percent(width, whole), kind, y=1, height=_LANE_HEIGHT - 2))
    label = (
        f"{here.name}: busy with the first frame from cycle {here.start:,.0f} to {here.end:,.0f}, "
        f"then every {shown.interval:,} cycles"
    )
    return _svg(label, _LANE_HEIGHT, parts, "bar")


def phases(shown: Timeline) -> Markup:
    """Fill, steady state and drain over the lanes."""
    whole = shown.span
    ends = (("fill", 0.0, shown.latency), ("steady", shown.latency, shown.drain), ("drain", shown.drain, whole))
    parts = []
    for name, start, end in ends:
        if end - start > 0:
            middle = _percent((start + end) / 2, whole)
            parts.append(_rect(_percent(start, whole), _percent(end - start, whole), f"phase {name}", y=16, height=4))
            parts.append(Markup('<text x="{}" y="11" text-anchor="middle">{}</text>').format(middle, name))
    label = f"fill until cycle {shown.latency:,.0f}, drain from cycle {shown.drain:,.0f}, end at {whole:,.0f}"
    return _svg(label, 22, parts, "axis")


def marks(shown: Timeline) -> Markup:
    """Cycles below the lanes."""
    places = [shown.span * quarter / 4 for quarter in range(5)]
    anchors = ("start", "middle", "middle", "middle", "end")
    parts = [
        Markup('<text x="{}" y="12" text-anchor="{}">{}</text>').format(
            _percent(place, shown.span), anchor, f"{place:,.0f}"
        )
        for place, anchor in zip(places, anchors, strict=True)
    ]
    return _svg(f"cycles 0 to {shown.span:,.0f}", 16, parts, "axis")


def scatter(points: Sequence[dict[str, Any]], unit: str, chosen: dict[str, Any], name: str) -> Markup:
    """Accuracy in percent against a cost, which ``name`` is the unit of; the chosen point is a larger square."""
    costs, rights = [point[unit] for point in points], [point["percent"] for point in points]
    low, high = min(costs), max(costs)
    bottom, top = min(rights), max(rights)
    parts = [
        Markup('<line class="frame" x1="6%" x2="98%" y1="{0}" y2="{0}"/>').format(y)
        for y in (_PLOT_MARGIN, _PLOT_HEIGHT // 2, _PLOT_HEIGHT - _PLOT_MARGIN)
    ]
    for point in points:
        x = 8 + 88 * ((point[unit] - low) / (high - low) if high > low else 0.5)
        share = (point["percent"] - bottom) / (top - bottom) if top > bottom else 0.5
        parts.append(
            _point(
                x,
                _PLOT_HEIGHT - _PLOT_MARGIN - share * (_PLOT_HEIGHT - 2 * _PLOT_MARGIN),
                point,
                f"{count(point[unit])} {name}",
                point == chosen,
            )
        )
    texts = [
        ("0", _PLOT_MARGIN + 4, "start", f"{top:.1f} %"),
        ("0", _PLOT_HEIGHT - _PLOT_MARGIN + 4, "start", f"{bottom:.1f} %"),
    ]
    texts += [
        ("8%", _PLOT_HEIGHT + 14, "start", count(low)),
        ("96%", _PLOT_HEIGHT + 14, "end", f"{count(high)} {name}"),
    ]
    parts += [Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(*text) for text in texts]
    return _svg(f"accuracy against {name}, {len(points)} networks", _PLOT_HEIGHT + 20, parts, "plot")


def _point(x: float, y: float, point: dict[str, Any], cost: str, chosen: bool) -> Markup:
    title = Markup("<title>{} %, {}</title>").format(point["percent"], cost)
    if chosen:
        square = Markup('<rect class="chosen" x="-7" y="-7" width="14" height="14">{}</rect>').format(title)
        return Markup('<svg x="{:.2f}%" y="{:.1f}" overflow="visible">{}</svg>').format(x, y, square)
    return Markup('<circle class="point" cx="{:.2f}%" cy="{:.1f}" r="4">{}</circle>').format(x, y, title)
