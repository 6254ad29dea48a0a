import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xnorweave.adder_graph import AdderGraph, GraphBuilder, certify, graph_adder_bits, graph_additions
from xnorweave.errors import CertificateError
from xnorweave.hw.adder_graph import AdderNode, KernelNode
from xnorweave.network import Conv2D, InputSpec, Network, Threshold
from xnorweave.passes.share import share_layer
from xnorweave.passes.streamline import ConvStage, streamline

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
        (0, {"rhs": 99}, r"adder 0 uses an operand that comes after it"),
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


def test_popcounts_of_as_many_inputs_and_complements_are_alike():
    builder = GraphBuilder(5, 1)
    first, second = builder.popcount([1, -2, 3, -4]), builder.popcount([-1, -3, 4, 5])
    graph = builder.build([first, second], [2, 2])
    assert [kernel.taps for kernel in graph.kernels] == [(1, 3, -2, -4), (4, 5, -1, -3)]
    assert {(kernel.pattern, kernel.inverted) for kernel in graph.kernels} == {(0b1111, 0b1100)}
    certify(graph, np.array([[1, -1], [-1, 0], [1, -1], [-1, 1], [0, 1]], np.int8), "layer")


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
        ({"taps": (0, 2)}, r"kernel 0 has taps \(0, 2\), not 2 inputs"),
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


# --- any change of a graph


def exact_outputs(graph: AdderGraph, x: np.ndarray) -> list[list[int]]:
    """Outputs for inputs [samples, inputs] in whole numbers of any size, node by node; no use of the certificate's code.

    The complement of an operand is that of the bits its adder or unit is built with.
    """
    top = 2**graph.input_bits - 1
    rows = []
    for row in x.tolist():
        values, tops = [0, *row], [0] + [top] * len(row)
        for kernel in graph.kernels:
            chosen = [tap for t, tap in enumerate(kernel.taps) if kernel.pattern >> t & 1]
            values.append(sum(values[tap] if tap > 0 else top - values[-tap] for tap in chosen))
            tops.append((1 << (top * len(chosen)).bit_length()) - 1)
        for node in graph.nodes:
            lhs, rhs = (values[o] if o >= 0 else tops[-o] - values[-o] for o in (node.lhs, node.rhs))
            values.append((lhs << node.lhs_shift) + (-rhs if node.subtract else rhs))
            tops.append((1 << max(1, node.high.bit_length())) - 1)
        outputs = [values[o] if o >= 0 else tops[-o] - values[-o] for o in graph.outputs]
        rows.append([output - constant for output, constant in zip(outputs, graph.constants, strict=True)])
    return rows


def random_graph(bits: int, strategy: str) -> tuple[AdderGraph, np.ndarray]:
    weights = np.random.default_rng(7).choice(np.array([-1, 1], np.int8), (4, 2, 2, 2))
    layers = (Conv2D(name="c", weights=weights), Threshold(name="t", thresholds=np.zeros(4, np.int32)))
    spec = InputSpec(kind="bits" if bits == 1 else "pixels", shape=(2, 2, 2))
    (stage,) = streamline(Network(name="n", input=spec, layers=layers))
    assert isinstance(stage, ConvStage)
    return share_layer(stage, strategy), stage.matrix  # pyright: ignore[reportArgumentType]


GRAPHS = {(bits, strategy): random_graph(bits, strategy) for bits in (1, 8) for strategy in ("none", "kernel", "graph")}


def mutate(graph: AdderGraph, draw) -> AdderGraph:
    """Change one field of one node, kernel, output or constant."""
    operand = st.integers(-(graph.inputs + len(graph.kernels)), graph.inputs + len(graph.kernels) + len(graph.nodes))
    what = draw(st.sampled_from(["node", "output", "constant"] + ["kernel"] * bool(graph.kernels)))
    if what == "output":
        outputs = list(graph.outputs)
        outputs[draw(st.integers(0, len(outputs) - 1))] = draw(operand)
        return dataclasses.replace(graph, outputs=tuple(outputs))
    if what == "constant":
        constants = list(graph.constants)
        constants[draw(st.integers(0, len(constants) - 1))] += draw(st.integers(-3, 3))
        return dataclasses.replace(graph, constants=tuple(constants))
    if what == "kernel":
        kernels = list(graph.kernels)
        k = draw(st.integers(0, len(kernels) - 1))
        kernels[k] = kernels[k]._replace(
            **draw(
                st.sampled_from(
                    [
                        {"pattern": kernels[k].pattern ^ 1 << draw(st.integers(0, 3))},
                        {"taps": tuple(draw(st.permutations(kernels[k].taps)))},
                    ]
                )
            )
        )
        return dataclasses.replace(graph, kernels=tuple(kernels))
    k = draw(st.integers(0, len(graph.nodes) - 1))
    node = graph.nodes[k]
    changes = [
        {"lhs": node.rhs, "rhs": node.lhs},
        {"lhs": draw(operand)},
        {"rhs": draw(operand)},
        {"subtract": not node.subtract},
        {"lhs_shift": draw(st.integers(-1, 70))},
        {"low": node.low + draw(st.integers(-2, 2))},
        {"high": node.high + draw(st.integers(-2, 2))},
    ]
    return changed(graph, k, **draw(st.sampled_from(changes)))


SAMPLES = np.concatenate([np.zeros((1, 8), np.int64), np.eye(8, dtype=np.int64), 1 - np.eye(8, dtype=np.int64)])


@pytest.mark.parametrize(("bits", "strategy"), GRAPHS)
@settings(max_examples=150)
@given(data=st.data())
def test_no_changed_function_is_certified(bits, strategy, data):
    graph, matrix = GRAPHS[bits, strategy]
    other = mutate(graph, data.draw)
    try:
        certify(other, matrix, "layer")
    except CertificateError:
        return
    # An affine function is known from zero and the unit vectors.
    x = SAMPLES * (2**bits - 1)
    assert exact_outputs(other, x) == (x @ matrix.astype(np.int64)).tolist()


@pytest.mark.parametrize(("bits", "strategy"), GRAPHS)
def test_most_changes_are_refused(bits, strategy, rng):
    """Turning over the sign of a node that an output needs, and nothing else, is always found."""
    graph, matrix = GRAPHS[bits, strategy]
    certify(graph, matrix, "layer")
    for k, node in enumerate(graph.nodes):
        with pytest.raises(CertificateError):
            certify(changed(graph, k, subtract=not node.subtract), matrix, "layer")
    for channel, constant in enumerate(graph.constants):
        constants = list(graph.constants)
        constants[channel] = constant + 1
        with pytest.raises(CertificateError, match=f"output {channel} has the constant"):
            certify(dataclasses.replace(graph, constants=tuple(constants)), matrix, "layer")


@pytest.mark.parametrize(("bits", "strategy"), GRAPHS)
def test_ranges_are_exact(bits, strategy):
    """The stated bounds of every kernel and adder are reached, and no tighter ones are certified."""
    graph, matrix = GRAPHS[bits, strategy]
    top = 2**bits - 1
    # A linear function has its extremes at corners: all of them, 8 inputs of lowest or highest value.
    corners = np.array([[n >> k & 1 for k in range(8)] for n in range(256)], np.int64) * top
    first = graph.inputs + 1
    operands = range(first, first + len(graph.kernels) + len(graph.nodes))
    every = dataclasses.replace(graph, outputs=tuple(operands), constants=(0,) * len(operands))
    for operand, values in zip(operands, zip(*exact_outputs(every, corners), strict=True), strict=True):
        assert graph.operand_range(operand) == (min(values), max(values))
    for k, node in enumerate(graph.nodes):
        for tighter in ({"low": node.low + 1}, {"high": node.high - 1}):
            with pytest.raises(CertificateError):
                certify(changed(graph, k, **tighter), matrix, "layer")
