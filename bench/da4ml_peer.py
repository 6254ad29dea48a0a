"""Sums of a binary layer by da4ml, the strongest peer: its adder graph's counts and its Verilog.

Run as ``python bench/da4ml_peer.py MATRIX.npy OUT_FOLDER [--input-bits N] [--method M] [--cost C]`` by a Python that
has da4ml (the extra ``peer``) and needs nothing else: bench/peer.py calls it. ``MATRIX.npy`` holds int8 of shape
[inputs, outputs] in {-1,+1}; the inputs are unsigned, of N bits, 0 and 1 for one bit, as those of our own graphs.

``OUT_FOLDER/peer.v`` is what da4ml's generator writes, combinational: module `peer` with the ports

* ``model_inp``, inputs * N bits: input k in the bits from k * N up;
* ``model_out``: output c in ``outputs[c].width`` bits from ``outputs[c].offset`` up, two's complement where
  ``outputs[c].signed``.

``OUT_FOLDER/result.json`` has that port list beside version, settings, counts, seconds of the solver alone (by the
clock, and of all its threads together) and the process' peak memory. It is written last, after da4ml's own interpreter
gave the matrix' sums for random vectors.
"""

import argparse
import importlib.metadata
import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
from da4ml.cmvm import CombLogic, solve
from da4ml.codegen import RTLModel
from da4ml.trace import FixedVariableArray, HWConfig, comb_trace
from da4ml.types import minimal_kif
from numpy.typing import NDArray

TOP = "peer"
VECTORS, SEED = 256, 0
# Opcodes of da4ml's graph: what a layer of constant weights may hold.
INPUT, ADD, SUBTRACT = -1, 0, 1
# How an addition is charged: one each, or the bits it takes, da4ml's default where it traces a network.
COSTS = {"additions": HWConfig(-1, -1, -1), "bits": HWConfig(1, -1, -1)}


def solve_sums(matrix: NDArray[np.int8], input_bits: int, method: str, cost: str) -> tuple[CombLogic, dict[str, float]]:
    """The whole graph, both factors of the best decomposition in one, and the solver's time.

    No bound on depth; every depth of the decomposition's spanning tree is tried and the cheapest kept.
    """
    interval = (0.0, 2.0**input_bits - 1, 1.0)
    hardware = COSTS[cost]
    start = time.perf_counter(), time.process_time()
    factors = solve(
        np.ascontiguousarray(matrix, np.float32),
        method0=method,
        qintervals=[interval] * len(matrix),
        adder_size=hardware.adder_size,
        carry_size=hardware.carry_size,
        search_all_decompose_dc=True,
    )
    seconds = {
        "seconds": round(time.perf_counter() - start[0], 2),
        "cpu_seconds": round(time.process_time() - start[1], 2),
    }
    low, high, step = (np.full(len(matrix), bound) for bound in interval)
    inputs = FixedVariableArray.from_lhs(low, high, step, hwconf=hardware)
    return comb_trace(inputs, FixedVariableArray(factors(inputs))), seconds


def graph_counts(logic: CombLogic) -> dict[str, int]:
    """Two-input additions, the bits of their results, adders in a row, and outputs that are negated after them.

    Raises
    ------
    ValueError
        If the graph holds anything else.
    """
    additions = adder_bits = 0
    depth: list[int] = []
    for op in logic.ops:
        if op.opcode == INPUT:
            depth.append(0)
        elif op.opcode in (ADD, SUBTRACT):
            additions += 1
            adder_bits += sum(minimal_kif(op.qint))
            depth.append(1 + max(depth[op.id0], depth[op.id1]))
        else:
            raise ValueError(f"da4ml's graph holds opcode {op.opcode}, neither input, addition nor subtraction")
    return {
        "additions": additions,
        "adder_bits": adder_bits,
        "depth": max(depth[index] for index in logic.out_idxs),
        "negated_outputs": sum(map(bool, logic.out_negs)),
    }


def check_sums(logic: CombLogic, matrix: NDArray[np.int8], input_bits: int) -> None:
    """Compare da4ml's interpreter with the matrix on random vectors, all zeros and all ones.

    Raises
    ------
    ValueError
        If a sum differs.
    """
    vectors = np.random.default_rng(SEED).integers(0, 2**input_bits, (VECTORS, len(matrix)))
    vectors[0], vectors[1] = 0, 2**input_bits - 1
    wrong = np.argwhere(logic.predict(vectors.astype(np.float64)).reshape(VECTORS, -1) != vectors @ matrix.astype(int))
    if len(wrong):
        vector, output = wrong[0]
        raise ValueError(f"da4ml's graph gives a wrong sum: vector {vector} of seed {SEED}, output {output}")


def output_fields(logic: CombLogic) -> list[dict[str, int | bool]]:
    """Where each output lies in ``model_out``.

    Raises
    ------
    ValueError
        If an output counts in steps other than one.
    """
    fields, offset = [], 0
    for output, (signed, integer_bits, fraction_bits) in enumerate(map(minimal_kif, logic.out_qint)):
        if fraction_bits != 0:
            raise ValueError(f"da4ml's output {output} counts in steps of {2.0**-fraction_bits:g}, not 1")
        width = int(signed) + integer_bits
        fields.append({"offset": offset, "width": width, "signed": bool(signed)})
        offset += width
    return fields


def write_verilog(logic: CombLogic, folder: Path) -> None:
    """Write ``peer.v``: da4ml's module and the adders that it instantiates, in one file."""
    RTLModel(logic, TOP, folder / "da4ml", flavor="verilog", print_latency=False).write()
    source = folder / "da4ml" / "src"
    parts = [source / f"{TOP}.v", source / "static" / "shift_adder.v", source / "static" / "negative.v"]
    (folder / f"{TOP}.v").write_text("".join(part.read_text(encoding="utf-8") for part in parts), encoding="utf-8")


def main() -> None:
    """Solve, check and write."""
    parser = argparse.ArgumentParser(description="Sums of a binary layer by da4ml.")
    parser.add_argument("matrix", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--input-bits", type=int, default=1)
    parser.add_argument("--method", default="wmc")
    parser.add_argument("--cost", choices=COSTS, default="additions")
    options = parser.parse_args()
    matrix = np.load(options.matrix, allow_pickle=False)
    if matrix.dtype != np.int8 or matrix.ndim != 2 or not np.isin(matrix, (-1, 1)).all():
        parser.error(f"{options.matrix}: needs int8 of two dimensions in {{-1,+1}}, not {matrix.dtype} {matrix.shape}")
    options.folder.mkdir(parents=True, exist_ok=True)
    logic, seconds = solve_sums(matrix, options.input_bits, options.method, options.cost)
    check_sums(logic, matrix, options.input_bits)
    result: dict[str, Any] = {
        "version": importlib.metadata.version("da4ml"),
        "settings": {"method": options.method, "cost": options.cost, "decomposition": "every depth tried"},
        **seconds,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        **graph_counts(logic),
        "outputs": output_fields(logic),
    }
    write_verilog(logic, options.folder)
    (options.folder / "result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
