import importlib.resources
from typing import get_args

import numpy as np
import pytest

from xnorweave.adder_graph import AdderGraph, certify, graph_additions
from xnorweave.importers import load_any
from xnorweave.network_file import load_network
from xnorweave.passes.cse import Objective, share_sums
from xnorweave.passes.cse_kernels import merge_rows_cost
from xnorweave.passes.share import share_layer
from xnorweave.passes.streamline import ConvStage, streamline
from xnorweave.popcounts import MOST_BITS

OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
SHAPES = [
    (1, 1, 1),
    (1, 1, 8),
    (1, 9, 1),
    (2, 5, 1),
    (9, 1, 1),
    (3, 2, 8),
    (5, 7, 1),
    (27, 16, 8),
    (27, 70, 1),
    (72, 16, 1),
    (200, 3, 1),
    (144, 32, 1),
    (30, 130, 2),
]


def random_matrix(rng: np.random.Generator, inputs: int, outputs: int) -> np.ndarray:
    return rng.choice(np.array([-1, 1], np.int8), (inputs, outputs))


@pytest.fixture
def check(evaluate):
    """Share, certify, and compare with the matrix on corner and random inputs."""

    def run(matrix: np.ndarray, bits: int, rng: np.random.Generator, **options) -> AdderGraph:
        graph = share_sums(matrix, bits, **options)
        certify(graph, matrix, "test")
        assert not graph.kernels or options["objective"] == "luts"
        x = rng.integers(0, 2**bits, (40, len(matrix)))
        x[0], x[1] = 0, 2**bits - 1
        x[2], x[3] = (2**bits - 1) * (matrix[:, 0] > 0), (2**bits - 1) * (matrix[:, 0] < 0)
        assert np.array_equal(evaluate(graph, x), x @ matrix.astype(np.int64))
        inputs, outputs = matrix.shape
        assert graph_additions(graph) <= outputs * (inputs - 1)
        return graph

    return run


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("inputs", "outputs", "bits"), SHAPES)
def test_graphs_compute_the_sums(inputs, outputs, bits, objective, rng, check):
    check(random_matrix(rng, inputs, outputs), bits, rng, effort=0.05, objective=objective)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (9, 1), (18, 5), (64, 64), (150, 3)], ids=str)
def test_constant_matrices(sign, shape, objective, rng, check):
    graph = check(np.full(shape, sign, np.int8), 1, rng, objective=objective)
    assert graph_additions(graph) == shape[0] - 1


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_equal_and_inverse_outputs_cost_nothing(objective, rng, check):
    matrix = random_matrix(rng, 40, 6)
    one = graph_additions(check(matrix, 1, rng, objective=objective))
    many = check(np.concatenate([matrix, -matrix, matrix[:, ::-1]], axis=1), 1, rng, objective=objective)
    assert graph_additions(many) == one


def test_few_luts_come_from_units_without_more_inputs_than_there_are_networks(rng, check):
    graph = check(random_matrix(rng, 300, 2), 1, rng, objective="luts")
    sizes = [kernel.pattern.bit_count() for kernel in graph.kernels]
    assert graph.kernels
    assert all(2 <= size <= MOST_BITS for size in sizes)
    assert any(tap < 0 for kernel in graph.kernels for tap in kernel.taps)


def test_pixels_have_one_graph_for_both_objectives(rng):
    matrix = random_matrix(rng, 27, 8)
    one, two = (share_sums(matrix, 8, objective=objective) for objective in OBJECTIVES)
    assert (one.nodes, one.outputs) == (two.nodes, two.outputs)


def test_cost_of_a_sum_is_that_of_a_tree_which_joins_the_narrowest_first():
    # 1 + 3 and 4 + 4 are joined first: adders of 2 and 3 bits that give 3 and 4, and one of 4 that gives 4.
    costs = np.arange(36, dtype=float).reshape(6, 6) ** 2
    bits = np.ones((5, 1), np.uint64)
    bits[4] = 0
    cost = merge_rows_cost(bits, 4, 1, np.array([4, 1, 4, 3]), costs)
    assert cost == costs[2, 3] + costs[3, 4] + costs[4, 4]


def test_cost_of_pairs_that_sums_share_is_counted_once():
    costs = np.arange(36, dtype=float).reshape(6, 6) ** 2
    # Tokens 0 and 1 go into both sums, 2 into the first.
    bits = np.array([[3], [3], [1], [0], [0]], np.uint64)
    cost = merge_rows_cost(bits, 3, 2, np.array([1, 1, 1]), costs)
    assert cost == costs[1, 2] + costs[2, 2]


def test_equal_and_inverse_inputs_are_one_class(rng, check):
    matrix = random_matrix(rng, 12, 16)
    one = graph_additions(share_sums(matrix, 1))
    twice = check(np.concatenate([matrix, -matrix]), 1, rng)
    assert graph_additions(twice) <= one + 12


def test_nearly_equal_outputs(rng, check):
    matrix = np.repeat(random_matrix(rng, 90, 1), 20, axis=1)
    matrix[np.arange(20), np.arange(20)] *= -1
    # The common sum, and one or two small corrections for each output.
    assert graph_additions(check(matrix, 1, rng)) <= 89 + 2 * 20


def test_same_seed_same_graph(rng):
    matrix = random_matrix(rng, 60, 24)
    one, two = (share_sums(matrix, 1, effort=0.1, seed=5) for _ in range(2))
    assert (one.nodes, one.outputs, one.constants) == (two.nodes, two.outputs, two.constants)


def test_more_effort_is_no_worse(rng):
    matrix = random_matrix(rng, 144, 32)
    few, many = (graph_additions(share_sums(matrix, 1, effort=effort)) for effort in (0, 0.3))
    assert many <= few


def test_random_matrix_beats_known_counts():
    matrix = np.random.default_rng(0).choice([-1, 1], (576, 64)).astype(np.int8)
    assert graph_additions(share_sums(matrix, 1)) <= 5_450


def test_shipped_network_needs_less_than_kernel_sharing():
    with importlib.resources.as_file(importlib.resources.files("xnorweave") / "networks" / "fashion_mnist.npz") as path:
        network = load_network(path)
    stages = [stage for stage in streamline(network) if isinstance(stage, ConvStage)]
    assert stages
    for stage in stages:
        graph = share_sums(stage.matrix, stage.encoding.bits)
        assert graph_additions(graph) <= graph_additions(share_layer(stage, "kernel"))


def test_cnv_needs_less_than_the_strongest_peer(shared):
    network = load_any(shared / "nets" / "cnvW1A1_cifar10.npz")
    stages = [stage for stage in streamline(network) if isinstance(stage, ConvStage)]
    assert graph_additions(share_sums(stages[1].matrix, 1)) <= 5_344
    assert graph_additions(share_sums(stages[0].matrix, stages[0].encoding.bits)) <= 64 * 26
