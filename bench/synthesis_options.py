"""Which synthesis options give the fewest places: writes bench/results/synthesis_options.json.

Run as ``python bench/synthesis_options.py``; takes some ten minutes. The stand-in is a binary layer of popcounts, its
adders kept as modules or not.
"""

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from stand_in import popcount_layer
from xnorweave.boards.mapping import count_cells
from xnorweave.design import TOP_MODULE
from xnorweave.yosys import run_yosys, yosys_version

INPUT_BITS, SEED = 8, 1
TIMEOUT_S = 900
RESULT = Path(__file__).parent / "results" / "synthesis_options.json"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to map the stand-in.

    ``keep`` marks the adders' modules; ``flatten`` is the stage before which they are dissolved: ``map_luts`` gives
    ABC the whole design with its carry chains made, ``map_cells`` merges LUTs across modules, ``end`` does neither.
    """

    family: str
    command: str
    keep: bool = True
    flatten: str = "end"
    inputs: int = 72
    filters: int = 16


VARIANTS = (
    Variant(family="ice40", command="synth_ice40"),
    Variant(family="ice40", command="synth_ice40", flatten="map_cells"),
    Variant(family="ice40", command="synth_ice40", flatten="map_luts"),
    Variant(family="ice40", command="synth_ice40 -dff"),
    Variant(family="ice40", command="synth_ice40 -device u"),
    Variant(family="ice40", command="synth_ice40 -nocarry"),
    Variant(family="ice40", command="synth_ice40 -nocarry", flatten="map_luts"),
    Variant(family="ice40", command="synth_ice40", keep=False),
    Variant(family="ice40", command="synth_ice40 -nocarry", keep=False),
    Variant(family="ecp5", command="synth_ecp5 -nowidelut"),
    Variant(family="ecp5", command="synth_ecp5 -widelut"),
    Variant(family="ecp5", command="synth_ecp5 -nowidelut", flatten="map_cells"),
    Variant(family="ecp5", command="synth_ecp5 -nowidelut", flatten="map_luts"),
    Variant(family="ecp5", command="synth_ecp5 -nowidelut -dff"),
    Variant(family="ecp5", command="synth_ecp5 -nowidelut -noccu2"),
    Variant(family="ecp5", command="synth_ecp5 -nowidelut", keep=False),
    Variant(family="ecp5", command="synth_ecp5 -nowidelut -noccu2", keep=False),
    *(
        Variant(family=family, command=command, flatten=flatten, inputs=inputs, filters=32)
        for inputs in (144, 576)
        for family, command in (("ice40", "synth_ice40"), ("ecp5", "synth_ecp5 -nowidelut"))
        for flatten in ("end", "map_luts")
    ),
)


def script(variant: Variant) -> list[str]:
    """Yosys commands of a variant, on ``design.v``."""
    dissolve = ["setattr -mod -unset keep_hierarchy *", "flatten", "opt_clean -purge"]
    command = f"{variant.command} -top {TOP_MODULE}"
    if variant.flatten == "end":
        mapping = [command, *dissolve]
    else:
        merge = ["opt_lut -tech ice40" if variant.family == "ice40" else "opt_lut"]
        mapping = [
            f"{command} -run begin:{variant.flatten}",
            *dissolve,
            *(merge if variant.flatten == "map_cells" else []),
            f"{command} -run {variant.flatten}:",
        ]
    return ["read_verilog design.v", *mapping, "tee -q -o stat.json stat -json"]


def measure(variant: Variant) -> dict[str, object]:
    """Map the stand-in; gives counts, places and seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = popcount_layer(variant.inputs, variant.filters, input_bits=INPUT_BITS, seed=SEED, keep=variant.keep)
        (folder / "design.v").write_text(text, encoding="utf-8")
        start = time.monotonic()
        run_yosys(script(variant), folder=folder, log="yosys.log", timeout_s=TIMEOUT_S)
        cells = count_cells(folder / "stat.json")
        seconds = time.monotonic() - start
    places = cells.luts + (2 * cells.carries if variant.family == "ecp5" else 0)
    return {**asdict(variant), **asdict(cells), "places": places, "seconds": round(seconds, 1)}


def main() -> None:
    """Measure every variant and write the result."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rows = []
    for variant in VARIANTS:
        rows.append(measure(variant))
        print(rows[-1], flush=True)
    document = {"yosys": yosys_version(), "input_bits": INPUT_BITS, "seed": SEED, "variants": rows}
    RESULT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
