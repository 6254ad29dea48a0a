"""The parts of a report as compact tables for the terminal."""

from typing import Any

from rich import box
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

__all__ = ["show"]

_Row = dict[str, Any]


def show(report: dict[str, Any], console: Console) -> None:
    """Print every part that the report has."""
    parts = (
        ("network", _network),
        ("sharing", _sharing),
        ("plan", _plan),
        ("simulation", _facts),
        ("accuracy", _facts),
        ("synthesis", _facts),
        ("boards", _rows),
        ("tools", _tools),
    )
    for key, render in parts:
        if report.get(key):
            console.print(Padding(Group(Text(key.capitalize(), style="bold"), render(report[key])), (0, 0, 1, 0)))
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


def _rows(rows: list[_Row]) -> Table:
    table = _table(*(name.replace("_", " ") for name in rows[0]), left=2)
    for row in rows:
        table.add_row(*map(_cell, row.values()))
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


def _sharing(part: _Row) -> Table:
    table = _table("layer", "in", "out", "kernels", "distinct", "mod inverse", "unshared", "kernel", "graph")
    names = ("name", "inputs", "outputs", "kernels", "kernels_distinct")
    for row in [*part.get("layers", []), {"name": "total"} | part.get("totals", {})]:
        whole, kernels = row.get("additions_unshared"), row.get("kernels")
        table.add_row(
            *(_cell(row.get(name)) for name in names),
            _share(row.get("kernels_distinct_mod_inverse"), kernels),
            _cell(whole),
            _share(row.get("additions_kernel"), whole),
            _share(row.get("additions_graph"), whole),
            style="bold" if row["name"] == "total" and "inputs" not in row else None,
        )
    return table


def _share(value: int | None, whole: int | None) -> Text:
    return _cell(value) if value is None or not whole else Text(f"{value:,} {100 * value / whole:3.0f}%")


def _plan(part: _Row) -> Group:
    table = _table("layer", "engine", "PE", "SIMD", "interval", "LUTs est.", "RAM bits", left=2)
    names = ("name", "engine", "pe", "simd", "interval_cycles", "luts_estimated", "block_ram_bits")
    for layer in part.get("layers", []):
        table.add_row(*(_cell(layer.get(name)) for name in names))
    return Group(_facts({name: value for name, value in part.items() if name != "layers"}), table)


def _tools(rows: list[_Row]) -> Table:
    table = _table("tool", "version", "needed for", "if missing", left=4)
    for row in rows:
        missing = row["version"] is None
        style = ("red" if row["required"] else "yellow") if missing else None
        found = "missing" if missing else row["version"]
        table.add_row(row["name"], Text(found, style=style or ""), row["needed_for"], row["remedy"] if missing else "")
    return table
