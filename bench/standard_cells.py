"""Area of cores in standard cells, shared and unshared, and what else was tried to make it less.

Run as ``python bench/standard_cells.py``; takes some twenty minutes. The library is IHP's SG13G2 (130 nm, typical
corner) from the folder ``liberty`` of the one that XNORWEAVE_SHARED names (default: ``../shared``). Writes
bench/results/standard_cells.json: for a small layer, with its windows and thresholds, and for the shipped network the
area by strategy, by the flow of ``xnorweave synth --liberty`` (``rows``); and for the shipped network with ``units``
the area by other flows (``tried``).
"""

import argparse
import json
import os
import re
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from xnorweave import load
from xnorweave.boards.liberty import CellLibrary, read_liberty
from xnorweave.boards.standard_cells import AREA_SCRIPT, map_to_gates
from xnorweave.design import TOP_MODULE, Design
from xnorweave.emit import emit
from xnorweave.errors import DoesNotFitError
from xnorweave.images import shipped
from xnorweave.network import Conv2D, InputSpec, Network, Threshold
from xnorweave.passes.share import STRATEGIES
from xnorweave.popcounts import popcount_verilog
from xnorweave.yosys import run_yosys

SHARED = Path(os.environ.get("XNORWEAVE_SHARED") or Path(__file__).parents[2] / "shared")
LIBRARY = SHARED / "liberty" / "sg13g2_stdcell_typ_1p20V_25C.lib"
RESULT = Path(__file__).parent / "results" / "standard_cells.json"
_BOTH_CELLS = ("none", "units")
_PREPARED = "strash; &get -n; &fraig -x; &put; scorr; dc2; strash"
_DELAY = re.compile(r"\bDelay =\s*([\d.]+) ps")
# Hierarchy until the gates, popcounts, and ABC's script; None is that of Yosys.
TRIED: dict[str, tuple[str, str, str | None]] = {
    "the flow": ("kept", "adders", AREA_SCRIPT),
    "Yosys' own ABC script": ("kept", "adders", None),
    "flat before its adders are gates": ("flat", "adders", AREA_SCRIPT),
    "each module mapped by itself": ("mapped", "adders", AREA_SCRIPT),
    "popcounts of LUT networks": ("kept", "luts", AREA_SCRIPT),
    "amap without buffers and sizes": ("kept", "adders", f"{_PREPARED}; dch; amap -m; topo; stime"),
    "&nf for area, with buffers and sizes": (
        *("kept", "adders"),
        f"{_PREPARED}; &get -n; &dch -f; &nf -p -R 1000 -F 10; &put; topo; buffer -N 16; topo; upsize; dnsize; stime",
    ),
    "buffers by gain (buffer -c)": (
        *("kept", "adders"),
        f"{_PREPARED}; dch; amap -m; topo; buffer -c; topo; upsize; dnsize; stime",
    ),
}


def small_layer() -> Network:
    """A 3x3 convolution of 16 channels to 32, weights drawn at random, on images of 8 x 8."""
    rng = np.random.default_rng(0)
    layers = (
        Conv2D(name="conv", weights=rng.choice(np.array([-1, 1], np.int8), (32, 16, 3, 3))),
        Threshold(name="sign", thresholds=np.zeros(32, np.int32)),
    )
    return Network(name="conv 16 to 32, random", input=InputSpec(kind="bits", shape=(16, 8, 8)), layers=layers)


def measure(design: Design, library: CellLibrary | None) -> dict[str, Any]:
    """One design by the flow; without a library the transistors."""
    with tempfile.TemporaryDirectory() as name:
        start = time.perf_counter()
        try:
            found = asdict(map_to_gates(design, library, Path(name)))
        except DoesNotFitError as error:
            return {"error": str(error)}
        del found["cells_by_type"]
        return {key: value for key, value in found.items() if value is not None} | {
            "seconds": round(time.perf_counter() - start, 1)
        }


def variant(design: Design, library: CellLibrary, hierarchy: str, popcounts: str, abc: str | None) -> dict[str, Any]:
    """One design by another flow."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cells = f"cells_{library.sha256[:16]}.lib"
        (folder / cells).write_bytes(library.content)
        (folder / "design.v").write_text(design.verilog)
        (folder / "gates.abc").write_text(f"{abc}\n")
        modules = (popcount_verilog(module, *shape) for module, shape in design.popcounts.items())
        (folder / "popcounts.v").write_text("".join(modules))
        luts = design.popcounts if popcounts == "luts" else {}
        dissolve = ["setattr -mod -unset keep_hierarchy *", "flatten"]
        script = [
            "read_verilog design.v",
            *(f"blackbox {module}" for module in luts),
            *(["hierarchy -check", "proc", *dissolve] if hierarchy == "flat" else []),
            f"synth -top {TOP_MODULE} -noabc -run begin:check",
            *(f"delete ={module}" for module in luts),
            *(["read_verilog -icells popcounts.v", "hierarchy -check", "techmap"] if luts else []),
            *([*dissolve, "opt -fast -full"] if hierarchy != "mapped" else []),
            *(f"dfflibmap -liberty {cells}", "opt"),
            f"abc -liberty {cells}{'' if abc is None else ' -script gates.abc'}",
            *([*dissolve] if hierarchy == "mapped" else []),
            *("opt_clean -purge", f"tee -q -o stat.json stat -json -liberty {cells}"),
        ]
        start, lines = time.perf_counter(), list[str]()
        run_yosys(script, folder=folder, log="yosys.log", timeout_s=3600, on_line=lines.append)
        found = json.loads((folder / "stat.json").read_text())["design"]
        delays = [float(delay) for line in lines for delay in _DELAY.findall(line)]
        return {
            "area": round(found["area"], 2),
            "sequential_area": round(found["sequential_area"], 2),
            "critical_path_ps": delays[-1] if delays and hierarchy != "mapped" else None,
            "seconds": round(time.perf_counter() - start, 1),
        }


def keep(part: dict[str, Any]) -> None:
    """Put a part into the result file, beside the others."""
    old = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {}
    RESULT.write_text(json.dumps(old | part, indent=1) + "\n", "utf-8")


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("rows", "tried"), help="measure one of the two")
    only = parser.parse_args().only
    library = read_liberty(LIBRARY)
    network = load(shipped("fashion_mnist.npz"))
    keep({"library": {"name": library.name, "sha256": library.sha256}})
    if only != "tried":
        rows = []
        for each in (small_layer(), network):
            for strategy in STRATEGIES:
                design = emit(each, strategy=strategy)
                row = {"network": each.name, "strategy": strategy, **measure(design, library)}
                rows.append(row | ({"cmos": measure(design, None)} if strategy in _BOTH_CELLS else {}))
                print(json.dumps(rows[-1]), flush=True)
                keep({"rows": rows})
    if only != "rows":
        tried = []
        design = emit(network, strategy="units")
        for name, flow in TRIED.items():
            tried.append({"flow": name} | variant(design, library, *flow))
            print(json.dumps(tried[-1]), flush=True)
            keep({"network": network.name, "strategy": "units", "tried": tried})


if __name__ == "__main__":
    main()
