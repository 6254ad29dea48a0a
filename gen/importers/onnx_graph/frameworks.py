"""The graph as a framework evaluates it: onnxruntime, or the package qonnx where the graph has operations of QONNX.

What a framework gets is not the file but a model made again from what was read and checked: the nodes and constants
that lead to the output, under names of our own, without data outside of it, subgraphs or functions.
"""

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import ToolchainError
from xnorweave.importers.onnx_graph.model import Graph, Node, array_of

__all__ = ["INSTALL", "evaluator", "package_for"]

INSTALL = {"onnxruntime": "pip install 'xnorweave[onnx-check]'", "qonnx": "pip install qonnx onnxruntime"}
_IR_VERSION = 8
_QONNX = "qonnx.custom_op.general"

Evaluator = Callable[[NDArray], tuple[NDArray, ...]]
"""From the graph's input to its output, one batch; behind it the scores, where the output are indices of these."""


def package_for(graph: Graph) -> str:
    """Name of the package that evaluates the graph."""
    return "qonnx" if any(node.domain for node in graph.nodes) else "onnxruntime"


def evaluator(graph: Graph, *, indices: bool) -> Evaluator | None:
    """The graph in its framework, or None where that is not installed.

    Parameters
    ----------
    graph : Graph
        What to evaluate.
    indices : bool
        Whether its output are indices of scores, int64, rather than float32.

    Raises
    ------
    ToolchainError
        Where the framework refuses the graph, now or when it is run.
    """
    package = package_for(graph)
    if any(importlib.util.find_spec(name) is None for name in {package, "onnxruntime"}):
        return None
    start = _qonnx if package == "qonnx" else _onnxruntime

    def reason(e: Exception) -> ToolchainError:
        lines = "".join(c for c in str(e) if c.isprintable() or c == "\n").splitlines() or [type(e).__name__]
        return ToolchainError(
            f"{package} does not evaluate the graph ({lines[0][:200]}); export it again, or leave this check out with "
            "--check-images 0"
        )

    # Frameworks raise exceptions of their own, with no common class.
    try:
        run = start(_model(graph, indices=indices))
    except Exception as e:
        raise reason(e) from e

    def evaluate(image: NDArray) -> tuple[NDArray, ...]:
        try:
            return run(image)
        except Exception as e:
            raise reason(e) from e

    return evaluate


def _model(graph: Graph, *, indices: bool) -> Any:
    """The graph as a model of its own, whose second output are the scores that indices are of."""
    from onnx import helper, numpy_helper

    names: dict[str, str] = {"": ""}

    def named(tensor: str) -> str:
        return names.setdefault(tensor, f"t{len(names)}")

    kind = 2 if graph.input_bytes else 1
    source = helper.make_tensor_value_info(named(graph.input_name), kind, graph.input_shape)
    constants = [
        numpy_helper.from_array(array_of(tensor, name), named(name)) for name, tensor in graph.initializers.items()
    ]
    nodes = [
        helper.make_node(
            node.op,
            [named(name) for name in node.inputs],
            [named(name) for name in node.outputs],
            domain=_QONNX if node.domain else "",
            **_attributes(node),
        )
        for node in graph.nodes
    ]
    # By ONNX's element types.
    outputs = [helper.make_tensor_value_info(named(graph.output_name), 7 if indices else 1, None)]
    if indices:
        chooser = next(node for node in graph.nodes if node.op in ("ArgMax", "TopK"))
        outputs.append(helper.make_tensor_value_info(named(chooser.inputs[0]), 1, None))
    opsets = [helper.make_opsetid("", graph.opset), helper.make_opsetid(_QONNX, 1)]
    return helper.make_model(
        helper.make_graph(nodes, "graph", [source], outputs, constants),
        opset_imports=opsets if package_for(graph) == "qonnx" else opsets[:1],
        ir_version=_IR_VERSION,
    )


def _attributes(node: Node) -> dict[str, Any]:
    """Attributes of a node, without empty lists, which say nothing; a tensor is read and made again."""
    from onnx import numpy_helper

    attributes: dict[str, Any] = {}
    for name, value in node.attributes.items():
        if hasattr(value, "data_location"):
            attributes[name] = numpy_helper.from_array(array_of(value, f"attribute {name}"))
        elif isinstance(value, (int, float, str)):
            attributes[name] = value
        elif len(value):
            attributes[name] = list(value)
    return attributes


def _onnxruntime(model: Any) -> Evaluator:
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    # Each node as documented, and none fused with the next.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0].name
    return lambda image: tuple(np.asarray(array) for array in session.run(None, {source: image}))


def _qonnx(model: Any) -> Evaluator:
    wrapper = importlib.import_module("qonnx.core.modelwrapper").ModelWrapper
    infer_shapes = importlib.import_module("qonnx.transformation.infer_shapes").InferShapes
    execute_onnx = importlib.import_module("qonnx.core.onnx_exec").execute_onnx
    wrapped = wrapper(model).transform(infer_shapes())
    source, outputs = wrapped.graph.input[0].name, [output.name for output in wrapped.graph.output]

    def run(image: NDArray) -> tuple[NDArray, ...]:
        with warnings.catch_warnings():
            # Of shapes that it could not infer before, which do not matter here.
            warnings.simplefilter("ignore")
            found = execute_onnx(wrapped, {source: image})
            return tuple(np.asarray(found[output]) for output in outputs)

    return run
