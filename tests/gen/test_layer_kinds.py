"""Each kind of layer in each engine: hardware = golden model = a reference written here from the definitions."""

import numpy as np
import pytest

from xnorweave.emit import emit
from xnorweave.folded_cost import least_buffer_rows
from xnorweave.lower import lower
from xnorweave.network import ArgMax, Conv2D, Dense, GlobalSum, InputSpec, Layer, MaxPool, Network, Scale, Threshold
from xnorweave.passes.folds import Link, fold_outputs, folded, links, spatial, unfolded
from xnorweave.passes.plan_types import Plan
from xnorweave.passes.streamline import ConvStage, DenseStage, streamline
from xnorweave.sim import golden
from xnorweave.sim.random_networks import random_frames
from xnorweave.sim.run import Pattern, simulate


def signs(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.choice(np.array([-1, 1], np.int8), shape)


def levels(rng: np.random.Generator, name: str, channels: int, count: int, spread: int) -> Threshold:
    rows = np.sort(rng.integers(-spread, spread + 1, (channels, count)), 1)
    return Threshold(name=name, thresholds=rows.astype(np.int32))


# --- the reference: a frame's values [channels, height, width] from layer to layer


def reference_conv(layer: Conv2D, values: np.ndarray) -> np.ndarray:
    top, bottom, left, right = layer.padding
    padded = np.pad(values, ((0, 0), (top, bottom), (left, right)))
    _, rows, columns = layer.output_shape(values.shape)
    sums = np.zeros((len(layer.weights), rows, columns), int)
    for o, y, x in np.ndindex(sums.shape):
        y0, x0 = y * layer.stride, x * layer.stride
        channels = layer.weights.shape[1]
        first = o * layer.groups // len(layer.weights) * channels
        window = padded[first : first + channels, y0 : y0 + layer.kernel[0], x0 : x0 + layer.kernel[1]]
        sums[o, y, x] = (layer.weights[o].astype(int) * window).sum()
    return sums


def reference_pool(layer: MaxPool, values: np.ndarray) -> np.ndarray:
    pooled = np.zeros(layer.output_shape(values.shape), int)
    for c, y, x in np.ndindex(pooled.shape):
        y0, x0 = y * layer.stride, x * layer.stride
        pooled[c, y, x] = values[c, y0 : y0 + layer.size, x0 : x0 + layer.size].max()
    return pooled


def reference(network: Network, frame: np.ndarray) -> np.ndarray:
    values = 2 * frame.astype(int) - 1 if network.input.kind == "bits" else frame.astype(int)
    for layer in network.layers:
        match layer:
            case Conv2D():
                values = reference_conv(layer, values)
            case MaxPool():
                values = reference_pool(layer, values)
            case GlobalSum():
                values = values.sum((1, 2)).reshape(-1, 1, 1)
            case Dense():
                values = (layer.weights.astype(int) @ values.reshape(-1))[:, None, None]
            case Threshold():
                rows = layer.thresholds.reshape(len(values), -1)
                signs = [np.where(values >= row[:, None, None], 1, -1) for row in rows.T]
                values = np.sum(signs, axis=0)
            case Scale():
                pairs = zip(layer.factors.tolist(), layer.offsets.tolist(), values[:, 0, 0].tolist(), strict=True)
                values = np.array([factor * total + offset for factor, offset, total in pairs])[:, None, None]
            case ArgMax():
                values = np.array(int(np.argmax(values[:, 0, 0])))
    return values


# --- networks, each in one place what the others are not


def strided(rng: np.random.Generator, stride: int) -> list[Layer]:
    conv = Conv2D(name="a", weights=signs(rng, 4, 2, 3, 2), stride=stride, padding=(2, 1, 0, 1))
    return [conv, levels(rng, "ta", 4, 1, 4)]


def of_levels(rng: np.random.Generator, count: int) -> list[Layer]:
    return [
        Conv2D(name="a", weights=signs(rng, 4, 2, 3, 3)),
        levels(rng, "ta", 4, count, 8),
        MaxPool(name="pool", size=2, stride=1),
        Conv2D(name="b", weights=signs(rng, 5, 4, 2, 2), padding=(1, 0, 0, 1)),
        levels(rng, "tb", 5, count, 8),
        Dense(name="c", weights=signs(rng, 6, 5 * 6 * 5)),
        levels(rng, "tc", 6, count, 12),
        Dense(name="d", weights=signs(rng, 3, 6)),
        ArgMax(name="class"),
    ]


def averaged(rng: np.random.Generator, count: int, *, hidden: bool) -> list[Layer]:
    layers: list[Layer] = [
        Conv2D(name="a", weights=signs(rng, 5, 2, 3, 3), stride=2),
        levels(rng, "ta", 5, count, 6),
        GlobalSum(name="total"),
    ]
    if hidden:
        layers += [Dense(name="b", weights=signs(rng, 6, 5)), levels(rng, "tb", 6, count, 9)]
    return [*layers, Dense(name="c", weights=signs(rng, 4, 6 if hidden else 5)), ArgMax(name="class")]


def grouped(rng: np.random.Generator) -> list[Layer]:
    """Two groups, then depthwise with two filters for each channel, then pointwise: a separable convolution."""
    return [
        Conv2D(name="a", weights=signs(rng, 4, 1, 2, 2), groups=2),
        levels(rng, "ta", 4, 3, 3),
        Conv2D(name="b", weights=signs(rng, 8, 1, 3, 3), groups=4, padding=(1, 1, 1, 0), stride=2),
        levels(rng, "tb", 8, 1, 5),
        Conv2D(name="c", weights=signs(rng, 6, 8, 1, 1)),
        levels(rng, "tc", 6, 1, 3),
    ]


def scaled(rng: np.random.Generator, *, last: bool) -> list[Layer]:
    """Classes with factors of both signs and 0, and offsets that matter."""
    layers = [*strided(rng, 3), Dense(name="b", weights=signs(rng, 5, 4 * 4 * 3))]
    layers.append(Scale(name="norm", factors=np.array([31, -7, 0, 12, 30]), offsets=rng.integers(-200, 200, 5)))
    return layers if last else [*layers, ArgMax(name="class")]


CASES = {
    "stride 3": lambda rng: strided(rng, 3),
    "stride 7": lambda rng: strided(rng, 7),
    "levels 2": lambda rng: of_levels(rng, 2),
    "levels 3": lambda rng: of_levels(rng, 3),
    "levels 7": lambda rng: of_levels(rng, 7),
    "groups": grouped,
    "average of bits": lambda rng: averaged(rng, 1, hidden=False),
    "average of levels": lambda rng: averaged(rng, 3, hidden=True),
    "scaled": lambda rng: scaled(rng, last=False),
    "scaled alone": lambda rng: scaled(rng, last=True),
    "average alone": lambda rng: averaged(rng, 2, hidden=False)[:3],
}


def network_of(case: str, rng: np.random.Generator) -> Network:
    return Network(name="n", input=InputSpec(kind="bits", shape=(2, 9, 8)), layers=tuple(CASES[case](rng)))


def plan_of(network: Network, engine: str, *, pe: int = 2, vectors: int = 2) -> Plan:
    before, layers = Link(network.input.shape[0]), []
    for stage in streamline(network):
        if not isinstance(stage, (ConvStage, DenseStage)):
            layers.append(unfolded(stage, before, None))
        elif engine == "spatial":
            layers.append(spatial(stage, before, None))
        elif isinstance(stage, ConvStage):
            most = max(outputs for outputs in fold_outputs(stage) if outputs <= pe)
            fold = {"pe": most, "simd": stage.weights.shape[1], "vectors": min(vectors, stage.output_shape[2])}
            layers.append(folded(stage, before, None, buffer_rows=least_buffer_rows(stage), **fold))
        else:
            layers.append(folded(stage, before, None, pe=min(pe, len(stage.weights)), simd=before.lanes))
        before = links(stage, layers[-1], before)
    _, height, width = network.input.shape
    return Plan(layers=tuple(layers), input_cycles=height * width, levels_per_register=2)


@pytest.mark.parametrize("case", CASES)
def test_the_golden_model_is_the_definition(case, rng):
    network = network_of(case, rng)
    frames = random_frames(rng, network, 5)
    outputs = golden.run(network, frames).outputs
    for frame, output in zip(frames, outputs, strict=True):
        np.testing.assert_array_equal(output, reference(network, frame))


@pytest.mark.parametrize("engine", ["spatial", "folded"])
@pytest.mark.parametrize("case", CASES)
def test_hardware_is_the_golden_model(case, engine, rng):
    network = network_of(case, rng)
    plan = plan_of(network, engine)
    frames = random_frames(rng, network, 4)
    for pattern in (Pattern(idle=0.0, stall=0.0, seed=1), Pattern(idle=0.3, stall=0.5, seed=2)):
        core = lower(network, plan=plan, strategy="units")
        report = simulate(network, frames, simulator="amaranth", taps=True, pattern=pattern, core=core)
        assert (report.mismatches, report.first_mismatch) == (0, None)


@pytest.mark.parametrize("engine", ["spatial", "folded"])
@pytest.mark.parametrize("case", ["stride 3", "levels 3", "average of levels", "groups", "scaled", "scaled alone"])
def test_verilog_is_the_golden_model(case, engine, rng, need):
    need("icarus")
    network = network_of(case, rng)
    design = emit(network, plan=plan_of(network, engine, pe=1, vectors=1), strategy="kernel")
    pattern = Pattern(idle=0.2, stall=0.4, seed=3)
    frames = random_frames(rng, network, 3)
    report = simulate(network, frames, simulator="icarus", taps=True, pattern=pattern, design=design)
    assert (report.mismatches, report.first_mismatch) == (0, None)
