"""The same Verilog and plan whatever order Python's sets and dictionaries of strings come in."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from trials.records import Case, Trial, versions
from xnorweave.emit import emit
from xnorweave.network_file import network_digest
from xnorweave.passes.plan import make_plan
from xnorweave.passes.share import STRATEGIES
from xnorweave.plan_file import plan_document
from xnorweave.sim.random_networks import random_network, random_plan

__all__ = ["TRIAL", "digests", "faults_of"]

_WIRED_SEED, _FOLDED_SEED = 11, 23
_REFERENCE_SEED = "0"


def digests() -> dict[str, str]:
    """SHA-256 of what is made of two networks, by what it is: one wired in every form, one with drawn folds."""
    wired = random_network(np.random.default_rng(_WIRED_SEED))
    folded = random_network(rng := np.random.default_rng(_FOLDED_SEED))
    plans = {"wired": make_plan(wired), "folded": random_plan(rng, folded)}
    made = {"wired network": network_digest(wired).hex(), "folded network": network_digest(folded).hex()}
    made |= {f"{name} plan": json.dumps(plan_document(plan)) for name, plan in plans.items()}
    made |= {f"wired {each}": emit(wired, strategy=each, plan=plans["wired"]).verilog for each in STRATEGIES}
    made["folded auto"] = emit(folded, strategy="auto", plan=plans["folded"]).verilog
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in made.items()}


def faults_of(found: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """Names of what is not the same."""
    return [f"{name} differs" for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]


def under(hash_seed: str) -> dict[str, str]:
    """`digests` in a process with this hash seed."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "trials.hash_seeds"],
        env=os.environ
        | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def run(seed: int, folder: Path) -> Case:
    """One hash seed, compared with seed 0."""
    file = folder / "reference.json"
    if not file.exists():
        file.write_text(json.dumps(under(_REFERENCE_SEED)))
    found = under(str(seed))
    return Case(failures=tuple(faults_of(found, json.loads(file.read_text()))), counts={"texts": len(found)})


TRIAL = Trial(
    name="hash-seeds",
    title="hash seeds",
    full=100,
    checked="Verilog in every form of sharing, plans and network digests are the same bytes as under hash seed 0",
    run=run,
    tools=partial(versions, "amaranth", "yosys"),
)

if __name__ == "__main__":
    print(json.dumps(digests()))
