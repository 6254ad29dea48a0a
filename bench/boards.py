"""Networks on boards, planned and built by the command line: writes bench/results/boards.json.

Run as ``python bench/boards.py [NETWORK:BOARD ...]``: plans every pair, up to a minute each, then builds those named,
or `BUILT`: a minute for a small network, hours for FINN's CNV. ``--plans`` builds none; ``--only NETWORK:BOARD`` plans
and builds that pair alone; ``--table`` writes docs/reference/boards.md from the file, and measures nothing. Each result
is in the file at once, and what is not measured again stays as it was. FINN's networks and the images are in the folder
that XNORWEAVE_SHARED names.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boards_table import table

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("XNORWEAVE_SHARED") or ROOT.parent / "shared")
RESULT = ROOT / "bench" / "results" / "boards.json"
TABLE = ROOT / "docs" / "reference" / "boards.md"
BOARDS = ("icebreaker", "ice40-hx8k-b-evn", "ulx3s-25f", "ulx3s-45f", "ulx3s-85f")

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network, and what its builds are simulated on.

    Parameters
    ----------
    net : str
        As on the command line.
    data : Path, optional
        Images; those shipped with the network where absent.
    images : int
        How many to simulate.
    """

    net: str
    data: Path | None
    images: int


NETWORKS = {
    "fashion_mnist": Case(net="fashion_mnist", data=None, images=200),
    "fashion_mnist_fast": Case(
        net=str(ROOT / "examples" / "fashion_mnist_fast.npz"),
        data=ROOT / "gen" / "networks" / "fashion_mnist_test200.npz",
        images=200,
    ),
    "tfcW1A1_mnist": Case(
        net=str(SHARED / "nets" / "TFC_1W1A.onnx"), data=SHARED / "data" / "mnist_test.npz", images=50
    ),
    "lfcW1A1_mnist": Case(
        net=str(SHARED / "nets" / "lfcW1A1_mnist.npz"), data=SHARED / "data" / "mnist_test.npz", images=50
    ),
    "cnvW1A1_cifar10": Case(
        net=str(SHARED / "nets" / "cnvW1A1_cifar10.npz"),
        data=SHARED / "data" / "cifar10_test_lossless249.npz",
        images=8,
    ),
}
PAIRS = tuple(f"{network}:{board}" for network in NETWORKS for board in BOARDS)
# What a pair is planned and built with besides.
OPTIONS: dict[str, tuple[str, ...]] = {
    "fashion_mnist_fast:icebreaker": ("--clock", "30", "--fps", "27000"),
    "cnvW1A1_cifar10:ulx3s-45f": ("--clock", "50", "--fps", "1450"),
    "cnvW1A1_cifar10:ulx3s-85f": ("--clock", "50", "--fps", "5100"),
}
# The smallest boards that hold a network, and those that show how its rate grows.
BUILT = (
    "fashion_mnist:icebreaker",
    "fashion_mnist:ice40-hx8k-b-evn",
    "fashion_mnist:ulx3s-85f",
    "fashion_mnist_fast:icebreaker",
    "tfcW1A1_mnist:icebreaker",
    "lfcW1A1_mnist:ulx3s-85f",
    "cnvW1A1_cifar10:ulx3s-45f",
    "cnvW1A1_cifar10:ulx3s-85f",
)


def clock_of(options: tuple[str, ...]) -> float | None:
    """The clock that options ask for, in MHz; none for the board's own."""
    return float(options[options.index("--clock") + 1]) if "--clock" in options else None


def run(*arguments: str) -> tuple[dict[str, Any] | None, Row]:
    """A command's document, none where it fails; and what is kept of any run: its seconds, or why it failed."""
    start = time.perf_counter()
    done = subprocess.run(
        [str(Path(sys.executable).with_name("xnorweave")), *arguments, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    kept: Row = {"seconds": round(time.perf_counter() - start, 1)}
    if done.returncode == 0:
        return json.loads(done.stdout), kept
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    if done.returncode == 1 and said:
        return None, {"refused": plain(said[-1].removeprefix("error: "))} | kept
    last = plain((done.stderr.strip().splitlines() or [""])[-1])
    return None, {"failed": f"exit code {done.returncode}: {last}"} | kept


def plain(line: str) -> str:
    """An error line without folders, which are of one machine."""
    return re.sub(r"/[^\s:;,]*/", "", re.sub(r"[;,]? logs?: \S+", "", line))


def plan(case: Case, board: str, options: Sequence[str] = ()) -> Row:
    """What `xnorweave plan` chooses and estimates, or why not."""
    document, kept = run("plan", case.net, "--board", board, *options)
    if document is None:
        return kept
    chosen, synthesis = document["plan"], document["synthesis"]
    names = ("luts", "luts_available", "block_rams", "block_rams_available", "clock_mhz", "frames_per_second")
    slowest = {name: chosen[name] for name in ("interval_cycles", "slowest")}
    return slowest | {name: synthesis[name] for name in names} | kept


def build(case: Case, board: str, planned: Row, options: Sequence[str] = ()) -> Row:
    """What `xnorweave build` came to, beside what was planned just before; or why not."""
    with tempfile.TemporaryDirectory() as folder:
        data = ["--data", str(case.data)] if case.data else []
        more = ["--images", str(case.images), *data, *options]
        document, kept = run("build", case.net, "--board", board, "-o", f"{folder}/build", *more)
    if document is None:
        return kept
    made, synthesis, simulation = document["plan"], document["synthesis"], document["simulation"]
    left_out = ("board", "device", "bitstream", "baud", "baud_error_percent")
    row = {name: value for name, value in synthesis.items() if name not in left_out}
    row |= {name: made.get(name) for name in ("interval_cycles", "interval_cycles_measured", "latency_cycles")}
    row |= {name: simulation[name] for name in ("simulator", "images", "mismatches")}
    row |= {"accuracy": document.get("accuracy")} | kept
    if "luts" in planned:
        row |= {"planned": planned, "error_percent": errors(planned, row)}
    return row


def errors(planned: Row, built: Row) -> Row:
    """How far what was planned is from what was built, in percent of that."""
    names = ("luts", "block_rams", "frames_per_second")
    return {name: round(100 * (planned[name] / built[name] - 1), 1) for name in names if built.get(name)}


class Results:
    """The rows of a file, by pair. The file is whole at any time, and read again before each change.

    Parameters
    ----------
    path : Path
        Of the file; need not be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self, pair: str, part: str, result: Row) -> None:
        """Put a pair's ``plan`` or ``build`` into the file; what only failed takes the place of no result."""
        print(pair, part, json.dumps(result), flush=True)
        network, board = pair.split(":")
        rows = {f"{row['network']}:{row['board']}": row for row in self.rows}
        row = rows.setdefault(pair, {"network": network, "board": board})
        if "failed" in result and part in row and "failed" not in row[part]:
            return
        row[part] = result
        place = {known: number for number, known in enumerate(PAIRS)}
        ordered = [rows[name] for name in sorted(rows, key=lambda name: (place.get(name, len(place)), name))]
        beside = self._path.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps({"rows": ordered}, indent=1) + "\n", "utf-8")
        beside.replace(self._path)

    @property
    def rows(self) -> list[Row]:
        """All rows, in the order of `PAIRS`."""
        return json.loads(self._path.read_text("utf-8"))["rows"] if self._path.exists() else []


def measure(results: Results, planned: list[str], built: list[str]) -> None:
    """Plan and then build pairs; each is kept as soon as it is done."""
    plans: dict[str, Row] = {}
    for pair in planned:
        network, board = pair.split(":")
        plans[pair] = plan(NETWORKS[network], board, OPTIONS.get(pair, ()))
        results.keep(pair, "plan", plans[pair])
    for pair in built:
        network, board = pair.split(":")
        results.keep(pair, "build", build(NETWORKS[network], board, plans[pair], OPTIONS.get(pair, ())))


def known(pair: str) -> str:
    """A pair of the command line."""
    if pair not in PAIRS:
        raise argparse.ArgumentTypeError(f"{pair}: give NETWORK:BOARD of {', '.join(NETWORKS)} and {', '.join(BOARDS)}")
    return pair


def main() -> None:
    """Measure what was asked for, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="*", type=known, metavar="NETWORK:BOARD", help="pairs to build")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--plans", action="store_true", help="plan every pair, and build none")
    choice.add_argument("--only", type=known, metavar="NETWORK:BOARD", help="plan and build this pair alone")
    choice.add_argument("--table", action="store_true", help="write docs/reference/boards.md")
    arguments = parser.parse_args()
    if arguments.pairs and (arguments.plans or arguments.only or arguments.table):
        parser.error("pairs to build go with none of --plans, --only and --table")
    results = Results(RESULT)
    if arguments.table:
        TABLE.write_text(table(results.rows), "utf-8")
    elif arguments.only:
        measure(results, [arguments.only], [arguments.only])
    else:
        measure(results, list(PAIRS), [] if arguments.plans else arguments.pairs or list(BUILT))


if __name__ == "__main__":
    main()
