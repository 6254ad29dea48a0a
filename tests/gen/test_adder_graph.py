import dataclasses

import numpy as np
import pytest

from xnorweave.adder_graph import AdderGraph, GraphBuilder, certify, graph_adder_bits, graph_additions
from xnorweave.errors import CertificateError
from xnorweave.hw.adder_graph import AdderNode, KernelNode

WEIGHTS = np.array([[1, -1], [1, 1], [-1, 1]], np.int8)


def build(bits: int = 1) -> AdderGraph:
    """Three inputs, two outputs: x1 + x2 - x3 and -x1 + x2 + x3, by complements."""
    builder = GraphBuilder(3, bits)
    top = 2**bits - 1
    first = builder.add(builder.add(1, 2), -3)
    second = builder.subtract(builder.add(2, 3), 1, bounds=(-top, 2 * top))
    return builder.build([first, second], [top, 0])


@pytest.mark.parametrize("bits", [1, 8])
def test_a_right_graph_is_certified(bits):
    certify(build(bits), WEIGHTS, "layer")


def changed(graph: AdderGraph, node: int, **fields) -> AdderGraph:
    nodes = list(graph.nodes)
    nodes[node] = nodes[node]._replace(**fields)
    return dataclasses.replace(graph, nodes=tuple(nodes))


@pytest.mark.parametrize(
    ("node", "fields", "message"),
    [
        (0, {"lhs": 1, "rhs": 3}, r"layer: output 0 has coefficient 0 for input 1, the weight is 1"),
        (0, {"subtract": True}, r"output 0 has coefficient"),
        (1, {"rhs": 3}, r"output 0 has coefficient 1 for input 2, the weight is -1"),
        (1, {"lhs_shift": 1}, r"output 0 has coefficient"),
        (3, {"subtract": False}, r"output 1 has coefficient 1 for input 0, the weight is -1"),
        (1, {"high": 2}, r"adder 1 reaches 0\.\.3, but is built for 0\.\.2"),
        (3, {"low": 0}, r"adder 3 reaches -1\.\.2, but is built for 0\.\.2"),
        (0, {"lhs": 6}, r"adder 0 uses an operand that comes after it"),
        (1, {"rhs": -7}, r"an operand of range -1\.\.2 is complemented|comes after it"),
    ],
)
def test_every_wrong_node_is_found(node, fields, message):
    with pytest.raises(CertificateError, match=message):
        certify(changed(build(), node, **fields), WEIGHTS, "layer")


def test_a_wrong_constant_is_found():
    with pytest.raises(CertificateError, match="output 0 has the constant 1, not 0"):
        certify(dataclasses.replace(build(), constants=(0, 0)), WEIGHTS, "layer")


def test_a_graph_of_another_size_is_found():
    with pytest.raises(CertificateError, match=r"the graph is 3 x 2, the weights \[3, 1\]"):
        certify(build(), WEIGHTS[:, :1], "layer")


def test_a_wrong_kernel_pattern_is_found():
    graph = AdderGraph(
        inputs=4,
        input_bits=1,
        kernels=(KernelNode((1, 2, 3, 4), (2, 2), 0b0111),),
        nodes=(AdderNode(5, 4, 0, False, 0, 4),),
        outputs=(6,),
        constants=(0,),
    )
    weights = np.ones((4, 1), np.int8)
    certify(graph, weights, "layer")
    wrong = dataclasses.replace(graph, kernels=(graph.kernels[0]._replace(pattern=0b1011),))
    with pytest.raises(CertificateError, match="coefficient 0 for input 2, the weight is 1"):
        certify(wrong, weights, "layer")


def test_a_complement_has_its_width_in_the_constant():
    builder = GraphBuilder(3, 1)
    total = builder.tree([1, 2, 3])  # 0..3 in two bits
    operand, top = builder.complement(total)
    assert (operand, top) == (-total, 3)
    certify(builder.build([operand], [3]), -np.ones((3, 1), np.int8), "layer")


def test_the_same_adder_is_made_once():
    builder = GraphBuilder(4, 1)
    assert builder.add(1, 2) == builder.add(2, 1)
    apart = GraphBuilder(4, 1, reuse=False)
    assert apart.add(1, 2) != apart.add(1, 2)


def test_counts():
    graph = AdderGraph(
        inputs=9,
        input_bits=1,
        kernels=(KernelNode(tuple(range(1, 10)), (3, 3), 0b111110000),),
        nodes=(AdderNode(10, 1, 0, False, 0, 6),),
        outputs=(11,),
        constants=(0,),
    )
    assert graph_additions(graph) == 4 + 1
    assert graph_adder_bits(graph) == (2 + 2 + 3 + 3) + 3


@pytest.mark.parametrize("bits", [1, 3])
def test_block_by_block_is_the_same_proof(bits, rng, monkeypatch):
    monkeypatch.setattr("xnorweave.adder_graph._BLOCK_BYTES", 200)
    certify(build(bits), WEIGHTS, "layer")
    with pytest.raises(CertificateError, match="output 0 has coefficient"):
        certify(changed(build(bits), 0, lhs=1, rhs=3), WEIGHTS, "layer")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"taps": (-1, 2)}, r"kernel 0 has taps \(-1, 2\), not 2 inputs"),
        ({"taps": (1, 9)}, r"kernel 0 has taps \(1, 9\), not 2 inputs"),
        ({"taps": (1, 2, 2)}, r"kernel 0 has taps \(1, 2, 2\), not 2 inputs"),
        ({"pattern": 4}, r"kernel 0 selects 0x4 of 2 taps"),
        ({"pattern": 0}, r"kernel 0 selects 0x0 of 2 taps"),
    ],
)
def test_kernels_that_hardware_cannot_mean_are_refused(fields, message):
    kernel = KernelNode((1, 2), (1, 2), 0b11)._replace(**fields)
    graph = AdderGraph(inputs=2, input_bits=1, kernels=(kernel,), nodes=(), outputs=(3,), constants=(0,))
    with pytest.raises(CertificateError, match=message):
        certify(graph, np.ones((2, 1), np.int8), "layer")


def test_an_output_that_is_not_there_is_refused():
    graph = AdderGraph(inputs=2, input_bits=1, kernels=(), nodes=(), outputs=(3,), constants=(0,))
    with pytest.raises(CertificateError, match="output 0 is operand 3 of 3"):
        certify(graph, np.ones((2, 1), np.int8), "layer")
