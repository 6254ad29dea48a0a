"""A plan as a file that a user can edit: JSON, the ``plan`` part of a report.

Only what a user may choose is read: engine, fold, memory and buffer of each layer, registers and the clock's pipelines.
Intervals, widths and costs follow from those and are computed again, whatever the file says.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

from xnorweave.cost import CostFamily
from xnorweave.errors import DataError, UnsupportedError
from xnorweave.network import Network
from xnorweave.passes.folds import Link, folded, links, spatial, unfolded
from xnorweave.passes.plan_types import LayerPlan, Plan, Storage
from xnorweave.passes.streamline import ConvStage, DenseStage, Stage, streamline

__all__ = ["PLAN_FORMAT", "load_plan", "plan_document", "read_plan"]

PLAN_FORMAT = "xnorweave-plan/1"
_MAX_BYTES = 1 << 20
_LEVELS, _MOST_LEVELS = 3, 1000
_ENGINES = ("spatial", "folded", "stream")
_STORAGES = get_args(Storage)
# What a user may set, and what else `plan`, `build` and reports write beside it for the reader.
_LAYER_FIELDS = ("name", "engine", "pe", "simd", "vectors", "buffer_rows", "storage")
_LAYER_NOTES = ("interval_cycles", "latency_cycles", "luts_estimated", "block_rams_estimated", "block_ram_bits")
_PLAN_FIELDS = ("format", "levels_per_register", "free_running", "layers")
_PLAN_NOTES = (
    *("interval_cycles", "latency_cycles", "slowest"),
    *("interval_cycles_measured", "slower_than_planned"),
)


def plan_document(plan: Plan, *, block_ram_bits: int = 0) -> dict[str, Any]:
    """A plan as JSON: ``plan`` of a report, and the content of a plan file.

    Parameters
    ----------
    plan : Plan
        What to write.
    block_ram_bits : int
        Bits of one block RAM of the chip, where that is known.
    """
    return {
        "format": PLAN_FORMAT,
        "interval_cycles": plan.interval_cycles,
        "levels_per_register": plan.levels_per_register,
        "free_running": plan.free_running,
        "layers": [_layer_document(layer, block_ram_bits) for layer in plan.layers],
    }


def _layer_document(layer: LayerPlan, block_ram_bits: int) -> dict[str, Any]:
    row: dict[str, Any] = {"name": layer.name, "engine": layer.engine, "interval_cycles": layer.interval_cycles}
    if layer.engine == "folded":
        row |= {"pe": layer.pe, "simd": layer.simd}
        row |= {"vectors": layer.vectors, "buffer_rows": layer.buffer_rows} if layer.buffer_rows else {}
        row |= {"storage": layer.storage}
    if layer.luts or layer.block_rams:
        row |= {"luts_estimated": layer.luts, "block_rams_estimated": layer.block_rams}
        row |= {"block_ram_bits": layer.block_rams * block_ram_bits} if block_ram_bits else {}
    return row


def load_plan(
    path: Path, network: Network, family: CostFamily | None = None, *, most_levels: int | None = None
) -> Plan:
    """Read a plan file for a network; parameters as of `read_plan`.

    Raises
    ------
    DataError
        Where the file is no plan, or not of this network; names layer, field, value and remedy.
    UnsupportedError
        Where a layer cannot be built so.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(
                f"{path}: {path.stat().st_size:,} bytes are too large for a plan; give at most {_MAX_BYTES:,}"
            )
        text = path.read_text("utf-8")
    except OSError as e:
        raise DataError(f"{path}: cannot be read ({e.strerror}); give the file of `xnorweave plan -o`") from e
    except UnicodeDecodeError as e:
        raise DataError(f"{path}: is no text; give the file of `xnorweave plan -o`") from e
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise DataError(f"{path}: is no JSON ({e}); give the file of `xnorweave plan -o`") from e
    try:
        return read_plan(document, network, family, most_levels=most_levels)
    except DataError as e:
        raise DataError(f"{path}: {e}") from e
    except UnsupportedError as e:
        raise UnsupportedError(f"{path}: {e}") from e


def read_plan(
    document: object, network: Network, family: CostFamily | None = None, *, most_levels: int | None = None
) -> Plan:
    """A plan from its JSON, or from a report that has one.

    Parameters
    ----------
    document : object
        As `json.loads` gives it.
    network : Network
        What it is for.
    family : {"ice40", "ecp5"}, optional
        Whose cells are estimated; no cost without it.
    most_levels : int, optional
        Levels per register that the clock leaves time for: where the plan has more or does not say, it gets these.

    Raises
    ------
    DataError, UnsupportedError
        As `load_plan`.
    """
    if isinstance(document, dict) and isinstance(cast(dict[str, Any], document).get("plan"), dict):
        document = cast(dict[str, Any], document)["plan"]
    if not isinstance(document, dict) or "layers" not in document:
        raise DataError("has no `layers`; give the file of `xnorweave plan -o`, or a report's `plan`")
    content = cast(dict[str, Any], document)
    if content.get("format", PLAN_FORMAT) != PLAN_FORMAT:
        raise DataError(f"format={_shown(content['format'])} is not {PLAN_FORMAT!r}; plan the network again")
    _refuse_unknown("plan", content, _PLAN_FIELDS, _PLAN_NOTES)
    stages = streamline(network)
    channels, height, width = network.input.shape
    before, layers = Link(channels), list[LayerPlan]()
    for stage, row in zip(stages, _rows(content["layers"], stages), strict=True):
        layers.append(_layer(stage, row, before, family))
        before = links(stage, layers[-1], before)
    free_running = content.get("free_running", False)
    if not isinstance(free_running, bool):
        raise DataError(f"free_running={_shown(free_running)} is neither true nor false; set it to one of them")
    levels = content.get("levels_per_register", most_levels or _LEVELS)
    levels = _whole("plan", "levels_per_register", levels, _MOST_LEVELS)
    return Plan(
        layers=tuple(layers),
        input_cycles=height * width,
        levels_per_register=min(levels, most_levels or levels),
        free_running=free_running,
    )


def _rows(rows: object, stages: Sequence[Stage]) -> list[dict[str, Any]]:
    """One row for each stage, in the stages' order."""
    if not isinstance(rows, list):
        raise DataError(f"layers={_shown(rows)} is no list; give one object for each layer")
    by_name: dict[str, dict[str, Any]] = {}
    names = [stage.name for stage in stages]
    for number, row in enumerate(cast(list[object], rows)):
        if not isinstance(row, dict) or not isinstance(cast(dict[str, Any], row).get("name"), str):
            raise DataError(f"layers[{number}]={_shown(row)} has no name; give an object with the layer's name")
        content = cast(dict[str, Any], row)
        name = content["name"]
        if name not in names:
            raise DataError(f"layer {_shown(name)}: the network has none; its layers: {', '.join(names)}")
        if name in by_name:
            raise DataError(f"{name}: is there twice; leave one out")
        by_name[name] = content
    if missing := [name for name in names if name not in by_name]:
        raise DataError(f"{missing[0]}: the plan has no such layer; add it, or plan the network again")
    return [by_name[name] for name in names]


def _layer(stage: Stage, row: dict[str, Any], before: Link, family: CostFamily | None) -> LayerPlan:
    _refuse_unknown(stage.name, row, _LAYER_FIELDS, _LAYER_NOTES)
    engine = row.get("engine")
    if engine not in _ENGINES:
        raise DataError(f"{stage.name}: engine={_shown(engine)} is none of {', '.join(_ENGINES)}")
    weighted = isinstance(stage, (ConvStage, DenseStage))
    if weighted == (engine == "stream"):
        fitting = "spatial or folded" if weighted else "stream"
        raise DataError(f"{stage.name}: engine={engine!r} is not for this layer; give {fitting}")
    if not weighted:
        return unfolded(stage, before, family)
    if engine == "spatial":
        return spatial(stage, before, family)
    storage = row.get("storage", "block")
    if storage not in _STORAGES:
        raise DataError(f"{stage.name}: storage={_shown(storage)} is none of {', '.join(_STORAGES)}")
    conv = isinstance(stage, ConvStage)
    numbers = {
        what: _whole(stage.name, what, row.get(what, default), most)
        for what, default, most in (
            ("pe", None, len(stage.weights)),
            ("simd", None, stage.weights[0].size),
            ("vectors", 1, 1024),
            ("buffer_rows", 2 * stage.input_shape[1] if conv else 0, 4096),
        )
        if what != "buffer_rows" or conv or what in row
    }
    return folded(stage, before, family, storage=storage, **numbers)


def _refuse_unknown(where: str, row: dict[str, Any], fields: Sequence[str], notes: Sequence[str]) -> None:
    """A field that nobody reads is one that somebody misspelt."""
    if unknown := [name for name in row if name not in fields and name not in notes]:
        raise DataError(f"{where}: unknown field {_shown(unknown[0])}; known: {', '.join((*fields, *notes))}")


def _whole(where: str, what: str, value: object, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise DataError(f"{where}: {what}={_shown(value)} is not a whole number from 1 to {most}")
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
