"""The estimate of cells: its parts by hand, its factors as measured, and its order of strategies."""

import json
from pathlib import Path

import numpy as np
import pytest

from xnorweave import cost
from xnorweave.adder_graph import AdderGraph, GraphBuilder
from xnorweave.cost import Cells, graph_cells, graph_parts, tree_parts
from xnorweave.hw import adder_graph as hardware
from xnorweave.passes.share import STRATEGIES
from xnorweave.popcounts import popcount_network

RECORD = json.loads((Path(__file__).parents[2] / "bench" / "results" / "cost.json").read_text(encoding="utf-8"))
FAMILIES = ("ice40", "ecp5")


def one_adder(bits: int, *, shift: int = 0, subtract: bool = False, invert: bool = False) -> AdderGraph:
    """A graph of one adder for two words of ``bits`` bits."""
    builder = GraphBuilder(2, bits)
    rhs = -2 if invert else 2
    total = builder.subtract(1, rhs) if subtract else builder.add(1, rhs, shift=shift)
    return builder.build([total], [0])


def test_factors_and_error_are_those_measured():
    assert RECORD["factors"] == cost.FACTORS
    assert RECORD["error_percent"] == cost.ERROR_PERCENT


@pytest.mark.parametrize("family", FAMILIES)
def test_recorded_error_is_that_of_the_recorded_rows(family):
    held_out = [row for row in RECORD["rows"] if row["family"] == family and not row["fitted"]]
    assert {row["strategy"] for row in held_out} == set(STRATEGIES)
    for row in held_out:
        places = cost.Parts(**row["parts"]).cells(family).places
        error = 100 * abs(places / row["measured"]["places"] - 1)
        assert error <= cost.ERROR_PERCENT[family]
        # Trees of pixels have adders in common that synthesis does not always merge.
        assert error <= (20 if row["strategy"] == "none" else 15)


def test_a_wide_adder_is_a_chain():
    # 8 + 8 bits: on iCE40 a LUT and a carry for each bit, and a cell for the carry that is the ninth bit of the sum.
    parts = graph_parts(one_adder(8), "ice40")
    assert (parts.chain_luts, parts.chain_carries, parts.carry_outs, parts.narrow_luts) == (8, 8, 1, 0)
    # On ECP5 two bits a CCU2C.
    parts = graph_parts(one_adder(8), "ecp5")
    assert (parts.chain_luts, parts.chain_carries, parts.narrow_luts) == (0, 5, 0)


def test_shifted_bits_pass():
    assert graph_parts(one_adder(8, shift=1), "ice40").chain_luts == 8
    assert graph_parts(one_adder(8, shift=3), "ice40").chain_luts == 8
    assert graph_parts(one_adder(8, shift=3), "ecp5").chain_carries == 5


@pytest.mark.parametrize("family", FAMILIES)
def test_narrow_adders_are_gates_as_in_hardware(family):
    widest = hardware.NARROW_BITS
    assert graph_parts(one_adder(widest), family).chain_carries == 0
    # Yosys itself uses gates for results of up to four bits on ECP5.
    assert graph_parts(one_adder(max(widest + 1, 4 if family == "ecp5" else 0)), family).chain_carries > 0


def test_narrow_signed_operands_are_no_gates_as_in_hardware():
    def added(low: int) -> cost.Parts:
        """A two-bit sum that can reach ``low``, and a bit."""
        builder = GraphBuilder(3, 1)
        first = builder.subtract(1, 2) if low < 0 else builder.add(1, 2)
        return graph_parts(builder.build([builder.add(first, 3, bounds=(low, 4))], [0]), "ice40")

    assert added(0).chain_carries == 0
    assert added(-1).chain_carries > 0


def test_inversions_in_front_of_chains_are_counted_once():
    assert graph_parts(one_adder(8), "ecp5").inverter_luts == 0
    assert graph_parts(one_adder(8, invert=True), "ecp5").inverter_luts == 8
    # A chain of ECP5 subtracts by itself, one of iCE40 adds what LUTs inverted.
    assert graph_parts(one_adder(8, subtract=True), "ecp5").inverter_luts == 0
    assert graph_parts(one_adder(8, subtract=True), "ice40").inverter_luts == 8
    builder = GraphBuilder(3, 8)
    twice = builder.build([builder.add(1, -3), builder.add(2, -3)], [0, 0])
    assert graph_parts(twice, "ice40").inverter_luts == 8


@pytest.mark.parametrize("family", FAMILIES)
def test_popcounts_take_complements(family):
    def counted(sign: int) -> cost.Parts:
        builder = GraphBuilder(9, 1)
        return graph_parts(builder.build([builder.popcount([1, 2, *(sign * k for k in range(3, 10))])], [0]), family)

    assert counted(-1) == counted(1)


@pytest.mark.parametrize("taps", [2, 3, 9, 25])
def test_popcounts_are_their_networks(taps):
    builder = GraphBuilder(taps, 1)
    graph = builder.build([builder.kernel(tuple(range(1, taps + 1)), (1, taps), (1 << taps) - 1)], [0])
    assert graph_parts(graph, "ice40").popcount_luts == len(popcount_network(taps).luts)


@pytest.mark.parametrize("family", FAMILIES)
def test_trees_have_equal_subtrees_in_common(family, rng):
    matrix = rng.choice(np.array([-1, 1], np.int8), (36, 1))
    builder = GraphBuilder(36, 1, reuse=False)
    graph = builder.build([builder.tree([int(k * w) for k, w in enumerate(matrix[:, 0], 1)])], [0])
    once = graph_parts(graph, family)
    assert tree_parts(graph, matrix, family) == once
    equal = tree_parts(graph, np.repeat(matrix, 5, axis=1), family)
    assert (equal.chain_carries, equal.narrow_luts) == (once.chain_carries, once.narrow_luts)
    others = tree_parts(graph, rng.choice(np.array([-1, 1], np.int8), (36, 5)), family)
    assert once.chain_carries < others.chain_carries <= 5 * once.chain_carries
    assert once.narrow_luts < others.narrow_luts < 5 * once.narrow_luts


def test_places_of_each_family():
    parts = graph_parts(one_adder(8), "ice40")
    compared = round(cost.FACTORS["ice40"]["compare"] * parts.compare_luts)
    assert graph_cells(one_adder(8), "ice40") == Cells(luts=8 + compared, carries=8, places=9 + compared)
    compared = round(cost.FACTORS["ecp5"]["compare"] * parts.compare_luts)
    assert graph_cells(one_adder(8), "ecp5") == Cells(luts=compared, carries=5, places=10 + compared)
