"""What sharing bought, form by form, in each of the four units."""

from dataclasses import dataclass
from typing import Any

__all__ = ["FORMS", "UNITS", "Step", "Unit", "made_similar", "waterfall"]

UNITS = {
    "kernel_evaluations": "Kernel evaluations",
    "additions": "Additions",
    "adder_bits": "Adder bits",
    "luts": "LUTs, estimated",
}
FORMS = {
    "unshared": "naive",
    "repeated": "repeated kernels once",
    "kernel": "+ inverse kernels",
    "graph": "+ partial sums",
    "units": "units, fewest LUTs",
}
_SIMILAR = "+ similar kernels"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One form of one unit.

    Parameters
    ----------
    label : str
        What is shared.
    value : int
        How many of the unit are left.
    percent : float
        Of the naive form.
    random_percent : float, optional
        The same of random weights, where they were counted.
    built : bool
        Whether this is what the build has.
    """

    label: str
    value: int
    percent: float
    random_percent: float | None = None
    built: bool = False


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A unit and its steps, from the naive form on."""

    title: str
    steps: tuple[Step, ...]


def waterfall(report: dict[str, Any]) -> list[Unit]:
    """The units of which the report's totals have the naive form and one more."""
    totals = (report.get("sharing") or {}).get("totals") or {}
    found = [Unit(title=title, steps=tuple(_steps(report, totals, unit))) for unit, title in UNITS.items()]
    return [unit for unit in found if len(unit.steps) > 1]


def _steps(report: dict[str, Any], totals: dict[str, Any], unit: str) -> list[Step]:
    random, before = totals.get("random") or {}, totals.get("before") or {}
    before = {name: value for name, value in before.items() if name.startswith(f"{unit}_")}
    whole = before.get(f"{unit}_unshared") or totals.get(f"{unit}_unshared")
    if not whole:
        return []
    built = {"none": "unshared"}.get(report.get("strategy", ""), report.get("strategy"))
    steps = []

    def add(label: str, value: int, of_random: float | None = None, is_built: bool = False) -> None:
        percent = 100 * value / whole
        steps.append(Step(label=label, value=value, percent=percent, random_percent=of_random, built=is_built))

    for form, label in FORMS.items():
        name = f"{unit}_{form}"
        drawn = _percent(random.get(name), random.get(f"{unit}_unshared"))
        if name not in before and name in totals:
            add(label, totals[name], drawn, form == built)
        if name in before:
            add(label, before[name], drawn)
            if form == "kernel":
                add(_SIMILAR, totals[name], None, form == built)
    value = totals.get(f"{unit}_built")
    if value is not None and not any(step.built for step in steps):
        best = report.get("strategy") == "auto"
        add("as built, the best of each layer" if best else "as built", value, None, True)
    return steps


def _percent(value: int | None, whole: int | None) -> float | None:
    return 100 * value / whole if value is not None and whole else None


def made_similar(report: dict[str, Any]) -> list[str]:
    """Lines of the network's history that tell of kernels made similar before this build."""
    return [line for line in (report.get("build") or {}).get("history", []) if line.startswith("compressed for ")]
