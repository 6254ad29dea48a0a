"""Narrow adders as LUTs or as carry chains: writes bench/results/adder_break_even.json.

Run as ``python bench/adders.py``; takes some ten minutes. ``alone``: places of one unsigned adder of every two widths,
as Yosys maps it by itself without and with carry chains. ``layers``: whole layers of random weights in which adders of
up to so many result bits (those that only pass not counted) are gates, which the mapping of LUTs can merge.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

from amaranth import C, Cat

from layers import FAMILIES, find_stage, map_graph
from xnorweave.boards.catalogue import Family
from xnorweave.boards.mapping import SYNTHESIS
from xnorweave.hw.adder_graph import Adder, gates_sum
from xnorweave.passes.share import share_layer
from xnorweave.yosys import run_yosys, yosys_version

RESULT = Path(__file__).parent / "results" / "adder_break_even.json"
WIDEST = 12
NO_CHAINS: dict[Family, str] = {"ice40": "-nocarry", "ecp5": "-noccu2"}
LAYERS = ("random-8x16x1", "random-16x32x1")
# 0: as Yosys decides; its own limits are 2 result bits for iCE40 and 4 for ECP5.
LIMITS: dict[Family, tuple[int, ...]] = {"ice40": (0, 3, 4, 5), "ecp5": (0, 5, 6)}


def alone(family: Family, *, chains: bool) -> dict[str, int]:
    """Places of adders ``a + b`` of ``AxB`` bits, each a module of its own."""
    widths = [(a, b) for a in range(1, WIDEST + 1) for b in range(1, a + 1)]
    modules = [
        f"(* keep_hierarchy *) module add_{a}x{b}(input [{a - 1}:0] a, input [{b - 1}:0] b, output [{a}:0] o);\n"
        "assign o = a + b; endmodule\n"
        for a, b in widths
    ]
    ports = [f"input [{a - 1}:0] a{a}x{b}, input [{b - 1}:0] b{a}x{b}, output [{a}:0] o{a}x{b}" for a, b in widths]
    cells = [f"add_{a}x{b} u{a}x{b}(.a(a{a}x{b}), .b(b{a}x{b}), .o(o{a}x{b}));\n" for a, b in widths]
    top = f"module top({', '.join(ports)});\n{''.join(cells)}endmodule\n"
    script = [
        "read_verilog adders.v",
        f"{SYNTHESIS[family]} {'' if chains else NO_CHAINS[family]} -top top",
        "tee -q -o stat.json stat -json",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "adders.v").write_text("".join([*modules, top]), encoding="utf-8")
        run_yosys(script, folder=folder, log="yosys.log", timeout_s=600)
        counted = json.loads((folder / "stat.json").read_text(encoding="utf-8"))["modules"]
    return {f"{a}x{b}": _places(counted[f"\\add_{a}x{b}"]["num_cells_by_type"]) for a, b in widths}


def _places(cells: dict[str, int]) -> int:
    # The last carry of an iCE40 chain leaves through a logic cell of its own.
    leaves = int(cells.get("SB_CARRY", 0) > 0)
    return cells.get("SB_LUT4", 0) + leaves + cells.get("LUT4", 0) + 2 * cells.get("CCU2C", 0)


def as_gates(limit: int) -> Any:
    """`Adder.expression` with full adders of gates up to so many result bits."""

    def expression(self, a, b):
        width, shift = self.output.width, self.shift
        if self.subtract or a.shape().signed or b.shape().signed or width - shift > limit:
            shifted = a << shift if shift else a
            return shifted - b if self.subtract else shifted + b
        return gates_sum(Cat(C(0, shift), a) if shift else a, b, width)

    return expression


def in_layer(name: str, family: Family, limit: int) -> dict[str, Any]:
    """Cells of a whole layer whose adders are gates up to ``limit`` result bits."""
    stage = find_stage(name)
    graph = share_layer(stage, "graph")
    with patch.object(Adder, "expression", as_gates(limit)):
        mapped = map_graph(stage, graph, family)
    row = {"layer": name, "family": family, "gates_up_to_bits": limit, "luts": mapped.cells.luts}
    return row | {"carries": mapped.cells.carries, "places": mapped.places}


def main() -> None:
    """Measure both, print and keep them."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    document: dict[str, Any] = {"yosys": yosys_version(), "alone": {}, "layers": []}
    for family in FAMILIES:
        with_chains, without = alone(family, chains=True), alone(family, chains=False)
        document["alone"][family] = {
            pair: {"as_yosys_decides": with_chains[pair], "luts_only": without[pair]} for pair in with_chains
        }
    for name in LAYERS:
        for family, limits in LIMITS.items():
            for limit in limits:
                document["layers"].append(in_layer(name, family, limit))
                print(document["layers"][-1], file=sys.stderr, flush=True)
    RESULT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
