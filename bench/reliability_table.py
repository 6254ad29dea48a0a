"""docs/reference/reliability.md from the rows that bench/reliability.py keeps."""

from typing import Any

__all__ = ["table"]

Row = dict[str, Any]

_HEAD = """# Reliability

Written by `python bench/reliability.py --table` from `bench/results/reliability.json`; do not edit. Each line is a way
in which a build, a core or a link may go wrong, tried again and again with a seed for each case.
`python bench/reliability.py TRIAL --count N --first SEED` runs a shard of one; `make test` runs a few cases of each and
shows that a planted fault is found, `make test-slow` runs all of them. Seconds are of a machine under load.
"""


def table(rows: dict[str, Row], order: list[str]) -> str:
    """The whole page."""
    lines = [
        _HEAD,
        "| trial | what goes wrong | cases of all | seeds | failures | seconds a case |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    known = [name for name in order if name in rows]
    lines += [_line(name, rows[name]) for name in known]
    lines += ["", "## What each case checks", ""]
    lines += [_checked(name, rows[name]) for name in known]
    failed = [line for name in known for line in _failures(name, rows[name])]
    if failed:
        lines += ["", "## Cases that failed", "", *failed]
    return "\n".join(lines) + "\n"


def _line(name: str, row: Row) -> str:
    seconds = row["seconds"] / row["cases"]
    done = f"{row['cases']:,} of {row['full']:,}"
    return f"| `{name}` | {row['title']} | {done} | {row['seeds']} | {row['failures']} | {seconds:.2g} |"


def _checked(name: str, row: Row) -> str:
    counts = ", ".join(f"{value:,} {key}" for key, value in row["counts"].items())
    tools: dict[str, set[str]] = {}
    for shard in row["shards"]:
        for tool, version in shard["tools"].items():
            tools.setdefault(tool, set()).add(version)
    used = ", ".join(f"{tool} {' and '.join(sorted(found))}" for tool, found in sorted(tools.items()))
    return f"* `{name}`: {row['checked']}. Done: {counts}. With {used}."


def _failures(name: str, row: Row) -> list[str]:
    return [
        f"* `{name}`, seed {failure['seed']}: {'; '.join(failure['what'])}"
        for shard in row["shards"]
        for failure in shard["failures"]
    ]
