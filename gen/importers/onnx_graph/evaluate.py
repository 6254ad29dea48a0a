"""Following a graph from its input to its output, node by node."""

from collections import Counter
from dataclasses import replace

import numpy as np

from xnorweave.errors import NetworkError, UnsupportedError, located
from xnorweave.importers.folding.files import quoted
from xnorweave.importers.folding.image import PixelRule, image_layout, pixels_of
from xnorweave.importers.folding.pooling import finished
from xnorweave.importers.folding.signals import Pixels, Signal, Sums, Words

# The modules that register handlers.
from xnorweave.importers.onnx_graph import constants, elementwise, linear, pooling
from xnorweave.importers.onnx_graph.model import Graph, Node, array_of
from xnorweave.importers.onnx_graph.registry import Value, call

__all__ = ["evaluate"]

WORDS = Words(
    source="the ONNX document",
    quantizer="BipolarQuant",
    weights="BipolarQuant, or with Quant of 1 bit",
    inputs="Quant of a power-of-two scale, or with BipolarQuant",
    dense="a MatMul or Gemm",
    ending="the ArgMax or TopK",
)
MAX_COMPUTED_VALUES = 1 << 26
_HANDLERS = (constants, elementwise, linear, pooling)
_BYTE_MOVES = {"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity"}
_MOVES = _BYTE_MOVES | {"Cast", "Dropout"}


def evaluate(graph: Graph, pixels: PixelRule) -> tuple[Pixels, Signal]:
    """The graph's input, and what the graph gives for it, with all its layers.

    Raises
    ------
    NetworkError, UnsupportedError
        Naming the node.
    """
    _check_bytes(graph, pixels)
    values: dict[str, Value] = {
        name: array_of(tensor, f"initializer {quoted(name)}") for name, tensor in graph.initializers.items()
    }
    # What does not depend on the image first: the pixel rule reads constants, however they are written.
    of_constants, of_the_image = _divided(graph)
    computed = _compute(graph, of_constants, values)
    image = _input(graph, _pixel_rule(graph, values) if pixels == "auto" else pixels)
    values[graph.input_name] = image
    _compute(graph, of_the_image, values, computed, carried=_carried(of_the_image))
    with located(f"output {quoted(graph.output_name)}"):
        output = _value(values, graph.output_name)
        if isinstance(output, np.ndarray):
            raise NetworkError("does not depend on the image")
        return image, finished(output)


def _check_bytes(graph: Graph, pixels: PixelRule) -> None:
    """Refuse arithmetic on bytes, which wraps or is none in ONNX, and bytes that are said to be fractions."""
    if not graph.input_bytes:
        return
    if pixels == "unit":
        raise UnsupportedError(
            f"input {quoted(graph.input_name)}: is uint8, so it is the pixel itself, not pixel / 255; use --pixels auto"
        )
    of_bytes = {graph.input_name}
    for node in graph.nodes:
        if of_bytes.isdisjoint(node.inputs) or node.op in ("Cast", "Shape"):
            continue
        if node.op not in _BYTE_MOVES:
            raise UnsupportedError(
                f"node {node.label}: takes the uint8 input as it is, on which arithmetic is undefined or wraps; put "
                "a Cast to float32 before it"
            )
        of_bytes.update(node.outputs)


def _divided(graph: Graph) -> tuple[list[Node], list[Node]]:
    """Nodes whose inputs are constants or come from such nodes, and the others."""
    known, of_constants, others = set(graph.initializers), list[Node](), list[Node]()
    for node in graph.nodes:
        if all(name in known for name in node.inputs if name):
            known.update(node.outputs)
            of_constants.append(node)
        else:
            others.append(node)
    return of_constants, others


def _carried(nodes: list[Node]) -> frozenset[str]:
    """Tensors that an addition of two branches takes, and another node too."""
    given = {name for node in nodes for name in node.outputs}
    uses = Counter(name for node in nodes for name in node.inputs)
    sums = [name for node in nodes if node.op == "Add" and given.issuperset(node.inputs) for name in node.inputs]
    return frozenset(name for name in sums if uses[name] > 1)


def _compute(
    graph: Graph, nodes: list[Node], values: dict[str, Value], computed: int = 0, carried: frozenset[str] = frozenset()
) -> int:
    """Add what nodes give to ``values``; gives the number of constants computed, ``computed`` of them before."""
    for node in nodes:
        with located(f"node {node.label}"):
            inputs = tuple(_value(values, name) if name else None for name in node.inputs)
            name, value = call(node, inputs, graph.opset)
            values[name] = replace(value, carried=True) if isinstance(value, Sums) and name in carried else value
            computed += _owned(value)
            if computed > MAX_COMPUTED_VALUES:
                raise NetworkError(f"constants computed so far have more than {MAX_COMPUTED_VALUES} values; fold them")
    return computed


def _value(values: dict[str, Value], name: str) -> Value:
    if name not in values:
        raise UnsupportedError(f"tensor {quoted(name)} is an output that is not supported here; use another one")
    return values[name]


def _owned(value: Value) -> int:
    return value.size if isinstance(value, np.ndarray) and value.base is None else 0


def _input(graph: Graph, rule: PixelRule) -> Pixels:
    batch, *sizes = graph.input_shape
    try:
        layout = image_layout(batch, sizes)
    except NetworkError as e:
        raise NetworkError(f"input {quoted(graph.input_name)}: {e}") from e
    return pixels_of(layout, rule, WORDS, "input of the graph")


def _pixel_rule(graph: Graph, values: dict[str, Value]) -> PixelRule:
    """``raw`` where the input is bytes, or the first arithmetic divides by 255 or quantizes with the scale 1."""
    if graph.input_bytes:
        return "raw"
    name = graph.input_name
    for node in graph.nodes:
        if name not in node.inputs:
            continue
        if node.op in _MOVES and node.outputs:
            name = node.outputs[0]
        elif node.op != "Shape":
            return "raw" if _takes_raw(node, name, values) else "unit"
    return "unit"


def _takes_raw(node: Node, name: str, values: dict[str, Value]) -> bool:
    """Whether a node that takes the image ``name`` divides it by 255, or quantizes it with the scale 1."""
    if len(node.inputs) < 2 or (node.inputs[0] != name and node.op != "Mul"):
        return False
    factor = values.get(node.inputs[1] if node.inputs[0] == name else node.inputs[0])
    if not isinstance(factor, np.ndarray) or factor.dtype != np.float32:
        return False
    numbers = {"Div": 255, "Mul": np.float32(1) / np.float32(255), "Quant": 1, "IntQuant": 1}
    return node.op in numbers and factor.size > 0 and bool((factor == numbers[node.op]).all())
