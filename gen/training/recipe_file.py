"""Recipes as TOML files, checked key by key. Needs no PyTorch."""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from pathlib import Path
from typing import Any, TypeVar

from xnorweave.errors import TrainingError, located
from xnorweave.training.recipe import DataRecipe, FitRecipe, ModelRecipe, Recipe, SharingRecipe

_Part = TypeVar("_Part", ModelRecipe, FitRecipe, SharingRecipe, DataRecipe)
_MAX_BYTES = 1 << 20
_KEYS = ("name", "start", "model", "fit", "sharing", "data")


def read_recipe(path: Path) -> tuple[Recipe, DataRecipe]:
    """Read a recipe and where its data is.

    The file has ``name``, perhaps ``start``, and the tables ``[model]``, ``[fit]``, ``[sharing]`` and ``[data]`` with
    the fields of `ModelRecipe`, `FitRecipe`, `SharingRecipe` and `DataRecipe`; only ``name`` and ``fit.epochs`` must be
    there. Paths are relative to the file's folder.

    Raises
    ------
    TrainingError
        If the file is absent, no TOML, or has a key or a value that is not known.
    """
    try:
        with path.open("rb") as file:
            found = tomllib.loads(file.read(_MAX_BYTES).decode("utf-8"))
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise TrainingError(f"{path}: is no valid TOML ({error}); mend the line") from error
    with located(path):
        if unknown := sorted(found.keys() - set(_KEYS)):
            raise TrainingError(f"key {unknown[0]!r} is not known; known are {', '.join(_KEYS)}")
        name, start = found.get("name"), found.get("start")
        if not isinstance(name, str) or not name.isidentifier():
            raise TrainingError(f"name = {name!r} is no name; use letters, digits and underscores, a letter first")
        if start is not None and not isinstance(start, str):
            raise TrainingError(f"start = {start!r} is no path of a checkpoint; write it in quotes")
        return (
            Recipe(
                name=name,
                model=_part(ModelRecipe, found, "model"),
                fit=_part(FitRecipe, found, "fit"),
                sharing=_part(SharingRecipe, found, "sharing"),
                start=start,
            ),
            _part(DataRecipe, found, "data"),
        )


def _part(kind: type[_Part], found: dict[str, Any], name: str) -> _Part:
    """One table as a recipe's part; its types are those that the part declares."""
    table = found.get(name, {})
    if not isinstance(table, dict):
        raise TrainingError(f"{name} = {table!r} is no table; write [{name}]")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    types = typing.get_type_hints(kind)
    values = {}
    for key, value in table.items():
        if key not in fields:
            raise TrainingError(f"[{name}] {key} is not known; known are {', '.join(fields)}")
        values[key] = _value(value, types[key], f"[{name}] {key}")
    required = [key for key, field in fields.items() if field.default is dataclasses.MISSING]
    if missing := [key for key in required if key not in values]:
        raise TrainingError(f"[{name}] has no {missing[0]}; set it")
    return kind(**values)


def _value(value: object, kind: Any, place: str) -> Any:
    """The value as the type declared: lists are tuples, whole numbers are numbers."""
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise TrainingError(f"{place} = {value!r} is no list; write [..., ...]")
        kinds = typing.get_args(kind)
        if kinds[-1] is Ellipsis:
            kinds = (kinds[0],) * len(value)
        if len(value) != len(kinds):
            raise TrainingError(f"{place} = {value!r} has {len(value)} values; give {len(kinds)}")
        return tuple(_value(item, each, place) for item, each in zip(value, kinds, strict=True))
    allowed = {int: (int,), float: (int, float), bool: (bool,)}.get(kind, (str,))
    if type(value) not in allowed:
        expected = {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "a text in quotes")
        raise TrainingError(f"{place} = {value!r} is not {expected}")
    return value
