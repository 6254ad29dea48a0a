from typing import Any

import numpy as np
import pytest

from xnorweave.errors import NetworkError
from xnorweave.network import (
    ArgMax,
    Conv2D,
    Dense,
    Encoding,
    GlobalSum,
    InputSpec,
    Layer,
    MaxPool,
    Network,
    Scale,
    Threshold,
)


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.int8)


def conv(name: str = "conv", out: int = 4, channels: int = 1, size: int = 3, **options: Any) -> Conv2D:
    return Conv2D(name=name, weights=ones(out, channels, size, size), **options)


def sign(name: str = "sign", channels: int = 4) -> Threshold:
    return Threshold(name=name, thresholds=np.zeros(channels, np.int32))


def levels(rows: list[Any]) -> Threshold:
    return Threshold(name="sign", thresholds=np.array(rows, np.int32))


def dense(name: str = "fc", out: int = 3, inputs: int = 36) -> Dense:
    return Dense(name=name, weights=ones(out, inputs))


def scale(channels: int, name: str = "scale", *, offset: int = 0) -> Scale:
    return Scale(name=name, factors=np.ones(channels, np.int32), offsets=np.full(channels, offset))


def network(*layers: Layer, **options: Any) -> Network:
    fields = {"name": "net", "input": InputSpec(kind="pixels", shape=(1, 8, 8))} | options
    return Network(layers=layers, **fields)


def test_shapes_weights_and_macs_of_a_chain() -> None:
    net = network(conv(), sign(), MaxPool(name="pool"), dense(), ArgMax(name="classify"))
    assert net.shapes == ((1, 8, 8), (4, 6, 6), (4, 6, 6), (4, 3, 3), (3, 1, 1), (1, 1, 1))
    assert net.weight_count == 36 + 108
    assert net.macs == 36 * 36 + 108
    assert next((layer.name, before, after) for layer, before, after in net.walk()) == ("conv", (1, 8, 8), (4, 6, 6))


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (conv(size=1), (1, 5, 7), (4, 5, 7)),
        (conv(size=7), (1, 7, 9), (4, 1, 3)),
        (conv(stride=2), (1, 8, 9), (4, 3, 4)),
        (conv(stride=3), (1, 8, 9), (4, 2, 3)),
        (conv(size=2, stride=7), (1, 8, 9), (4, 1, 2)),
        (conv(padding=(1, 1, 1, 1)), (1, 8, 8), (4, 8, 8)),
        (conv(padding=(0, 1, 2, 0), stride=2), (1, 8, 8), (4, 4, 4)),
        (Conv2D(name="c", weights=ones(2, 1, 1, 5)), (1, 3, 5), (2, 3, 1)),
        (conv(groups=2), (2, 5, 7), (4, 3, 5)),
        (conv(groups=4), (4, 5, 7), (4, 3, 5)),
        (MaxPool(name="p"), (4, 5, 7), (4, 2, 3)),
        (MaxPool(name="p", size=3, stride=1), (4, 5, 7), (4, 3, 5)),
        (MaxPool(name="p", size=3, stride=3), (4, 3, 8), (4, 1, 2)),
        (GlobalSum(name="total"), (5, 3, 4), (5, 1, 1)),
        (dense(inputs=24), (2, 3, 4), (3, 1, 1)),
    ],
)
def test_output_shape(layer: Layer, shape: tuple[int, int, int], expected: tuple[int, int, int]) -> None:
    assert layer.output_shape(shape) == expected


def test_arrays_are_copied_and_read_only() -> None:
    weights = ones(3, 36)
    layer = Dense(name="fc", weights=weights)
    weights[0, 0] = -1
    assert layer.weights[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        layer.weights[0, 0] = -1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: conv(name="a b"), r"layer name 'a b': a name is a letter and .* single underscores; rename it"),
        (
            lambda: Conv2D(name="c", weights=ones(3, 3)),
            r"c: weights have shape \(3, 3\), not a non-empty \[out, in, ky",
        ),
        (lambda: Dense(name="f", weights=ones(1, 2) * np.int8(2)), r"f: weights contain 2, not only -1 and \+1"),
        (lambda: Dense(name="f", weights=ones(1, 2) * 1.0), r"f: weights are float64, not integers; binarize"),
        (lambda: conv(size=8), r"conv: kernel 8x8 is not within 1x1 to 7x7"),
        (lambda: conv(stride=8), r"conv: stride=8 is not a whole number from 1 to 7"),
        (lambda: conv(groups=3), r"conv: groups=3 do not divide the 4 filters; give a divisor"),
        (lambda: conv(groups=0), r"conv: groups=0 is not a whole number from 1 to"),
        (lambda: conv(padding=(3, 0, 0, 0)), r"conv: padding top=3 is not a whole number from 0 to 2"),
        (lambda: conv(padding=(0, 0)), r"conv: padding=\(0, 0\) is not \(top, bottom, left, right\)"),
        (lambda: Threshold(name="t", thresholds=np.zeros(2)), r"t: thresholds are float64, not integers; use ceil"),
        (lambda: sign(channels=0), r"sign: thresholds have shape \(0,\), not one per channel"),
        (
            lambda: levels([[[1]]]),
            r"sign: thresholds have shape \(1, 1, 1\), not .* \[channels, levels\]; reshape them",
        ),
        (
            lambda: levels([[0, 1, 2], [3, 3, 1]]),
            r"sign: thresholds \[3, 3, 1\] of channel 1 do not ascend; sort them",
        ),
        (lambda: levels([[0] * 16]), r"sign: 16 levels of a channel, more than 15; train with fewer"),
        (lambda: MaxPool(name="p", size=4), r"p: size=4 is not a whole number from 2 to 3"),
        (
            lambda: ArgMax(name="a", order=(0, 2)),
            r"a: order=\(0, 2\) does not have each class from 0 on once; leave it out",
        ),
        (lambda: ArgMax(name="a", order=(0, True)), r"a: order=\(0, True\) does not have each class"),
        (lambda: ArgMax(name="a", order=()), r"a: order=\(\) does not have each class"),
        (lambda: MaxPool(name="p", stride=3), r"p: stride=3 is not a whole number from 1 to 2"),
        (lambda: InputSpec(kind="pixels", shape=(1, 8)), r"input: shape=\(1, 8\) is not \(channels, height, width\)"),
        (lambda: InputSpec(kind="pixels", shape=(1, 0, 8)), r"input: height=0 is not a whole number from 1"),
        (lambda: InputSpec(kind="audio", shape=(1, 8, 8)), r"input: kind='audio' is neither 'pixels' nor 'bits'"),
        (
            lambda: InputSpec(kind="bits", shape=(1, 8, 8), table=np.zeros(256, np.int16)),
            r"input: a table needs kind 'pixels', not 'bits'",
        ),
        (
            lambda: InputSpec(kind="pixels", shape=(3, 8, 8), table=np.zeros((2, 256), np.int16)),
            r"input: table is int16 \(2, 256\), not 256 .* nor such of each of 3 channels; give \[256\] or \[channels, 256\]",
        ),
        (
            lambda: InputSpec(kind="pixels", shape=(3, 8, 8), table=np.full((3, 256), 7)),
            r"input: table is 7 for every pixel, so the input carries nothing",
        ),
    ],
)
def test_what_a_layer_refuses(make: Any, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        make()


def test_the_order_of_the_classes_is_no_order() -> None:
    assert ArgMax(name="a", order=(0, 1, 2)).order is None
    assert ArgMax(name="a", order=[2, 0, 1]).order == (2, 0, 1)  # pyright: ignore[reportArgumentType]


def test_tables_of_channels() -> None:
    pixel = np.arange(256)
    one = InputSpec(kind="pixels", shape=(2, 4, 4), table=np.stack([pixel // 2, pixel // 2]))
    assert one.table is not None
    assert one.table.tolist() == (pixel // 2).tolist()  # alike, so kept as one
    each = InputSpec(kind="pixels", shape=(2, 4, 4), table=np.stack([pixel // 64 * 2 - 9, pixel // 128 * 4 + 1]))
    assert each.table_by_channel is not None
    assert each.table_by_channel[:, -1].tolist() == [-3, 5]
    assert each.encoding == Encoding(bits=3, scale=2, offset=-9)
    assert InputSpec(kind="pixels", shape=(2, 4, 4)).table_by_channel is None


def test_levels_of_a_threshold() -> None:
    two_bits, one = levels([[-1, 0, 0], [1, 2, 3]]), levels([[4], [5]])
    assert (two_bits.levels, two_bits.encoding) == (3, Encoding(bits=2, scale=2, offset=-3))
    assert (one.levels, one.encoding, one.thresholds.tolist()) == (1, Encoding(bits=1, scale=2, offset=-1), [4, 5])
    assert two_bits.output_shape((2, 4, 5)) == (2, 4, 5)
    with pytest.raises(NetworkError, match="sign: 2 thresholds for 3 channels; give one each"):
        two_bits.output_shape((3, 4, 5))


@pytest.mark.parametrize(
    ("factors", "offsets", "message"),
    [
        ([[1]], [1], r"s: factors have shape \(1, 1\), not one for each channel; reshape them"),
        ([], [], r"s: factors have shape \(0,\), not one for each channel"),
        ([1, 2], [1], r"s: 2 factors for 1 offsets; give as many"),
        ([1.0], [1], r"s: factors are float64, not integers; scale them all alike, and round"),
        ([-(2**31)], [1], r"s: factors hold -2147483648, beyond int32; divide all factors and offsets"),
        ([1], [-(2**63)], r"s: offsets hold -9223372036854775808, beyond int64; divide all factors and offsets"),
    ],
)
def test_what_a_scale_refuses(factors: list, offsets: list, message: str) -> None:
    given = [np.array(values, None if values else np.int64) for values in (factors, offsets)]
    with pytest.raises(NetworkError, match=message):
        Scale(name="s", factors=given[0], offsets=given[1])


def test_the_largest_values_behind_a_scale_are_allowed() -> None:
    layer = scale(3, offset=2**62 - 1 - 64 * 255)
    assert network(dense(inputs=64), layer).layers[1] is layer


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], r"network: 0 layers, not 1 to 256"),
        ([conv(), conv("d", channels=4)], r"d: takes bits, but conv gives sums; put a Threshold between"),
        ([sign(channels=1)], r"sign: a Threshold follows a Conv2D, an Add or a Dense; here it gets pixels"),
        ([conv(), sign(), sign("again")], r"again: a Threshold follows .*; here it gets bits"),
        ([conv(), MaxPool(name="p")], r"p: pools sums; put it behind the Threshold, which gives the same result"),
        ([MaxPool(name="p")], r"p: pools pixels; only activations behind a Threshold, or bits, can be pooled"),
        (
            [conv(), GlobalSum(name="g")],
            r"g: adds up sums; put it behind the Threshold, or in front of a 1x1 convolution, which as a Dense",
        ),
        ([GlobalSum(name="g")], r"g: adds up pixels; only activations behind a Threshold, or bits, can be added up"),
        ([conv(), sign(), GlobalSum(name="g"), GlobalSum(name="h")], r"h: adds up totals; only activations"),
        ([conv(), sign(), GlobalSum(name="g"), MaxPool(name="p")], r"p: pools totals; only activations"),
        ([conv(), sign(), GlobalSum(name="g"), sign("t")], r"t: a Threshold follows .*; here it gets totals"),
        ([conv(), sign(), GlobalSum(name="g"), ArgMax(name="a")], r"a: an ArgMax follows .*; here it gets totals"),
        ([conv(), scale(4)], r"scale: a Scale follows a Dense; here it gets sums"),
        ([scale(1)], r"scale: a Scale follows a Dense; here it gets pixels"),
        ([dense(inputs=64), scale(2)], r"scale: 2 factors for 3 sums; give one each"),
        ([dense(inputs=64), scale(3), sign(channels=3)], r"sign: follows the Scale scale, behind which only an ArgMax"),
        (
            [dense(inputs=64), scale(3), scale(3, "s")],
            r"s: follows the Scale scale, behind which only an ArgMax may be",
        ),
        (
            [dense(inputs=64), scale(3, offset=2**62 - 64 * 255)],
            r"scale: gives values of up to 63 bits, more than 62; divide all factors and offsets",
        ),
        (
            [dense(inputs=64), scale(3), ArgMax(name="a", order=(1, 0))],
            r"a: order has 2 classes for 3 sums; give one each",
        ),
        ([ArgMax(name="a")], r"a: an ArgMax follows a Dense; here it gets pixels"),
        ([dense(inputs=64), ArgMax(name="a", order=(1, 0))], r"a: order has 2 classes for \d+ sums; give one each"),
        ([conv(), ArgMax(name="a")], r"a: an ArgMax follows a Dense; here it gets sums"),
        ([dense(inputs=64), ArgMax(name="a"), sign()], r"(a: an ArgMax is the last layer|sign: )"),
        ([conv(), sign("CONV")], r"CONV: two layers have this name"),
        ([conv(channels=2)], r"conv: weights take 2 channels, but the layer before gives 1"),
        ([conv(groups=2)], r"conv: weights take 2 groups of 1 channels, but the layer before gives 1"),
        ([conv(), sign(channels=3)], r"sign: 3 thresholds for 4 channels; give one each"),
        ([dense(inputs=63)], r"fc: weights take 63 inputs, but the layer before gives 64 \(1 channels of 8x8\)"),
        ([conv(size=7), sign(), conv("d", channels=4)], r"d: kernel 3x3 (is larger than|exceeds) its padded input 2x2"),
        ([conv(size=7, stride=2), sign(), MaxPool(name="p")], r"p: window 2x2 is larger than its input 1x1"),
    ],
)
def test_what_a_chain_refuses(layers: list[Layer], message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        network(*layers)


def test_class_labels_must_match_the_outputs() -> None:
    layers = (dense(inputs=64), ArgMax(name="classify"))
    assert network(*layers, classes=("a", "b", "c")).classes == ("a", "b", "c")
    with pytest.raises(NetworkError, match=r"network: 2 class labels for 3 outputs"):
        network(*layers, classes=("a", "b"))


@pytest.mark.parametrize("name", ["", "a\nb", "a" * 81, 7])
def test_a_network_name_is_short_and_printable(name: Any) -> None:
    with pytest.raises(NetworkError, match=r"network name .*: give 1 to 80 printable characters"):
        network(conv(), name=name)


@pytest.mark.parametrize("field", ["classes", "history"])
@pytest.mark.parametrize("text", ["\ud800", "x\x1b]0;title\x07", "a\nb"])
def test_text_that_a_terminal_would_obey_is_refused(field, text):
    layers = (Dense(name="d", weights=np.ones((2, 4), np.int8)),)
    texts = (text, "plain") if field == "classes" else (text,)
    with pytest.raises(NetworkError, match=r"label or history .* has unprintable characters; remove them"):
        Network(name="n", input=InputSpec(kind="bits", shape=(4, 1, 1)), layers=layers, **{field: texts})


@pytest.mark.parametrize("name", ["conv__window", "a__", "x__o__payload"])
def test_names_that_could_meet_those_of_the_hardware_are_refused(name):
    with pytest.raises(NetworkError, match=r"single underscores; rename it"):
        MaxPool(name=name)
