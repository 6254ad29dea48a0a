"""ONNX files made to do harm, or damaged: each ends in one typed error, quickly, with nothing read or written beside it."""

import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from xnorweave.errors import NetworkError, ToolchainError, UnsupportedError, XnorweaveError
from xnorweave.importers import load_any
from xnorweave.importers.onnx_graph.wire import MAX_FIELDS

LONGEST_S = 4.0
QONNX = "onnx.brevitas"


def small(change: Callable[[onnx.ModelProto], None] | None = None, *, names: dict[str, str] | None = None) -> bytes:
    """A valid model of one layer with something changed; ``names`` renames its tensors."""
    n = {name: name for name in ("image", "one", "weights", "scale", "x", "w", "sums", "scores")} | (names or {})
    nodes = [
        helper.make_node("Sub", [n["image"], n["one"]], ["c"], name="shift"),
        helper.make_node("BipolarQuant", ["c", n["scale"]], [n["x"]], name="binarize", domain=QONNX),
        helper.make_node("BipolarQuant", [n["weights"], n["scale"]], [n["w"]], name="quant", domain=QONNX),
        helper.make_node("MatMul", [n["x"], n["w"]], [n["sums"]], name="fc"),
        helper.make_node("Mul", [n["sums"], n["scale"]], [n["scores"]], name="rescale"),
    ]
    tensors = {"one": np.float32(0.5), "scale": np.float32(1), "weights": np.ones((9, 4), np.float32)}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n["image"], TensorProto.FLOAT, [1, 9])],
        [helper.make_tensor_value_info(n["scores"], TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.asarray(value), n[name]) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(QONNX, 1)])
    if change:
        change(model)
    return model.SerializeToString()


def on_graph(change: Callable[[onnx.GraphProto], object]) -> Callable[[], bytes]:
    return lambda: small(lambda model: change(model.graph) and None)


def on_weights(change: Callable[[TensorProto], object]) -> Callable[[], bytes]:
    return on_graph(lambda graph: change(graph.initializer[2]))


def weights(array: np.ndarray) -> Callable[[], bytes]:
    return on_weights(lambda tensor: tensor.CopyFrom(numpy_helper.from_array(array, "weights")))


def external(tensor: TensorProto) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def dims(*sizes: int) -> Callable[[], bytes]:
    return on_weights(lambda tensor: (tensor.ClearField("dims"), tensor.dims.extend(sizes)))


def input_shape(*sizes: int | str) -> Callable[[], bytes]:
    info = helper.make_tensor_value_info("image", TensorProto.FLOAT, sizes)
    return on_graph(lambda graph: graph.input[0].CopyFrom(info))


def doubling(graph: onnx.GraphProto) -> None:
    """Forty concatenations of a constant with itself: 9 * 4 * 2**40 values."""
    for n in range(40):
        graph.node.insert(2 + n, helper.make_node("Concat", [f"d{n - 1}" if n else "weights"] * 2, [f"d{n}"], axis=0))
    graph.node[42].input[0] = "d39"


def spreading(graph: onnx.GraphProto) -> None:
    graph.initializer.append(numpy_helper.from_array(np.ones((1 << 16, 1), np.float32), "tall"))
    graph.initializer.append(numpy_helper.from_array(np.ones((1, 1 << 16), np.float32), "wide"))
    graph.node.insert(2, helper.make_node("Add", ["tall", "wide"], ["square"]))
    graph.node[3].input[0] = "square"


def many_layers(graph: onnx.GraphProto) -> None:
    graph.initializer[2].CopyFrom(numpy_helper.from_array(np.ones((9, 9), np.float32), "weights"))
    del graph.node[3:]
    last = "x"
    for n in range(300):
        graph.node.append(helper.make_node("MatMul", [last, "w"], [f"s{n}"], name=f"fc{n}"))
        graph.node.append(helper.make_node("BipolarQuant", [f"s{n}", "scale"], [f"b{n}"], domain=QONNX))
        last = f"b{n}"
    graph.output[0].name = last


def subgraph(graph: onnx.GraphProto) -> None:
    graph.node[0].attribute.append(helper.make_attribute("body", onnx.GraphProto(name="inner")))


def attribute(index: int, **values: object) -> Callable[[], bytes]:
    return on_graph(
        lambda graph: [graph.node[index].attribute.append(helper.make_attribute(k, v)) for k, v in values.items()]
    )


def rename_input(node: int, place: int, name: str) -> Callable[[], bytes]:
    return on_graph(lambda graph: graph.node[node].input.__setitem__(place, name))


def cut(fraction: float) -> bytes:
    data = small()
    return data[: int(len(data) * fraction)]


def field(number: int, body: bytes) -> bytes:
    """One length-delimited field of a message."""
    size, varint = len(body), b""
    while size > 127:
        varint, size = varint + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + varint + bytes([size]) + body


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", r"is empty; copy or export"),
    "text": (lambda: b"hello, world\n" * 99, r"not a readable ONNX model"),
    "zeros": (lambda: bytes(1000), r"not a readable ONNX model|holds no graph"),
    "an npz": (lambda: b"PK\x03\x04" + bytes(100), r"not a readable ONNX model"),
    "a pickle": (lambda: b"\x80\x04\x95" + b"cos\nsystem\n", r"not a readable ONNX model"),
    **{f"cut at {f}": (lambda f=f: cut(f), r"not a readable ONNX model|holds no graph") for f in (0.1, 0.25, 0.5, 0.9, 0.99)},
    "a varint without end": (lambda: b"\x08" + b"\xff" * 100, r"not a readable ONNX model"),
    "a length beyond the file": (lambda: b"\x3a\xff\xff\xff\xff\x7f", r"not a readable ONNX model"),
    "30 million empty nodes": (lambda: field(7, field(1, b"") * (30 << 20)), rf"more than {MAX_FIELDS} fields"),
    "a million dimensions": (
        lambda: field(7, field(11, field(2, field(1, field(2, field(1, b"") * 1_000_000))))), r"fields, more than any network"),
    "no graph": (lambda: small(lambda m: m.ClearField("graph")), r"holds no graph"),
    "no nodes": (on_graph(lambda g: g.ClearField("node")), r"holds no graph"),
    "65 MiB": (lambda: small() + field(6, bytes(65 << 20)), r"is larger than 64 MiB"),
    "external data": (on_weights(external), r"initializer 'weights': its data are in another file, which is not followed"),
    "a subgraph": (on_graph(subgraph), r"holds a subgraph, which is not read here; export the network for inference"),
    "a function": (lambda: small(lambda m: m.functions.add(name="f") and None), r"holds functions"),
    "training information": (lambda: small(lambda m: m.training_info.add() and None), r"holds training information"),
    "sparse weights": (on_graph(lambda g: g.sparse_initializer.add()), r"holds sparse initializers"),
    "5,000 nodes": (on_graph(lambda g: g.node.extend([g.node[0]] * 5000)), r"has 5005 nodes, more than 4096"),
    "300 layers": (on_graph(many_layers), r"node MatMul 'fc128': layer 257 with 9 outputs.*more than 256 layers"),
    "a cycle": (rename_input(0, 1, "scores"), r"the graph has a cycle through it; only chains"),
    "a node of itself": (rename_input(3, 0, "sums"), r"node MatMul 'fc': the graph has a cycle through it"),
    "a missing tensor": (rename_input(3, 1, "absent"), r"tensor 'absent' is made by no node and is no input"),
    "a missing output": (on_graph(lambda g: setattr(g.output[0], "name", "absent")), r"tensor 'absent' is made by no node"),
    "a tensor made twice": (on_graph(lambda g: g.node[2].output.__setitem__(0, "x")), r"tensor 'x' is made twice"),
    "a constant made again": (on_graph(lambda g: g.node[2].output.__setitem__(0, "scale")), r"tensor 'scale' is made twice"),
    "two initializers of a name": (on_graph(lambda g: g.initializer.append(g.initializer[0])), r"two initializers have the same"),
    "two inputs": (on_graph(lambda g: g.input.add(name="more")), r"has 2 inputs and 1 outputs; only one of each"),
    "no input": (on_graph(lambda g: g.ClearField("input")), r"has 0 inputs and 1 outputs"),
    "two outputs": (on_graph(lambda g: g.output.add(name="sums")), r"has 1 inputs and 2 outputs"),
    "no outputs of a node": (on_graph(lambda g: g.node.add(op_type="Constant") and g.node[0].ClearField("output")), r"is made by no"),
    "no inputs of a node": (on_graph(lambda g: g.node[3].ClearField("input")), r"node MatMul 'fc': has 0 inputs, not 2 to 2"),
    "an input left out": (rename_input(3, 1, ""), r"node MatMul 'fc': has 2 inputs, not 2 to 2|is left out"),
    "an input without shape": (on_graph(lambda g: g.input[0].type.tensor_type.ClearField("shape")), r"its rank is not 2 to 4"),
    "an input of rank 5": (input_shape(1, 1, 1, 3, 3), r"its rank is not 2 to 4"),
    "a negative input": (input_shape(1, -9), r"shape \[1, -9\] is not fixed"),
    "an open input": (input_shape(1, "width"), r"shape \[1, 0\] is not fixed; only the first dimension may be open"),
    "a giant input": (input_shape(1, 1 << 20, 1 << 20), r"more than 4194304 values"),
    "an input beyond 64 bits": (input_shape(1, 1 << 40, 1 << 40), r"more than 4194304 values"),
    "an input of doubles": (on_graph(lambda g: setattr(g.input[0].type.tensor_type, "elem_type", 11)), r"element type 11; float32"),
    "giant weights": (dims(1 << 40, 1 << 40), r"initializer 'weights': says shape \[1099511627776, .*but holds 36 values"),
    "negative weights' shape": (dims(-9, -4), r"shape \[-9, -4\] is no shape"),
    "weights of 100 dimensions": (dims(*[1] * 100), r"is no shape of at most 8 dimensions"),
    "weights of rank 3": (dims(9, 2, 2), r"weights of rank 3; flatten to rank 2"),
    "weights of another fan-in": (dims(4, 9), r"node MatMul 'fc': its weights take 4 inputs, but the tensor has 9"),
    "weights without outputs": (weights(np.ones((9, 0), np.float32)), r"node MatMul 'fc': its weights take|its weights"),
    "NaN": (weights(np.full((9, 4), np.nan, np.float32)), r"initializer 'weights': holds a value that is not finite"),
    "infinity": (weights(np.full((9, 4), np.inf, np.float32)), r"holds a value that is not finite"),
    "doubles": (weights(np.ones((9, 4))), r"initializer 'weights': element type 11 is not supported; use float32"),
    "half floats": (weights(np.ones((9, 4), np.float16)), r"element type 10 is not supported"),
    "strings": (weights(np.full((9, 4), "a", object)), r"element type 8 is not supported"),
    "integer weights": (weights(np.ones((9, 4), np.int64)), r"its input is int64; export the network in float32"),
    "an unknown type": (on_weights(lambda t: setattr(t, "data_type", 99)), r"element type 99 is not supported"),
    "half a value": (on_weights(lambda t: setattr(t, "raw_data", t.raw_data[:-2])), r"but holds 35.5 values"),
    "a constant that doubles": (on_graph(doubling), r"node Concat .*: gives a constant of \d+ values, more than"),
    "a constant that spreads": (on_graph(spreading), r"node Add .*: gives a constant of 4294967296 values"),
    "an unknown attribute": (attribute(3, alpha=2.0), r"attribute 'alpha' is not known here"),
    "an attribute twice": (on_graph(
        lambda g: g.node[3].attribute.extend([helper.make_attribute("a", 1)] * 2)), r"two attributes have the same name"),
    "another domain": (on_graph(lambda g: setattr(g.node[3], "domain", "com.evil")), r"operation 'MatMul' of domain 'com.evil'"),
    "an imported domain": (lambda: small(lambda m: m.opset_import.add(domain="com.evil", version=1) and None), r"uses operations of 'com.evil'"),
    "no opset": (lambda: small(lambda m: m.ClearField("opset_import")), r"opset None of plain ONNX is not supported"),
    "a future opset": (lambda: small(lambda m: setattr(m.opset_import[0], "version", 10**6)), r"opset 1000000 .* from 7 to"),
    **{f"operation {name!r}": (on_graph(lambda g, name=name: setattr(g.node[3], "op_type", name)), r"is not supported; replace")
       for name in ("", "a\nb", "\x1b[31m", "$(touch pwned)", "x" * 100_000, "\u202eb")},
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), HOSTILE.values(), ids=[ascii(name) for name in HOSTILE])
def test_a_hostile_file_is_one_error_with_place_and_remedy(make, message, tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    path.write_bytes(make())
    monkeypatch.chdir(tmp_path)
    start, memory_kib = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(XnorweaveError, match=message) as caught:
        load_any(path)
    assert time.monotonic() - start < LONGEST_S
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_kib < 600_000
    assert type(caught.value) in (NetworkError, UnsupportedError)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.isprintable()
    assert len(text) < 900
    assert os.listdir(tmp_path) == ["net.onnx"]


def test_the_valid_file_is_read(tmp_path):
    (tmp_path / "net.ONNX").write_bytes(small())
    network = load_any(tmp_path / "net.ONNX")
    assert [layer.kind for layer in network.layers] == ["dense", "arg_max"]


@pytest.mark.parametrize("name", ["a b", "a;b", "$(touch pwned)", "a\nendmodule", "../../etc", "\u202eb", "x" * 10_000])
def test_names_of_the_file_never_become_names_of_layers(name, tmp_path):
    (tmp_path / "net.onnx").write_bytes(small(names={"sums": name, "weights": name + "w"}))
    network = load_any(tmp_path / "net.onnx")
    assert [layer.name for layer in network.layers] == ["fc1", "classify"]
    assert all(line.isprintable() and name not in line for line in network.history)


def test_a_file_name_becomes_a_printable_name(tmp_path):
    path = tmp_path / ("a\nb\x1b" + "c" * 150 + ".onnx")
    path.write_bytes(small())
    assert load_any(path).name == "ab" + "c" * 78


@pytest.mark.parametrize("seed", range(4))
def test_random_damage_never_escapes_as_another_error(seed, tmp_path):
    rng = random.Random(seed)
    data, path = small(), tmp_path / "net.onnx"
    for _ in range(250):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 2, 20))):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            load_any(path)
        except XnorweaveError:
            pass
        except Exception as e:  # pragma: no cover
            raise AssertionError(f"seed {seed}: {e!r}") from e


def test_places_that_hold_no_file(tmp_path):
    (tmp_path / "folder.onnx").mkdir()
    os.mkfifo(tmp_path / "fifo.onnx")
    for name in ("absent.onnx", "folder.onnx", "fifo.onnx", "x" * 400 + ".onnx"):
        with pytest.raises(NetworkError, match=r"cannot be read \(.*\); check the path|is a folder or a device"):
            load_any(tmp_path / name)


def test_without_the_package_the_error_names_it(tmp_path, monkeypatch):
    (tmp_path / "net.onnx").write_bytes(small())
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ToolchainError, match=r"needs the package onnx: pip install 'xnorweave\[onnx\]'"):
        load_any(tmp_path / "net.onnx")


def test_the_command_line_ends_with_one_error_line(tmp_path):
    (tmp_path / "net.onnx").write_bytes(on_weights(external)())
    xnorweave = Path(sys.executable).with_name("xnorweave")
    done = subprocess.run(
        [xnorweave, "import", "net.onnx", "-o", "out.npz"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert [line.startswith("error: net.onnx: ") for line in done.stderr.splitlines()] == [True]
    assert os.listdir(tmp_path) == ["net.onnx"]
