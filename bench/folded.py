"""How far the cells that `xnorweave.folded_cost` estimates are from synthesis: writes bench/results/folded_cost.json.

Run as ``python bench/folded.py [--fit]``: some twenty minutes; with ``--fit`` a second on what was measured last.
Folded layers of random weights are mapped as `boards.mapping` maps a core; for iCE40 nextpnr packs them as well. The
factors of `xnorweave.folded_cost` are fitted on some layers; the error is that of the others. Copy ``factors`` and
``error_percent`` into gen/folded_cost.py.
"""

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from layers import FAMILIES, apart, map_component, packed_kinds
from xnorweave import folded_cost
from xnorweave.boards.catalogue import Family
from xnorweave.hw.folded_conv2d import FoldedConv2D
from xnorweave.hw.matrix_vector import MatrixVector
from xnorweave.network import Conv2D, Dense, InputSpec, Network, Threshold
from xnorweave.passes.streamline import ConvStage, DenseStage, streamline
from xnorweave.yosys import yosys_version

RESULT = Path(__file__).parent / "results" / "folded_cost.json"
# conv-CHANNELSxFILTERS-SIDE-PADDING-BITS or dense-INPUTSxOUTPUTS-BITS, then pe x simd x vectors, and where weights are.
FITTED = (
    "dense-256x64-1 4x16x1 block",
    "dense-512x128-1 8x32x1 block",
    "dense-784x64-1 2x49x1 block",
    "dense-128x16-1 2x8x1 logic",
    "dense-64x16-8 2x8x1 block",
    "conv-64x64-12-0-1 4x32x1 block",
    "conv-16x32-8-1-1 4x16x2 block",
    "conv-3x16-10-0-8 4x3x4 block",
    "conv-32x64-5-0-1 8x32x4 block",
    "conv-128x128-6-0-1 2x64x2 block",
    "conv-16x16-8-1-1 2x8x1 logic",
    "conv-1x8-12-0-4 2x1x3 block",
    "conv-16x64-5-0-1 16x16x3 block",
    "conv-8x8-6-1-1 8x8x1 logic",
)
HELD_OUT = (
    "dense-400x128-1 5x16x1 block",
    "dense-256x256-1 16x16x1 block",
    "conv-64x128-14-0-1 8x32x2 block",
    "conv-3x64-32-0-8 8x3x2 block",
    "conv-16x16-13-1-1 4x16x1 block",
    "conv-128x64-5-0-1 4x64x3 block",
)


def stage_of(shape: str) -> ConvStage | DenseStage:
    """A layer of random weights."""
    kind, size, *rest = shape.split("-")
    inputs, outputs = (int(n) for n in size.split("x"))
    bits = int(rest[-1])
    side, padding = (int(n) for n in rest[:2]) if kind == "conv" else (1, 0)
    rng = np.random.default_rng(0)
    form = (outputs, inputs, 3, 3) if kind == "conv" else (outputs, inputs)
    weights = rng.choice(np.array([-1, 1], np.int8), form)
    layer = (
        Conv2D(name="c", weights=weights, padding=(padding, padding, padding, padding))
        if kind == "conv"
        else Dense(name="c", weights=weights)
    )
    table = (np.arange(256) >> (8 - bits)).astype(np.int16) if bits > 1 else None
    reach = weights[0].size ** 0.5 * 2**bits / 2
    thresholds = np.rint(rng.normal(0, reach, outputs)).astype(np.int32)
    spec = InputSpec(kind="pixels" if bits > 1 else "bits", shape=(inputs, side, side), table=table)
    stages = streamline(Network(name="n", input=spec, layers=(layer, Threshold(name="t", thresholds=thresholds))))
    stage = next(s for s in stages if isinstance(s, (ConvStage, DenseStage)))
    assert stage.encoding.bits == bits
    return stage


def options_of(fold: str, place: str, stage: ConvStage | DenseStage) -> dict[str, Any]:
    """What `xnorweave.folded_cost` is asked for."""
    pe, simd, vectors = (int(n) for n in fold.split("x"))
    rows = 2 * stage.input_shape[1] if isinstance(stage, ConvStage) else 0
    return {"pe": pe, "simd": simd, "vectors": vectors, "storage": place, "buffer_rows": rows}


def _rows(stage: ConvStage | DenseStage) -> np.ndarray:
    """Weights of each output over its inputs in stream order."""
    weights = stage.weights.transpose(0, 2, 3, 1) if isinstance(stage, ConvStage) else stage.weights
    return weights.reshape(len(weights), -1)


def component(stage: ConvStage | DenseStage, options: dict[str, Any]) -> Any:
    """The hardware of a folded layer."""
    masks = tuple(int.from_bytes(np.packbits(row > 0, bitorder="little").tobytes(), "little") for row in _rows(stage))
    pe, simd, block = options["pe"], options["simd"], options["storage"] == "block"
    if isinstance(stage, DenseStage):
        return MatrixVector(
            weights=masks, inputs=stage.weights.shape[1], input_bits=stage.encoding.bits, biases=stage.biases,
            fires=stage.fires, pe=pe, simd=simd, block_ram=block, steps=stage.steps,
        )  # fmt: skip
    return FoldedConv2D(
        weights=masks, channels=stage.input_shape[0], input_bits=stage.encoding.bits, thresholds=stage.thresholds,
        size=stage.input_shape[1:], kernel=stage.weights.shape[2:], stride=stage.stride, padding=stage.padding,
        pe=pe, simd=simd, vectors=options["vectors"], buffer_rows=options["buffer_rows"], block_ram=block,
        codebook=options["storage"] == "codebook", levels=stage.levels, groups=stage.groups,
    )  # fmt: skip


def measure(name: str, family: Family) -> dict[str, Any]:
    """One row: what synthesis gives, and what is counted for the estimate."""
    shape, fold, place = name.split()
    stage = stage_of(shape)
    options = options_of(fold, place, stage)
    parts, memories = folded_cost.folded_parts(stage, family, **options)
    return {
        "layer": name,
        "family": family,
        "measured": mapped(stage, options, family),
        "parts": dataclasses.asdict(parts),
        "memory": dataclasses.asdict(memories),
    }


def mapped(stage: ConvStage | DenseStage, options: dict[str, Any], family: Family) -> dict[str, int]:
    """Cells of a folded layer after synthesis, and the places that they take."""
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        cells, _ = map_component(component(stage, options), family, folder)
        ecp5_places = cells.luts + 2 * cells.carries + 4 * cells.lut_rams
        places = sum(packed_kinds(folder / "layer.json").values()) if family == "ice40" else ecp5_places
    return {"places": places} | dataclasses.asdict(cells)


def fit(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Factors, none below 0, of the least relative error over one family's fitted rows."""
    names = list(rows[0]["parts"])
    wanted = np.array([row["measured"]["places"] - row["memory"]["luts"] for row in rows], float)
    matrix = np.array([[row["parts"][name] for name in names] for row in rows], float)
    weight = 1 / np.array([row["measured"]["places"] for row in rows], float)
    # Few rows: a factor that they say little of stays near 1.
    pull = np.diag(matrix.max(0) * weight.min()) * 0.02
    factors, _ = nnls(np.vstack([matrix * weight[:, None], pull]), np.concatenate([wanted * weight, pull.sum(1)]))
    return {name: round(float(factor), 3) for name, factor in zip(names, factors, strict=True)}


def judge(rows: list[dict[str, Any]], factors: dict[str, dict[str, float]]) -> dict[Family, float]:
    """Give every row its estimate; the largest error of rows that were not fitted, in percent, by family."""
    worst = dict.fromkeys(FAMILIES, 0.0)
    for row in rows:
        luts = sum(factors[row["family"]][name] * count for name, count in row["parts"].items())
        places = row["measured"]["places"]
        row["estimated"] = {"places": round(luts + row["memory"]["luts"]), "block_rams": row["memory"]["block_rams"]}
        row["error_percent"] = round(100 * (row["estimated"]["places"] / places - 1), 1)
        row["fitted"] = row["layer"] in FITTED
        if not row["fitted"]:
            worst[row["family"]] = max(worst[row["family"]], abs(row["error_percent"]))
    return worst


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
        for row in rows:
            shape, fold, place = row["layer"].split()
            stage = stage_of(shape)
            parts, memories = folded_cost.folded_parts(stage, row["family"], **options_of(fold, place, stage))
            row |= {"parts": dataclasses.asdict(parts), "memory": dataclasses.asdict(memories)}
    else:
        rows = [apart(__file__, name, family) for name in (*FITTED, *HELD_OUT) for family in FAMILIES]
    fitted = [row for row in rows if row["layer"] in FITTED]
    factors = {family: fit([row for row in fitted if row["family"] == family]) for family in FAMILIES}
    document = {"yosys": yosys_version(), "factors": factors, "error_percent": judge(rows, factors), "rows": rows}
    RESULT.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    for row in rows:
        memory = (row["measured"]["block_rams"], row["estimated"]["block_rams"])
        print(row["layer"], row["family"], row["measured"]["places"], row["error_percent"], "block RAMs", memory)
    print({key: document[key] for key in ("factors", "error_percent")})


if __name__ == "__main__":
    main()
