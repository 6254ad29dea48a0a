"""ONNX graphs that no network of ours equals are refused by name of the node, with what to change."""

import numpy as np
import pytest
from onnx_chains import Chain, bits

from xnorweave.importers import load_any

REFUSED = {
    "ternary weights": (
        lambda: bits("n", 4).add("MatMul", np.array([[1.0], [0.0], [-1.0], [1.0]])),
        r"MatMul 'n3': weights of output 0 have the magnitudes 0, 1, not one above 0; binarize"),
    "two-bit activations": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 2))).add("Quant", 1.0, 0.0, 2.0),
        r"Quant 'n5': gives 0 where channel 0 sums to 0, besides -1 and 1; use BipolarQuant"),
    "sums into a layer": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 2))).weights("MatMul", np.ones((2, 2))),
        r"MatMul 'n6': takes sums; quantize them to -1 and \+1 before"),
    "an input that is not quantized": (
        lambda: Chain("n", 4).weights("MatMul", np.ones((4, 2))).add("BipolarQuant", 1.0),
        r"no multiples of one step within 16 bits; quantize the input"),
    "channels scaled differently": (
        lambda: Chain("n", 3, 4, 4).add("Sub", np.array([[[0.1]], [[0.2]], [[0.3]]])).add("BipolarQuant", 1.0)
        .weights("Conv", np.ones((2, 3, 3, 3))).add("BipolarQuant", 1.0), r"the input's channels are scaled differently"),
    "scores of several offsets": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 2))).add("Add", np.array([0.0, 0.5])),
        r"output 't5_0': scores of classes 0 and 1 have offsets 0 and 0.5, .* train the last layer without bias"),
    "scores of several scales": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 2))).add("Mul", np.array([1.0, 0.5])), r"scales 1 and 0.5"),
    "scores that float32 makes equal": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 2))).add("Add", 1e9), r"float32 gives different sums the same score"),
    "padding of 0 and 1": (
        lambda: Chain("n", 1, 4, 4).add("Sub", 0.5).add("BipolarQuant", 1.0).weights("Conv", np.ones((2, 1, 3, 3)))
        .add("MultiThreshold", np.zeros((1, 1))).weights("Conv", np.ones((2, 2, 3, 3)), pads=[1, 1, 1, 1]),
        r"pads with zeros, which are neither"),
    "a branch": (
        lambda: (c := bits("n", 4)).add("Add", c.last), r"joins two branches of the graph; only chains"),
    "an unknown operation": (
        lambda: bits("n", 4).add("Softplus"), r"Softplus 'n3': operation 'Softplus' is not supported; replace it by .*MatMul"),
    "groups": (
        lambda: bits("n", 2, 4, 4).weights("Conv", np.ones((2, 1, 3, 3)), group=2), r"group=2 is not supported; nearest: 1"),
    "dilation": (
        lambda: bits("n", 1, 6, 6).weights("Conv", np.ones((2, 1, 3, 3)), dilations=[2, 2]), r"dilations=\[2, 2\] is not"),
    "SAME padding": (
        lambda: bits("n", 1, 6, 6).weights("Conv", np.ones((2, 1, 3, 3)), auto_pad="SAME_UPPER"), r"auto_pad=SAME_UPPER is not"),
    "stride 3": (
        lambda: bits("n", 1, 6, 6).weights("Conv", np.ones((2, 1, 3, 3)), strides=[3, 3]), r"strides=\[3, 3\] is not supported"),
    "a kernel of 9": (
        lambda: bits("n", 1, 9, 9).weights("Conv", np.ones((2, 1, 9, 9))), r"kernel 9x9 is not within"),
    "a pooling of 4": (
        lambda: bits("n", 1, 8, 8).weights("Conv", np.ones((2, 1, 3, 3))).add("BipolarQuant", 1.0)
        .add("MaxPool", kernel_shape=[4, 4], strides=[4, 4]), r"kernel_shape=\[4, 4\] .* nearest: \[2, 2\] with \[2, 2\]"),
    "padded pooling": (
        lambda: bits("n", 1, 8, 8).weights("Conv", np.ones((2, 1, 3, 3))).add("BipolarQuant", 1.0)
        .add("MaxPool", kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 1, 1]), r"pads=\[1, 1, 1, 1\] is not supported"),
    "pooled pixels": (
        lambda: Chain("n", 1, 8, 8).add("MaxPool", kernel_shape=[2, 2], strides=[2, 2]), r"pools pixels; only binary"),
    "a transposed map": (
        lambda: bits("n", 1, 8, 8).weights("Conv", np.ones((2, 1, 3, 3))).add("BipolarQuant", 1.0)
        .add("Transpose", perm=[0, 1, 3, 2]).weights("Conv", np.ones((2, 2, 3, 3))), r"is not the map \[2, 6, 6\] \(channels first"),
    "a moved batch": (
        lambda: bits(1, 4, 4).add("Transpose", perm=[1, 0, 2]), r"perm=\[1, 0, 2\] moves the batch from the front"),
    "k of 5": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 6))).add("TopK", [5], outputs=2), r"k=\[5\] is not supported; nearest: 1"),
    "the last of equals": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 6))).add("ArgMax", axis=1, select_last_index=1), r"select_last_index=1"),
    "training": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 1))).add(
            "BatchNormalization", [1.0], [0.0], [0.0], [1.0], training_mode=1), r"training_mode=1 is not supported; nearest: 0"),
    "a variance of 0": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 1))).add(
            "BatchNormalization", [1.0], [0.0], [0.0], [0.0], epsilon=0.0), r"channel 0 has variance \+ epsilon <= 0"),
    "an infinite factor": (
        lambda: bits("n", 4).weights("Gemm", np.ones((4, 1)), alpha=float("inf")), r"attribute alpha='inf' is no float"),
    "an infinite epsilon": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 1))).add(
            "BatchNormalization", [1.0], [0.0], [0.0], [1.0], epsilon=float("inf")), r"attribute epsilon='inf' is no float"),
    "a bias beyond float32": (
        lambda: bits("n", 4).weights("Gemm", np.ones((4, 1)), [3e38], beta=3e38), r"Gemm 'n4': gives a value that is not finite"),
    "a bias as large as float32": (
        lambda: bits("n", 4).weights("Gemm", np.ones((4, 1)), [3.4e38], scale=1e38).add("BipolarQuant", 1.0), r"sums that float32 does not hold"),
    "division by 0": (lambda: bits("n", 4).add("Div", 0.0), r"divides by 0"),
    "an overflow": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 1))).add("Mul", 3e38).add("BipolarQuant", 1.0),
        r"node BipolarQuant 'n6': gives a value that float32 does not hold"),
    "constants within a channel": (
        lambda: bits("n", 1, 2, 2).weights("Conv", np.ones((1, 1, 1, 1))).add("Add", np.arange(4.0).reshape(2, 2)),
        r"a constant differs within a channel"),
    "a constant that grows the tensor": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 1))).add("Add", np.zeros(3)), r"does not broadcast to \[1, 1\]"),
    "negated bits at the end": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 1))).add("BipolarQuant", 1.0).add("Neg"), r"moved or negated"),
    "sums of a convolution at the end": (
        lambda: bits("n", 1, 4, 4).weights("Conv", np.ones((2, 1, 3, 3))), r"chooses a class; only from the sums"),
    "pixels at the end": (lambda: bits("n", 4), r"gives pixels; there is no layer with weights"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_exact_is_refused_with_node_and_remedy(tmp_path, make, message):
    path = make().save(tmp_path / "net.onnx")
    with pytest.raises(Exception, match=message) as caught:
        load_any(path)
    assert type(caught.value).__module__ == "xnorweave.errors"
    assert str(caught.value).startswith(f"{path}: ")
