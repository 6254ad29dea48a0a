"""The shipped network on three boards by `xnorweave build`: writes bench/results/boards.json.

Run as ``python bench/boards.py [BOARD ...]``; takes a few minutes a board.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BOARDS = ("icebreaker", "ice40-hx8k-b-evn", "ulx3s-85f")
NETWORK = "fashion_mnist"
RESULT = Path(__file__).parent / "results" / "boards.json"


def build(board: str) -> dict[str, object]:
    """The build's ``synthesis``, ``simulation`` and the seconds it took, or its error."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["xnorweave", "build", NETWORK, "--board", board, "--images", "200", "--json"]
        start = time.perf_counter()
        run = subprocess.run(
            [str(Path(sys.executable).with_name(command[0])), *command[1:], "-o", f"{folder}/build"],
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = round(time.perf_counter() - start, 1)
    if run.returncode:
        return {"board": board, "error": run.stderr.strip().splitlines()[-1], "seconds": seconds}
    report = json.loads(run.stdout)
    return {
        "board": board,
        "synthesis": report["synthesis"],
        "simulation": report["simulation"],
        "plan": report["plan"],
        "seconds": seconds,
    }


def main() -> None:
    """Build for every board named, print and keep the rows."""
    rows = []
    for board in sys.argv[1:] or BOARDS:
        rows.append(build(board))
        print(json.dumps(rows[-1]), flush=True)
    RESULT.write_text(json.dumps({"network": NETWORK, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
