"""docs/reference/boards.md, and a table of docs/comparison.md, from the rows that bench/boards.py keeps."""

from itertools import groupby
from typing import Any

__all__ = ["beside_finn", "table"]

Row = dict[str, Any]

_HEAD = """# Networks on boards

Written by `python bench/boards.py --table` from `bench/results/boards.json`; do not edit. Each pair is planned
(`xnorweave plan`: the highest rate that fits the board at its own clock), and some are built (`xnorweave build`:
simulated from the emitted Verilog, placed, routed and packed). A cell is *planned / built (error of the plan) of what
there is*, the serial link included (plans and builds here are of an earlier link without packets, 488
logic cells smaller on iCE40). LUTs are LUT4 places, block RAMs those of the chip: 4 kbit on iCE40, 18 on ECP5.
Frames are those of the core: planned by its interval, built by the interval that the simulation measured. What the tool
refused is below the table, in its words; a dash is what was not measured.
"""
# Published by others; not measured here.
_PUBLISHED = (
    ("FINN prototype, ZC706", "\u2013", "\u2013", "21,906", "Umuroglu et al., FINN, FPGA 2017"),
    ("FINN, PYNQ-Z1 at about 100 MHz", "20,466 LUT6", "98 of 36 kbit", "2,489", "FINN, repository BNN-PYNQ"),
)


def table(rows: list[Row]) -> str:
    """The whole page."""
    parts = [_HEAD]
    for network, group in groupby(rows, key=lambda row: row["network"]):
        parts.append(f"## `{network}`\n\n{_of_network(list(group))}")
    return "\n".join(parts)


def _of_network(rows: list[Row]) -> str:
    """One network's boards; refusals below, for they are long."""
    lines = [
        "| board | LUT4 places | block RAMs | clock reached / used, MHz | frames/s | simulated |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    notes = []
    for row in rows:
        planned, built = row.get("plan") or {}, row.get("build") or {}
        cells = [_both(row, name) for name in ("luts", "block_rams")]
        cells += [_clock(planned, built), _both(row, "frames_per_second"), _simulated(built)]
        lines.append(f"| `{row['board']}` | {' | '.join(cells)} |")
        for part, result in (("plan", planned), ("build", built)):
            for word in ("refused", "failed"):
                if word in result:
                    said = result[word].removeprefix(f"{row['board']}: ")
                    notes.append(f"* `{row['board']}`, {part} {word}: {said}")
    return "\n".join([*lines, *([""] if notes else []), *notes, ""])


def _both(row: Row, name: str) -> str:
    """Planned, built and error. A build has the plan of its own time, which may not be the newest."""
    built = row.get("build") or {}
    planned = built.get("planned") or ({} if name in built else row.get("plan") or {})
    available = built.get(f"{name}_available") or planned.get(f"{name}_available")
    error = (built.get("error_percent") or {}).get(name)
    text = f"{_count(planned.get(name))} / {_count(built.get(name))}"
    text += f" ({error:+.1f} %)" if error is not None else ""
    return text + (f" of {available:,}" if available else "")


def _count(value: float | None) -> str:
    return "\u2013" if value is None else f"{round(value):,}"


def _clock(planned: Row, built: Row) -> str:
    used = built.get("clock_mhz") or planned.get("clock_mhz")
    reached = f"{built['fmax_mhz']:.1f}" if "fmax_mhz" in built else "\u2013"
    return f"{reached} / {used:g}" if used else "\u2013"


def _simulated(built: Row) -> str:
    if "images" not in built:
        return "\u2013"
    measured, planned = built.get("interval_cycles_measured"), built["interval_cycles"]
    text = f"{built['images']} images, {built['mismatches']} mismatches"
    return text + (f"; {measured:,} cycles a frame, {planned:,} planned" if measured and measured > planned else "")


def beside_finn(rows: list[Row]) -> str:
    """FINN's CNV for CIFAR-10 here, and as its authors publish it."""
    lines = [
        "| design | LUTs | block RAMs | frames/s | source |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [f"| {' | '.join(cells)} |" for cells in _PUBLISHED]
    for row in (row for row in rows if row["network"] == "cnvW1A1_cifar10"):
        built = "luts" in (row.get("build") or {})
        result = row["build"] if built else row.get("plan") or {}
        if "luts" in result:
            how = "built" if built else "planned"
            luts, rams = f"{result['luts']:,} LUT4", f"{result['block_rams']:,} of {_kbit(row['board'])} kbit"
            rate = _count(result.get("frames_per_second"))
            name = f"xnorweave, `{row['board']}` at {result['clock_mhz']:g} MHz, {how}"
            lines.append(f"| {name} | {luts} | {rams} | {rate} | here |")
    return "\n".join(lines) + "\n"


def _kbit(board: str) -> int:
    """Of a block RAM."""
    return 4 if board.startswith("ice") else 18
