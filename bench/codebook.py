"""What weights as indices of a layer's distinct kernels take and save: writes bench/results/codebook.json.

Run as ``python bench/codebook.py [--fit]``: some ten minutes; with ``--fit`` a second on what was measured last.
3x3 layers of few kernels are mapped twice, with their weights and with indices in block RAM. The factor of the
decoder's LUTs is fitted on what the second takes more in the first four; an estimate's error is that of the whole
layer. Copy ``decoder_factors`` into gen/folded_cost.py.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from folded import mapped, options_of
from layers import FAMILIES, apart
from xnorweave import folded_cost
from xnorweave.boards.catalogue import Family
from xnorweave.network import Conv2D, InputSpec, Network, Threshold
from xnorweave.passes.streamline import ConvStage, streamline
from xnorweave.yosys import yosys_version

RESULT = Path(__file__).parent / "results" / "codebook.json"
# CHANNELSxFILTERS-KERNELS, then pe x simd x vectors.
FITTED = ("32x32-2 4x8x1", "64x64-4 2x8x1", "128x128-8 4x16x1", "64x64-16 8x8x4")
HELD_OUT = ("128x128-4 4x8x4", "64x64-16 2x16x1")
SIDE = 10


def stage_of(shape: str) -> ConvStage:
    """A 3x3 layer of bits, whose kernels are drawn from so many and their inverses."""
    size, count = shape.split("-")
    channels, filters = (int(n) for n in size.split("x"))
    rng = np.random.default_rng(0)
    patterns = rng.choice(2**8, int(count), replace=False)
    chosen = rng.permutation(np.resize(patterns, filters * channels))
    bits = np.stack([np.zeros(len(chosen), int), *(chosen >> t & 1 for t in range(8))], 1)
    weights = (1 - 2 * bits) * rng.choice([-1, 1], (len(chosen), 1))
    thresholds = np.rint(rng.normal(0, (9 * channels) ** 0.5, filters)).astype(np.int32)
    layers = (
        Conv2D(name="c", weights=weights.reshape(filters, channels, 3, 3).astype(np.int8)),
        Threshold(name="t", thresholds=thresholds),
    )
    (stage,) = streamline(Network(name="n", input=InputSpec(kind="bits", shape=(channels, SIDE, SIDE)), layers=layers))
    assert isinstance(stage, ConvStage)
    return stage


def measure(name: str, family: Family) -> dict[str, Any]:
    """One layer: what synthesis gives with weights and with indices."""
    shape, fold = name.split()
    stage = stage_of(shape)
    measured = {place: mapped(stage, options_of(fold, place, stage), family) for place in ("block", "codebook")}
    return {"layer": name, "family": family, "measured": measured}


def fit(rows: list[dict[str, Any]]) -> float:
    """LUTs for each that is counted of the decoder, of the least squared error over one family's fitted rows."""
    more = np.array([row["measured"]["codebook"]["places"] - row["measured"]["block"]["places"] for row in rows], float)
    counts, base = np.array([count(row) for row in rows], float).T
    return round(float((more - base) @ counts / (counts @ counts)), 3)


def count(row: dict[str, Any]) -> tuple[int, int]:
    """LUTs counted of a row's decoder, and those that its smaller memory and its counters are estimated to differ."""
    shape, fold = row["layer"].split()
    stage = stage_of(shape)
    pe, simd, _ = (int(n) for n in fold.split("x"))
    decoder = folded_cost.decoder_luts(stage, pe, simd)
    block, codebook = (estimate(stage, fold, place, row["family"]).luts for place in ("block", "codebook"))
    return decoder, round(codebook - block - folded_cost.DECODER_FACTORS[row["family"]] * decoder)


def estimate(stage: ConvStage, fold: str, place: str, family: Family) -> folded_cost.Resources:
    """What a plan is chosen by."""
    return folded_cost.folded_resources(stage, family, **options_of(fold, place, stage))


def judge(rows: list[dict[str, Any]], factors: dict[str, float]) -> None:
    """Give every row its estimates with these factors, and their errors."""
    for row in rows:
        shape, fold = row["layer"].split()
        stage, family = stage_of(shape), row["family"]
        row["fitted"] = row["layer"] in FITTED
        row["estimated"], row["error_percent"] = {}, {}
        for place, measured in row["measured"].items():
            cost = estimate(stage, fold, place, family)
            places = cost.luts
            if place == "codebook":
                places += round((factors[family] - folded_cost.DECODER_FACTORS[family]) * count(row)[0])
            row["estimated"][place] = {"places": places, "block_rams": cost.block_rams}
            row["error_percent"][place] = round(100 * (places / measured["places"] - 1), 1)


def main() -> None:
    """Measure, fit, judge and write; or the one row that `apart` asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit", action="store_true", help="take what was measured last")
    parser.add_argument("--one", nargs=2)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one)))
        return
    if arguments.fit:
        rows = json.loads(RESULT.read_text("utf-8"))["rows"]
    else:
        rows = [apart(__file__, name, family) for name in (*FITTED, *HELD_OUT) for family in FAMILIES]
    fitted = [row for row in rows if row["layer"] in FITTED]
    factors = {family: fit([row for row in fitted if row["family"] == family]) for family in FAMILIES}
    judge(rows, factors)
    RESULT.write_text(
        json.dumps({"yosys": yosys_version(), "decoder_factors": factors, "rows": rows}, indent=1) + "\n", "utf-8"
    )
    for row in rows:
        both = [(row["measured"][p], row["estimated"][p], row["error_percent"][p]) for p in ("block", "codebook")]
        print(row["layer"], row["family"], *((m["places"], e, m["block_rams"], x["block_rams"]) for m, x, e in both))
    print(factors)


if __name__ == "__main__":
    main()
