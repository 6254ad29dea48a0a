"""The measured tables in README.md and docs/, written from bench/results: run as ``python bench/tables.py``.

A table stands between ``<!-- table NAME -->`` and ``<!-- end -->`` and is whatever `TABLES` makes of the results; what
is between the marks is replaced. Nothing is measured here.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import compress_tables
from boards_table import beside_finn

__all__ = ["TABLES", "pages", "renewed"]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
_REGION = re.compile(r"(<!-- table ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_LAYERS = {
    "random-8x16x1": "random 72 x 16",
    "random-16x32x1": "random 144 x 32",
    "random-64x64x0": "random 576 x 64",
    "conv1": "CNV conv1, 576 x 64",
}
_FAMILIES = ("ice40", "ecp5")


def _result(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _share(part: float, whole: float) -> str:
    return f"{part:,} ({100 * part / whole:.1f} %)"


def da4ml_additions() -> str:
    """Additions and seconds of the optimizers for the same matrices."""
    result, rows = _result("sharing"), []
    for key, name in _LAYERS.items():
        ours, peer = result["mapped"][key], result["peer"][key]
        timed = result["layers"].get(key)
        whole = (timed or {"none": ours.get("none", {}).get("ice40")})["none"]["additions"]
        graph = ours["graph"]["ice40"]["additions"]
        took = _seconds(timed["graph"]["seconds"]) if timed else "\u2013"
        cells = (f"{whole:,}", _share(peer["additions"], whole), _seconds(peer["seconds"]), _share(graph, whole), took)
        rows.append((name, *cells))
    return _table(("matrix", "one tree a filter", "da4ml", "seconds", "`graph`", "seconds"), rows)


def da4ml_luts() -> str:
    """Whole layers of the same matrices after synthesis; of da4ml the fewer places of its two forms."""
    result, rows = _result("sharing"), []
    for key, name in _LAYERS.items():
        cells = []
        for family in _FAMILIES:
            peer = min(result["peer"][key][family].values(), key=lambda found: found["places"])
            units = result["mapped"][key]["units"][family]
            for found in (peer, units):
                carries = f" + {found['carries']:,} CCU2C" if family == "ecp5" else ""
                cells.append(f"{found['luts']:,}{carries}")
            cells.append(f"{100 * units['places'] / peer['places']:.0f} %")
        rows.append((name, *cells))
    head = ("matrix", "iCE40 LUT4: da4ml", "`units`", "places", "ECP5 LUT4: da4ml", "`units`", "places")
    return _table(head, rows)


def cnv_additions() -> str:
    """Convolutions of FINN's CNV in every form, beside random weights."""
    layers, rows = _result("sharing")["layers"], []
    for name in ("conv1", "conv2", "conv3", "conv4", "conv5"):
        layer, random = layers[name], layers[f"random-{name}"]
        whole = layer["none"]["additions"]
        inputs, filters = layer["shape"]
        counts = [_share(layer[form]["additions"], whole) for form in ("kernel", "graph")]
        beside = _share(random["graph"]["additions"], random["none"]["additions"])
        cost = f"{_seconds(layer['graph']['seconds'])}, {layer['graph']['peak_mib']} MiB"
        rows.append((f"{name}, {inputs:,} x {filters}", f"{whole:,}", *counts, beside, cost))
    head = ("layer", "one tree a filter", "`kernel`", "`graph`", "`graph`, random weights", "seconds, memory")
    return _table(head, rows)


def strategies() -> str:
    """The shipped network in every strategy, trained and with random weights."""
    rows = []
    for row in _result("strategies")["rows"]:
        ice40, ecp5 = (row[family] for family in _FAMILIES)
        cells = (f"{ice40['luts']:,}, {ice40['carries']:,}", f"{row['ice40-hx8k-b-evn']['logic_cells']:,}")
        sums = (f"{row['additions']:,}", f"{row['adder_bits']:,}")
        rows.append((f"{row['weights']}, `{row['strategy']}`", *sums, *cells, f"{ecp5['luts']:,}, {ecp5['carries']:,}"))
    head = ("additions", "adder bits", "iCE40: LUT4, carries", "iCE40 logic cells", "ECP5: LUT4, CCU2C")
    return _table(("weights, strategy", *head), rows)


def cells() -> str:
    """Standard cells, shared and unshared."""
    rows = []
    for row in _result("standard_cells")["rows"]:
        transistors = f"{row['cmos']['transistors']:,}" if "cmos" in row else ""
        areas = (f"{round(row['area']):,}", f"{round(row['combinational_area']):,}", f"{row['flip_flops']:,}")
        path = f"{row['critical_path_ps'] / 1000:.1f}"
        rows.append((row["network"], f"`{row['strategy']}`", *areas, path, transistors))
    head = ("area", "of it gates", "flip-flops", "critical path, ns", "transistors (`--cells cmos`)")
    return _table(("core", "strategy", *head), rows)


def cells_tried() -> str:
    """Ways of mapping the shipped network to standard cells."""
    rows = []
    for row in _result("standard_cells")["tried"]:
        gates = f"{round(row['area'] - row['sequential_area']):,}"
        path = "not told" if row["critical_path_ps"] is None else f"{row['critical_path_ps'] / 1000:.1f}"
        rows.append((row["flow"], f"{round(row['area']):,}", gates, path))
    return _table(("flow", "area", "of it gates", "critical path, ns"), rows)


def codebook() -> str:
    """Folded layers with weights in block RAM, and as indices of kernels."""
    found: dict[str, dict[str, Any]] = {}
    for row in _result("codebook")["rows"]:
        found.setdefault(row["layer"], {})[row["family"]] = row["measured"]
    rows = []
    for layer, families in found.items():
        shape, fold = layer.split()
        size, kernels = shape.split("-")
        measured = [families[family][storage] for family in _FAMILIES for storage in ("block", "codebook")]
        rows.append((f"{size}, {kernels}", fold, *(f"{m['places']:,} LUTs, {m['block_rams']}" for m in measured)))
    head = ("iCE40 `block`", "iCE40 `codebook`", "ECP5 `block`", "ECP5 `codebook`")
    return _table(("layer, kernels", "pe x simd x vectors", *head), rows)


def finn() -> str:
    """FINN's CNV for CIFAR-10 here, and as its authors publish it."""
    return beside_finn(_result("boards")["rows"])


def compress_trained() -> str:
    """Our network for CIFAR-10, trained plainly and sharing-aware."""
    return _table(*compress_tables.trained(_result("compress")))


def compress_replaced() -> str:
    """FINN's CNV with kernels replaced, without training."""
    return _table(*compress_tables.replaced(_result("compress")))


def compress_corrected() -> str:
    """Similar kernels corrected, beside shared sums."""
    return _table(*compress_tables.corrected(_result("compress")))


def explore_load() -> str:
    """10,000 candidates on 1,000 workers, by the length of a task."""
    rows = []
    for row in _result("explore_load")["simulated"]:
        shares = (f"{row[f'{who}_busy_percent']:.1f} %" for who in ("workers", "scheduler", "client"))
        times = (f"{row['seconds']:,.0f} s", f"{row['seconds_without_overhead']:,.1f} s")
        rows.append((f"{row['mean_task_seconds']:g} s", *times, *shares))
    head = ("a task takes", "all take", "without overhead", "workers busy", "scheduler busy", "client busy")
    return _table(head, rows)


TABLES: dict[str, Callable[[], str]] = {
    "compress-trained": compress_trained,
    "compress-replaced": compress_replaced,
    "compress-corrected": compress_corrected,
    "da4ml-additions": da4ml_additions,
    "da4ml-luts": da4ml_luts,
    "cnv-additions": cnv_additions,
    "strategies": strategies,
    "cells": cells,
    "cells-tried": cells_tried,
    "codebook": codebook,
    "finn": finn,
    "explore-load": explore_load,
}


def pages() -> list[Path]:
    """Pages that may have tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def renewed(text: str) -> str:
    """A page with its tables as the results have them."""
    return _REGION.sub(lambda match: f"{match[1]}{TABLES[match[2]]()}{match[3]}", text)


def main() -> None:
    """Write them."""
    for page in pages():
        page.write_text(renewed(page.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
