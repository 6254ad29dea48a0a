"""Constants of a graph mean the same, however they are written: as initializers, as nodes, first or second."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from xnorweave.errors import NetworkError, UnsupportedError
from xnorweave.importers import load_any

QONNX = "qonnx.custom_op.general"
STEPS = {"scale": 1 / 128, "zero": 0.0, "bits": 8.0}
ONE_255TH = np.float32(1) / np.float32(255)


def constant(name: str, value):
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(value, np.float32)))


def quant(source: str, scale: str = "scale"):
    return helper.make_node("Quant", [source, scale, "zero", "bits"], ["q"], domain=QONNX, signed=0, narrow=0)


def imported(folder: Path, nodes, initializers, scores=()):
    weights = np.random.default_rng(0).choice(np.array([-1, 1], np.float32), (16, 4))
    last = "s" if not scores else "scores"
    nodes = [*nodes, helper.make_node("MatMul", ["q", "weights"], ["s"]), *scores]
    given = {"weights": weights} | STEPS | initializers
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in given.items()],
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(QONNX, 1)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=8), folder / "g.onnx")
    return load_any(folder / "g.onnx")


@pytest.mark.parametrize(
    ("nodes", "initializers"),
    [
        ([helper.make_node("Div", ["x", "c"], ["y"]), quant("y")], {"c": 255}),
        ([constant("c", 255), helper.make_node("Div", ["x", "c"], ["y"]), quant("y")], {}),
        ([helper.make_node("Div", ["x", "c"], ["y"]), quant("y")], {"c": [255] * 16}),
        ([helper.make_node("Mul", ["x", "c"], ["y"]), quant("y")], {"c": ONE_255TH}),
        ([helper.make_node("Mul", ["c", "x"], ["y"]), quant("y")], {"c": ONE_255TH}),
        ([constant("c", ONE_255TH), helper.make_node("Mul", ["c", "x"], ["y"]), quant("y")], {}),
    ],
)
def test_a_division_by_255_takes_the_pixel_itself(tmp_path, nodes, initializers):
    table = imported(tmp_path, nodes, initializers).input.table
    assert table is not None
    want = np.floor(np.arange(256, dtype=np.float32) / np.float32(255) * 128 + 0.5)
    assert np.abs(table - want).max() <= 1  # halves go to the even number
    assert len(set(table.tolist())) == 129


@pytest.mark.parametrize("nodes", [[quant("x", "one")], [constant("c", 1), quant("x", "c")]])
def test_a_quantizer_of_scale_one_takes_the_pixel_itself(tmp_path, nodes):
    assert imported(tmp_path, nodes, {"one": 1}).input.table is None


def test_a_division_of_255_by_the_pixel_is_none_by_255(tmp_path):
    with pytest.raises((NetworkError, UnsupportedError)):
        imported(tmp_path, [helper.make_node("Div", ["c", "x"], ["y"]), quant("y")], {"c": 255})


@pytest.mark.parametrize("name", ["value_int", "value_ints", "value_float", "value_floats"])
def test_a_constant_of_another_kind_than_its_name_is_refused(tmp_path, name):
    node = helper.make_node("Constant", [], ["c"], **{name: "abc"})
    with pytest.raises(NetworkError, match=f"its {name} holds something else; export the graph again"):
        imported(tmp_path, [node, helper.make_node("Add", ["x", "c"], ["y"]), quant("y")], {})


@pytest.mark.parametrize("row", range(4))
def test_classes_that_float32_treats_differently_are_refused(tmp_path, row):
    """Adding and taking off 2^26 is nothing in fractions, and rounds to multiples of 8 in float32."""
    far = np.zeros(4, np.float32)
    far[row] = 2**26
    scores = [helper.make_node("Add", ["s", "far"], ["t"]), helper.make_node("Add", ["t", "near"], ["scores"])]
    with pytest.raises(UnsupportedError, match="float32 gives"):
        imported(tmp_path, [quant("x", "one")], {"one": 1, "far": far, "near": -far}, scores)
