"""The command `plan`, and what builds take of its files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explored_networks import Silent

from xnorweave import cli
from xnorweave.boards.catalogue import board as find_board
from xnorweave.commands import PlanOptions
from xnorweave.commands.planning import board_budget, board_levels, plan, plan_for
from xnorweave.errors import DoesNotFitError, UnsupportedError
from xnorweave.network import ArgMax, Conv2D, Dense, InputSpec, Network, Threshold
from xnorweave.network_file import save_network

BOARD = "icebreaker"


@pytest.fixture
def network(rng) -> Network:
    """Folded on an iCEBreaker, wired far beyond it."""

    def signs(*shape):
        return rng.choice(np.array([-1, 1], np.int8), shape)

    layers = (
        Conv2D(name="conv", weights=signs(16, 4, 3, 3)),
        Threshold(name="sign", thresholds=np.zeros(16, np.int32)),
        Dense(name="hidden", weights=signs(64, 16 * 36)),
        Threshold(name="hidden_sign", thresholds=np.zeros(64, np.int32)),
        Dense(name="scores", weights=signs(10, 64)),
        ArgMax(name="classify"),
    )
    return Network(name="n", input=InputSpec(kind="bits", shape=(4, 8, 8)), layers=layers)


def planned(network: Network, folder: Path, **edits: dict[str, Any]) -> Path:
    """The plan of the board as a file, with edits by layer; those of the plan itself are called ``plan``."""
    document = plan(network, BOARD, PlanOptions(), folder / "plan.json", stages=Silent())["plan"]
    document |= edits.pop("plan", {})
    for layer in document["layers"]:
        layer |= edits.get(layer["name"], {})
    (folder / "plan.json").write_text(json.dumps(document))
    return folder / "plan.json"


def test_a_chosen_plan_fits(network):
    synthesis = plan(network, BOARD, PlanOptions(), stages=Silent())["synthesis"]
    assert synthesis["fits"] is True
    assert "message" not in synthesis


def test_a_fold_that_groups_do_not_have_is_refused(rng, tmp_path):
    weights = rng.choice(np.array([-1, 1], np.int8), (8, 2, 3, 3))
    layers = (
        Conv2D(name="grouped", weights=weights, groups=2),
        Threshold(name="sign", thresholds=np.zeros(8, np.int32)),
    )
    network = Network(name="n", input=InputSpec(kind="bits", shape=(4, 8, 8)), layers=layers)

    def folded(**fold: Any) -> None:
        file = planned(network, tmp_path, grouped={"engine": "folded", "pe": 2, "simd": 2} | fold)
        plan(network, BOARD, PlanOptions(file=file), stages=Silent())

    folded()
    with pytest.raises(UnsupportedError, match="grouped: simd=4 does not divide its 2 input channels of a group; near"):
        folded(simd=4)
    with pytest.raises(
        UnsupportedError, match="grouped: pe=3 does not divide its 4 outputs of a group; nearest: 2 or 4"
    ):
        folded(pe=3)
    with pytest.raises(UnsupportedError, match="grouped: storage='codebook' is not for its 2 groups; give"):
        folded(storage="codebook")


def test_a_file_that_does_not_fit_says_so(network, tmp_path):
    file = planned(network, tmp_path, hidden={"engine": "spatial"}, scores={"simd": 16})
    report = plan(network, BOARD, PlanOptions(file=file), stages=Silent())
    synthesis = report["synthesis"]
    made = plan_for(network, find_board(BOARD), PlanOptions(file=file))
    free = board_budget(find_board(BOARD), network)
    assert made.luts > free.luts
    assert synthesis["fits"] is False
    assert synthesis["message"] == (
        f"icebreaker: the plan does not fit by its estimates: it wants {made.luts:,} LUTs and {made.block_rams} block "
        f"RAMs, and {free.luts:,} and {free.block_rams} are free for it; a build tries it all the same, since estimates "
        "are some percent off"
    )


def test_the_terminal_says_that_a_plan_does_not_fit(network, tmp_path, capfd):
    save_network(network, tmp_path / "net.npz")
    file = planned(network, tmp_path, hidden={"engine": "spatial"}, scores={"simd": 16})
    assert cli.main(["plan", str(tmp_path / "net.npz"), "-b", BOARD, "--plan", str(file)]) == 0
    said = " ".join(capfd.readouterr().out.split())
    assert "fits no" in said
    assert "does not fit by its estimates" in said


def test_a_build_refuses_block_rams_far_beyond_the_chip(network, tmp_path):
    file = planned(
        network, tmp_path, hidden={"engine": "folded", "pe": 64, "simd": 32, "storage": "block"}, scores={"simd": 16}
    )
    assert plan(network, BOARD, PlanOptions(file=file), stages=Silent())["synthesis"]["message"].endswith(
        "; a build refuses it"
    )
    message = (
        r"icebreaker: the plan of .*plan\.json wants about (\d+) block RAMs, the chip has 30; "
        r"remedy: weights in logic, narrower folds, a larger board, or no --plan"
    )
    with pytest.raises(DoesNotFitError, match=message):
        plan_for(network, find_board(BOARD), PlanOptions(file=file))


def test_a_plan_is_levelled_for_the_clock(network, tmp_path):
    board, file = find_board(BOARD), planned(network, tmp_path)
    own, faster = board_levels(board), board_levels(board, 24)
    assert own > faster
    levels = {
        mhz: plan_for(network, board, PlanOptions(file=file, clock_mhz=mhz)).levels_per_register for mhz in (None, 24)
    }
    assert levels == {None: own, 24: faster}
    fewer = planned(network, tmp_path, plan={"levels_per_register": 1})
    assert plan_for(network, board, PlanOptions(file=fewer, clock_mhz=24)).levels_per_register == 1


@pytest.mark.parametrize("command", ["plan", "synth", "build"])
@pytest.mark.parametrize("clock", ["nan", "inf", "-inf", "-12", "0"])
@pytest.mark.parametrize("from_file", [False, True])
def test_a_clock_that_is_none_is_refused(command, clock, from_file, network, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_network(network, tmp_path / "net.npz")
    np.savez("images.npz", x=np.zeros((2, 8, 8, 4), np.uint8))
    arguments = [command, "net.npz", "--board", BOARD, f"--clock={clock}", "--json"]
    arguments += ["--plan", str(planned(network, tmp_path))] if from_file else []
    arguments += [] if command == "plan" else ["-o", "out"]
    arguments += ["--data", "images.npz"] if command == "build" else []
    assert cli.main(arguments) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert f"error: icebreaker: no {float(clock):g} MHz clock from the board's 12 MHz; ask for 16 to 275 MHz" in err
    assert not (tmp_path / "out").exists()
