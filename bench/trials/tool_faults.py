"""Tools that are missing, old, failing, killed, hanging, or that write a part of their output or garbage."""

import re
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from trials.builds import PACKAGES, Build, Ended, Workshop, leftovers, survivors
from trials.records import Case, Trial, versions

__all__ = ["CASES", "TRIAL", "Fault", "faults_of"]

_SIMULATORS = {"iverilog": "icarus", "vvp": "icarus", "verilator": "verilator"}
# What each call of a tool writes that is used later or is part of the build.
_OUTPUTS = {
    "yosys-emit": ("design.v",),
    "iverilog": ("sim.vvp",),
    "vvp": ("result.json",),
    "verilator": ("objects/Vbench.mk", "objects/Vbench.cpp"),
    "yosys-core": ("core.il", "core_netlist.v", "core_stat.json"),
    "yosys-top": ("top.json", "top_stat.json"),
    "nextpnr-ice40": ("top.asc", "nextpnr.json"),
    "icepack": ("top.bin",),
}
# What is left of a file: half, wherever that ends, or up to the end of a line near its begin or end. Names of nets,
# which are most of an iCE40's configuration and configure nothing, come last in it.
_HALF = (0.5, False)
_LEFT = (_HALF, (0.1, True), (0.9, True))
_LEFT_OF = {"top.asc": (_HALF, (0.1, True), (0.25, True))}
_HANGING_LIMIT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing wrong with one tool.

    Parameters
    ----------
    call : str
        Which call of a build, as `trials.shim` names it.
    kind : str
        missing, old, failing, killed, hanging, truncated or garbage.
    file : str
        Output that is not whole, where it is one.
    left : float
        Share of it that is there, where it is cut.
    at_line : bool
        Whether it is cut at the end of a line.
    said : str
        Pattern of the one error line.
    """

    call: str
    kind: str
    file: str = ""
    left: float = 1.0
    at_line: bool = False
    said: str

    @property
    def tool(self) -> str:
        """Its program."""
        return "yosys" if self.call.startswith("yosys") else self.call


def _said(call: str, kind: str) -> str:
    """What the error must say: which tool, what is wrong, and what to do."""
    tool = "yosys" if call.startswith("yosys") else call
    named = {"vvp": "vvp|icarus", "icepack": "icepack|nextpnr-ice40"}.get(tool, re.escape(tool))
    how = {
        "missing": r"(no |not on PATH|neither).*(pip|apt-get) install",
        "old": r"(older|or newer).*(pip|apt-get) install",
        "failing": r"exit status \d+: ERROR: nothing works today.*log: \S+",
        "killed": r"ended by signal 9.*log: \S+",
        "hanging": rf"not done after {_HANGING_LIMIT_S:g} s and was stopped.*log: \S+",
    }
    # What is not whole may be told by the tool that reads it next.
    return rf"({named}).*{how[kind]}" if kind in how else ".+"


def _cases() -> list[Fault]:
    cases = []
    for call, outputs in _OUTPUTS.items():
        if call not in ("yosys-core", "yosys-top"):
            kinds = ("missing",) if call in ("icepack", "vvp") else ("missing", "old")
            cases += [Fault(call=call, kind=kind, said=_said(call, kind)) for kind in kinds]
        cases += [Fault(call=call, kind=kind, said=_said(call, kind)) for kind in ("failing", "killed", "hanging")]
        for file in outputs:
            truncated, garbage = _said(call, "truncated"), _said(call, "garbage")
            cases += [
                Fault(call=call, kind="truncated", file=file, left=left, at_line=at_line, said=truncated)
                for left, at_line in _LEFT_OF.get(file, _LEFT)
            ]
            cases.append(Fault(call=call, kind="garbage", file=file, said=garbage))
    return cases


CASES = _cases()


def _build(shop: Workshop, fault: Fault) -> Build:
    """The build in which the fault happens."""
    away = fault.kind in ("missing", "old") and fault.tool in PACKAGES
    # With a package at hand an old or missing program is no fault: the package is used.
    hidden = {PACKAGES[fault.tool]} if away else set()
    if fault.call == "verilator":
        hidden.add("verilator")
    return Build(
        workshop=shop,
        folder=shop.folder / "out" / "build",
        simulator=_SIMULATORS.get(fault.call, "amaranth"),
        fault={name: getattr(fault, name) for name in ("call", "kind", "file", "left", "at_line")},
        hidden=tuple(sorted(hidden)),
        missing=(fault.tool,) if fault.kind == "missing" else (),
        limit_s=_HANGING_LIMIT_S if fault.kind == "hanging" else 300.0,
    )


def faults_of(fault: Fault, build: Build, ended: Ended) -> list[str]:
    """What is wrong with how a build ended whose tool had a fault."""
    failures = []
    if ended.code != 1:
        failures.append(f"exit code {ended.code}, not 1: {_last_line(ended.said)}")
    elif not re.search(fault.said, ended.error):
        failures.append(f"says {ended.error or _last_line(ended.said)!r}, not {fault.said!r}")
    if build.folder.exists():
        failures.append("a build folder is there")
    if build.folder.parent.exists() and (left := leftovers(build.folder)):
        failures.append(f"left behind: {', '.join(left)}")
    failures += survivors(build.mark)
    file = f" {fault.file}" if fault.file else ""
    share = f" to {100 * fault.left:g} %" if fault.kind == "truncated" else ""
    return [f"{fault.call} {fault.kind}{file}{share}: {failure}" for failure in failures]


def _last_line(said: str) -> str:
    return (said.strip().splitlines() or ["nothing"])[-1][:300]


def run(seed: int, folder: Path) -> Case:
    """One fault, and the same build again without it."""
    fault = CASES[seed % len(CASES)]
    simulator = _SIMULATORS.get(fault.call, "amaranth")
    shop = Workshop(folder / f"workshop-{simulator}", simulator)
    build = _build(shop, fault)
    failures = faults_of(fault, build, build.run())
    shutil.rmtree(build.folder.parent, ignore_errors=True)
    return Case(failures=tuple(failures), counts={"builds": 1, fault.kind: 1})


TRIAL = Trial(
    name="tools",
    title="tools missing, old, failing, killed, hanging, with truncated or garbage output",
    full=len(CASES),
    checked="`build` of a tiny network ends with exit code 1 and one `error:` line that names the tool and the remedy; "
    "no build folder, no hidden sibling, no process is left",
    run=run,
    tools=partial(versions, "yosys", "nextpnr-ice40", "icarus", "verilator"),
)
