import numpy as np
import pytest

from xnorweave.hw.conv2d import Conv2D
from xnorweave.hw.sliding_window import SlidingWindow
from xnorweave.hw.threshold import ThresholdUnit
from xnorweave.lower import graph_unit
from xnorweave.network import Conv2D as Conv2DLayer
from xnorweave.network import InputSpec, Network, Padding, Threshold
from xnorweave.passes.share import share_layer
from xnorweave.passes.streamline import ConvStage, streamline

SHAPES = [
    # size, kernel, stride, padding, levels per register
    ((5, 6), (3, 3), 1, (0, 0, 0, 0), 1),
    ((5, 6), (3, 3), 1, (1, 1, 1, 1), 2),
    ((6, 7), (2, 3), 2, (0, 1, 2, 0), 3),
    ((7, 6), (3, 3), 2, (0, 0, 0, 0), 7),
    ((4, 4), (1, 1), 1, (0, 0, 0, 0), 1),
]
CHANNELS, FILTERS = 3, 5


def pack(bits: np.ndarray) -> int:
    return sum(int(bit) << k for k, bit in enumerate(bits))


def stage_of(rng: np.random.Generator, size: tuple[int, int], kernel: tuple[int, int], stride: int, padding: Padding):
    weights = rng.choice(np.array([-1, 1], np.int8), (FILTERS, CHANNELS, *kernel))
    layers = (
        Conv2DLayer(name="c", weights=weights, stride=stride, padding=padding),
        Threshold(name="t", thresholds=rng.integers(-3, 4, FILTERS).astype(np.int32)),
    )
    (stage,) = streamline(Network(name="n", input=InputSpec(kind="bits", shape=(CHANNELS, *size)), layers=layers))
    assert isinstance(stage, ConvStage)
    return stage, layers[1].thresholds


def layer_of(stage: ConvStage, levels: int, free_running: bool) -> Conv2D:
    window = SlidingWindow(
        word_bits=CHANNELS,
        size=stage.input_shape[1:],
        kernel=stage.weights.shape[2:],
        stride=stage.stride,
        padding=stage.padding,
    )
    graph = share_layer(stage, "units")
    unit = graph_unit(graph, levels_per_register=levels, tag_bits=window.border_bits)
    thresholds = {
        border: tuple(t + c for t, c in zip(row, graph.constants, strict=True))
        for border, row in stage.thresholds.items()
    }
    threshold = ThresholdUnit(thresholds=thresholds, sum_shape=unit.output_shape, border_bits=window.border_bits)
    return Conv2D(window=window, graph=unit, last=threshold, free_running=free_running)


def expected(stage: ConvStage, thresholds: np.ndarray, frame: np.ndarray) -> list[int]:
    """By the definition, of values in {-1, +1} with zeros around them."""
    top, bottom, left, right = stage.padding
    values = np.pad(2 * frame - 1, ((0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(values, stage.weights.shape[2:], (1, 2))
    windows = windows[:, :: stage.stride, :: stage.stride]
    sums = np.einsum("crwyx,ocyx->rwo", windows, stage.weights.astype(int))
    return [pack(pixel) for pixel in (sums >= thresholds).reshape(-1, FILTERS)]


def cycles_between_ends(window: SlidingWindow) -> int:
    """From a frame's first pixel to its last window's last position, a position a cycle."""
    (ky, kx), stride, (top, _, left, _) = window.kernel, window.stride, window.padding
    y = (window.rows - ky) // stride * stride + ky - 1
    x = (window.columns - kx) // stride * stride + kx - 1
    return (y - top) * window.columns + x - left


@pytest.mark.parametrize("free_running", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_layer_and_its_documented_latency(shape, free_running, pace, stream, rng):
    *shape, levels = shape
    stage, thresholds = stage_of(rng, *shape)
    layer = layer_of(stage, levels, free_running)
    frames = rng.integers(0, 2, (3, *stage.input_shape))
    want = [expected(stage, thresholds, frame) for frame in frames]
    words = [[pack(pixel) for pixel in frame.reshape(CHANNELS, -1).T] for frame in frames]
    result = stream(layer, words, len(want[0]), pace)
    assert result.outputs == want
    assert layer.latency == layer.sums.graph.latency + (4 if free_running else 1)
    if pace == (0.0, 0.0):
        assert result.first_latency_cycles == cycles_between_ends(layer.window) + layer.latency
        assert result.interval_cycles == layer.window.rows * layer.window.columns
