"""A report as a notebook shows it: a sentence, what is taken of the board, and the layers; one fragment of HTML."""

from typing import Any

from xnorweave.report.facts import Report, part, verdict
from xnorweave.report.theme import render_fragment

__all__ = ["notebook_html"]

_RESOURCES = {"luts": "LUT places", "block_rams": "block RAMs"}
# Columns of the layers, as far as any layer has them: the network's own first, then the plan's.
_COLUMNS = {
    "name": "layer",
    "kind": "kind",
    "input": "input",
    "output": "output",
    "weights": "weights",
    "engine": "engine",
    "pe": "PE",
    "simd": "SIMD",
    "interval_cycles": "interval, cycles",
    "latency_cycles": "latency, cycles",
    "luts_estimated": "LUTs est.",
    "block_rams_estimated": "RAMs est.",
}


def notebook_html(report: Report) -> str:
    """What ``_repr_html_`` gives of a network, a plan or a build; everything a file or a user wrote is escaped."""
    plan, synthesis = part(report, "plan"), part(report, "synthesis")
    rows = plan.get("layers") or part(report, "network").get("layers") or []
    columns = {name: title for name, title in _COLUMNS.items() if any(name in row for row in rows)}
    context = {
        "verdict": verdict(report) if synthesis else _described(report),
        "bad": synthesis.get("fits") is False,
        "message": synthesis.get("message"),
        "facts": _facts(report),
        "columns": columns,
        "rows": [[_cell(row.get(name)) for name in columns] for row in rows],
        "folder": report.get("folder"),
    }
    return render_fragment("notebook.html.j2", context)


def _described(report: Report) -> str:
    """A network that has no board yet, in words."""
    network = part(report, "network")
    source = part(network, "input")
    shape = _cell(source.get("shape", []))
    return f"{network['name']}: {shape} {source.get('kind', 'inputs')}, {network['weights']:,} weights."


def _facts(report: Report) -> list[tuple[str, str]]:
    """Names with their values: what is taken of the board, and how fast it is."""
    synthesis, plan = part(report, "synthesis"), part(report, "plan")
    found = []
    for name, title in _RESOURCES.items():
        if name in synthesis:
            taken, available = synthesis[name], synthesis[f"{name}_available"]
            share = f" ({100 * taken / available:.0f} %)" if available else ""
            found.append((title, f"{taken:,} of {available:,}{share}"))
    if "frames_per_second" in synthesis:
        found.append(("frames/s", f"{synthesis['frames_per_second']:,.0f}"))
    if "clock_mhz" in synthesis:
        reached = f", {synthesis['fmax_mhz']:.1f} MHz reached" if "fmax_mhz" in synthesis else ""
        found.append(("clock", f"{synthesis['clock_mhz']:g} MHz{reached}"))
    if "interval_cycles" in plan:
        found.append(("interval", f"{plan['interval_cycles']:,} cycles"))
    return found


def _cell(value: Any) -> str:
    match value:
        case None:
            return "\u2013"
        case int():
            return f"{value:,}"
        case list() | tuple():
            return "\u00d7".join(f"{item}" for item in value)
        case _:
            return str(value)
