import copy
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from xnorweave.errors import DataError, UnsupportedError
from xnorweave.network import ArgMax, Conv2D, Dense, InputSpec, MaxPool, Network, Threshold
from xnorweave.passes.choose_plan import Budget, choose_plan
from xnorweave.passes.plan import make_plan
from xnorweave.plan_file import load_plan, plan_document, read_plan


@pytest.fixture
def network(rng) -> Network:
    def signs(*shape):
        return rng.choice(np.array([-1, 1], np.int8), shape)

    layers = (
        Conv2D(name="conv", weights=signs(16, 8, 3, 3)),
        Threshold(name="sign", thresholds=np.zeros(16, np.int32)),
        MaxPool(name="pool"),
        Dense(name="hidden", weights=signs(60, 16 * 25)),
        Threshold(name="hidden_sign", thresholds=np.zeros(60, np.int32)),
        Dense(name="scores", weights=signs(10, 60)),
        ArgMax(name="classify"),
    )
    return Network(name="n", input=InputSpec(kind="bits", shape=(8, 12, 12)), layers=layers)


@pytest.fixture
def plan(network):
    budget = Budget(family="ice40", luts=10**5, block_rams=200, clock_mhz=12.0)
    made = choose_plan(network, budget, fps=1000, levels_per_register=4, free_running=True).plan
    assert [layer.engine for layer in made.layers] == ["folded", "stream", "folded", "folded", "stream"]
    return made


@pytest.fixture
def document(plan):
    return json.loads(json.dumps(plan_document(plan)))


def row(document, name):
    return next(layer for layer in document["layers"] if layer["name"] == name)


def test_a_plan_comes_back_as_it_went(plan, document, network, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(document), "utf-8")
    assert load_plan(path, network, "ice40") == plan


def test_a_plan_without_a_budget_comes_back(network):
    made = make_plan(network)
    assert read_plan(plan_document(made), network).interval_cycles == made.interval_cycles


def test_the_plan_of_a_report_is_taken(plan, document, network):
    assert read_plan({"format": "xnorweave-report/1", "plan": document}, network, "ice40") == plan


def test_what_follows_from_the_folds_is_not_believed(plan, document, network):
    for layer in document["layers"]:
        layer |= {"interval_cycles": 1, "latency_cycles": 0, "luts_estimated": 0, "block_rams_estimated": -5}
    document["interval_cycles"] = 1
    assert read_plan(document, network, "ice40") == plan


def test_an_edit_changes_what_follows(plan, document, network):
    row(document, "hidden")["pe"] = 60
    row(document, "scores")["simd"] = 60
    edited = read_plan(document, network, "ice40")
    assert (edited.layers[2].lanes, edited.layers[3].simd) == (60, 60)
    assert edited.luts > plan.luts
    row(document, "conv")["engine"] = "spatial"
    assert read_plan(document, network).layers[0].interval_cycles == 144


def test_what_is_written_for_the_reader_is_known(plan, document, network):
    """All that `plan`, `build` and a report put into a plan."""
    whole = plan_document(plan, block_ram_bits=4096) | {"slowest": "conv", "latency_cycles": 5}
    whole |= {"interval_cycles_measured": 9, "slower_than_planned": True}
    whole["layers"][0]["latency_cycles"] = 3
    assert read_plan(whole, network, "ice40") == plan


def test_a_wired_layer_may_keep_its_folds(document, network):
    row(document, "hidden")["engine"] = "spatial"
    layer = read_plan(document, network).layers[2]
    assert (layer.engine, layer.pe) == ("spatial", 0)


@pytest.mark.parametrize(
    ("given", "most", "taken"), [(4, 7, 4), (4, 2, 2), (None, 7, 7), (None, None, 3), (4, None, 4)]
)
def test_levels_are_at_most_those_of_the_clock(document, network, given, most, taken):
    del document["levels_per_register"]
    document |= {} if given is None else {"levels_per_register": given}
    assert read_plan(document, network, most_levels=most).levels_per_register == taken


EDITS = [
    ("conv", {"engine": "stream"}, DataError, r"conv: engine='stream' is not for this layer; give spatial or folded"),
    ("conv", {"engine": "magic"}, DataError, r"conv: engine='magic' is none of spatial, folded, stream"),
    ("conv", {"engine": ["folded"]}, DataError, r"conv: engine=\['folded'\] is none of"),
    ("pool", {"engine": "folded"}, DataError, r"pool: engine='folded' is not for this layer; give stream"),
    ("conv", {"simd": 3}, UnsupportedError, r"conv: simd=3 does not divide its 8 input channels; nearest: 2 or 4"),
    ("conv", {"simd": 16}, UnsupportedError, r"conv: simd=16 does not divide its 8 input channels; nearest: 8"),
    ("conv", {"pe": 17}, DataError, r"conv: pe=17 is not a whole number from 1 to 16"),
    ("conv", {"pe": 0}, DataError, r"conv: pe=0 is not a whole number from 1 to 16"),
    ("conv", {"pe": True}, DataError, r"conv: pe=True is not a whole number"),
    ("conv", {"pe": 2.0}, DataError, r"conv: pe=2.0 is not a whole number"),
    ("conv", {"vectors": 11}, UnsupportedError, r"conv: vectors=11 is not within 1 to its 10 output columns"),
    ("conv", {"buffer_rows": 5}, UnsupportedError, r"conv: buffer_rows=5 is not within 6 to 24, the fewest"),
    ("conv", {"buffer_rows": 10**9}, DataError, r"conv: buffer_rows=1000000000 is not a whole number from 1 to 4096"),
    ("conv", {"storage": "disk"}, DataError, r"conv: storage='disk' is none of block, logic, codebook"),
    (
        "conv",
        {"storage": "codebook"},
        UnsupportedError,
        r"conv: storage='codebook' is for at most 16 distinct kernels up to inversion, and it has \d\d\d?; give \"block\"",
    ),
    ("hidden", {"storage": "codebook"}, UnsupportedError, r"hidden: storage='codebook' is for convolutions' kernels"),
    ("conv", {"name": "convolution"}, DataError, r"layer 'convolution': the network has none; its layers: conv, pool"),
    ("conv", {"name": "pool"}, DataError, r"pool: is there twice; leave one out"),
    ("conv", {"name": 7}, DataError, r"layers\[0\]=.* has no name"),
    ("hidden", {"simd": 15}, UnsupportedError, r"hidden: simd=15 is neither a multiple nor a divisor of the 16 lanes"),
    ("hidden", {"vectors": 2}, UnsupportedError, r"hidden: vectors=2 is for convolutions"),
    ("hidden", {"buffer_rows": 5}, UnsupportedError, r"hidden: buffer_rows=5 is for convolutions"),
    (
        "conv",
        {"smd": 4},
        DataError,
        r"conv: unknown field 'smd'; known: name, engine, pe, simd, vectors, buffer_rows, storage, interval_cycles,",
    ),
    ("pool", {"lanes": 4}, DataError, r"pool: unknown field 'lanes'; known: name, engine"),
    ("scores", {"simd": 61}, DataError, r"scores: simd=61 is not a whole number from 1 to 60"),
]


@pytest.mark.parametrize(("layer", "edit", "error", "message"), EDITS)
def test_a_wrong_layer_is_refused(document, network, layer, edit, error, message):
    row(document, layer).update(edit)
    with pytest.raises(error, match=message):
        read_plan(document, network, "ice40")


def test_weights_of_few_kernels_may_be_indices(document, network, rng):
    conv = network.layers[0]
    few = rng.choice(np.array([-1, 1], np.int8), (16, 1, 3, 3))
    weights = np.tile(few, (1, 8, 1, 1)) * rng.choice(np.array([-1, 1], np.int8), (16, 8, 1, 1))
    network = replace(network, layers=(replace(conv, weights=weights), *network.layers[1:]))
    row(document, "conv")["storage"] = "codebook"
    plan = read_plan(document, network, "ice40")
    assert plan.layers[0].storage == "codebook"
    assert read_plan(plan_document(plan), network, "ice40") == plan


def test_weights_of_one_tap_are_no_indices(document, network):
    conv = replace(network.layers[0], weights=network.layers[0].weights[..., :1, :1])
    spec = replace(network.input, shape=(8, 10, 10))
    network = replace(network, input=spec, layers=(conv, *network.layers[1:]))
    row(document, "conv").update(storage="codebook", buffer_rows=20)
    with pytest.raises(UnsupportedError, match="conv: storage='codebook' saves nothing of 1x1 kernels"):
        read_plan(document, network, "ice40")


WHOLE = [
    ({"levels_per_register": 0}, r"plan: levels_per_register=0 is not a whole number from 1 to 1000"),
    (
        {"freerunning": True},
        r"plan: unknown field 'freerunning'; known: format, levels_per_register, free_running, layers,",
    ),
    ({"free_running": "yes"}, r"free_running='yes' is neither true nor false"),
    ({"format": "other/2"}, r"format='other/2' is not 'xnorweave-plan/1'; plan the network again"),
    ({"layers": "all"}, r"layers='all' is no list"),
    ({"layers": [5]}, r"layers\[0\]=5 has no name"),
    ({"layers": []}, r"conv: the plan has no such layer; add it"),
]


@pytest.mark.parametrize(("edit", "message"), WHOLE)
def test_a_wrong_plan_is_refused(document, network, edit, message):
    with pytest.raises(DataError, match=message):
        read_plan(document | edit, network)


def test_a_missing_field_is_named(document, network):
    edited = copy.deepcopy(document)
    del row(edited, "conv")["pe"]
    with pytest.raises(DataError, match="conv: pe=None is not a whole number from 1 to 16"):
        read_plan(edited, network)
    with pytest.raises(DataError, match="has no `layers`"):
        read_plan({}, network)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"\xff\xfe", "is no text"),
        (b" " * (2 << 20), "2,097,152 bytes are too large for a plan"),
        (b"[1, 2]", "has no `layers`"),
    ],
)
def test_a_file_that_is_no_plan_is_refused(content, message, network, tmp_path):
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{re.escape(str(path))}: {message}"):
        load_plan(path, network)


def test_a_missing_file_is_refused(network, tmp_path):
    with pytest.raises(DataError, match=r"none.json: cannot be read \(No such file or directory\)"):
        load_plan(tmp_path / "none.json", network)
