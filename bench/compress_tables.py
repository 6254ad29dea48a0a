"""Tables of what similar kernels buy, from bench/results/compress.json; `tables` puts them into the pages."""

from collections.abc import Sequence
from typing import Any

__all__ = ["corrected", "replaced", "trained"]

UNITS = ("kernel_evaluations", "additions", "adder_bits", "luts")
_OBJECTIVES = {"kernel-evaluations": "kernel evaluations", "additions": "additions", "luts": "LUTs"}
_Rows = list[Sequence[str]]


def _fewer(part: float, whole: float | None) -> str:
    if whole is None or part == whole:
        return f"{part:,}"
    return f"{part:,} (\u2212{100 * (1 - part / whole):.1f} %)"


def _percent(row: dict[str, Any]) -> str:
    return f"{row['test']['percent']:.2f}"


def trained(result: dict[str, Any]) -> tuple[Sequence[str], _Rows]:
    """Our network for CIFAR-10, trained plainly and sharing-aware: accuracy, units, and LUTs after synthesis."""
    found = result["trained"]
    plain, shared = found["plain"], found["shared"]
    rows: _Rows = []
    unshared = result.get("unshared", {})
    whole = unshared.get("total", {}).get("places")
    for name, row, units, form, mapped in (
        ("plain, unshared", plain, plain["units"], "unshared", unshared),
        ("plain, `kernel`", plain, plain["units"], "kernel", None),
        ("plain, `graph`", plain, plain["units"], "graph", None),
        ("plain, `units`", plain, plain["units"], "units", plain["mapped"]),
        ("random weights, `kernel`", None, plain["units"]["random"], "kernel", None),
        ("random weights, `units`", None, plain["units"]["random"], "units", plain["mapped_random"]),
        ("sharing-aware, `kernel`", shared, shared["units"], "kernel", None),
        ("sharing-aware, `graph`", shared, shared["units"], "graph", None),
        ("sharing-aware, `units`", shared, shared["units"], "units", shared["mapped"]),
    ):
        counted = [_counted(unit, form, units, plain["units"]) for unit in UNITS]
        # A total comes with the last convolution.
        cells = (mapped or {}).get("total")
        places = _fewer(cells["places"], whole) if cells else "\u2013"
        rows.append((name, "\u2013" if row is None else _percent(row), *counted, places))
    head = ("network", "test, %", "kernel evaluations", "additions", "adder bits", "LUT4 places, estimated", "mapped")
    return head, rows


def _counted(unit: str, form: str, units: dict[str, Any], plain: dict[str, Any]) -> str:
    """A unit beside the plain network's unshared; kernels are evaluated as such only where these alone are shared."""
    if unit == "kernel_evaluations" and form not in ("unshared", "kernel"):
        return "\u2013"
    return _fewer(units[f"{unit}_{form}"], plain[f"{unit}_unshared"])


def replaced(result: dict[str, Any]) -> tuple[Sequence[str], _Rows]:
    """FINN's CNV with kernels replaced and thresholds fitted again, without training."""
    found = result["cnv"]
    before = found["kernel-evaluations"]["before"]
    units = tuple(f"{before[unit]:,}" for unit in UNITS)
    rows: _Rows = [("as it is, shared exactly", f"{before['percent']:.2f}", _percent(found), *units)]
    for most, row in found["most_frequent"].items():
        name = f"{most} most frequent kernels of each channel"
        count = _fewer(row["kernel_evaluations"], before["kernel_evaluations"])
        rows.append((name, "\u2013", _percent(row), count, *("\u2013",) * 3))
    for objective, name in _OBJECTIVES.items():
        after = found[objective]["after"]
        counted = [_changed(after[unit], before[unit]) for unit in UNITS]
        rows.append((f"`compress` for {name}", f"{after['percent']:.2f}", _percent(found[objective]), *counted))
    head = ("CNV", "validation, %", "test, %", "kernel evaluations", "additions", "adder bits", "LUT4s, estimated")
    return head, rows


def _changed(part: float, whole: float) -> str:
    return f"{part:,} ({100 * (part / whole - 1):+.1f} %)".replace("-", "\u2212")


def corrected(result: dict[str, Any]) -> tuple[Sequence[str], _Rows]:
    """Similar kernels with the differing taps put right, which is exact, beside shared sums."""
    rows: _Rows = []
    for name, row in result["correction"].items():
        forms = ("kernel", "kernel_corrected", "graph")
        counted = [_fewer(row[f"additions_{form}"], row["additions_none"]) for form in forms]
        rows.append((name, f"{row['additions_none']:,}", *counted))
    head = (
        "layer of CNV",
        "one tree a filter",
        "equal kernels shared",
        "the same, similar ones corrected",
        "sums shared",
    )
    return head, rows
