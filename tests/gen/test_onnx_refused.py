"""ONNX graphs that no network of ours equals are refused by name of the node, with what to change."""

import numpy as np
import pytest
from onnx_chains import Chain, bits

from xnorweave.importers import load_any

REFUSED = {
    "ternary weights": (
        lambda: bits("n", 4).add("MatMul", np.array([[1.0], [0.0], [-1.0], [1.0]])),
        r"MatMul 'n3': weights of output 0 have the magnitudes 0, 1, not one above 0; binarize"),
    "five-bit activations": (
        lambda: bits("n", 60).weights("MatMul", np.ones((60, 2))).add("Quant", 1.0, 0.0, 5.0),
        r"Quant 'n5': gives 31 values; sums can be quantized to at most 16, 4 bits"),
    "nine-bit activations": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 2))).add("Quant", 1.0, 0.0, 9.0),
        r"Quant 'n5': gives 511 values; sums can be quantized to at most 16, 4 bits"),
    "a bit of one value": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 2))).add("Quant", 1.0, 0.0, 1.0, signed=0, narrow=1),
        r"Quant 'n5': of one narrow unsigned bit has one value; give it 2 bits, or narrow=0"),
    "a scale that float32 loses": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 2))).add("MultiThreshold", np.zeros((1, 3)), out_bias=1e9),
        r"MultiThreshold 'n5': gives one value for different levels; check its scale"),
    "an out_bias for each channel": (
        lambda: (
            bits("n", 4).weights("MatMul", np.ones((4, 2))).add("MultiThreshold", np.zeros((2, 1)), out_bias=[0.0, 1.0])
        ),
        r"MultiThreshold 'n5': attribute out_bias=.* is no float",
    ),
    "a concatenation": (
        lambda: (c := bits("n", 4)).add("Concat", c.last, axis=1),
        r"Concat 'n3': joins two branches of the graph; only chains are supported",
    ),
    "a scale for each channel": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 2))).add("Quant", np.array([1.0, 0.5]), 0.0, 2.0)
        .weights("MatMul", np.ones((2, 2))),
        r"MatMul 'n7': its input's channels have values in different steps, such as 0.5 and 1, which no integer sum holds; give"),
    "a channel that is scaled away": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 2))).add("Quant", 1.0, 0.0, 2.0).add("Mul", np.array([1.0, 0.0]))
        .weights("MatMul", np.ones((2, 2))), r"MatMul 'n8': channel 1 of its input is the same for every image, which no"),
    "scales of channels in one group": (
        lambda: bits("n", 1, 4, 4).weights("Conv", np.ones((4, 1, 1, 1))).add("BipolarQuant", 1.0)
        .add("Mul", np.array([1.0, 1.0, 2.0, 4.0])[:, None, None]).weights("Conv", np.ones((2, 2, 3, 3)), group=2),
        r"Conv 'n8': its input's channels have values in different steps, such as 4 and 8,"),
    "offsets of channels around which zeros are padded": (
        lambda: bits("n", 1, 4, 4).weights("Conv", np.ones((2, 1, 3, 3))).add("BipolarQuant", 1.0)
        .add("Add", np.array([1.0, -1.0])[:, None, None]).weights("Conv", np.ones((2, 2, 3, 3)), pads=[1, 1, 1, 1]),
        r"Conv 'n8': pads with zeros, but its input's channels have offsets of their own, .* or the layer no padding"),
    "offsets of channels in front of the classes": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 2))).add("Quant", 1.0, 0.0, 2.0).add("Add", np.array([0.0, 5.3]))
        .add("MatMul", np.array([[1.0, 1.0], [1.0, -1.0]])), r"scores of classes 0 and 1 have offsets .* symmetric about 0"),
    "a constant of more dimensions": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 2))).add("Mul", np.ones((1, 1, 1))).add("ArgMax", axis=1),
        r"Mul 'n5': a constant of shape \[1, 1, 1\] does not broadcast to \[1, 2\]; give one value"),
    "thresholds of the layout of another rank": (
        lambda: bits("n", 1, 4, 4).weights("Conv", np.ones((2, 1, 3, 3))).add("MultiThreshold", np.zeros((2, 1)), data_layout="NC"),
        r"MultiThreshold 'n5': takes thresholds \[2, 1\] in data_layout 'NC' on rank 4; one row of 1 to 255 .* NC, NCHW or NHWC"),
    "a rounding mode that is none": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 2))).add("Quant", 1.0, 0.0, 2.0, rounding_mode="NEAREST"),
        r"Quant 'n5': rounding_mode='NEAREST' is not supported; use ROUND, HALF_EVEN, FLOOR, CEIL, UP, DOWN, HALF_UP, HALF_DOWN"),
    "values of no one step": (
        lambda: bits("n", 8).weights("MatMul", np.ones((8, 2))).add("Quant", 1.0, 0.0, 3.0).add("Quant", 4.0, 0.0, 3.0)
        .weights("MatMul", np.ones((2, 2))), r"MatMul 'n8': its input's values -4, -?0, -?0, -?0, 0, ... are not equally spaced"),
    "sums into a layer": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 2))).weights("MatMul", np.ones((2, 2))),
        r"MatMul 'n6': takes sums; quantize them to -1 and \+1 before"),
    "an input that is not quantized": (
        lambda: Chain("n", 4).weights("MatMul", np.ones((4, 2))).add("BipolarQuant", 1.0),
        r"no multiples of one step within 16 bits; quantize the input"),
    "channels of other scales that are not quantized": (
        lambda: Chain("n", 3, 4, 4).add("Mul", np.array([[[0.1]], [[0.2]], [[0.3]]]))
        .weights("Conv", np.ones((2, 3, 3, 3))).add("BipolarQuant", 1.0), r"no multiples of one step within 16 bits; quantize"),
    "seventeen rules for channels": (
        lambda: Chain("n", 17, 5, 5).add("Sub", np.arange(17).reshape(17, 1, 1) / 20).add("BipolarQuant", 1.0)
        .weights("Conv", np.ones((2, 17, 3, 3))).add("BipolarQuant", 1.0), r"channels are scaled in 17 ways; at most 16 are"),
    "scores of offsets far apart behind pixels": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 2))).add("Add", np.array([0.0, 2.5])),
        r"output 't5_0': scores of classes 0 and 1 have offsets 0 and 2.5, .* that takes a hidden layer .* without bias"),
    "scores of offsets that are too far apart": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 2))).add("BipolarQuant", 1.0).weights("MatMul", np.ones((2, 2)))
        .add("Add", np.array([0.0, 9.5])), r"have offsets 0 and 9.5, .* offsets of few sums; train the last layer without"),
    "scales that differ by less than 31 bits": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 2))).add("Mul", np.array([1.0, 1 + 2**-23]))
        .add("Mul", np.array([1.0, 1 - 2**-23])), r"class \d of the sum -4 .* so close that scales rounded to 31 bits"),
    "scores that float32 makes equal": (
        lambda: bits("n", 4).weights("MatMul", np.ones((4, 2))).add("Add", 1e9), r"float32 gives class 1 of the sum -2 no larger score than class 0 of the sum -4; scale"),
    "padding of 0 and 1 in groups": (
        lambda: bits("n", 1, 4, 4).weights("Conv", np.ones((2, 1, 3, 3))).add("MultiThreshold", np.zeros((1, 1)))
        .weights("Conv", np.ones((2, 1, 3, 3)), pads=[1, 1, 1, 1], group=2),
        r"pads with zeros, but its input's values are not symmetric about 0: .* or the layer no padding"),
    "padding of 0 and 1 behind groups": (
        lambda: bits("n", 2, 4, 4).weights("Conv", np.ones((2, 1, 3, 3)), group=2).add("MultiThreshold", np.zeros((1, 1)))
        .weights("Conv", np.ones((2, 2, 3, 3)), pads=[1, 1, 1, 1]),
        r"pads with zeros, but its input's values are not symmetric about 0: .* or the layer no padding"),
    "padding of 0.25 and 1": (
        lambda: bits("n", 1, 4, 4).weights("Conv", np.ones((2, 1, 3, 3)))
        .add("MultiThreshold", np.zeros((1, 1)), out_scale=0.75, out_bias=0.25)
        .weights("Conv", np.ones((2, 2, 3, 3)), pads=[1, 1, 1, 1]), r"pads with zeros, but its input's values are not"),
    "a residual connection": (
        lambda: (c := bits("n", 4)).add("Add", c.last),
        r"Add 'n3': adds pixels to pixels; only a shortcut that changes nothing is supported"),
    "an average of 9 in front of the classes": (
        lambda: bits("n", 1, 5, 5).weights("Conv", np.ones((2, 1, 3, 3))).add("BipolarQuant", 1.0).add("GlobalAveragePool")
        .add("Flatten").weights("MatMul", np.ones((2, 2))),
        r"chooses a class .* since averages over 9 positions are rounded to float32; average over 4, 16, 64 or another"),
    "an average of pixels": (lambda: bits("n", 1, 4, 4).add("GlobalAveragePool"), r"averages pixels; only activations"),
    "an average of sums of 3x3": (
        lambda: bits("n", 1, 4, 4).weights("Conv", np.ones((2, 1, 3, 3))).add("GlobalAveragePool"),
        r"averages sums; only those of a 1x1 convolution behind a quantizer"),
    "an average of rows": (
        lambda: bits("n", 1, 4, 4).weights("Conv", np.ones((2, 1, 3, 3))).add("BipolarQuant", 1.0).add("ReduceMean", axes=[2]),
        r"averages the axes \[2\] of \[1, 2, 2, 2\]; nearest: all rows and columns"),
    "an average of channels": (
        lambda: bits("n", 1, 4, 4).weights("Conv", np.ones((2, 1, 3, 3))).add("BipolarQuant", 1.0).add("ReduceMean", axes=[1]),
        r"averages the axes \[1\]"),
    "an average of all": (
        lambda: bits("n", 1, 4, 4).weights("Conv", np.ones((2, 1, 3, 3))).add("BipolarQuant", 1.0).add("ReduceMean"),
        r"reduces all axes, the batch too; nearest: axes=\[2, 3\]"),
    "an average of no axis": (
        lambda: bits("n", 1, 4, 4).weights("Conv", np.ones((2, 1, 3, 3))).add("BipolarQuant", 1.0).add("ReduceMean", axes=[2, 9]),
        r"axes=\[2, 9\] do not fit its input \[1, 2, 2, 2\]"),
    "an average over windows": (
        lambda: bits("n", 1, 6, 6).weights("Conv", np.ones((2, 1, 3, 3))).add("BipolarQuant", 1.0)
        .add("AveragePool", kernel_shape=[2, 2], strides=[2, 2]), r"averages windows of \[2, 2\] of .* nearest: all rows"),
    "a quantized average": (
        lambda: bits("n", 1, 4, 4).weights("Conv", np.ones((2, 1, 3, 3))).add("BipolarQuant", 1.0).add("GlobalAveragePool")
        .add("BipolarQuant", 1.0), r"quantizes averages of activations; put a layer with weights behind the average"),
    "an average at the end": (
        lambda: bits("n", 1, 4, 4).weights("Conv", np.ones((2, 1, 3, 3))).add("BipolarQuant", 1.0).add("GlobalAveragePool"),
        r"gives averages of activations; put a layer that chooses the class behind them"),
    "an unknown operation": (
        lambda: bits("n", 4).add("Softplus"), r"Softplus 'n3': operation 'Softplus' is not supported; replace it by .*MatMul"),
    "groups": (
        lambda: bits("n", 2, 4, 4).weights("Conv", np.ones((2, 1, 3, 3)), group=3), r"conv: groups=3 do not divide the 2 filters; give a divisor"),
    "groups of other channels": (
        lambda: bits("n", 3, 4, 4).weights("Conv", np.ones((2, 1, 3, 3)), group=2), r"weights take 2 groups of 1 channels, but"),
    "no groups": (
        lambda: bits("n", 2, 4, 4).weights("Conv", np.ones((2, 1, 3, 3)), group=0), r"groups=0 is not a whole number from 1"),
    "dilation": (
        lambda: bits("n", 1, 6, 6).weights("Conv", np.ones((2, 1, 3, 3)), dilations=[2, 2]), r"dilations=\[2, 2\] is not"),
    "SAME padding": (
        lambda: bits("n", 1, 6, 6).weights("Conv", np.ones((2, 1, 3, 3)), auto_pad="SAME_UPPER"), r"auto_pad=SAME_UPPER is not"),
    "stride 8": (
        lambda: bits("n", 1, 6, 6).weights("Conv", np.ones((2, 1, 3, 3)), strides=[8, 8]), r"strides=\[8, 8\] is not supported"),
    "two strides": (
        lambda: bits("n", 1, 6, 6).weights("Conv", np.ones((2, 1, 3, 3)), strides=[1, 2]),
        r"strides=\[1, 2\] is not supported; nearest: the same from 1 to 7"),
    "a kernel of 9": (
        lambda: bits("n", 1, 9, 9).weights("Conv", np.ones((2, 1, 9, 9))), r"kernel 9x9 is not within"),
    "a pooling of 4": (
        lambda: bits("n", 1, 8, 8).weights("Conv", np.ones((2, 1, 3, 3))).add("BipolarQuant", 1.0)
        .add("MaxPool", kernel_shape=[4, 4], strides=[4, 4]), r"kernel_shape=\[4, 4\] .* nearest: \[2, 2\] with \[2, 2\]"),
    "padded pooling": (
        lambda: bits("n", 1, 8, 8).weights("Conv", np.ones((2, 1, 3, 3))).add("BipolarQuant", 1.0)
        .add("MaxPool", kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 1, 1]), r"pads=\[1, 1, 1, 1\] is not supported"),
    "pooled pixels": (
        lambda: Chain("n", 1, 8, 8).add("MaxPool", kernel_shape=[2, 2], strides=[2, 2]), r"pools pixels; only activations"),
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
