"""da4ml as a peer: its graph of a layer's sums, checked, and the layer mapped by the Yosys that maps ours.

The peer lives in an environment of its own (the extra ``peer``); XNORWEAVE_PEER_PYTHON names that environment's Python.
Run as ``python bench/peer.py MATRIX.npy [--input-bits N] [--family F]`` it prints one matrix' result as JSON.
"""

import argparse
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layers import packed_cells
from xnorweave.boards.catalogue import Family
from xnorweave.boards.mapping import SYNTHESIS, count_cells
from xnorweave.errors import MismatchError, ToolchainError
from xnorweave.processes import run_tool
from xnorweave.sim.simulators import command, find_icarus
from xnorweave.yosys import run_yosys

__all__ = ["PYTHON_VARIABLE", "peer_layer", "peer_python", "peer_sums"]

PYTHON_VARIABLE = "XNORWEAVE_PEER_PYTHON"
# Its default, which weighs a pair by the bits that overlap, and plain counting, which gave 4 to 5 % fewer additions for
# random 72 x 16 and 144 x 32; delay-aware methods and bounds on depth gave more.
METHODS = ("mc", "wmc")
TIMEOUT_S = 900.0
VECTORS, SEED = 128, 1
STYLES = ("kept", "dissolved", "flat")
ROOT = Path(__file__).parents[1] / "build" / "peer"
_SCRIPT = Path(__file__).with_name("da4ml_peer.py")
_REMEDY = "make an environment with the extra `peer` and name its Python in " + PYTHON_VARIABLE


def peer_python() -> str | None:
    """The Python that has da4ml, or None where the environment names none: then leave the peer's rows out."""
    return os.environ.get(PYTHON_VARIABLE) or None


def peer_sums(
    matrix: NDArray[np.int8],
    input_bits: int,
    *,
    methods: tuple[str, ...] = METHODS,
    timeout_s: float = TIMEOUT_S,
    root: Path = ROOT,
) -> dict[str, Any]:
    """The peer's graph with the fewest additions, its Verilog simulated against the matrix.

    Each method runs once per matrix, in a process of its own: a result that lies in ``root`` is taken as it is, and so
    is that there was none in as long a time.

    Parameters
    ----------
    matrix : int8 array [inputs, outputs]
        Weights in {-1,+1}.
    input_bits : int
        Width of an input, in bits; inputs are unsigned.
    methods : tuple of str
        Of da4ml, to take the best of.
    timeout_s : float
        Longest run of one method, in seconds.
    root : Path
        Where results are kept, a folder for each matrix.

    Returns
    -------
    dict
        ``result.json`` of bench/da4ml_peer.py, ``folder``, ``vectors_checked`` and, in ``methods``, what each method
        gave; or ``no_answer_s`` and ``methods`` alone where none ended in time.

    Raises
    ------
    ToolchainError
        If no peer is named, or it or Icarus Verilog fails.
    MismatchError
        If the peer's Verilog gives a wrong sum.
    """
    folder = _prepare(matrix, input_bits, root)
    found = {method: _solve(folder, input_bits, method, timeout_s) for method in methods}
    answers = {method: result for method, result in found.items() if "additions" in result}
    apart = ("version", "settings", "outputs")
    told = {method: {k: v for k, v in result.items() if k not in apart} for method, result in found.items()}
    if not answers:
        return {"no_answer_s": timeout_s, "methods": told}
    method, best = min(answers.items(), key=lambda item: item[1]["additions"])
    _check_sums(folder / method, best["outputs"], matrix, input_bits)
    return {**best, "folder": str(folder / method), "vectors_checked": VECTORS, "methods": told}


def peer_layer(
    matrix: NDArray[np.int8],
    input_bits: int,
    families: tuple[Family, ...],
    thresholds: NDArray[np.integer] | None = None,
    *,
    methods: tuple[str, ...] = METHODS,
    styles: tuple[str, ...] = STYLES,
    timeout_s: float = TIMEOUT_S,
    root: Path = ROOT,
) -> dict[str, Any]:
    """Cells of a whole layer: the peer's sums and thresholds between registers.

    ``flat`` gives Yosys the whole as it is; ``kept`` keeps the peer's adder modules until they are cells, ``dissolved``
    until their arithmetic is mapped, as `boards.mapping` does with ours. Comparisons are those of our own layers: as
    carry chains they took 16 LUTs and 81 carries for 16 outputs, instead of 42 LUTs.

    Parameters
    ----------
    matrix, input_bits, methods, timeout_s, root
        As in `peer_sums`; each run of Yosys has as long.
    families : tuple of {"ice40", "ecp5"}
        Whose cells.
    thresholds : integer array [outputs], optional
        An output fires when its sum is at least its threshold; the middle of each sum's reach where left out.
    styles : tuple of {"kept", "dissolved", "flat"}
        What to map.

    Returns
    -------
    dict
        Of `peer_sums` without the ports, and for each family and style ``luts``, ``carries``, ``places`` (as in
        `layers.MappedLayer`), ``flip_flops`` and ``yosys_seconds``, or ``no_answer_s``.

    Raises
    ------
    ToolchainError, MismatchError
        As `peer_sums`; the layer's activations are simulated as well.
    """
    sums = peer_sums(matrix, input_bits, methods=methods, timeout_s=timeout_s, root=root)
    if "no_answer_s" in sums:
        return sums
    folder = Path(sums["folder"])
    middle = -(-matrix.sum(0, dtype=np.int64) * (2**input_bits - 1) // 2)
    limits = middle if thresholds is None else thresholds.astype(np.int64)
    outputs = sums.pop("outputs")
    (folder / "layer.v").write_text(_layer(len(matrix) * input_bits, outputs, limits.tolist()), encoding="utf-8")
    vectors = _vectors(len(matrix), input_bits)
    fires = (vectors @ matrix.astype(np.int64) >= limits).astype(np.int64)
    words = [_pack(row, [1] * len(outputs)) for row in fires]
    ports = ".clk(clk), .x(x), .y(y)"
    _simulate(folder, f"layer dut({ports});", _input_words(vectors, input_bits), words, ("layer.v", "peer.v"))
    for family in families:
        sums[family] = {style: _map(folder, family, style, timeout_s) for style in styles}
    return sums


def _prepare(matrix: NDArray[np.int8], input_bits: int, root: Path) -> Path:
    """The matrix' own folder, named after all that its results depend on."""
    content = f"{matrix.shape} {input_bits}".encode() + matrix.astype(np.int8).tobytes() + _SCRIPT.read_bytes()
    folder = root.resolve() / hashlib.sha256(content).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "matrix.npy", matrix.astype(np.int8))
    return folder


def _timed_out(start: float, timeout_s: float) -> bool:
    """Whether a tool that failed had used up its time."""
    return time.monotonic() - start >= timeout_s


def _solve(folder: Path, input_bits: int, method: str, timeout_s: float) -> dict[str, Any]:
    result = folder / method / "result.json"
    known = json.loads(result.read_text(encoding="utf-8")) if result.exists() else {"no_answer_s": 0}
    if known.get("no_answer_s", timeout_s) < timeout_s:
        python = peer_python()
        if python is None:
            raise ToolchainError(f"da4ml: {PYTHON_VARIABLE} is not set; remedy: {_REMEDY}")
        arguments = ["matrix.npy", method, "--input-bits", str(input_bits), "--method", method]
        start = time.monotonic()
        try:
            run_tool(
                [python, "-P", str(_SCRIPT), *arguments],
                folder=folder,
                log=f"{method}.log",
                timeout_s=timeout_s,
                tool="da4ml",
                remedy=_REMEDY,
            )
        except ToolchainError:
            if not _timed_out(start, timeout_s):
                raise
            result.parent.mkdir(exist_ok=True)
            result.write_text(json.dumps({"no_answer_s": timeout_s}) + "\n", encoding="utf-8")
    return json.loads(result.read_text(encoding="utf-8"))


def _vectors(inputs: int, input_bits: int) -> NDArray[np.int64]:
    """Random inputs; all zeros and all ones first."""
    vectors = np.random.default_rng(SEED).integers(0, 2**input_bits, (VECTORS, inputs))
    vectors[0], vectors[1] = 0, 2**input_bits - 1
    return vectors


def _pack(values: NDArray[np.int64], widths: list[int]) -> int:
    """Values side by side in one word, the first lowest, each in two's complement."""
    word = offset = 0
    for value, width in zip(values.tolist(), widths, strict=True):
        word |= (value & (1 << width) - 1) << offset
        offset += width
    return word


def _input_words(vectors: NDArray[np.int64], input_bits: int) -> list[int]:
    return [_pack(row, [input_bits] * len(row)) for row in vectors]


def _check_sums(folder: Path, outputs: list[dict[str, Any]], matrix: NDArray[np.int8], input_bits: int) -> None:
    """Simulate ``peer.v``."""
    vectors = _vectors(len(matrix), input_bits)
    widths = [field["width"] for field in outputs]
    words = [_pack(row, widths) for row in vectors @ matrix.astype(np.int64)]
    dut = "peer dut(.model_inp(x), .model_out(y));"
    _simulate(folder, dut, _input_words(vectors, input_bits), words, ("peer.v",))


def _simulate(folder: Path, dut: str, inputs: list[int], expected: list[int], sources: tuple[str, ...]) -> None:
    """Drive ``x``, clock twice, and compare ``y``.

    Raises
    ------
    MismatchError
        If any vector differs.
    """
    find_icarus()
    input_bits, output_bits = (max(1, max(words).bit_length()) for words in (inputs, expected))
    for name, words in (("x.hex", inputs), ("y.hex", expected)):
        (folder / name).write_text("".join(f"{word:x}\n" for word in words), encoding="utf-8")
    count = len(inputs)
    text = f"""`timescale 1ns/1ps
module bench;
  reg [{input_bits - 1}:0] inputs [0:{count - 1}], x;
  reg [{output_bits - 1}:0] expected [0:{count - 1}];
  wire [{output_bits - 1}:0] y;
  reg clk = 0;
  integer k, wrong = 0;
  {dut}
  initial begin
    $readmemh("x.hex", inputs);
    $readmemh("y.hex", expected);
    for (k = 0; k < {count}; k = k + 1) begin
      x = inputs[k];
      repeat (4) #1 clk = !clk;
      #1 if (y !== expected[k]) wrong = wrong + 1;
    end
    $display("%0d of {count} vectors differ", wrong);
    $finish;
  end
endmodule
"""
    (folder / "bench.v").write_text(text, encoding="utf-8")
    arguments = ["iverilog", "-g2012", "-o", "bench.vvp", "-s", "bench", "bench.v", *sources]
    command(arguments, folder=folder, log="icarus.log", what="iverilog")
    command(["vvp", "-n", "bench.vvp"], folder=folder, log="vvp.log", what="vvp", timeout_s=TIMEOUT_S)
    log = folder / "vvp.log"
    if f"0 of {count} vectors differ" not in log.read_text(encoding="utf-8").splitlines():
        raise MismatchError(f"da4ml: its Verilog differs from the matrix; log: {log}; remedy: leave the peer out")


def _at_least(name: str, width: int, signed: bool, threshold: int) -> str:
    """``sum >= threshold`` as `hw.threshold` builds it: AND and OR from the lowest bit, three bits to a LUT4."""
    low = -(1 << width - 1) if signed else 0
    if not low < threshold < low + (1 << width):
        return f"1'b{int(threshold <= low)}"
    result = "1'b1"
    for place in range(width):
        bit = f"{'~' if signed and place == width - 1 else ''}{name}[{place}]"
        result = f"({bit} {'&' if (threshold - low) >> place & 1 else '|'} {result})"
    return result


def _layer(input_bits: int, outputs: list[dict[str, Any]], thresholds: list[int]) -> str:
    """Verilog of the peer's sums with thresholds, between registers."""
    sums_bits = outputs[-1]["offset"] + outputs[-1]["width"]
    lines = []
    for number, (field, threshold) in enumerate(zip(outputs, thresholds, strict=True)):
        offset, width = field["offset"], field["width"]
        fires = _at_least(f"s{number}", width, field["signed"], threshold)
        lines.append(f"  wire [{width - 1}:0] s{number} = sums[{offset + width - 1}:{offset}];")
        lines.append(f"  always @(posedge clk) y[{number}] <= {fires};")
    return "\n".join(
        [
            f"module layer(input clk, input [{input_bits - 1}:0] x, output reg [{len(outputs) - 1}:0] y);",
            f"  reg [{input_bits - 1}:0] held;",
            f"  wire [{sums_bits - 1}:0] sums;",
            "  always @(posedge clk) held <= x;",
            "  peer sums_of_held(.model_inp(held), .model_out(sums));",
            *lines,
            "endmodule\n",
        ]
    )


def _map(folder: Path, family: Family, style: str, timeout_s: float) -> dict[str, Any]:
    """Cells of ``layer.v``, or how long there was no answer."""
    name, synthesis = f"{family}_{style}", f"{SYNTHESIS[family]} -top layer"
    keep = ["hierarchy -top layer", "setattr -mod -set keep_hierarchy 1 *shift_adder* *negative*"]
    dissolve = ["setattr -mod -unset keep_hierarchy *", "flatten", "opt_clean -purge"]
    mapping = {
        "flat": [synthesis],
        "kept": [*keep, synthesis, *dissolve],
        "dissolved": [*keep, f"{synthesis} -run begin:map_luts", *dissolve, f"{synthesis} -run map_luts:"],
    }[style]
    script = [
        "read_verilog peer.v layer.v",
        *mapping,
        "opt_clean -purge",
        f"tee -q -o {name}.json stat -json",
        f"write_json {name}_netlist.json",
    ]
    start = time.monotonic()
    try:
        run_yosys(script, folder=folder, log=f"{name}.log", timeout_s=timeout_s)
    except ToolchainError:
        if not _timed_out(start, timeout_s):
            raise
        return {"no_answer_s": timeout_s}
    seconds = time.monotonic() - start
    cells = count_cells(folder / f"{name}.json")
    ecp5_places = cells.luts + 2 * cells.carries
    return {
        "luts": cells.luts,
        "carries": cells.carries,
        "places": packed_cells(folder / f"{name}_netlist.json") if family == "ice40" else ecp5_places,
        "flip_flops": cells.flip_flops,
        "yosys_seconds": round(seconds, 1),
    }


def main() -> None:
    """Print one matrix' result."""
    parser = argparse.ArgumentParser(description="da4ml on one matrix.")
    parser.add_argument("matrix", type=Path)
    parser.add_argument("--input-bits", type=int, default=1)
    parser.add_argument("--family", choices=SYNTHESIS, action="append", help="map to its cells, too")
    parser.add_argument("--style", choices=STYLES, action="append", help="how; every way where left out")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, help="of each run, in seconds")
    options = parser.parse_args()
    matrix = np.load(options.matrix, allow_pickle=False)
    styles = tuple(options.style or STYLES)
    if options.family:
        families = tuple(options.family)
        found = peer_layer(matrix, options.input_bits, families, styles=styles, timeout_s=options.timeout)
    else:
        found = peer_sums(matrix, options.input_bits, timeout_s=options.timeout)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
