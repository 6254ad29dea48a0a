"""What each sharing strategy costs on the shipped network, with random weights beside it.

Run as ``python bench/strategies.py``; takes some ten minutes. Writes bench/results/strategies.json: additions and adder
bits by count, LUTs of the whole core after mapping for both families, and logic cells and clock after place and route
for the iCE40-HX8K board, which has room for every form. All by the flow that `xnorweave build` uses.
"""

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from layers import with_random_kernels
from xnorweave import load
from xnorweave.boards.catalogue import board
from xnorweave.boards.toolchain import synthesize, synthesize_core
from xnorweave.emit import emit
from xnorweave.errors import DoesNotFitError
from xnorweave.images import shipped
from xnorweave.network import Conv2D, Network
from xnorweave.passes.share import STRATEGIES, Strategy, share_network

BOARD = "ice40-hx8k-b-evn"
RESULT = Path(__file__).parent / "results" / "strategies.json"


def measure(network: Network, strategy: Strategy) -> dict[str, object]:
    """One row: counts, mapped cells of both families, and the placed board."""
    wired = {layer.name for layer in network.layers if isinstance(layer, Conv2D)}
    layers = share_network(network, (strategy,), layers=wired, strategy=strategy)
    design = emit(network, strategy=strategy)
    row: dict[str, object] = {
        "strategy": strategy,
        "additions": sum(layer.additions[strategy] for layer in layers),
        "adder_bits": sum(layer.adder_bits[strategy] for layer in layers),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "ecp5").mkdir()
        row["ecp5"] = asdict(synthesize_core(design, "ecp5", folder / "ecp5").cells)
        start = time.perf_counter()
        core = synthesize_core(design, "ice40", folder)
        row["ice40"] = asdict(core.cells) | {"seconds": round(time.perf_counter() - start, 1)}
        try:
            placed = synthesize(design, board(BOARD), folder, core=core)
            row[BOARD] = {"logic_cells": placed.luts, "fmax_mhz": round(placed.fmax_mhz, 1)}
        except DoesNotFitError as error:
            row[BOARD] = {"error": str(error)}
    return row


def main() -> None:
    """Measure all rows, print and keep them."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    trained = load(shipped("fashion_mnist.npz"))
    rows = []
    for weights, network in (("trained", trained), ("random", with_random_kernels(trained))):
        for strategy in STRATEGIES:
            rows.append({"weights": weights} | measure(network, strategy))
            print(json.dumps(rows[-1]), flush=True)
    RESULT.write_text(json.dumps({"network": trained.name, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
