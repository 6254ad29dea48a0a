"""The report of a build: ``report.json`` for programs, ``report.html`` for people."""

import hashlib
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from xnorweave import __version__
from xnorweave.build_folder import REPORT_FORMAT

__all__ = ["REPORT_FORMAT", "file_digests", "render_html", "slowness", "verdict", "write_report"]

_OWN_FILES = ("report.json", "report.html")
_PLAN_COLUMNS = {
    "pe": "PE",
    "simd": "SIMD",
    "interval_cycles": "Interval, cycles",
    "latency_cycles": "Latency, cycles",
    "luts_estimated": "LUTs, estimated",
    "block_ram_bits": "Block RAM bits",
}


def write_report(folder: Path, report: dict[str, Any]) -> dict[str, Any]:
    """Write ``report.json`` and ``report.html`` into a build folder.

    Parameters
    ----------
    folder : Path
        Everything else that the build made is there already.
    report : dict
        Parts by name; those that are absent are left out of the page too.

    Returns
    -------
    dict
        What was written to ``report.json``: ``report`` with format, version and the files' digests.
    """
    whole = {"format": REPORT_FORMAT, "version": __version__} | report | {"files": file_digests(folder)}
    text = json.dumps(whole, indent=1, allow_nan=False)
    (folder / "report.json").write_text(text + "\n", "utf-8")
    (folder / "report.html").write_text(render_html(whole), "utf-8")
    return whole


def file_digests(folder: Path) -> list[dict[str, Any]]:
    """Name, size and SHA-256 of every file below ``folder`` but the report itself, in order of name."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in _OWN_FILES)
    return [
        {
            "name": path.relative_to(folder).as_posix(),
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in paths
    ]


def slowness(plan: dict[str, Any]) -> str | None:
    """What to say of a plan whose frames take longer in simulation than planned."""
    if not plan.get("slower_than_planned"):
        return None
    measured, planned = plan["interval_cycles_measured"], plan["interval_cycles"]
    return f"slower than planned: a frame every {measured:,} cycles, {planned:,} planned"


def verdict(report: dict[str, Any]) -> str:
    """One sentence that says what the build came to."""
    simulation, synthesis, accuracy = (report.get(part) or {} for part in ("simulation", "synthesis", "accuracy"))
    name = report.get("network", {}).get("name", "network")
    said = [f"{name} fits {synthesis['board']} and meets its clock"] if synthesis.get("fmax_mhz") else [str(name)]
    if simulation:
        images = f"{simulation['images']:,} images"
        wrong = simulation["mismatches"]
        said.append(f"bit-exact on {images}" if not wrong else f"differs on {wrong:,} of {images}")
    if accuracy:
        said.append(f"{accuracy['percent']:.1f} % of {accuracy['images']:,} images right")
    if slow := slowness(report.get("plan") or {}):
        said.append(slow)
    if synthesis.get("frames_per_second"):
        said.append(f"{synthesis['frames_per_second']:,.0f} frames per second in the core")
        if synthesis.get("link_frames_per_second"):
            said.append(f"{synthesis['link_frames_per_second']:,.0f} over the serial link")
    return "; ".join(said) + "."


def render_html(report: dict[str, Any]) -> str:
    """The report as one page that needs nothing from anywhere else."""
    environment = Environment(
        loader=PackageLoader("xnorweave.report", "."),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = lambda value: "\u2013" if value is None else f"{value:,}"
    environment.filters["size"] = _size
    layers = (report.get("plan") or {}).get("layers", [])
    page = environment.get_template("report.html.j2")
    parts = ("network", "sharing", "plan", "simulation", "accuracy", "synthesis", "files")
    return page.render(
        {part: report.get(part) or {} for part in parts},
        version=report.get("version", __version__),
        strategy=report.get("strategy"),
        verdict=verdict(report),
        good=not (report.get("simulation") or {}).get("mismatches"),
        tiles=_tiles(report),
        slowness=slowness(report.get("plan") or {}),
        target=(report.get("synthesis") or {}).get("board") or (report.get("synthesis") or {}).get("cells_of"),
        gates=_gates(report.get("synthesis") or {}),
        usage=_usage(report.get("synthesis") or {}),
        plan_columns={name: title for name, title in _PLAN_COLUMNS.items() if any(name in row for row in layers)},
    )


def _tiles(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The few numbers that a reader looks for first: value, unit, meaning."""
    synthesis, accuracy, simulation = (report.get(part) or {} for part in ("synthesis", "accuracy", "simulation"))
    tiles = []
    if accuracy:
        tiles.append((f"{accuracy['percent']:.1f}", "%", f"right, of {accuracy['images']:,} images"))
    if synthesis.get("frames_per_second"):
        tiles.append((f"{synthesis['frames_per_second']:,.0f}", "/s", "frames, in the core"))
    if synthesis.get("fmax_mhz"):
        clock = f"clock; {synthesis['fmax_mhz']:.1f} MHz reached"
        tiles.append((f"{synthesis['clock_mhz']:g}", "MHz", clock))
    if simulation:
        simulator = f"mismatches; {simulation['images']:,} images in {simulation['simulator']}"
        tiles.append((f"{simulation['mismatches']:,}", "", simulator))
    totals = (report.get("sharing") or {}).get("totals") or {}
    used = totals.get("additions_built")
    if used and totals.get("additions_unshared"):
        saved = 100 * (1 - used / totals["additions_unshared"])
        tiles.append((f"{saved:.0f}", "%", "fewer additions by sharing"))
    return tiles


_GATE_FACTS = {
    "area": "Area, in the library's unit",
    "sequential_area": "of it flip-flops",
    "combinational_area": "of it gates",
    "cells": "Cells",
    "flip_flops": "Flip-flops",
    "transistors": "Transistors",
    "critical_path_ps": "Critical path between registers, ps",
    "ram_bits_as_flip_flops": "Bits of RAM as flip-flops",
    "rom_bits_as_gates": "Bits of ROM as gates",
}


def _gates(synthesis: dict[str, Any]) -> list[tuple[str, str]]:
    """Title and number of what a core takes in standard cells; empty where it is on a board."""
    if "cells_of" not in synthesis:
        return []
    return [(title, f"{synthesis[name]:,}") for name, title in _GATE_FACTS.items() if name in synthesis]


def _usage(synthesis: dict[str, Any]) -> list[tuple[str, int, int, float]]:
    """Name, used, available and percent of each resource that the board has a limit for."""
    rows = []
    for key, name in (("luts", "Logic cells"), ("flip_flops", "Flip-flops"), ("block_rams", "Block RAMs")):
        used, available = synthesis.get(key), synthesis.get(f"{key}_available")
        if used is not None and available:
            rows.append((name, used, available, min(100.0, 100 * used / available)))
    return rows


def _size(value: int) -> str:
    return f"{value:,} B" if value < 10_000 else f"{value / 1024:,.0f} KiB"
