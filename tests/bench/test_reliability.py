"""Trials of bench/reliability.py: a few cases of each here, all of them where slow; and each sees a planted fault.

Random networks in quick form are tests/e2e/test_random_networks.py, hash seeds tests/gen/test_emit.py, the parts of a
link tests/boards/test_link.py.
"""

import dataclasses
import multiprocessing
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest

import reliability
from reliability_table import table
from trials import builds, hash_seeds, interruptions, link, mutants, networks, power_up, resets, stalls, tool_faults
from trials.equivalent_mutants import EQUIVALENT
from trials.mutations import mutants_of
from trials.records import Case, Results, Trial, run_shard
from xnorweave.boards.packets import Kind, Packet, packet_bytes
from xnorweave.emit import START_FLAG
from xnorweave.errors import DataError, MismatchError
from xnorweave.lower import lower
from xnorweave.network import Threshold
from xnorweave.sim.run import simulate

SMALL = 3  # seed of a network of one layer
FREE = 13  # seed of one whose adder graph runs free
SHARDS = 10


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("name", reliability.TRIALS)
def test_whole_trials(name, shard):
    trial = reliability.TRIALS[name]
    first, end = (trial.full * part // SHARDS for part in (shard, shard + 1))
    found = run_shard(trial, first, end - first)
    assert 100 * len(found["failures"]) <= (100 - trial.accepted_percent) * found["cases"], found["failures"]


# --- records and the table


def trial(run, **fields):
    return Trial(name="try", title="t", full=9, checked="c", run=run, tools=lambda: {"tool": "1"}, **fields)


def odd(seed, _):
    return Case(failures=("odd",) if seed % 2 else (), counts={"done": 1})


def test_a_shard_counts_cases_and_tells_failures():
    said = []
    row = run_shard(trial(odd), 4, 4, tell=said.append)
    assert row["failures"] == [{"seed": 5, "what": ["odd"]}, {"seed": 7, "what": ["odd"]}]
    assert (row["first"], row["cases"], row["counts"], row["tools"]) == (4, 4, {"done": 4}, {"tool": "1"})
    assert said == ["try, seed 5: odd", "try, seed 7: odd"]


def test_an_error_is_a_failure_of_its_case_without_folders():
    def run(seed, folder):
        if seed:
            raise DataError(f"{folder}/x.npz: not read; see /home/me/log")
        raise ValueError("a bug")

    first, second = run_shard(trial(run), 0, 2, tell=lambda _: None)["failures"]
    assert first["what"][0].endswith("ValueError: a bug")
    assert second["what"] == ["DataError: x.npz: not read; see log"]


def test_shards_come_together_and_none_counts_twice(tmp_path):
    results = Results(tmp_path / "r.json")
    kept = []
    for first, count in ((0, 4), (8, 2), (4, 2), (7, 3), (2, 3), (0, 3)):
        kept.append(results.keep(trial(odd), run_shard(trial(odd), first, count, tell=lambda _: None)))
    row = results.rows["try"]
    assert kept == [True, True, True, True, False, False]
    assert (row["cases"], row["failures"], row["seeds"], row["counts"]) == (9, 5, "0-5, 7-9", {"done": 9})
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


def test_a_shard_ends_when_its_time_is_over_and_has_what_was_done():
    row = run_shard(trial(odd), 4, 4, seconds=0, tell=lambda _: None)
    assert (row["first"], row["cases"], row["counts"]) == (4, 1, {"done": 1})


def test_the_seeds_that_are_missing_come_next(tmp_path):
    results = Results(tmp_path / "r.json")
    missing = []
    for first, count in ((2, 2), (0, 2), (6, 1), (4, 2), (7, 2)):
        missing.append(results.missing(trial(odd)))
        results.keep(trial(odd), run_shard(trial(odd), first, count, tell=lambda _: None))
    assert missing == [range(9), range(2), range(4, 9), range(4, 6), range(7, 9)]
    assert len(results.missing(trial(odd))) == 0


def test_the_command_runs_the_seeds_that_it_is_told_or_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reliability, "RESULT", tmp_path / "r.json")
    monkeypatch.setattr(reliability, "TRIALS", {"try": trial(even)})

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["reliability.py", "try", *words])
        return reliability.main(), Results(tmp_path / "r.json").rows["try"]["seeds"], capsys.readouterr().out

    assert run("--first", "2", "--count", "2")[:2] == (0, "2-3")
    assert run("--first", "12", "--count", "2")[:2] == (0, "2-3, 12-13")
    assert run("--count", "3")[:2] == (0, "0-4, 12-13")
    assert run("--first", "3", "--count", "1") == (
        *(1, "0-4, 12-13"),
        "try: 1 cases, 0 failures, 0.0 s\ntry: left out; the file has more cases with these seeds\n",
    )
    assert run()[:2] == (0, "0-8, 12-13")
    assert run() == (0, "0-8, 12-13", "try: the file has all cases\n")


def even(seed, _):
    return Case(counts={"done": 1})


def _keep(path, first):
    Results(path).keep(trial(odd), run_shard(trial(odd), first, 1, tell=lambda _: None))


def test_shards_of_several_processes_all_count(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_keep, args=(tmp_path / "r.json", first)) for first in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert Results(tmp_path / "r.json").rows["try"]["seeds"] == "0-7"


def test_the_page_tells_what_was_done_and_what_failed(tmp_path):
    results = Results(tmp_path / "r.json")
    results.keep(trial(odd), run_shard(trial(odd), 0, 4, tell=lambda _: None))
    page = table(results.rows, ["other", "try"])
    assert "| `try` | t | 4 of 9 | 0-3 | 2 |" in page
    assert "* `try`: c. Done: 4 done. With tool 1." in page
    assert page.endswith("## Cases that failed\n\n* `try`, seed 1: odd\n* `try`, seed 3: odd\n")
    assert "Cases that failed" not in table({}, ["try"])


def test_the_page_in_the_docs_is_that_of_the_file():
    page = reliability.TABLE.read_text("utf-8")
    assert page == table(Results(reliability.RESULT).rows, list(reliability.TRIALS))


# --- networks, stalls, resets, power-up


def with_a_wrong_threshold(drawn):
    """The network with a first activation that never fires."""
    layers = list(drawn.network.layers)
    for at, layer in enumerate(layers):
        if isinstance(layer, Threshold):
            layers[at] = Threshold(name=layer.name, thresholds=np.full_like(layer.thresholds, 10**8))
            return dataclasses.replace(drawn.network, layers=tuple(layers))
    raise AssertionError("no threshold")


WITH_THRESHOLD = 2


def test_a_wrong_threshold_is_a_mismatch():
    drawn = networks.draw(WITH_THRESHOLD, largest_side=6, largest_channels=4)
    wrong = lower(with_a_wrong_threshold(drawn), strategy=drawn.strategy, plan=drawn.plan)
    report = simulate(drawn.network, drawn.frames, simulator="amaranth", core=wrong, taps=True)
    assert re.search(r"images differ; frame \d+: layer sign0", networks.faults_of(drawn, report)[0])
    right = simulate(drawn.network, drawn.frames, simulator="amaranth", core=drawn.core(), taps=True)
    assert networks.faults_of(drawn, right) == []


def test_draws_are_of_their_seed_and_have_hardware():
    once, again, other = networks.draw(5), networks.draw(5), networks.draw(7)
    assert once.plan == again.plan
    assert (once.frames == again.frames).all()
    assert other.plan != once.plan


def test_adder_graphs_of_odd_seeds_run_free():
    drawn = {seed: networks.draw(seed, largest_side=6, largest_channels=4) for seed in range(8, 14)}
    free = {seed: networks.parts(drawn[seed].core()).get("free-running", 0) for seed in drawn}
    assert not any(free[seed] for seed in range(8, 14, 2))
    assert sum(free[seed] for seed in range(9, 14, 2)) > 2
    assert free[FREE] > 0


@pytest.mark.parametrize("seed", [SMALL, FREE])
@pytest.mark.parametrize("name", ["none", "cyclic 5 idle stalled", "random 90 % of both"])
def test_stalls(name, seed):
    drawn = networks.draw(seed, largest_side=6, largest_channels=4)
    assert stalls.faults_under(drawn, drawn.core(), name, seed) == []


def test_a_fault_under_stalls_is_told(monkeypatch):
    drawn = networks.draw(WITH_THRESHOLD, largest_side=6, largest_channels=4)
    wrong = lower(with_a_wrong_threshold(drawn), strategy=drawn.strategy, plan=drawn.plan)
    assert stalls.faults_under(drawn, wrong, "none", 1)[0].startswith("none: ")
    monkeypatch.setattr(stalls, "_PATIENCE_CYCLES", 2)
    found = stalls.faults_under(drawn, drawn.core(), "bursts of 40 of both", 1)
    assert re.match(r"bursts of 40 of both: cycle \d+: no transfer for 2 cycles, deadlocked", found[0])


@pytest.fixture(scope="module")
def small(need, tmp_path_factory):
    need("verilator")
    return resets.small(SMALL, tmp_path_factory.mktemp("resets"))


def test_resets(small):
    assert [failure for cycle in range(0, 40) for failure in small.faults_at(cycle)] == []


def test_a_wrong_frame_behind_a_reset_is_told(small):
    wrong = dataclasses.replace(small, wanted=small.wanted[::-1])
    assert re.match(r"reset in cycle 7: frame 0: layer", wrong.faults_at(7)[0])


def without_reset(design):
    """The core whose parts do not see its reset."""
    verilog, count = re.subn(r"\.rst\(rst\)", ".rst(1'h0)", design.verilog)
    assert count
    return dataclasses.replace(design, verilog=verilog)


def test_a_core_that_ignores_its_reset_is_found(need, tmp_path, small):
    need("verilator")
    drawn = networks.draw(SMALL, largest_side=6, largest_channels=4)
    compiled = resets.compile_bench(without_reset(drawn.design(drawn.core())), tmp_path)
    deaf = dataclasses.replace(small, compiled=compiled)
    found = []
    for cycle in range(1, 40):
        try:
            found += deaf.faults_at(cycle)
        except MismatchError as error:
            found.append(str(error))
    assert len(found) > 4


@pytest.mark.parametrize("variant", power_up.VARIANTS)
def test_power_up(need, variant):
    need("icarus")
    drawn = networks.draw(SMALL, largest_side=6, largest_channels=4)
    assert power_up.faults_from(drawn, drawn.design(drawn.core()), variant) == []


def test_registers_that_nobody_resets_are_found(need):
    need("icarus")
    drawn = networks.draw(SMALL, largest_side=6, largest_channels=4)
    design = without_reset(drawn.design(drawn.core()))
    assert re.match(r"unknown: .*unknown bits", power_up.faults_from(drawn, design, "unknown")[0])


MEMORIES = """module a(input clk);
  reg [3:0] rom [1:0];
  initial begin
    rom[0] = 4'h7;
    rom[1] = 4'h9;
  end
  reg [3:0] ram [1:0];
  initial begin
    ram[0] = 4'h1;
  end
  reg [3:0] _0_ = 4'h3;
  reg b = 1'h1;
  always @(posedge clk) begin
    if (b) ram[0] <= 4'h2;
    _0_ <= rom[b];
  end
  always @(posedge clk) ram [b] <= _0_;
endmodule
"""


def test_what_is_left_of_a_module_without_its_start():
    unknown = power_up.unknown(MEMORIES)
    assert "rom[0] = 4'h7;" in unknown
    assert "ram[0] = 4'h1;" not in unknown
    assert "reg [3:0] _0_;" in unknown
    assert "reg b;" in unknown
    scrambled = power_up.scrambled(MEMORIES, 1)
    assert re.search(r"reg \[3:0\] _0_ = 4'h[0-9a-f];", scrambled)
    assert scrambled != power_up.scrambled(MEMORIES, 2)
    assert "_0_ <= $time < 72 ? 0 : rom [b];" in power_up.cold(MEMORIES)


@pytest.mark.parametrize("variant", power_up.VARIANTS.values())
def test_what_starts_a_simulator_is_no_register(variant):
    drawn = networks.draw(SMALL, largest_side=6, largest_channels=4)
    verilog = drawn.design(drawn.core()).verilog
    start = re.compile(rf"^.*\b{START_FLAG}\b.*=.*$", re.MULTILINE)
    started = start.findall(verilog)
    assert len(started) > 2
    assert all(start.findall(variant(verilog, seed)) == started for seed in range(4))


# --- link


@pytest.fixture(scope="module")
def board(need, tmp_path_factory):
    need("verilator")
    return link.compile_link(tmp_path_factory.mktemp("link"), 0)


@pytest.mark.parametrize("seed", range(3))
def test_link(board, seed):
    conversation = link.Conversation(board, seed, 25)
    conversation.run()
    assert conversation.failures == []
    assert conversation.counts["frames"] == 25
    assert conversation.counts["transmissions"] > 25


def test_an_answer_whose_number_and_checksum_are_right_may_be_wrong(board, monkeypatch):
    """The host cannot see it; the trial does."""

    def changed(packet):
        return packet_bytes(dataclasses.replace(packet, payload=packet.payload[::-1]))

    monkeypatch.setattr(link, "packet_bytes", changed)
    conversation = link.Conversation(board, 1, 10)
    conversation.run()
    assert conversation.failures[0].startswith("a wrong answer: ")


def test_a_board_that_does_not_recover_is_found(board, monkeypatch):
    """Without a delimiter in front, a packet runs into what was cut before it."""
    monkeypatch.setattr(link, "DELIMITER", b"\5")
    conversation = link.Conversation(board, 1, 10)
    conversation.run()
    assert re.match(r"frame \d+ behind a delimiter was not answered", conversation.failures[0])


def test_a_packet_nobody_asked_for_is_found(board):
    conversation = link.Conversation(board, 1, 1)
    conversation._take(Packet(kind=Kind.STATUS, sequence=0, payload=b""))
    conversation._take(Packet(kind=Kind.RESULT, sequence=77, payload=bytes(6)))
    assert conversation.failures[0].startswith("a packet nobody asked for")
    assert conversation.failures[1] == "a wrong answer: 0 to frame 77, not None"


# --- builds: tools with faults, interruptions


@pytest.fixture(scope="module")
def folder(need, tmp_path_factory):
    """Of a shard whose workshop is made."""
    need("verilator", "icarus")
    folder = tmp_path_factory.mktemp("trial")
    builds.Workshop(folder / "workshop")
    (folder / "workshop-amaranth").symlink_to(folder / "workshop")
    return folder


def number_of(call, kind, file="", left=1.0):
    wanted = (call, kind, file, left)
    return [(case.call, case.kind, case.file, case.left) for case in tool_faults.CASES].index(wanted)


@pytest.mark.parametrize(
    "case",
    [
        ("yosys-emit", "garbage", "design.v"),
        ("nextpnr-ice40", "hanging"),
        ("icepack", "truncated", "top.bin", 0.5),
        ("nextpnr-ice40", "truncated", "top.asc", 0.25),
    ],
)
def test_tools_with_faults(folder, case):
    assert tool_faults.run(number_of(*case), folder).failures == ()


def test_a_build_that_hides_a_fault_is_told(folder, tmp_path):
    fault = tool_faults.CASES[number_of("icepack", "failing")]
    build = builds.Build(workshop=builds.Workshop(folder / "workshop"), folder=tmp_path / "out" / "build")
    build.folder.mkdir(parents=True)
    (tmp_path / "out" / ".build.building").mkdir()
    found = tool_faults.faults_of(fault, build, builds.Ended(code=0, said="done", seconds=1.0))
    assert [failure.partition(": ")[2] for failure in found] == [
        "exit code 0, not 1: done",
        "a build folder is there",
        "left behind: .build.building",
    ]
    other = tool_faults.faults_of(fault, build, builds.Ended(code=1, said="error: yosys: bad", seconds=1.0))
    assert "says 'yosys: bad', not" in other[0]
    assert builds.Ended(code=1, said="error: a\nerror: b", seconds=1.0).error == ""


def test_a_process_that_is_left_is_found():
    with subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], env={"XNORWEAVE_TRIAL": "left"}
    ) as process:
        time.sleep(0.2)
        assert builds.survivors("right", patience_s=0) == []
        assert re.match(r"process .*sleep", builds.survivors("left", patience_s=0.1)[0])
        assert process.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("name", ["ctrl-c", "kill", "disk-full"])
def test_interrupted_builds(folder, name):
    if name == "disk-full" and subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("no file system of our own: unshare is not allowed here")
    assert reliability.TRIALS[name].run(1, folder).failures == ()


def test_builds_at_once(folder, monkeypatch):
    monkeypatch.setattr(interruptions, "_BUILDS_AT_ONCE", 3)
    assert interruptions.AT_ONCE.run(1, folder).failures == ()


def test_a_build_that_is_not_as_the_first_is_told(folder, tmp_path, monkeypatch):
    shop = builds.Workshop(folder / "workshop")
    build = builds.Build(workshop=shop, folder=tmp_path / "out" / "build")
    build.folder.mkdir(parents=True)
    (build.folder / "design.v").write_text("// other")
    (tmp_path / "out" / ".build.old").mkdir()
    monkeypatch.setattr(builds.Build, "run", lambda _: builds.Ended(code=0, said="", seconds=1.0))
    found = interruptions.faults_of_rerun(shop, build)
    assert "run again: design.v differs" in found
    assert "run again: top.bin differs" in found
    assert found[-1] == "run again: left behind: .build.old"
    half = builds.Ended(code=-signal.SIGKILL, said="", seconds=1.0)
    assert "a half-written build folder is there" in interruptions.faults_of_interrupted(signal.SIGKILL, build, half)
    bug = builds.Ended(code=1, said="Traceback\nRuntimeError: no", seconds=1.0)
    found = interruptions.faults_of_interrupted(signal.SIGINT, build, bug)
    assert found[:2] == ["exit code 1: RuntimeError: no", "left behind: .build.old"]


def test_what_differs_between_hash_seeds_is_named():
    assert hash_seeds.faults_of({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}) == ["b differs", "c differs"]


# --- mutants

SOURCE = '''
def limit(value: int, most: int = 8) -> int:
    """Not more."""
    if value < 0:
        raise ValueError("below 0")
    return value if value <= most else most
'''


def test_mistakes_are_made_in_code_alone(tmp_path):
    (tmp_path / "a.py").write_text(SOURCE)
    made = {f"{mutant.line} {mutant.what}: {mutant.after}" for mutant in mutants_of(tmp_path, "a.py")}
    assert made == {"6 comparison changed: value < most", "6 choice swapped: most if value <= most else value"}
    sources = [mutant.source(tmp_path) for mutant in mutants_of(tmp_path, "a.py")]
    assert all(source and source != SOURCE for source in sources)


def test_widths_are_made_narrower_only(tmp_path):
    (tmp_path / "a.py").write_text(
        "def f(n):\n    return Signal(range(max(2, n) + 1), init=g(zip(n, n, strict=True)) + 1)\n"
    )
    made = {mutant.reads for mutant in mutants_of(tmp_path, "a.py")}
    assert made == {
        "return Signal((range(max(2, n) + 1 - 1)), init=g(zip(n, n, strict=True)) + 1)",
        "return Signal(range(max(2, n) + (0)), init=g(zip(n, n, strict=True)) + 1)",
        "return Signal(range(max(2, n) + 1), init=g(zip(n, n, strict=True)) + (0))",
        "return Signal(range(max(2, n) + 1), init=g(zip(n, n, strict=True)) + (2))",
        "return Signal(range(max(2, n) + 1), init=(g(zip(n, n, strict=True)) - 1))",
    }


def test_every_mutant_of_the_trial_compiles_and_is_another(tmp_path):
    some = mutants.chosen(count=60)
    assert len({str(mutant) for mutant in some}) == 60
    assert some == mutants.chosen(mutants.ROOT, 60)
    assert len({mutant.file for mutant in some}) > 30


@pytest.mark.parametrize(("test", "survives"), [("limit(9) == 8", False), ("limit(8) == 8", True)])
def test_a_mistake_is_caught_or_survives(tmp_path, test, survives):
    (tmp_path / "a.py").write_text(SOURCE)
    (tmp_path / "build" / "tree").mkdir(parents=True)
    (tmp_path / "tests").mkdir()
    code = f"import sys\nsys.path.insert(0, '.')\nfrom a import limit\ndef test(): assert {test}\n"
    (tmp_path / "tests" / "test_a.py").write_text(code)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow\n    pnr\n")
    swapped = next(mutant for mutant in mutants_of(tmp_path, "a.py") if "choice" in mutant.what)
    seen = mutants.seen_by(swapped, tmp_path, ["tests/test_a.py"])
    assert seen is None if survives else seen is not None and seen.line.startswith("FAILED tests/test_a.py::test")
    assert (tmp_path / "a.py").read_text() == SOURCE


def test_a_test_that_does_not_end_has_failed(tmp_path, monkeypatch):
    (tmp_path / "build" / "tree").mkdir(parents=True)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text("def test():\n    while True:\n        pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow\n    pnr\n")
    monkeypatch.setattr(mutants, "_TEST_TIMEOUT_S", 1)
    seen = mutants.failing(tmp_path, ["tests/test_a.py"])
    assert seen is not None
    assert seen.late
    assert seen.line.startswith("FAILED tests/test_a.py::test")


def test_an_equivalent_mutant_leaves_its_place_to_one_from_behind(monkeypatch):
    before = mutants.chosen(count=62)
    equivalent = before[7].file, before[7].reads
    monkeypatch.setattr(mutants, "EQUIVALENT", {**EQUIVALENT, equivalent: "a test's"})
    mutants.chosen.cache_clear()
    try:
        after = mutants.chosen(count=62)
    finally:
        mutants.chosen.cache_clear()
    assert [seed for seed, (old, new) in enumerate(zip(before, after, strict=True)) if old != new] == [7]
    assert len({str(mutant) for mutant in after}) == 62


def test_a_mutant_stays_itself_where_the_file_changes_elsewhere(tmp_path):
    (tmp_path / "a.py").write_text(SOURCE)
    before = mutants_of(tmp_path, "a.py")
    (tmp_path / "a.py").write_text("MOST = 3\n" + SOURCE)
    after = mutants_of(tmp_path, "a.py")
    assert [mutant.key for mutant in after] == [mutant.key for mutant in before]
    assert [mutant.line for mutant in after] == [mutant.line + 1 for mutant in before]
    assert {mutant.reads for mutant in before} == {
        "return (most if value <= most else value)",
        "return value if (value < most) else most",
    }


def test_dropped_drivers_are_told_apart(tmp_path):
    (tmp_path / "a.py").write_text("def f(m):\n    m.d.comb += a.eq(b)\n    m.d.comb += c.eq(b)\n")
    dropped = [mutant for mutant in mutants_of(tmp_path, "a.py") if mutant.what == "driver dropped"]
    assert [mutant.reads for mutant in dropped] == ["dropped: m.d.comb += a.eq(b)", "dropped: m.d.comb += c.eq(b)"]
    assert len({mutant.key for mutant in dropped}) == 2


def test_equivalent_mutants_are_mutants_of_this_tree_and_not_of_the_trial():
    made = Counter((mutant.file, mutant.reads) for file in mutants.FILES for mutant in mutants_of(mutants.ROOT, file))
    assert {entry: made[entry] for entry in EQUIVALENT} == dict.fromkeys(EQUIVALENT, 1)
    assert not {(mutant.file, mutant.reads) for mutant in mutants.chosen()} & set(EQUIVALENT)


def test_near_tests_come_first():
    near = mutants.nearest_tests("hw/lanes.py")
    assert near[0] == "tests/hw/test_lanes.py"
    assert near[-1] == "tests"
    assert mutants.nearest_tests("hw/border_sums.py")[0] == "tests/hw/test_residual_add.py"
    every = {name for mutant in mutants.chosen() for name in mutants.nearest_tests(mutant.file)}
    assert not [name for name in every if name.startswith("tests/bench")]
    assert mutants.nearest_tests("gen/lower.py")[1] == "tests/e2e/test_random_networks.py"
