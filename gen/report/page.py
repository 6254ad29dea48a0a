"""``report.html``: one file that needs nothing from anywhere else, and reads the same with scripts turned off."""

from collections.abc import Iterable
from typing import Any

from markupsafe import Markup

from xnorweave import __version__
from xnorweave.report import charts, facts
from xnorweave.report.atlas import Shown, shown_layers, symbol
from xnorweave.report.facts import Report, part
from xnorweave.report.theme import render_page
from xnorweave.report.timeline import timeline
from xnorweave.report.waterfall import made_similar, waterfall

__all__ = ["render_html"]

_PARTS = (
    *("network", "sharing", "plan", "simulation", "accuracy", "synthesis", "estimate"),
    *("build", "certificate", "usage", "compression"),
)
_UNIT_NAMES = {
    "luts": "estimated LUTs",
    "additions": "additions",
    "kernel_evaluations": "kernel evaluations",
    "weight_bits": "bits of weights",
}
_SECTIONS = {
    "board": "Board",
    "gates": "Standard cells",
    "sharing": "Result sharing",
    "kernels": "Kernels",
    "layers": "Layers",
    "timeline": "A frame's way",
    "accuracy": "Accuracy",
    "timing": "Critical path",
    "use": "How to use it",
    "made": "Made with",
    "files": "Files",
}


def render_html(report: Report) -> str:
    """The report as one page; sections whose parts are absent are left out."""
    context: dict[str, Any] = {name: part(report, name) for name in _PARTS}
    context |= {
        "version": report.get("version", __version__),
        "strategy": report.get("strategy"),
        "neighbours": report.get("neighbours") or [],
        "files": report.get("files") or [],
        "layers": layer_rows(report),
        "resources": resources(report),
        "gates": facts.gates(part(report, "synthesis")),
        "target": facts.target(part(report, "synthesis")),
        "clock": clock(report),
        "units": waterfall(report),
        "similar": made_similar(report),
        "atlas": shown_layers(report),
        "timeline": timeline(report),
        "link": link_share(report),
        "sections": _SECTIONS,
        "unit_names": _UNIT_NAMES,
        "facts": facts,
        "report": report,
    }
    context["symbols"] = symbols(context["atlas"])
    return render_page("report.html.j2", context)


def resources(report: Report) -> list[dict[str, Any]]:
    """Each resource of the board: used or estimated, beside the estimate and what there is."""
    synthesis, estimate = part(report, "synthesis"), part(report, "estimate")
    rows = []
    for key, name in (("luts", "LUT places"), ("block_rams", "Block RAMs")):
        used, available = synthesis.get(key), synthesis.get(f"{key}_available")
        if used is None or not available:
            continue
        estimated, usable = estimate.get(key), estimate.get(f"{key}_usable")
        ticks = [(estimated, "tick")] if estimated is not None else []
        ticks += [(usable, "limit")] if usable is not None else []
        kind = "estimate" if synthesis.get("estimated") else "mark"
        label = f"{name}: {used:,} of {available:,}" + (f", {estimated:,} estimated" if estimated is not None else "")
        rows.append(
            {
                "name": name,
                "used": used,
                "available": available,
                "percent": 100 * used / available,
                "estimated": estimated,
                "error": 100 * (estimated / used - 1) if estimated is not None and used else None,
                "bar": charts.bar(used, available, label, kind=kind, ticks=ticks),
            }
        )
    return rows


def clock(report: Report) -> dict[str, Any] | None:
    """The clock that the routed design reaches, beside the one it gets."""
    synthesis = part(report, "synthesis")
    reached, used = synthesis.get("fmax_mhz"), synthesis.get("clock_mhz")
    if not reached or not used:
        return None
    whole = 1.05 * max(reached, used)
    label = f"Clock: {reached:.1f} MHz reached, {used:g} MHz used"
    bar = charts.bar(reached, whole, label, kind="mark" if reached >= used else "bad", ticks=[(used, "tick")])
    return {"reached": reached, "used": used, "bar": bar}


def layer_rows(report: Report) -> list[dict[str, Any]]:
    """The plan's layers, each with the share of time it waits and whether it is what limits."""
    plan = part(report, "plan")
    cycles, slowest = plan.get("interval_cycles"), {layer["name"] for layer in facts.limiting(report)}
    rows = []
    for layer in plan.get("layers", []):
        idle = 100 * (1 - layer["interval_cycles"] / cycles) if cycles and "interval_cycles" in layer else None
        row = dict(layer) | {"idle": idle, "limits": layer["name"] in slowest, "fold": _fold(layer)}
        if idle is not None:
            row["bar"] = charts.bar(100 - idle, 100, f"{layer['name']} works {100 - idle:.0f} % of the time")
        rows.append(row)
    return rows


def _fold(layer: dict[str, Any]) -> str:
    if not layer.get("pe"):
        return ""
    windows = f" \u00d7 {layer['vectors']} windows" if layer.get("vectors", 1) > 1 else ""
    return f"{layer['pe']:,} PE \u00d7 {layer['simd']:,} SIMD{windows}"


def link_share(report: Report) -> dict[str, Any] | None:
    """Cycles that a frame takes over the serial link, and in the core."""
    synthesis, plan = part(report, "synthesis"), part(report, "plan")
    link, mhz = synthesis.get("link_frames_per_second"), synthesis.get("clock_mhz")
    core = plan.get("interval_cycles_measured") or plan.get("interval_cycles")
    if not link or not mhz or not core:
        return None
    cycles = mhz * 1e6 / link
    whole = max(cycles, core)
    return {
        "cycles": round(cycles),
        "core": core,
        "percent": 100 * core / cycles,
        "link_bar": charts.bar(cycles, whole, f"link: {cycles:,.0f} cycles a frame", kind="estimate"),
        "core_bar": charts.bar(core, whole, f"core: {core:,} cycles a frame"),
    }


def symbols(layers: Iterable[Shown]) -> list[Markup]:
    """Every kernel that a tile shows, once."""
    wanted: dict[tuple[int, int, int], None] = {}
    for layer in layers:
        for tiles in layer.channels:
            for tile in tiles:
                wanted[tile.pattern, layer.height, layer.width] = None
                if tile.inverse_filters:
                    wanted[layer.inverse(tile.pattern), layer.height, layer.width] = None
    return [symbol(*kernel) for kernel in sorted(wanted)]
