"""From the bytes of an ``.onnx`` file to a checked graph in evaluation order, without trusting them.

Only what leads to the output is kept. No external data is followed, nothing is executed, nothing is written.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import NetworkError, ToolchainError, UnsupportedError
from xnorweave.importers.folding.files import quoted, read_bytes
from xnorweave.importers.onnx_graph.wire import check_wire

__all__ = ["Graph", "Node", "array_of", "read_graph"]

MAX_FILE_BYTES = 64 << 20
MAX_NODES = 4096
MAX_RANK = 8
DOMAINS = ("", "ai.onnx", "onnx.brevitas", "finn.custom_op.general", "qonnx.custom_op.general")
_PLAIN_DTYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64}
_TYPED_FIELD = {1: "float_data", 2: "int32_data", 3: "int32_data", 6: "int32_data", 7: "int64_data"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One operation.

    Parameters
    ----------
    op, domain, name : str
        As the file has them, the domain of plain ONNX as ``""``.
    inputs, outputs : tuple of str
        Tensor names; an input left out is ``""``.
    attributes : mapping of str to value
        Numbers, strings, lists of them, or tensors of the file.
    """

    op: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @property
    def label(self) -> str:
        """Operation and name, or the output's name where there is none."""
        return f"{quoted(self.op)[1:-1]} {quoted(self.name or '-> ' + ', '.join(self.outputs))}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """What leads from one input to one output.

    Parameters
    ----------
    nodes : tuple of Node
        In an order in which they can be evaluated.
    initializers : mapping of str to tensor of the file
        Of these nodes alone; `array_of` reads them.
    input_name, output_name : str
        Tensor names.
    input_shape : tuple of int
        With the batch in front, which is 1 where the file leaves it open.
    input_bytes : bool
        Whether the input is uint8 rather than float32.
    opset : int
        Version of plain ONNX.
    """

    nodes: tuple[Node, ...]
    initializers: Mapping[str, Any]
    input_name: str
    output_name: str
    input_shape: tuple[int, ...]
    input_bytes: bool
    opset: int


def read_graph(path: Path) -> Graph:
    """Read and check a file.

    Raises
    ------
    NetworkError
        Where it is absent, damaged, too large, or no sound graph.
    UnsupportedError
        Where it holds what this version does not read.
    ToolchainError
        Where the package ``onnx`` is not installed.
    """
    model = _parse(read_bytes(path, MAX_FILE_BYTES))
    opset, graph = _opset(model), model.graph
    if len(graph.node) > MAX_NODES:
        raise NetworkError(f"has {len(graph.node)} nodes, more than {MAX_NODES}; simplify the graph")
    initializers = {_text(tensor.name): tensor for tensor in graph.initializer}
    if len(initializers) != len(graph.initializer):
        raise NetworkError("two initializers have the same name; export the graph again")
    inputs = [value for value in graph.input if _text(value.name) not in initializers]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise UnsupportedError(
            f"has {len(inputs)} inputs and {len(graph.output)} outputs; only one of each is supported: cut the others"
        )
    shape, is_bytes = _input_type(inputs[0])
    input_name, output_name = inputs[0].name, _text(graph.output[0].name)
    nodes = _in_order([_node(n) for n in graph.node], output_name, {*initializers, input_name})
    used = {name for node in nodes for name in node.inputs}
    return Graph(
        nodes=nodes,
        initializers={name: tensor for name, tensor in initializers.items() if name in used},
        input_name=input_name,
        output_name=output_name,
        input_shape=shape,
        input_bytes=is_bytes,
        opset=opset,
    )


def _parse(data: bytes) -> Any:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as e:
        raise ToolchainError("reading .onnx files needs the package onnx: pip install 'xnorweave[onnx]'") from e
    check_wire(data)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, ValueError, RecursionError, MemoryError) as e:
        raise NetworkError("not a readable ONNX model (cut short or damaged); copy or export it again") from e
    if not model.HasField("graph") or not model.graph.node:
        raise NetworkError("holds no graph; export the network to ONNX again")
    return model


def _opset(model: Any) -> int:
    """Version of plain ONNX, where all the model's domains are known."""
    from onnx.defs import onnx_opset_version

    opsets = {_text(entry.domain) or "ai.onnx": entry.version for entry in model.opset_import}
    for domain in opsets:
        if domain not in DOMAINS and not domain.startswith("ai.onnx"):
            raise UnsupportedError(f"uses operations of {quoted(domain)}; known: {', '.join(DOMAINS[1:])}")
    version = opsets.get("ai.onnx")
    if version is None or not 7 <= version <= onnx_opset_version():
        raise UnsupportedError(
            f"opset {version} of plain ONNX is not supported; export with one from 7 to {onnx_opset_version()}"
        )
    return version


def _input_type(value: Any) -> tuple[tuple[int, ...], bool]:
    tensor = value.type.tensor_type
    where = f"input {quoted(value.name)}"
    if tensor.elem_type not in (1, 2):
        raise UnsupportedError(f"{where}: has element type {tensor.elem_type}; float32 and uint8 are supported")
    if not tensor.HasField("shape") or not 2 <= len(tensor.shape.dim) <= 4:
        raise UnsupportedError(f"{where}: its rank is not 2 to 4; give it a fixed shape, such as [1, 1, 28, 28]")
    sizes = [int(dim.dim_value) if dim.HasField("dim_value") else 0 for dim in tensor.shape.dim]
    sizes[0] = sizes[0] or 1
    if any(size < 1 for size in sizes):
        raise UnsupportedError(f"{where}: shape {sizes} is not fixed; only the first dimension may be open")
    return tuple(sizes), tensor.elem_type == 2


def _text(value: str | bytes) -> str:
    """A name; protobuf gives bytes where it is no UTF-8."""
    if isinstance(value, bytes):
        raise NetworkError(f"name {value[:40]!r} is not UTF-8; copy or export the file again")
    return value


def _node(proto: Any) -> Node:
    if len(proto.attribute) != len({_text(a.name) for a in proto.attribute}):
        raise NetworkError(f"node {quoted(proto.name)}: two attributes have the same name; export the graph again")
    # By the numbers of AttributeProto.type; subgraphs were refused before.
    fields = {1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints", 8: "strings", 9: "tensors"}
    attributes: dict[str, Any] = {}
    for attribute in proto.attribute:
        value = getattr(attribute, fields.get(attribute.type, "name"))
        attributes[attribute.name] = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    return Node(
        op=_text(proto.op_type),
        domain="" if proto.domain == "ai.onnx" else _text(proto.domain),
        name=_text(proto.name),
        inputs=tuple(map(_text, proto.input)),
        outputs=tuple(map(_text, proto.output)),
        attributes=attributes,
    )


def _in_order(nodes: list[Node], output: str, given: set[str]) -> tuple[Node, ...]:
    """Nodes that the output needs, each behind those it needs itself."""
    producers: dict[str, Node] = {}
    for node in nodes:
        for name in filter(None, node.outputs):
            if name in producers or name in given:
                raise NetworkError(f"tensor {quoted(name)} is made twice; export the graph again")
            producers[name] = node
    order: list[Node] = []
    done, open_ = set(given), set[str]()
    stack = [output]
    while stack:
        name = stack[-1]
        if name in done:
            stack.pop()
            continue
        if name not in producers:
            raise NetworkError(f"tensor {quoted(name)} is made by no node and is no input; export the graph again")
        node = producers[name]
        missing = [i for i in node.inputs if i and i not in done]
        if not missing:
            order.append(node)
            done.update(node.outputs)
        elif name in open_:
            raise NetworkError(f"node {node.label}: the graph has a cycle through it; only chains are supported")
        open_.add(name)
        stack.extend(missing)
    return tuple(order)


def array_of(tensor: Any, where: str) -> NDArray:
    """A tensor of the file as a read-only array.

    Raises
    ------
    NetworkError
        Where its data and its shape do not agree, or values are not finite.
    UnsupportedError
        Where its data lie outside the file, or its type is not supported.
    """
    if tensor.data_location == 1 or len(tensor.external_data):
        raise UnsupportedError(f"{where}: its data are in another file, which is not followed; save them in the model")
    if tensor.data_type not in _PLAIN_DTYPES:
        raise UnsupportedError(
            f"{where}: element type {tensor.data_type} is not supported; use float32, or int64 shapes"
        )
    dtype = np.dtype(_PLAIN_DTYPES[tensor.data_type])
    dims = tuple(tensor.dims)
    if len(dims) > MAX_RANK or any(n < 0 for n in dims):
        raise NetworkError(f"{where}: shape {list(dims[:9])} is no shape of at most {MAX_RANK} dimensions")
    if tensor.HasField("raw_data"):
        data = np.frombuffer(tensor.raw_data[: len(tensor.raw_data) // dtype.itemsize * dtype.itemsize], dtype)
        held = len(tensor.raw_data) / dtype.itemsize
    else:
        data = np.asarray(getattr(tensor, _TYPED_FIELD[tensor.data_type]))
        held = data.size
    if math.prod(dims) != held:
        raise NetworkError(f"{where}: says shape {list(dims)}, but holds {held:g} values; export the graph again")
    if data.size and not np.isfinite(data).all():
        raise NetworkError(f"{where}: holds a value that is not finite; train again with a lower learning rate")
    array = data.astype(dtype).reshape(dims)
    if dtype != np.float32 and np.any(array.ravel() != data):
        raise NetworkError(f"{where}: holds a value beyond {dtype}; export the graph again")
    array.setflags(write=False)
    return array
