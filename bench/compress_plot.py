"""What similar kernels buy, as a picture: docs/figures/compressing.svg, drawn from bench/results/compress.json.

Run as ``python bench/compress_plot.py`` after ``bench/compress.py``; needs matplotlib (extra ``plots``). Nothing is
measured here. The picture carries the digest of the results that it was drawn from.
"""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "bench" / "results" / "compress.json"
FIGURE = ROOT / "docs" / "figures" / "compressing.svg"

UNITS = {
    "kernel_evaluations": "kernel evaluations",
    "additions": "additions",
    "adder_bits": "adder bits",
    "luts": "LUT4s (estimated)",
}
PLAIN, SHARED, RANDOM, CNV = "#2b5fa8", "#b4530a", "#6b7077", "#2f7440"
DARK = {PLAIN: "#8fb3e8", SHARED: "#e0ab55", RANDOM: "#b9bfc7", CNV: "#7fc792", "#000000": "#d0d3d8"}
STYLE = {"svg.hashsalt": "xnorweave", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3, "svg.fonttype": "none"}


def results_digest() -> str:
    """SHA-256 of the results."""
    return hashlib.sha256(RESULT.read_bytes()).hexdigest()


def _trained(axes: Axes, unit: str, trained: dict[str, Any]) -> None:
    """Accuracy against a unit's share of the plain network's unshared convolutions."""
    plain, shared = trained["plain"], trained["shared"]
    whole = plain["units"][f"{unit}_unshared"]
    # Of each unit the form that has the fewest; kernels are evaluated as such only where these alone are shared.
    form = {"kernel_evaluations": "kernel", "luts": "units"}.get(unit, "graph")

    def share(units: dict[str, Any], name: str) -> float:
        return 100 * units[f"{unit}_{name}"] / whole

    marks = (
        ("plain, unshared", share(plain["units"], "unshared"), plain, PLAIN, "s", -14),
        ("plain, shared exactly", share(plain["units"], form), plain, PLAIN, "o", -14),
        ("sharing-aware", share(shared["units"], form), shared, SHARED, "D", 8),
    )
    for label, place, row, colour, marker, above in marks:
        percent = row["test"]["percent"]
        axes.plot(place, percent, marker, color=colour, label=label)
        axes.annotate(f"{place:.1f} %", (place, percent), (0, above), textcoords="offset points", ha="center")
    random = share(plain["units"]["random"], form)
    axes.axvline(random, color=RANDOM, linestyle=":", label="random weights, shared exactly")
    best = plain["test"]["percent"]
    axes.axhline(best - 1, color=PLAIN, linestyle="--", linewidth=0.8, label="1 point below the plain one")
    axes.set(title=UNITS[unit], xlim=(0, 112), ylim=(best - 2, best + 1.5), xlabel="% of unshared")


def _replaced(axes: Axes, unit: str, cnv: dict[str, Any]) -> None:
    """Accuracy of CNV, not trained again, against a unit: what each objective's search measured, and test images."""
    objective = unit.replace("_", "-")
    if objective not in cnv:
        axes.set_axis_off()
        return
    axes.set(title=UNITS[unit], xlim=(0, 108), ylim=(60, 95), xlabel="% of exact sharing")
    part = cnv[objective]
    whole = part["before"][unit]
    points = sorted((100 * row[unit] / whole, row["percent"]) for row in part["trajectory"])
    axes.plot(*zip(*points, strict=True), ".-", color=CNV, label="whole networks measured, validation images")
    chosen = 100 * part["after"][unit] / whole
    axes.plot(chosen, part["after"]["percent"], "*", color=CNV, markersize=11, label="the one chosen")
    axes.plot(100, cnv["test"]["percent"], "s", color=RANDOM, label="test images, before")
    axes.plot(chosen, part["test"]["percent"], "D", color=SHARED, label="test images, the one chosen")
    if unit == "kernel_evaluations":
        rows = cnv["most_frequent"].values()
        places = [100 * row["kernel_evaluations"] / whole for row in rows]
        percents = [row["test"]["percent"] for row in rows]
        axes.plot(places, percents, "x:", color=RANDOM, label="test images, most frequent kernels")


def draw() -> None:
    """Write the picture."""
    results = json.loads(RESULT.read_text(encoding="utf-8"))
    with pyplot.rc_context(STYLE):
        figure, rows = pyplot.subplots(2, 4, figsize=(12, 7), layout="constrained")
        for column, unit in enumerate(UNITS):
            _trained(rows[0][column], unit, results["trained"])
            _replaced(rows[1][column], unit, results["cnv"])
        for row, label in zip(
            rows, ("our network for CIFAR-10, trained", "FINN's CNV, not trained again"), strict=True
        ):
            row[0].set_ylabel(f"{label}\ncorrect, %")
        rows[0][2].legend(loc="lower center", fontsize=7)
        # In the place of adder bits, which no search was asked to lower.
        rows[1][2].legend(*rows[1][0].get_legend_handles_labels(), loc="center", fontsize=8)
        text = io.StringIO()
        title = "Accuracy against hardware of the convolutions"
        figure.savefig(text, format="svg", metadata={"Date": None, "Title": title, "Description": results_digest()})
    FIGURE.write_text(text.getvalue().replace("</title>", f"</title>\n <style>{_dark()}</style>", 1), "utf-8")


def _dark() -> str:
    """Colours for readers whose screen is dark: Matplotlib writes each into the shapes themselves."""
    rules = ['[style*="fill: #ffffff"] { fill: #1a1c1f !important }', "text { fill: #eceef1 }"]
    for light, dark in DARK.items():
        rules += [f'[style*="{part}: {light}"] {{ {part}: {dark} !important }}' for part in ("fill", "stroke")]
    return f"@media (prefers-color-scheme: dark) {{ {' '.join(rules)} }}"


if __name__ == "__main__":
    draw()
