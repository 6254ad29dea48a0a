"""The slowest path of a routed design, and the layer that it lies in."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["critical_path"]

_LAYER = re.compile(r"(?:^|\.)core\.layer_((?:[A-Za-z0-9]|_(?!_))+)(?:\.|__)")
_PIXEL_TABLE = re.compile(r"(?:^|\.)core\.pixel_table\.")
_LINK = re.compile(r"^(?:link|receiver|transmitter)\.")
_NAME_CHARACTERS = 80


def critical_path(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The slowest path from register to register in a file of nextpnr's ``--report``.

    Layers are told by the names of cells and nets, which keep their place in the design: a step is of the layer that
    its net is named after, else its cells. The path is of the layer with most of its delay.

    Parameters
    ----------
    document : dict
        The file's content.

    Returns
    -------
    dict or None
        ``layer`` (``link`` for the serial link, None where no name tells), ``net_delay_ns``, ``logic_delay_ns``,
        ``steps``, and the cells ``from`` and ``to``; None where the file tells of no such path.
    """
    try:
        paths = [each["path"] for each in document["critical_paths"] if _in_one_clock(each["from"], each["to"])]
        if not any(paths):
            return None
        return _described(max(paths, key=lambda path: sum(float(step["delay"]) for step in path)))
    except (KeyError, TypeError, ValueError):
        return None  # of a version that reports paths otherwise: the build is as good without


def _in_one_clock(source: str, target: str) -> bool:
    return "<async>" not in (source, target)


def _described(path: list[dict[str, Any]]) -> dict[str, Any]:
    nets = [step for step in path if step["type"] == "routing"]
    logic = [step for step in path if step["type"] != "routing"]
    return {
        "layer": _layer_of(path),
        "net_delay_ns": _total(nets),
        "logic_delay_ns": _total(logic),
        "steps": len(nets),
        "from": _short(path[0]["from"]["cell"]),
        "to": _short(path[-1]["to"]["cell"]),
    }


def _total(steps: Iterable[Mapping[str, Any]]) -> float:
    return round(sum(float(step["delay"]) for step in steps), 3)


def _layer_of(path: list[dict[str, Any]]) -> str | None:
    delays: dict[str, float] = {}
    for step in path:
        names = (step.get("net", ""), step["from"]["cell"], step["to"]["cell"])
        found = next((layer for name in names if (layer := _named_after(name))), None)
        if found:
            delays[found] = delays.get(found, 0.0) + float(step["delay"])
    return max(delays, key=lambda layer: delays[layer]) if delays else None


def _named_after(name: str) -> str | None:
    if match := _LAYER.search(name):
        return match[1]
    if _PIXEL_TABLE.search(name):
        return "table"
    return "link" if _LINK.match(name) else None


def _short(name: str) -> str:
    return name if len(name) <= _NAME_CHARACTERS else f"{name[: _NAME_CHARACTERS - 1]}\u2026"
