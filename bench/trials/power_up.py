"""What a core starts from: registers and RAM that hold anything, and block RAM that reads zero at first.

The emitted Verilog is changed so that nothing is left of its initial values but the content of its ROMs, and simulated
in Icarus, which knows unknown bits, from the reset on that a board gives.
"""

import math
import random
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

from trials.networks import ODD_RUN_FREE, Draw, draw, faults_in, parts
from trials.records import Case, Trial, versions
from xnorweave.design import Design
from xnorweave.emit import START_FLAG

__all__ = ["TRIAL", "VARIANTS", "cold", "faults_from", "scrambled", "unknown"]

_CLOCK_MHZ, _COLD_US, _BOARD_RESET_US = 12, 3, 8
_CYCLE_NS = 2  # of the bench's clock
BOARD_RESET_CYCLES = math.ceil(_BOARD_RESET_US * _CLOCK_MHZ)
_COLD_NS = _COLD_US * _CLOCK_MHZ * _CYCLE_NS
_MODULE = re.compile(r"^module .*?^endmodule", re.MULTILINE | re.DOTALL)
_REGISTER = re.compile(rf"^(\s*reg (?:signed )?(?:\[[^\]]*\] )?)(?!{START_FLAG} )(\S+\s*) = (\d+)'\w+;", re.MULTILINE)
_MEMORY = re.compile(r"^\s*reg (?:signed )?(?:\[[^\]]*\] )?(\S+)\s+\[\d+:\d+\];", re.MULTILINE)
_READ = re.compile(r"<= (\S+?)\s?(\[.*\]);")


def unknown(verilog: str, _: int = 0) -> str:
    """Registers, and memories that are written to, without initial values."""
    return _without_ram(_REGISTER.sub(r"\1\2;", verilog))


def scrambled(verilog: str, seed: int) -> str:
    """Registers that start as anything; memories that are written to without initial values."""
    rng = random.Random(seed)

    def drawn(match: re.Match[str]) -> str:
        bits = int(match[3])
        return f"{match[1]}{match[2]} = {bits}'h{rng.getrandbits(bits):x};"

    return _without_ram(_REGISTER.sub(drawn, verilog))


def cold(verilog: str, _: int = 0) -> str:
    """Registers and RAM unknown, and for the first microseconds every clocked read of a memory gives zero."""

    def module(match: re.Match[str]) -> str:
        memories = set(_MEMORY.findall(match[0]))

        def read(found: re.Match[str]) -> str:
            if found[1] not in memories:
                return found[0]
            return f"<= $time < {_COLD_NS} ? 0 : {found[1]} {found[2]};"

        return _READ.sub(read, match[0])

    return "`timescale 1ns/1ps\n" + _MODULE.sub(module, unknown(verilog))


def _without_ram(verilog: str) -> str:
    return _MODULE.sub(_module_without_ram, verilog)


def _module_without_ram(match: re.Match[str]) -> str:
    text = match[0]
    for memory in _MEMORY.findall(text):
        name = re.escape(memory)
        if re.search(rf"(?<!\S){name}\s?\[.*\] <=", text):
            text = re.sub(rf"^\s*{name}\s?\[\d+\] = [^;]*;\n", "", text, flags=re.MULTILINE)
    return text


VARIANTS = {"unknown": unknown, "scrambled": scrambled, "cold": cold}


def faults_from(drawn: Draw, design: Design, variant: str, *, reset_cycles: int = BOARD_RESET_CYCLES) -> list[str]:
    """What is wrong with the frames that come behind the board's reset."""
    changed = replace(design, verilog=VARIANTS[variant](design.verilog, drawn.pattern.seed))
    pattern = replace(drawn.pattern, reset_at=tuple(range(reset_cycles)))
    return faults_in(variant, drawn, simulator="icarus", pattern=pattern, design=changed)


def run(seed: int, _: Path) -> Case:
    """One network from every start."""
    drawn = draw(seed, largest_side=6, largest_channels=4)
    core = drawn.core()
    counts = {"runs": len(VARIANTS), **parts(core)}
    design = drawn.design(core)
    failures = [failure for variant in VARIANTS for failure in faults_from(drawn, design, variant)]
    return Case(failures=tuple(failures), counts=counts)


TRIAL = Trial(
    name="power-up",
    title="registers and RAM unknown, or anything; block RAM reads zero for 3 us",
    full=200,
    checked="a random network of any engines and folds from three starts, in Icarus, behind a reset of 8 us at 12 MHz "
    "as boards give it: no unknown bit on any watched stream; every layer of every frame is exact, the first as well; "
    f"{ODD_RUN_FREE}",
    run=run,
    tools=partial(versions, "amaranth", "icarus", "yosys"),
)
