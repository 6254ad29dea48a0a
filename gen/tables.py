"""The parts of a report as compact tables for the terminal."""

from typing import Any

from rich import box
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from xnorweave.report import slowness

__all__ = ["show"]

_Row = dict[str, Any]


def show(report: dict[str, Any], console: Console) -> None:
    """Print every part that the report has."""
    parts = (
        ("network", _network),
        ("check", _facts),
        ("sharing", _sharing),
        ("compression", _compression),
        ("exploration", _exploration),
        ("plan", _plan),
        ("wrapper", _facts),
        ("simulation", _facts),
        ("classification", _classification),
        ("accuracy", _facts),
        ("synthesis", _synthesis),
        ("neighbours", _neighbours),
        ("flash", _facts),
        ("dry_run", _dry_run),
        ("boards", _boards),
        ("tools", _tools),
    )
    for key, render in parts:
        if report.get(key):
            console.print(
                Padding(
                    Group(Text(key.capitalize().replace("_", " "), style="bold"), render(report[key])), (0, 0, 1, 0)
                )
            )
    for key in ("written", "folder"):
        if key in report:
            console.print(Text(f"written: {report[key]}"))


def _table(*columns: str, left: int = 1) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right", overflow="fold")
    return table


def _cell(value: object) -> Text:
    match value:
        case None:
            return Text("\u2013")
        case bool():
            return Text("yes" if value else "no")
        case int():
            return Text(f"{value:,}")
        case float():
            return Text(f"{value:,.2f}")
        case list() | tuple():
            numbers = all(isinstance(item, int) for item in value)
            return Text(("x" if numbers else ", ").join(map(str, value)) or "\u2013")
        case dict():
            return Text(", ".join(f"{name} {item}" for name, item in value.items()))
        case _:
            return Text(str(value))


def _facts(part: _Row) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in part.items():
        table.add_row(Text(name.replace("_", " "), style="dim"), _cell(value))
    return table


def _synthesis(part: _Row) -> Table | Group:
    """The facts, and below them what to say of a plan that does not fit."""
    apart = ("message", "cells_by_type", "left_out")
    told = {name: value for name, value in part.items() if name not in apart}
    if path := part.get("critical_path"):
        told["critical_path"] = _critical_path(path)
    facts = _facts(told)
    if "cells_by_type" in part:
        left_out = Text(f"Left out: {part['left_out']}.", style="dim")
        return Group(facts, left_out, _counts(part["cells_by_type"]))
    return Group(facts, Text(part["message"], style="bold yellow")) if "message" in part else facts


def _critical_path(path: _Row) -> str:
    nets, logic = path["net_delay_ns"], path["logic_delay_ns"]
    return f"{path['layer'] or 'no layer'}: {nets + logic:.1f} ns, {100 * nets / (nets + logic):.0f} % on wires"


def _counts(counts: dict[str, int]) -> Table:
    """Names with their numbers, the largest first."""
    table = _table("cell", "count")
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        table.add_row(Text(name), _cell(count))
    return table


def _boards(rows: list[_Row]) -> Table:
    """Boards; what a network takes of one beside what there is."""
    planned = "frames_per_second" in rows[0]
    table = _table("board", "chip", "link", "MHz", "LUTs", "RAMs", *(("frames/s",) if planned else ()), left=3)
    for row in rows:
        cells = [_cell(row[name]) for name in ("name", "device", "link", "clock_mhz")]
        for unit in ("luts", "block_rams"):
            taken = row.get(f"takes_{unit}")
            cells.append(_cell(row[unit]) if taken is None else Text(f"{taken:,} of {row[unit]:,}"))
        table.add_row(*cells, *((_cell(row["frames_per_second"]),) if planned else ()))
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    return table


def _network(part: _Row) -> Table | Group:
    facts = _facts({name: value for name, value in part.items() if name not in ("layers", "input") and value != []})
    if "layers" not in part:
        return facts
    table = _table("layer", "kind", "kernel", "stride", "input", "output", "weights", "+1", left=2)
    for layer in part["layers"]:
        weights, positive = layer.get("weights"), layer.get("positive")
        share = f"{100 * positive / weights:.1f} %" if weights and positive is not None else None
        names = ("name", "kind", "kernel", "stride", "input", "output", "weights")
        table.add_row(*(_cell(layer.get(name)) for name in names), _cell(share))
    source = part["input"]
    kind = f"{source['kind']}{' through a table' if source['table'] else ''}"
    return Group(facts, Text(f"input  {kind}, {'x'.join(map(str, source['shape']))}\n"), table)


_UNITS = {
    "kernel_evaluations": "evaluations",
    "additions": "additions",
    "adder_bits": "adder bits",
    "luts": "LUTs est.",
}
_PER_FRAME = {"kernel_evaluations_per_frame": "evals/frame", "additions_per_frame": "adds/frame"}
_FORMS = {
    "unshared": "naive",
    "repeated": "repeated",
    "kernel": "+ inverse",
    "graph": "+ partial sums",
    "units": "for LUTs",
}


def _sharing(part: _Row) -> Group:
    """Every unit in every form, and its percentage of the unshared one: of this network, and of random weights."""
    shared = [form for form in _FORMS if form != "unshared"]
    table = _table("layer", "unit", *_FORMS.values(), left=2)
    for row in [*part.get("layers", []), {"name": "total"} | part.get("totals", {})]:
        total = "inputs" not in row
        labels = iter(["total"] if total else _layer_labels(row))
        for unit, name in (_UNITS | (_PER_FRAME if total else {})).items():
            whole, control = row.get(f"{unit}_unshared"), row.get("random", {})
            if not whole:
                continue  # a dense layer has no kernels
            drawn = control.get(f"{unit}_unshared")
            cells = [_share(row.get(f"{unit}_{form}"), whole, control.get(f"{unit}_{form}"), drawn) for form in shared]
            table.add_row(Text(next(labels, "")), name, _cell(whole), *cells, style="bold" if total else None)
    return Group(table, Text(_sharing_caption(part), style="dim"))


def _layer_labels(row: _Row) -> list[str]:
    """What to say of a layer, line by line."""
    labels = [f"{row['name']} {row['inputs']}x{row['outputs']}", row.get("strategy", "")]
    return [*labels, "folded"] if row.get("engine") == "folded" else labels


def _sharing_caption(part: _Row) -> str:
    said = []
    if "luts_estimate_error_percent" in part:
        said.append(
            f"LUTs: estimated {part['family']} places for the sums and one comparison an output, within "
            f"{part['luts_estimate_error_percent']} % of synthesis on layers measured."
        )
    if "random" in part.get("totals", {}):
        said.append("Behind each number its percentage of the naive form, and after | that of random weights.")
    if any("strategy" in row for row in part.get("layers", [])):
        said.append("Below a layer's name the strategy chosen.")
    return " ".join([*said, *part.get("notes", [])])


def _share(value: int | None, whole: int, drawn: int | None, drawn_whole: int | None) -> Text:
    if value is None:
        return _cell(value)
    random = f"|{100 * drawn / drawn_whole:.0f}" if drawn is not None and drawn_whole else ""
    return Text(f"{value:,} {100 * value / whole:.0f}{random}")


_COMPRESSION_UNITS = ("kernel_evaluations", "additions", "adder_bits", "luts", "weight_bits")


def _compression(part: _Row) -> Group:
    """Every whole network that was measured, the one written in bold, in percent of the one given."""
    lists = ("before", "after", "trajectory", "alone")
    table = _table("right", *(unit.replace("_", " ") for unit in _COMPRESSION_UNITS), "kernels kept", left=0)
    for row in part["trajectory"]:
        cells = [f"{row[unit]:,} {_percent(row[unit], part['before'][unit])}" for unit in _COMPRESSION_UNITS]
        style = "bold" if row == part["after"] else None
        table.add_row(f"{row['percent']:.2f} %", *cells, _cell(row["kernels_kept"]), style=style)
    facts = _facts({name: value for name, value in part.items() if name not in lists})
    return Group(facts, table, Text("Behind each number its percentage of the network given.", style="dim"))


def _percent(value: int, whole: int) -> str:
    return f"{100 * value / whole:.0f}" if whole else ""


def _dry_run(part: _Row) -> Group:
    """What would be done, step by step, and what would be written."""
    table = Table.grid(padding=(0, 2))
    for title, lines in (("would", part["does"]), ("would write", part["writes"])):
        for number, line in enumerate(lines):
            table.add_row(Text("" if number else title, style="dim"), Text(line))
    if part["tools"]:
        table.add_row(Text("with", style="dim"), _cell(part["tools"]))
    return Group(table, Text("Nothing was written.", style="dim"))


_PLAN_COLUMNS = {
    "name": "layer",
    "engine": "engine",
    "pe": "PE",
    "simd": "SIMD",
    "vectors": "vectors",
    "buffer_rows": "rows kept",
    "storage": "weights in",
    "interval_cycles": "interval",
    "latency_cycles": "latency",
    "luts_estimated": "LUTs est.",
    "block_rams_estimated": "RAMs est.",
}


def _plan(part: _Row) -> Group:
    """Layers, with the columns that any of them has, the slowest in bold; latencies come with shared sums."""
    layers = part.get("layers", [])
    columns = {name: title for name, title in _PLAN_COLUMNS.items() if any(name in layer for layer in layers)}
    table = _table(*columns.values(), left=2)
    for layer in layers:
        style = "bold" if layer["name"] == part.get("slowest") else None
        table.add_row(*(_cell(layer.get(name)) for name in columns), style=style)
    facts = _facts({name: value for name, value in part.items() if name != "layers"})
    slow = slowness(part)
    return Group(facts, Text(slow, style="bold yellow"), table) if slow else Group(facts, table)


_MOST_FRAMES = 200


def _exploration(part: _Row) -> Group:
    """What became of the candidates, and the front."""
    counts, rows = part["counts"], {row["number"]: row for row in part["candidates"]}
    facts = {name: counts[name] for name in ("candidates", "designs", "builds")} | counts["by_status"]
    columns = ("no.", "board", "sharing", "codes", "frames/s", "LUTs", "RAMs", "MHz reached", "of", "seed")
    table = _table(*columns, left=3)
    for row in (rows[number] for number in part["front"]):
        build = row["build"]
        names = ("frames_per_second", "luts", "block_rams", "fmax_mhz", "clock_mhz")
        cells = [row["number"], row["board"], row["strategy"], row["codes"], *(build[name] for name in names)]
        table.add_row(*map(_cell, [*cells, row["seed"]]))
    none = Text("no build met its clock", style="bold yellow")
    return Group(_facts(facts), Text(""), table if part["front"] else none)


def _classification(part: _Row) -> Group:
    """Each image's class, and what it took."""
    frames = part["frames"]
    columns = {"image": "image", "label": "class", "word": "word", "expected": "expected", "cycles": "cycles"}
    columns = {name: title for name, title in columns.items() if name in frames[0]}
    table = _table(*columns.values(), left=len(columns) - ("cycles" in columns))
    for row in frames[:_MOST_FRAMES]:
        style = None if row.get("right", True) else "yellow"
        table.add_row(*(_cell(row.get(name)) for name in columns), style=style)
    more = len(frames) - _MOST_FRAMES
    facts = _facts({name: value for name, value in part.items() if name != "frames"})
    return Group(facts, Text(""), table, Text(f"and {more:,} more; --json has all") if more > 0 else "")


def _neighbours(rows: list[_Row]) -> Table:
    """The plan chosen between the next ones, or alone."""
    table = _table("plan", "interval", "frames/s", "LUTs est.", "RAMs est.")
    for row in rows:
        table.add_row(*map(_cell, row.values()), style="bold" if row["plan"] == "chosen" else None)
    return table


def _tools(rows: list[_Row]) -> Table:
    """Tools, and of each that is not as it should be the command that mends it."""
    table = _table("tool", "version", "needed for", "mend by", left=4)
    for row in rows:
        problem, version = row["problem"], row["version"]
        style = "" if problem is None else "red" if row["required"] else "yellow"
        found = ": ".join(filter(None, [version, problem]))
        table.add_row(row["name"], Text(found, style=style), row["needed_for"], row["remedy"] if problem else "")
    return table
