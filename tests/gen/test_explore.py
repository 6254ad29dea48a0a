"""Exploration without workers: candidates, pruning, the store, the page, and what the command line refuses."""

import itertools
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from explored_documents import HOSTILE, explored
from explored_networks import Silent, small_network
from hypothesis import given
from hypothesis import strategies as st

from xnorweave import cli
from xnorweave.build_folder import BuildFolderError, locked
from xnorweave.commands.source import Source
from xnorweave.errors import DeviceError, ExploreError, UnsupportedError, XnorweaveError
from xnorweave.explore import Effort, ExploreOptions, explore, parse_budget
from xnorweave.explore.candidate import Candidate, Space, build_key, canonical_json, estimate_key
from xnorweave.explore.networks import find_source, variants
from xnorweave.explore.pareto import dominators, spread, undominated
from xnorweave.explore.search import Design, designs_of, front_of, next_round, note_builds, verdicts
from xnorweave.explore.store import open_store
from xnorweave.explore.work import Subject, build, estimate, estimate_versions
from xnorweave.images import as_frames
from xnorweave.network import ArgMax, Dense, Network
from xnorweave.network_file import network_digest, save_network
from xnorweave.report.explored import render_explored
from xnorweave.sim import golden

ONE = Candidate(network="ab" * 32, board="icebreaker", strategy="units", clock_mhz=24.0, interval_cycles=None, seed=1)


@pytest.fixture
def network(rng) -> Network:
    return small_network(rng)


# Candidates ----------------------------------------------------------------------------------------------------------


def test_keys_are_the_same_in_every_process_and_version_of_python():
    assert canonical_json({"b": 1.0, "a": [None, "\u00b5"]}) == '{"a":[null,"\\u00b5"],"b":1.0}'
    assert estimate_key(ONE, {"xnorweave": "1"}) == ("7bc2927f495b4ded2f8c1d9853485879ed0df2365b75ce490bfa294d0f3c733c")
    assert build_key(ONE, {"xnorweave": "1", "yosys": "0.70"}) == (
        "daae5045291ec870296c2ad173ce190eac94148faab491f2173d58dad33ba5a1"
    )


def test_an_estimate_has_one_key_for_all_seeds_and_a_build_one_for_each():
    other = Candidate(**(ONE.document() | {"seed": 2}))
    assert estimate_key(ONE, {}) == estimate_key(other, {})
    assert build_key(ONE, {}) != build_key(other, {})


@pytest.mark.parametrize(
    "change",
    [{"network": "cd" * 32}, {"board": "b"}, {"strategy": "graph"}, {"clock_mhz": None}, {"interval_cycles": 9}],
)
def test_every_field_is_in_the_keys(change):
    other = Candidate(**(ONE.document() | change))
    assert estimate_key(ONE, {}) != estimate_key(other, {})
    assert build_key(ONE, {}) != build_key(other, {})
    assert estimate_key(ONE, {}) != estimate_key(ONE, {"xnorweave": "2"})


def test_a_space_has_every_combination_once_in_one_order():
    space = Space(networks=("n",), boards=("a", "b"), strategies=("s", "t"), clocks_mhz=(None, 9.0), seeds=(1, 2, 3))
    found = list(space.candidates(lambda board, clock: (None, 5) if board == "a" else (7,)))
    assert len(found) == len(set(found)) == 2 * (2 * 2 * 3) + 2 * (1 * 2 * 3)
    assert found == list(space.candidates(lambda board, clock: (None, 5) if board == "a" else (7,)))
    assert [each.seed for each in found[:4]] == [1, 2, 3, 1]


# Pruning -------------------------------------------------------------------------------------------------------------

FIGURES = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=12)


def beats(a, b):
    return all(x <= y for x, y in zip(a, b, strict=True)) and a != b


@given(FIGURES)
def test_of_what_is_known_exactly_the_pareto_front_is_left(points):
    exact = [tuple((float(x), float(x)) for x in point) for point in points]
    assert undominated(exact) == [k for k, p in enumerate(points) if not any(beats(q, p) for q in points)]
    for number, above in enumerate(dominators(exact)):
        assert above is None or (beats(points[above], points[number]) and above in undominated(exact))


@given(FIGURES, st.data())
def test_pruning_within_bounds_never_loses_one_of_the_true_front(points, data):
    share = st.floats(0.0, 0.5)
    bounds = [tuple((x * (1 - data.draw(share)), x * (1 + data.draw(share))) for x in point) for point in points]
    true = {k for k, p in enumerate(points) if not any(beats(q, p) for q in points)}
    assert true <= set(undominated(bounds))


@given(FIGURES)
def test_an_order_that_spreads_has_everything_and_begins_with_the_ends(points):
    order = spread(points)
    assert sorted(order) == list(range(len(points)))
    assert points[order[0]] == min(points)


def small_space(truth: list[tuple[int, float, bool]], errors: list[float]) -> tuple[list[Any], dict[Candidate, Any]]:
    """Candidates of (interval, LUTs, whether the first seed meets the clock), two seeds each, and their builds."""
    estimates, builds = [], {}
    for number, ((interval, luts, first), error) in enumerate(zip(truth, errors, strict=True)):
        for seed in (1, 2):
            each = Candidate(
                network="n", board=f"b{number}", strategy="auto", clock_mhz=None, interval_cycles=interval, seed=seed
            )
            rate = 1000.0 / interval
            figures = {"frames_per_second": rate, "luts": luts * (1 + error), "block_rams": 0, "family": "ice40"}
            estimates.append((each, {"fits": True, "hardware": f"h{number}", **figures}))
            met = seed == 2 or first
            done = {"met": True, "frames_per_second": rate, "luts": luts, "block_rams": 0}
            builds[each] = done if met else {"met": False, "reason": "missed"}
    return estimates, builds


def explored_by_rounds(estimates, oracle, objectives=("fps", "luts"), most=None):
    designs, done, rounds = designs_of(estimates), {}, 0
    while batch := next_round(designs, objectives, None if most is None else most - len(done)):
        assert not set(batch) & set(done)
        done |= {each: oracle[each] for each in batch}
        note_builds(designs, done)
        rounds += 1
    return designs, done


TRUTH = st.lists(st.tuples(st.integers(1, 5), st.integers(50, 90), st.booleans()), min_size=1, max_size=10)


@given(TRUTH, st.data())
def test_rounds_end_with_the_true_front_of_the_whole_space(truth, data):
    errors = [data.draw(st.floats(-0.099, 0.099)) for _ in truth]  # of iCE40, within what was measured
    estimates, oracle = small_space(truth, errors)
    designs, done = explored_by_rounds(estimates, oracle)
    points = [(interval, luts) for interval, luts, _ in truth]
    expected = {k for k, p in enumerate(points) if not any(beats(q, p) for q in points)}
    assert {int(design.seeds[0].board[1:]) for design in front_of(designs, ("fps", "luts"))} == expected
    assert len(done) <= len(oracle)


def test_what_is_worse_for_certain_is_not_built():
    estimates, oracle = small_space([(1, 100, True), (2, 101, True), (2, 50, True), (3, 49, True)], [0.0] * 4)
    _, done = explored_by_rounds(estimates, oracle)
    assert {each.board for each in done} == {"b0", "b2", "b3"}
    assert {each.seed for each in done} == {1}


def test_seeds_are_tried_in_order_until_one_meets_the_clock():
    estimates, oracle = small_space([(1, 100, False), (2, 50, True)], [0.0, 0.0])
    designs, done = explored_by_rounds(estimates, oracle)
    assert sorted((each.board, each.seed) for each in done) == [("b0", 1), ("b0", 2), ("b1", 1)]
    told = verdicts(estimates, designs, ("fps", "luts"))
    assert [told[each]["status"] for each, _ in estimates] == ["missed", "front", "front", "seed not needed"]


def test_a_design_that_fails_gives_room_to_those_it_kept_out():
    estimates, oracle = small_space([(1, 50, True), (2, 80, True)], [0.0, 0.0])
    oracle |= {each: {"met": False, "reason": "missed"} for each, _ in estimates if each.board == "b0"}
    designs, done = explored_by_rounds(estimates, oracle)
    assert [design.seeds[0].board for design in front_of(designs, ("fps", "luts"))] == ["b1"]
    assert len(done) == 3


def test_a_budget_takes_the_ends_of_the_front_first():
    estimates, oracle = small_space([(interval, 100 - 10 * interval, True) for interval in range(1, 6)], [0.0] * 5)
    designs, done = explored_by_rounds(estimates, oracle, most=2)
    assert {each.board for each in done} == {"b0", "b4"}
    told = verdicts(estimates, designs, ("fps", "luts"))
    assert [told[each]["status"] for each, _ in estimates if each.seed == 1][1:4] == ["not built"] * 3


def test_candidates_of_the_same_hardware_are_one_design():
    estimates, _ = small_space([(1, 50, True), (1, 50, True)], [0.0, 0.0])
    same = [(each, estimate | {"hardware": "h"}) for each, estimate in estimates]
    (design,) = designs_of(same)
    assert len(design.members) == 4
    assert [each.seed for each in design.seeds] == [1, 2]
    told = verdicts(same, [design], ("fps", "luts"))
    assert [told[each]["status"] for each, _ in same] == ["not built", "not built", "same design", "same design"]
    assert told[same[2][0]]["of"] == same[0][0]


def test_the_result_does_not_depend_on_the_order_in_which_builds_end():
    truth = [(interval, 100 - 12 * interval, interval % 2 == 0) for interval in range(1, 5)]
    estimates, oracle = small_space(truth, [0.05, -0.05, 0.0, 0.05])
    designs, done = explored_by_rounds(estimates, oracle)
    expected = verdicts(estimates, designs, ("fps", "luts"))
    for order in itertools.islice(itertools.permutations(done), 24):
        again = designs_of(estimates)
        for each in order:
            note_builds(again, {each: done[each]})
        assert verdicts(estimates, again, ("fps", "luts")) == expected


def test_designs_without_builds_have_no_front():
    design = Design(seeds=(ONE,), members=(ONE,), estimate={"luts": 1, "frames_per_second": 1, "family": "ecp5"})
    assert front_of([design], ("fps", "luts")) == []
    assert design.bounds(("luts",)) == ((1 / 1.2, 1 / 0.8),)


# Store ---------------------------------------------------------------------------------------------------------------


def test_a_result_is_stored_once_and_stays(tmp_path):
    with open_store(tmp_path / "r.sqlite") as store:
        assert store.get("k") is None
        assert store.put("k", {"a": 1}) is True
        assert store.put("k", {"a": 2}) is False
        assert store.put_all({"k": {"a": 3}, "l": {"b": 1}, "m": {}}) == 2
        assert store.put_all({}) == 0
    with open_store(tmp_path / "r.sqlite") as store:
        assert store.get("k") == {"a": 1}
        assert store.keys() == {"k", "l", "m"}


def test_results_of_which_one_cannot_be_kept_are_not_kept(tmp_path):
    with open_store(tmp_path / "r.sqlite") as store:
        with pytest.raises(TypeError):
            store.put_all({"k": {"a": 1}, "l": {"b": object()}})
        assert store.keys() == set()


def test_a_killed_run_leaves_what_it_had(tmp_path):
    code = (
        "import os, pathlib\n"
        "from xnorweave.explore.store import open_store\n"
        f"with open_store(pathlib.Path({str(tmp_path / 'r.sqlite')!r})) as store:\n"
        "    for number in range(50):\n"
        "        store.put(str(number), {'n': number})\n"
        "    store._connection.execute('BEGIN')\n"
        "    store._connection.execute(\"INSERT INTO results VALUES ('half', '{}')\")\n"
        f"    os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == -signal.SIGKILL
    with open_store(tmp_path / "r.sqlite") as store:
        assert store.keys() == {str(number) for number in range(50)}
        assert store.put("50", {}) is True


def test_a_file_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "r.sqlite").write_bytes(b"not a database" * 100)
    with (
        pytest.raises(ExploreError, match=r"r\.sqlite: is no store of results \(.*\); move"),
        open_store(tmp_path / "r.sqlite"),
    ):
        pass


def test_a_store_of_another_version_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "r.sqlite") as connection:
        connection.execute("PRAGMA user_version = 9")
    with (
        pytest.raises(ExploreError, match="has version 9, not 1; use what wrote it"),
        open_store(tmp_path / "r.sqlite"),
    ):
        pass


def test_a_result_that_is_no_json_is_told(tmp_path):
    with open_store(tmp_path / "r.sqlite") as store:
        store.put("k", {})
    with sqlite3.connect(tmp_path / "r.sqlite") as connection:
        connection.execute("UPDATE results SET document = '{'")
    with open_store(tmp_path / "r.sqlite") as store, pytest.raises(ExploreError, match="result k is no JSON"):
        store.get("k")


# Work ----------------------------------------------------------------------------------------------------------------


def candidate(network: Network, **fields: Any) -> tuple[Subject, Candidate]:
    subject = Subject(digest=network_digest(network).hex(), network=network)
    return subject, Candidate(**(ONE.document() | {"network": subject.digest, "clock_mhz": None} | fields))


def test_an_estimate_is_what_the_plan_says(network):
    result = estimate(*candidate(network, strategy="auto"), estimate_versions())
    assert result["fits"] is True
    assert result["frames_per_second"] == round(12e6 / result["interval_cycles"], 1)
    assert result == estimate(*candidate(network, strategy="auto", seed=7), estimate_versions())


def test_one_strategy_for_each_layer_counts_more_than_the_best(network):
    best, kernel = (
        estimate(*candidate(network, strategy=strategy, interval_cycles=36), estimate_versions())
        for strategy in ("auto", "none")
    )
    assert set(kernel["wired"].values()) <= {"none"}
    assert (best["hardware"] == kernel["hardware"]) is not bool(best["wired"])
    assert kernel["luts"] >= best["luts"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"interval_cycles": 1}, "icebreaker: the network takes at least 36 cycles a frame"),
        ({"clock_mhz": 1e6}, "icebreaker: no 1e.06 MHz clock"),
    ],
)
def test_what_cannot_be_is_an_estimate_with_a_reason(network, fields, reason):
    result = estimate(*candidate(network, **fields), estimate_versions())
    assert result["fits"] is False
    assert re.match(reason, result["reason"])


@pytest.mark.parametrize("does", [estimate, build])
def test_a_worker_of_another_version_is_refused(network, does):
    with pytest.raises(ExploreError, match=r"worker: has xnorweave 0\.1\.0, the exploration runs 9; install the same"):
        does(*candidate(network), {"xnorweave": "9"})


# Command -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "effort"),
    [
        ("20", Effort(builds=20)),
        ("90s", Effort(builds=None, seconds=90.0)),
        ("1.5h", Effort(builds=None, seconds=5400.0)),
        ("all", Effort(builds=None)),
    ],
)
def test_budgets(text, effort):
    assert parse_budget(text) == effort


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "ten"], r"--budget 'ten': is neither builds nor a time; give 20, 90s, 30m, 2h or all"),
        (
            ["--objective", "speed"],
            r"--objective 'speed': is not known; choose from fps, luts, block-rams, chip, accuracy",
        ),
        (["--strategies", "auto,,kernel"], r"--strategies 'auto,,kernel': has an empty part"),
        (["--codes", "4,x"], r"--codes '4,x': give whole numbers"),
        (["--workers", "0"], r"workers"),
    ],
)
def test_wrong_usage(arguments, message, tmp_path, capfd):
    line = ["explore", "fashion_mnist", "--boards", "icebreaker", "-o", str(tmp_path / "x"), *arguments]
    assert cli.main(line) == 2
    assert re.search(message, capfd.readouterr().err)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--boards", "icebraker"], r"unknown board 'icebraker'; did you mean icebreaker"),
        (["--boards", "fomu-pvt"], r"fomu-pvt: has nothing for a link, .*; leave it out"),
        (["--boards", "icebreaker", "--codes", "4"], r"--codes 4: no images .*; give some with --data"),
        (["--boards", "icebreaker", "--objective", "accuracy"], r"--objective accuracy: no images"),
        (["--boards", "icebreaker", "--fps", "-1"], r"--fps -1: give numbers above 0"),
    ],
)
def test_what_a_user_can_mend(arguments, message, tmp_path, capfd):
    assert cli.main(["explore", "fashion_mnist", "-o", str(tmp_path / "x"), *arguments]) == 1
    err = capfd.readouterr().err
    assert len([line for line in err.splitlines() if line.startswith("error: ")]) == 1
    assert re.search(message, err)


def options(**fields: Any) -> ExploreOptions:
    return ExploreOptions(boards=("icebreaker",), effort=Effort(builds=0), **fields)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(BuildFolderError, match=r"holds files \(thesis\.tex\), but no exploration; choose another"):
        explore("fashion_mnist", tmp_path, options(), Silent())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_two_explorations_of_one_folder_are_kept_apart(tmp_path):
    with (
        locked(tmp_path, tmp_path / ".lock", "exploration"),
        pytest.raises(BuildFolderError, match="another exploration is writing it; wait"),
    ):
        explore("fashion_mnist", tmp_path, options(), Silent())


def test_a_network_without_a_class_is_refused(network, tmp_path):
    scores = Network(name="n", input=network.input, layers=network.layers[:-1])
    save_network(scores, tmp_path / "n.npz")
    with pytest.raises(UnsupportedError, match=r"scores: the network ends in a dense, .*; end it with an ArgMax"):
        explore(str(tmp_path / "n.npz"), tmp_path / "x", options(), Silent())


def test_an_unknown_board_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(DeviceError, match="unknown board"):
        explore("fashion_mnist", tmp_path / "x", ExploreOptions(boards=("nothing",)), Silent())
    assert not (tmp_path / "x").exists()


# Networks ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def data(network, rng, tmp_path):
    """Images with the classes that the network gives them."""
    x = rng.integers(0, 2, (80, 6, 6, 2)).astype(np.uint8)
    y = golden.run(network, as_frames(network, x)).outputs
    np.savez(tmp_path / "d.npz", x=x, y=y)
    return tmp_path / "d.npz"


def made(network, data, folder, codes):
    with open_store(folder / "r.sqlite") as store:
        source = Source(network=network)
        return variants(
            source, "n.npz", data=data, codes=codes, folder=folder / "networks", store=store, stages=Silent()
        )


def test_codebooks_are_networks_with_so_many_kernels_tried_on_the_same_images(network, data, tmp_path):
    whole, small = made(network, data, tmp_path, (2,))
    assert (whole.images, whole.correct, whole.accuracy_percent) == (64, 64, 100.0)
    assert count_whole_kernels(small.subject.network.layers[0].weights) <= 2
    assert small.correct is not None
    assert 0 < small.correct < 64
    (file,) = (tmp_path / "networks").iterdir()
    assert small.file == f"networks/{file.name}"
    stamp = file.stat().st_mtime_ns
    assert made(network, data, tmp_path, (2,)) == [whole, small]
    assert file.stat().st_mtime_ns == stamp


def count_whole_kernels(weights):
    """Distinct kernels up to inversion of all channels together."""
    flat = weights.reshape(-1, weights[0, 0].size)
    return len(np.unique(flat * flat[:, :1], axis=0))


@pytest.mark.parametrize("codes", [1, 17])
def test_codebooks_have_2_to_16_kernels(network, data, tmp_path, codes):
    with pytest.raises(UnsupportedError, match=f"codes={codes}: a codebook has 2 to 16 kernels"):
        made(network, data, tmp_path, (codes,))


def test_without_kernels_there_are_no_codebooks(network, data, tmp_path):
    dense = Network(
        name="n",
        input=network.input,
        layers=(Dense(name="scores", weights=np.ones((3, 72), np.int8)), ArgMax(name="classify")),
    )
    with pytest.raises(UnsupportedError, match="n: no convolution has 2-D kernels to share; leave codebooks out"):
        made(dense, data, tmp_path, (4,))


def test_a_recipe_is_trained_once(network, tmp_path, monkeypatch):
    trained = []

    def train(text, output, options, stages):
        trained.append(text)
        assert options.checkpoint == output.with_suffix(".checkpoint")
        save_network(network, output)

    monkeypatch.setattr("xnorweave.explore.networks.train", train)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("name = 'n'\n[fit]\nepochs = 1\n")
    for _ in range(2):
        source, name = find_source(str(recipe), tmp_path / "networks", Silent())
        assert network_digest(source.network) == network_digest(network)
        assert (tmp_path / name).is_file()
    recipe.write_text("name = 'n'\n[fit]\nepochs = 2\n")
    find_source(str(recipe), tmp_path / "networks", Silent())
    find_source("fashion-mnist", tmp_path / "networks", Silent())
    assert trained == [str(recipe), str(recipe), "fashion-mnist"]


def test_other_toml_files_describe_layers(tmp_path):
    (tmp_path / "net.toml").write_text("name = 'n'\n")
    with pytest.raises(XnorweaveError, match=r"net\.toml"):
        find_source(str(tmp_path / "net.toml"), tmp_path / "networks", Silent())


# Page ----------------------------------------------------------------------------------------------------------------


def test_the_page_says_what_the_document_says():
    text = render_explored(explored())
    assert "<script>" in text
    assert "on the Pareto front" in text
    assert text.count('class="pt front"') == len(explored()["exploration"]["front"])
    for number in explored()["exploration"]["front"]:
        assert f'href="#d{number}"' in text
        assert f'id="d{number}"' in text
    assert "xnorweave build" in text


def test_the_page_asks_for_nothing_and_has_no_styles_or_handlers_of_its_own():
    text = render_explored(explored())
    assert not re.search(r"(src|href)=\"(?!#|data:,\")", text)
    assert not re.search(r"\s(style|on[a-z]+)=", text)
    assert text.count("http") == text.count("http-equiv")


def test_the_page_escapes_what_a_user_wrote():
    text = render_explored(explored(name=HOSTILE))
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text


def test_a_page_without_a_front_says_so():
    text = render_explored(explored(built=False))
    assert "no build met its clock" in text
    assert 'id="designs"' not in text


def test_the_document_is_json_without_times():
    text = json.dumps(explored())
    assert "seconds" not in json.loads(text)["exploration"]["candidates"][0]
