"""``explore.html``: the Pareto front as a picture, and every candidate in a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from xnorweave.report.facts import count
from xnorweave.report.front import Axis, Mark, front_chart
from xnorweave.report.theme import render_page

__all__ = ["render_explored"]

_MOST_ROWS = 1000
_AXES = {
    "fps": Axis(key="frames_per_second", name="frames/s", more=True),
    "luts": Axis(key="luts", name="LUT places", more=False),
    "block-rams": Axis(key="block_rams", name="block RAMs", more=False),
    "chip": Axis(key="luts_available", name="LUT places of the chip", more=False),
    "accuracy": Axis(key="accuracy_percent", name="% right", more=True),
}
# What a reader needs to know of each status, in the order of the table.
_STATUSES = {
    "front": "built, and no other build beats it",
    "built": "built, and another build beats it",
    "missed": "its build missed the clock or did not fit",
    "seed not needed": "another seed of the same design met the clock",
    "same design": "comes to the same hardware as another candidate",
    "dominated": "another one is better for certain: not built",
    "not built": "the budget was spent before it",
    "does not fit": "cannot be planned for the board",
}
# Those that stand for no design of their own.
_REPEATED = ("seed not needed", "same design", "does not fit")


def render_explored(document: Mapping[str, Any]) -> str:
    """The page of an exploration's document."""
    part = document["exploration"]
    rows = {row["number"]: row for row in part["candidates"]}
    front = [rows[number] for number in part["front"]]
    accuracy = {network["codes"]: network.get("accuracy_percent") for network in part["networks"]}
    horizontal, vertical = axes(part["objectives"])
    shown = [row for row in part["candidates"] if row["status"] not in _REPEATED]
    marks = [_mark(row, accuracy, stairs(part["objectives"], row)) for row in shown]
    context = {
        "network": document["network"],
        "version": document["version"],
        "exploration": part,
        "chart": front_chart(marks, horizontal, vertical) if marks else None,
        "horizontal": horizontal,
        "vertical": vertical,
        "front": [_shown(row, accuracy) for row in front],
        "candidates": [_shown(row, accuracy) for row in _first(part["candidates"])],
        "left_out": max(0, len(part["candidates"]) - _MOST_ROWS),
        "statuses": [(name, text, part["counts"]["by_status"].get(name, 0)) for name, text in _STATUSES.items()],
        "boards": list(dict.fromkeys(row["board"] for row in part["candidates"])),
        "budget": _budget(part["budget"]),
        "summary": summary(front, part),
        "tried": any(value is not None for value in accuracy.values()),
    }
    return render_page("explore.html.j2", context, styles=("explore.css.j2",))


def axes(objectives: Sequence[str]) -> tuple[Axis, Axis]:
    """What the picture is of: the first two objectives; LUT places, or frames/s, where there is only one."""
    names = [*objectives, *(name for name in ("luts", "fps") if name not in objectives)]
    return _AXES[names[0]], _AXES[names[1]]


def summary(front: Sequence[Mapping[str, Any]], part: Mapping[str, Any]) -> str:
    """What came of it, in a sentence."""
    counts = part["counts"]
    tried = f"{counts['candidates']:,} candidates came to {counts['designs']:,} designs that fit"
    if not front:
        return f"{tried}; no build met its clock."
    rates = [row["build"]["frames_per_second"] for row in front]
    luts = [row["build"]["luts"] for row in front]
    designs = "1 of them is" if len(front) == 1 else f"{len(front)} of them are"
    spans = f"{_span(rates)} frames/s in {_span(luts)} LUT places"
    return f"{tried}; {designs} on the front, placed and routed: {spans}."


def _span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return count(low) if low == high else f"{count(low)} to {count(high)}"


def _budget(budget: Mapping[str, float]) -> str:
    if "builds" in budget:
        return f"at most {budget['builds']:,} builds"
    return f"at most {budget['seconds']:,.0f} s of builds" if "seconds" in budget else "every build that counts"


def _first(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """As many rows as a page can show: the ones that were decided by a build first, all in order."""
    order = list(_STATUSES)
    ranked = sorted(rows, key=lambda row: (order.index(row["status"]), row["number"]))
    return sorted(ranked[:_MOST_ROWS], key=lambda row: row["number"])


def figures(row: Mapping[str, Any], accuracy: Mapping[int | None, float | None]) -> dict[str, Any]:
    """What a candidate comes to: built where it is, else estimated."""
    build = row.get("build") or {}
    return {**row["estimate"], **(build if build.get("met") else {}), "accuracy_percent": accuracy[row["codes"]]}


def label(row: Mapping[str, Any]) -> str:
    """A candidate in a few words."""
    codes = "" if row["codes"] is None else f", codebooks of {row['codes']}"
    clock = "" if row["clock_mhz"] is None else f", {row['clock_mhz']:g} MHz"
    return f"{row['board']}, {row['strategy']}{clock}{codes}"


def stairs(objectives: Sequence[str], row: Mapping[str, Any]) -> str | None:
    """Whose line a candidate of the front is on: its board's where chips count; none where there is a third figure."""
    shown = [name for name in objectives if name != "chip"]
    if len(shown) > 2:
        return None
    return row["board"] if len(shown) < len(objectives) else ""


def _mark(row: Mapping[str, Any], accuracy: Mapping[int | None, float | None], line: str | None) -> Mark:
    known, kind = figures(row, accuracy), row["status"].replace(" ", "-")
    return Mark(number=row["number"], kind=kind, label=label(row), figures=known, line=line)


def _shown(row: Mapping[str, Any], accuracy: Mapping[int | None, float | None]) -> dict[str, Any]:
    build = row.get("build") or {}
    estimate = row["estimate"]
    reason = build.get("reason") or estimate.get("reason")
    return {
        **row,
        "figures": figures(row, accuracy) if estimate["fits"] else None,
        "met": bool(build.get("met")),
        "reason": reason,
        "wired": ", ".join(estimate.get("wired", {})),
    }
