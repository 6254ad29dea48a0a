"""What the page is drawn from: kernels as text, the model of the pipeline, and the forms of sharing."""

import json
import math

import numpy as np
import pytest
from report_documents import document

from xnorweave.network import ArgMax, Conv2D, Dense, InputSpec, Network, Threshold
from xnorweave.report import kernel_atlas
from xnorweave.report.atlas import channel_tiles, shown_layers
from xnorweave.report.charts import bar
from xnorweave.report.timeline import timeline


def network(rng: np.random.Generator, *shapes: tuple[int, int, int], groups: int = 1) -> Network:
    """Convolutions [out, in / groups, k, k] one behind the other."""
    layers, side = [], 40
    for number, (filters, channels, size) in enumerate(shapes):
        weights = rng.choice(np.array([-1, 1], np.int8), (filters, channels, size, size))
        weights[filters // 2] = -weights[0]
        layers.append(Conv2D(name=f"c{number}", weights=weights, groups=groups))
        layers.append(Threshold(name=f"t{number}", thresholds=np.zeros(filters, np.int32)))
        side -= size - 1
    weights = np.ones((2, shapes[-1][0] * side * side), np.int8)
    layers += [Dense(name="d", weights=weights), ArgMax(name="a")]
    shape = (shapes[0][1] * groups, 40, 40)
    return Network(name="n", input=InputSpec(kind="bits", shape=shape), layers=tuple(layers))


def weights_of(atlas: dict, number: int) -> np.ndarray:
    """Weights as the tiles say, 0 where they say nothing."""
    layer = atlas["layers"][number]
    height, width = layer["kernel"]
    each = layer["channels"] // layer["groups"]
    found = np.zeros((layer["filters"], each, height * width), int)
    for channel in range(len(layer["patterns"])):
        for tile in channel_tiles(layer, channel):
            taps = np.array([1 if tile.pattern >> place & 1 else -1 for place in range(height * width)])
            for filters, sign in ((tile.filters, 1), (tile.inverse_filters, -1)):
                for number in filters:
                    found[number, channel % each] = sign * taps
    return found.reshape(layer["filters"], each, height, width)


@pytest.mark.parametrize(
    ("shape", "groups"), [((8, 3, 3), 1), ((6, 2, 5), 1), ((6, 1, 7), 1), ((8, 1, 3), 4), ((6, 2, 2), 3)]
)
def test_tiles_are_the_weights(rng, shape: tuple[int, int, int], groups: int) -> None:
    net = network(rng, shape, groups=groups)
    atlas = kernel_atlas(net)
    assert atlas is not None
    layer = net.layers[0]
    assert isinstance(layer, Conv2D)
    assert np.array_equal(weights_of(json.loads(json.dumps(atlas)), 0), layer.weights)


def test_a_kernel_and_its_inverse_are_one_tile_and_the_most_used_comes_first(rng) -> None:
    net = network(rng, (9, 1, 3))
    weights = np.array(net.layers[0].weights)  # type: ignore[union-attr]
    weights[5:8] = weights[1]
    net = Network(name="n", input=net.input, layers=(Conv2D(name="c0", weights=weights), *net.layers[1:]))
    atlas = kernel_atlas(net)
    assert atlas is not None
    tiles = channel_tiles(atlas["layers"][0], 0)
    assert tiles[0].filters == (1, 5, 6, 7)
    paired = [tile for tile in tiles if tile.inverse_filters]
    assert [sorted((*tile.filters, *tile.inverse_filters)) for tile in paired] == [[0, 4]]
    assert sum(tile.uses for tile in tiles) == 9
    assert [tile.uses for tile in tiles] == sorted((tile.uses for tile in tiles), reverse=True)


def test_the_atlas_of_large_layers_is_bounded_and_says_what_is_left_out(rng) -> None:
    atlas = kernel_atlas(network(rng, (64, 3, 3), (256, 64, 3), (900, 256, 3)))
    assert len(json.dumps(atlas)) < 10_000
    first, second, third = shown_layers({"kernel_atlas": atlas})
    assert (first.left_out, len(first.channels)) == ("", 3)
    assert (second.left_out, len(second.channels)) == ("62 of 64 channels", 2)
    assert (third.left_out, len(third.channels)) == ("255 of 256 channels and 218 of 900 filters", 1)
    assert third.kernels == 900 * 256


def test_networks_without_windows_have_no_atlas(rng) -> None:
    assert kernel_atlas(network(rng, (4, 2, 1))) is None


# The pipeline ----------------------------------------------------------------------------------------------------------


def fashion_mnist() -> dict:
    """Plan and shapes of the shipped network's build for the iCEBreaker, whose simulation measured 1,347 cycles."""
    window = {"kernel": [3, 3], "padding": [0, 0, 0, 0]}
    shapes = [
        {"name": "conv1", "input": [1, 28, 28], "output": [16, 26, 26]} | window,
        {"name": "pool1", "input": [16, 26, 26], "output": [16, 13, 13], "kernel": [2, 2]},
        {"name": "conv2", "input": [16, 13, 13], "output": [16, 11, 11]} | window,
        {"name": "pool2", "input": [16, 11, 11], "output": [16, 5, 5], "kernel": [2, 2]},
        {"name": "fc1", "input": [16, 5, 5], "output": [128, 1, 1]},
        {"name": "fc2", "input": [128, 1, 1], "output": [10, 1, 1]},
        {"name": "classes", "input": [10, 1, 1], "output": [1, 1, 1]},
    ]
    rows = [
        {"name": "table", "engine": "stream", "interval_cycles": 784},
        {"name": "conv1", "engine": "spatial", "interval_cycles": 784, "latency_cycles": 2},
        {"name": "pool1", "engine": "stream", "interval_cycles": 676},
        {"name": "conv2", "engine": "spatial", "interval_cycles": 169, "latency_cycles": 3},
        {"name": "pool2", "engine": "stream", "interval_cycles": 121},
        {"name": "fc1", "engine": "folded", "interval_cycles": 500, "pe": 13, "simd": 8},
        {"name": "fc2", "engine": "folded", "interval_cycles": 100, "pe": 1, "simd": 13},
        {"name": "classes", "engine": "stream", "interval_cycles": 10},
    ]
    return {"layers": shapes, "plan": {"interval_cycles": 784, "layers": rows}}


def test_the_model_is_near_what_simulation_measured() -> None:
    model = timeline(fashion_mnist())
    assert model is not None
    assert model.latency == pytest.approx(1_347, rel=0.03)
    assert model.interval == 784


def test_stages_start_in_order_and_steady_state_is_reached() -> None:
    model = timeline(fashion_mnist())
    assert model is not None
    assert [lane.name for lane in model.lanes][:3] == ["input", "table", "conv1"]
    starts, ends = [lane.start for lane in model.lanes], [lane.end for lane in model.lanes]
    assert starts == sorted(starts)
    assert ends == sorted(ends)
    assert model.latency <= model.drain < model.span
    assert model.span == pytest.approx(model.latency + (model.frames - 1) * 784)


def test_a_measured_interval_takes_the_place_of_the_planned_one() -> None:
    report = fashion_mnist()
    report["plan"]["interval_cycles_measured"] = 800
    model = timeline(report)
    assert model is not None
    assert model.interval == 800


def test_no_stage_works_longer_than_it_may(rng) -> None:
    model = timeline(document(6))
    assert model is not None
    assert all(lane.end - lane.start <= model.interval + 40 for lane in model.lanes)
    assert model.frames == min(8, math.ceil(model.latency / model.interval) + 2)


def test_there_is_no_timeline_without_shapes() -> None:
    assert timeline({"plan": document()["plan"]}) is None
    assert timeline({"layers": document()["layers"]}) is None


def test_bars_end_where_their_track_ends() -> None:
    assert 'width="100.00%"' in bar(7, 5, "too long")
    assert 'width="0.00%"' in bar(1, 0, "nothing there")
    assert "&lt;b&gt;" in bar(1, 2, "<b>")
