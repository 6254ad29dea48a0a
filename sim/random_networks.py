"""Seeded random networks of every layer kind, for property tests."""

import numpy as np

from xnorweave.folded_cost import least_buffer_rows
from xnorweave.network import (
    ArgMax,
    Conv2D,
    Dense,
    GlobalSum,
    InputSpec,
    Layer,
    MaxPool,
    Network,
    Scale,
    Shape,
    Threshold,
)
from xnorweave.passes.folds import Link, fold_outputs, fold_widths, folded, links, spatial, storages, unfolded
from xnorweave.passes.plan_types import LayerPlan, Plan
from xnorweave.passes.streamline import ConvStage, DenseStage, streamline

__all__ = ["random_frames", "random_network", "random_plan", "random_spatial"]


def random_network(rng: np.random.Generator, *, largest_side: int = 9, largest_channels: int = 5) -> Network:
    """Draw a small network: 1 to 3 convolutions or poolings, 0 to 2 dense layers, any input kind, some of many levels.

    Thresholds are drawn from the middle of what each sum can reach, so that activations differ, with a few channels
    that are always or never on.
    """
    spec = _input(rng, largest_side, largest_channels)
    layers: list[Layer] = []
    shape, values = spec.shape, _input_values(spec)
    active = spec.kind == "bits"
    for index in range(int(rng.integers(0, 4))):
        if active and min(shape[1:]) >= 2 and rng.random() < 0.3:
            size = int(rng.integers(2, min(3, *shape[1:]) + 1))
            layers.append(MaxPool(name=f"pool{index}", size=size, stride=int(rng.integers(1, size + 1))))
        else:
            layers.append(_conv(rng, f"conv{index}", shape, largest_channels))
            shape = layers[-1].output_shape(shape)
            layers.append(sign := _threshold(rng, f"sign{index}", layers[-1], values))
            active, values = True, _activations(sign)
            continue
        shape = layers[-1].output_shape(shape)
    if active and rng.random() < 0.25:
        layers.append(GlobalSum(name="total"))
        positions = shape[1] * shape[2]
        shape, values = layers[-1].output_shape(shape), (values[0] * positions, values[1] * positions)
    hidden = int(rng.integers(0, 2)) if layers else 1
    for index in range(hidden):
        layers.append(_dense(rng, f"fc{index}", shape))
        shape = layers[-1].output_shape(shape)
        layers.append(sign := _threshold(rng, f"fc{index}_sign", layers[-1], values))
        values = _activations(sign)
    if rng.random() < 0.7:
        layers.append(scores := _dense(rng, "scores", shape))
        order = rng.permutation(len(scores.weights)).tolist() if rng.random() < 0.3 else None
        scaled = rng.random()
        if scaled < 0.3:
            layers.append(_scale(rng, "norm", scores, values))
        if not 0.2 < scaled < 0.3:
            layers.append(ArgMax(name="classify", order=order))
    return Network(name="random", input=spec, layers=tuple(layers))


def random_frames(rng: np.random.Generator, network: Network, count: int) -> np.ndarray:
    """Frames uint8 [count, channels, height, width]: noise, with all-low and all-high ones among them."""
    top = 2 if network.input.kind == "bits" else 256
    frames = rng.integers(0, top, (count, *network.input.shape), dtype=np.uint8)
    if count > 2:
        frames[-1], frames[-2] = 0, top - 1
    return frames


def random_plan(rng: np.random.Generator, network: Network) -> Plan:
    """Draw an engine for each layer, and for folded ones any fold, storage and buffer there is.

    Raises
    ------
    UnsupportedError
        For a network without hardware.
    """
    layers: list[LayerPlan] = []
    before = Link(network.input.shape[0])
    for stage in streamline(network):
        if not isinstance(stage, (ConvStage, DenseStage)):
            layers.append(unfolded(stage, before, None))
        elif rng.random() < 0.3:
            layers.append(spatial(stage, before, None))
        else:
            layers.append(_random_fold(rng, stage, before))
        before = links(stage, layers[-1], before)
    _, height, width = network.input.shape
    return Plan(
        layers=tuple(layers),
        input_cycles=height * width,
        levels_per_register=int(rng.integers(1, 5)),
        free_running=bool(rng.random() < 0.3),
    )


def _random_fold(rng: np.random.Generator, stage: ConvStage | DenseStage, before: Link) -> LayerPlan:
    pe = int(rng.choice(fold_outputs(stage)))
    places = storages(stage)
    storage = places[int(rng.integers(len(places)))]
    if isinstance(stage, DenseStage):
        inputs = stage.weights.shape[1]
        widths = [s for s in range(1, inputs + 1) if s % before.lanes == 0 or before.lanes % s == 0]
        return folded(stage, before, None, pe=pe, simd=int(rng.choice(widths)), storage=storage)
    rows = stage.input_shape[1]
    return folded(
        stage,
        before,
        None,
        pe=pe,
        simd=int(rng.choice(fold_widths(stage))),
        vectors=int(rng.integers(1, min(4, stage.output_shape[2]) + 1)),
        storage=storage,
        buffer_rows=int(rng.integers(least_buffer_rows(stage), 2 * rows + 1)),
    )


def random_spatial(rng: np.random.Generator, network: Network) -> frozenset[str]:
    """Draw the dense layers to wire for their weights."""
    return frozenset(layer.name for layer in network.layers if isinstance(layer, Dense) and rng.random() < 0.5)


def _input(rng: np.random.Generator, side: int, channels: int) -> InputSpec:
    shape = (int(rng.integers(1, channels + 1)), int(rng.integers(1, side + 1)), int(rng.integers(1, side + 1)))
    kind = rng.choice(["bits", "pixels", "table", "sign", "step", "of each channel"])
    if kind == "bits":
        return InputSpec(kind="bits", shape=shape)
    pixel = np.arange(256)
    tables = {
        "pixels": None,
        "table": (pixel // 7 - 18).astype(np.int16),
        "sign": np.where(pixel >= 128, 1, -1).astype(np.int16),
        "step": (pixel // 64 * 6 - 9).astype(np.int16),
        "of each channel": np.stack([np.where(pixel >= rng.integers(1, 255), 1, -1) for _ in range(shape[0])]),
    }
    return InputSpec(kind="pixels", shape=shape, table=tables[str(kind)])


def _conv(rng: np.random.Generator, name: str, shape: Shape, channels: int) -> Conv2D:
    size = [int(rng.integers(1, min(7, side + 2) + 1)) for side in shape[1:]]
    padding = [int(rng.integers(0, size[axis])) if rng.random() < 0.5 else 0 for axis in (0, 0, 1, 1)]
    for axis in (0, 1):
        missing = size[axis] - shape[1 + axis] - padding[2 * axis] - padding[2 * axis + 1]
        size[axis] -= max(0, missing)
        for end in (2 * axis, 2 * axis + 1):
            padding[end] = min(padding[end], size[axis] - 1)
        size[axis] = min(size[axis], shape[1 + axis] + padding[2 * axis] + padding[2 * axis + 1])
    groups = int(rng.choice([d for d in range(1, shape[0] + 1) if shape[0] % d == 0])) if rng.random() < 0.25 else 1
    filters = groups * int(rng.integers(1, max(1, channels // groups) + 1))
    weights = rng.choice(np.array([-1, 1], np.int8), (filters, shape[0] // groups, *size))
    if len(weights) > 2:
        weights[-1] = -weights[0]  # an inverse filter
        weights[1, 0] = weights[0, 0]  # a repeated kernel
    top, bottom, left, right = (min(p, size[k // 2] - 1) for k, p in enumerate(padding))
    return Conv2D(name=name, weights=weights, stride=_stride(rng), padding=(top, bottom, left, right), groups=groups)


def _stride(rng: np.random.Generator) -> int:
    """Mostly 1 or 2, as trained networks have them."""
    return int(rng.choice([1, 1, 1, 2, 2, 2, 3, 4, 5, 6, 7]))


def _dense(rng: np.random.Generator, name: str, shape: Shape) -> Dense:
    return Dense(
        name=name, weights=rng.choice(np.array([-1, 1], np.int8), (int(rng.integers(2, 13)), int(np.prod(shape))))
    )


def _scale(rng: np.random.Generator, name: str, scores: Dense, values: tuple[int, int]) -> Scale:
    """Factors of one sign or of both and offsets as large as their sums, some of them 0; few bits as often as many."""
    channels, bits = len(scores.weights), int(rng.choice([1, 4, 12, 30]))
    factors = rng.integers(-(2**bits) if rng.random() < 0.5 else 0, 2**bits, channels)
    spread = 2**bits * max(map(abs, values)) * scores.weights.shape[1]
    offsets = rng.integers(-spread, spread + 1, channels)
    factors[rng.random(channels) < 0.1], offsets[rng.random(channels) < 0.1] = 0, 0
    return Scale(name=name, factors=factors.astype(np.int32), offsets=offsets)


def _input_values(spec: InputSpec) -> tuple[int, int]:
    """Lowest and highest value that the first layer sees."""
    if spec.kind == "bits":
        return -1, 1
    return (0, 255) if spec.table is None else (int(spec.table.min()), int(spec.table.max()))


def _activations(threshold: Threshold) -> tuple[int, int]:
    return -threshold.levels, threshold.levels


def _threshold(rng: np.random.Generator, name: str, layer: Layer, values: tuple[int, int]) -> Threshold:
    """Thresholds for sums of values from the lowest to the highest; one level as often as several."""
    assert isinstance(layer, (Conv2D, Dense))
    low, high = values
    levels = int(rng.choice([1, 1, 1, 1, 2, 3, 3, 7]))
    flat = layer.weights.reshape(len(layer.weights), -1).astype(np.int64)
    middle = flat.sum(1) * (low + high) / 2
    spread = (high - low) * np.sqrt(flat.shape[1]) / 2
    thresholds = np.round(middle[:, None] + rng.normal(0, spread, (len(flat), levels))).astype(np.int64)
    constant = rng.random(len(flat)) < 0.1
    thresholds[constant] = rng.choice([-(10**8), 10**8], (int(constant.sum()), 1))
    if levels > 2:
        thresholds[rng.random(len(flat)) < 0.1, -1] = 10**8  # a level that is never reached
    return Threshold(name=name, thresholds=np.sort(thresholds, 1).astype(np.int32))
