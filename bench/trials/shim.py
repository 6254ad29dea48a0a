"""Stands in for a tool on PATH: runs the real one, or repeats what it once wrote, and does what a fault says.

Placed by `trials.builds`, under the tool's name; needs nothing but the standard library. The environment has
``TRIAL_TOOLS``, a JSON file: ``store`` (folder of what tools once wrote), ``real`` (command by tool), ``versions``
(what each says of itself, and where it is old), ``order`` (calls in the order of a build), ``record``, ``pause_s``, and
``fault`` (``call``, ``kind``, ``file``, ``left``, ``at_line``).
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_VERSION_QUESTIONS = {("-V",), ("--version",)}


def call_of(tool: str, arguments: list[str]) -> str:
    """Which call of a build this is: Yosys runs a script named after its task."""
    return f"yosys-{Path(arguments[-1]).stem}" if tool == "yosys" else tool


def written(folder: Path) -> dict[str, float]:
    """Files below a folder, and when they were written."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".log")
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files}


def run_real(command: list[str], arguments: list[str], kept: Path | None) -> int:
    """Run the tool; where asked, keep what it wrote and said."""
    before = written(Path.cwd())
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if kept else {}
    done = subprocess.run([*command, *arguments], check=False, **pipes)
    if kept:
        sys.stdout.buffer.write(done.stdout)
        for name, when in written(Path.cwd()).items():
            if before.get(name) != when:
                (kept / "files" / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(name, kept / "files" / name)
        (kept / "files").mkdir(parents=True, exist_ok=True)
        (kept / "stdout").write_bytes(done.stdout)
    return done.returncode


def repeat(kept: Path) -> int:
    """Write and say what the tool once did."""
    shutil.copytree(kept / "files", Path.cwd(), dirs_exist_ok=True)
    sys.stdout.buffer.write((kept / "stdout").read_bytes())
    return 0


def beginning(whole: bytes, share: float, *, at_line: bool) -> bytes:
    """So much of a file; where asked, up to the end of a line, if it has any."""
    cut = whole[: int(share * len(whole))]
    return cut[: cut.rfind(b"\n") + 1] or cut if at_line else cut


def spoil(kept: Path, names: list[str], share: float, *, at_line: bool = False, garbage: bool = False) -> None:
    """Write only the beginning of files, or noise of their size, in place of what the tool would."""
    for name in names:
        whole = (kept / "files" / name).read_bytes()
        content = random.Random(name).randbytes(len(whole)) if garbage else beginning(whole, share, at_line=at_line)
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)


def fail(kind: str, kept: Path) -> int:
    """What a tool does that ends half-way, or never."""
    names = sorted(str(path.relative_to(kept / "files")) for path in (kept / "files").rglob("*") if path.is_file())
    spoil(kept, names, 0.5)
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "hanging":
        time.sleep(3600)
    print("ERROR: nothing works today")
    return 3


def main() -> int:
    """Be the tool by whose name this was called."""
    setup: dict[str, Any] = json.loads(Path(os.environ["TRIAL_TOOLS"]).read_text())
    tool, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    fault = setup.get("fault") or {"call": "", "kind": "", "file": ""}
    if tuple(arguments) in _VERSION_QUESTIONS:
        old = fault["kind"] == "old" and fault["call"].startswith(tool)
        print(setup["versions"][tool][1 if old else 0])
        return 0
    call = call_of(tool, arguments)
    if tool == "yosys":  # the package's takes the script alone
        arguments = arguments[-1:]
    kept = Path(setup["store"]) / call
    time.sleep(setup.get("pause_s", 0.0))
    if call == fault["call"] and fault["kind"] in ("failing", "killed", "hanging"):
        return fail(fault["kind"], kept)
    before_fault = call in setup["order"] and (
        not fault["call"] or setup["order"].index(call) < setup["order"].index(fault["call"])
    )
    if before_fault and not setup.get("record") and kept.exists():
        status = repeat(kept)
    else:
        status = run_real(setup["real"][tool], arguments, kept if setup.get("record") else None)
    if call == fault["call"] and fault["file"]:
        garbage = fault["kind"] == "garbage"
        spoil(kept, [fault["file"]], fault["left"], at_line=fault["at_line"], garbage=garbage)
    return status


if __name__ == "__main__":
    sys.exit(main())
