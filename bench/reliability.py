"""How hard it is to make a build or a core go wrong: writes bench/results/reliability.json.

Run as ``python bench/reliability.py TRIAL --count N --first SEED``: runs the cases of seeds SEED to SEED + N - 1 of one
trial and puts them into the file; shards with seeds of their own may run at the same time. Without ``--first`` it goes
on with the first seeds that the file lacks; ``--minutes M`` begins no case after that time, and keeps those that were
done. ``--list`` names the trials with their full counts; ``--table`` writes docs/reference/reliability.md from the
file, and tries nothing. Exit code 1: a case failed, or the file has more cases with these seeds already.
"""

import argparse
import math
import sys
import time
from pathlib import Path

from reliability_table import table
from trials import hash_seeds, interruptions, link, mutants, networks, power_up, resets, stalls, tool_faults
from trials.records import Results, Trial, run_shard

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "bench" / "results" / "reliability.json"
TABLE = ROOT / "docs" / "reference" / "reliability.md"
TRIALS: dict[str, Trial] = {
    trial.name: trial
    for trial in (
        networks.AMARANTH,
        networks.ICARUS,
        networks.VERILATOR,
        networks.NETLIST,
        stalls.TRIAL,
        resets.EVERY,
        resets.RANDOM,
        power_up.TRIAL,
        link.TRIAL,
        tool_faults.TRIAL,
        interruptions.DISK_FULL,
        interruptions.CTRL_C,
        interruptions.KILL,
        interruptions.AT_ONCE,
        hash_seeds.TRIAL,
        mutants.TRIAL,
    )
}


def main() -> int:
    """Run one shard, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trial", nargs="?", choices=list(TRIALS), help="what to try")
    parser.add_argument("--count", type=int, metavar="N", help="cases; all that are missing if not given")
    parser.add_argument("--first", type=int, metavar="SEED", help="seed of the first case; the first that is missing")
    parser.add_argument("--minutes", type=float, default=math.inf, metavar="M", help="no case begins after that time")
    parser.add_argument("--list", action="store_true", help="name the trials")
    parser.add_argument("--table", action="store_true", help="write docs/reference/reliability.md")
    arguments = parser.parse_args()
    if sum([arguments.trial is not None, arguments.list, arguments.table]) != 1:
        parser.error("give one of TRIAL, --list and --table")
    results = Results(RESULT)
    if arguments.list:
        print("".join(f"{trial.name:20} {trial.full:6}  {trial.title}\n" for trial in TRIALS.values()), end="")
        return 0
    if arguments.table:
        TABLE.write_text(table(results.rows, list(TRIALS)), "utf-8")
        return 0
    trial = TRIALS[arguments.trial]
    deadline, left = time.monotonic() + 60 * arguments.minutes, arguments.count or trial.full
    if arguments.first is None:
        seeds = results.missing(trial)
    else:
        seeds = range(arguments.first, arguments.first + arguments.count if arguments.count else trial.full)
    failed = False
    if not seeds:
        print(f"{trial.name}: the file has all cases")
    while left and seeds and time.monotonic() < deadline:
        shard = run_shard(trial, seeds.start, min(left, len(seeds)), seconds=deadline - time.monotonic())
        kept = results.keep(trial, shard)
        cases, failures = shard["cases"], len(shard["failures"])
        print(f"{trial.name}: {cases} cases, {failures} failures, {shard['seconds']} s", flush=True)
        if not kept:
            print(f"{trial.name}: left out; the file has more cases with these seeds", flush=True)
            return 1
        failed, left = failed or failures > 0, left - cases
        seeds = results.missing(trial) if arguments.first is None else range(0)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
