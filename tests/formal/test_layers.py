"""Whole layers on random and corner vectors, as emitted and as mapped, against NumPy."""

from dataclasses import dataclass

import numpy as np
import pytest

from xnorweave.boards.mapping import synthesize_core
from xnorweave.emit import emit
from xnorweave.lower import graph_unit
from xnorweave.network import Conv2D, InputSpec, Network, Threshold
from xnorweave.passes.share import STRATEGIES, share_layer
from xnorweave.passes.streamline import ConvStage, streamline
from xnorweave.sim.bench import Stimulus
from xnorweave.sim.cocotb_bench import run_cocotb
from xnorweave.sim.netlist import simulate_netlist
from xnorweave.sim.vectors import input_words, tap_values

FAMILIES = ["ice40", "ecp5"]
PACE = {"idle": 0.2, "stall": 0.3, "seed": 5}


@dataclass(frozen=True, kw_only=True)
class Sums:
    """The sums of a 3x3 layer, a window a transfer, and windows [N, inputs] for them."""

    stage: ConvStage
    windows: np.ndarray

    @property
    def words(self) -> list[list[int]]:
        bits = self.stage.encoding.bits
        return [[sum(int(x) << bits * k for k, x in enumerate(row))] for row in self.windows]

    @property
    def expected(self) -> np.ndarray:
        return self.windows.astype(np.int64) @ self.stage.matrix.astype(np.int64)

    def unit(self, strategy: str):
        """The component, and how to read its words."""
        graph = share_layer(self.stage, strategy)  # pyright: ignore[reportArgumentType]
        unit = graph_unit(graph, levels_per_register=2)
        shape = unit.output_shape

        def read(words) -> np.ndarray:
            lanes = [
                [word >> c * shape.width & (1 << shape.width) - 1 for c in range(len(graph.outputs))]
                for (word,) in words
            ]
            values = np.array(lanes)
            if shape.signed:
                values -= (values >> shape.width - 1) << shape.width
            return values - np.array(graph.constants)

        return unit, read


def corner_windows(matrix: np.ndarray, top: int, rng: np.random.Generator) -> np.ndarray:
    """All low, all high, one high, one low, every filter's highest and lowest sum, sparse to dense, and any value."""
    size = len(matrix)
    one = np.eye(size, dtype=bool)
    chosen = [np.zeros((1, size), bool), np.ones((1, size), bool), one, ~one, matrix.T > 0, matrix.T < 0]
    chosen += [rng.random((10, size)) < density for density in (0.05, 0.3, 0.5, 0.7, 0.95)]
    return np.concatenate([np.concatenate(chosen) * top, rng.integers(0, top + 1, (30, size))])


def layer_of_sums(channels: int, filters: int, kind: str, seed: int) -> Sums:
    rng = np.random.default_rng(seed)
    weights = rng.choice(np.array([-1, 1], np.int8), (filters, channels, 3, 3))
    layers = (Conv2D(name="c", weights=weights), Threshold(name="t", thresholds=np.zeros(filters, np.int32)))
    table = (np.arange(256) >> 4).astype(np.int16) if kind == "nibbles" else None
    spec = InputSpec(kind="bits" if kind == "bits" else "pixels", shape=(channels, 3, 3), table=table)
    stage = streamline(Network(name="n", input=spec, layers=layers))[-1]
    assert isinstance(stage, ConvStage)
    assert stage.encoding.bits == {"bits": 1, "nibbles": 4, "pixels": 8}[kind]
    return Sums(stage=stage, windows=corner_windows(stage.matrix, 2**stage.encoding.bits - 1, rng))


LAYERS = {
    "72 bits to 16": layer_of_sums(8, 16, "bits", 1),
    "27 pixels to 8": layer_of_sums(3, 8, "pixels", 2),
    "18 nibbles to 5": layer_of_sums(2, 5, "nibbles", 3),
}
QUICK = {("18 nibbles to 5", "graph", "ice40"), ("18 nibbles to 5", "kernel", "ecp5")}
MAPPED = [
    pytest.param(name, strategy, family, marks=() if (name, strategy, family) in QUICK else pytest.mark.slow)
    for name in LAYERS
    for strategy in STRATEGIES
    for family in FAMILIES
]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", LAYERS)
def test_emitted_sums(name, strategy, formal, need):
    need("icarus")
    layer = LAYERS[name]
    unit, read = layer.unit(strategy)
    result = run_cocotb(formal.emit_alone(unit), Stimulus(frames=layer.words, **PACE), simulator="icarus")
    assert np.array_equal(read(result.outputs), layer.expected)


@pytest.mark.parametrize(("name", "strategy", "family"), MAPPED)
def test_mapped_sums(name, strategy, family, formal, need, tmp_path):
    need("verilator")
    layer = LAYERS[name]
    unit, read = layer.unit(strategy)
    design = formal.emit_alone(unit)
    netlist = synthesize_core(design, family, tmp_path).netlist.read_text()
    result = simulate_netlist(design, netlist, family, Stimulus(frames=layer.words, **PACE))
    assert np.array_equal(read(result.outputs), layer.expected)


def test_a_wrong_weight_is_seen():
    """The windows tell every single weight turned over from the right one, whatever the filter."""
    for layer in LAYERS.values():
        matrix = layer.stage.matrix.astype(np.int64)
        for tap in range(len(matrix)):
            turned = matrix.copy()
            turned[tap] *= -1
            assert (layer.windows @ turned != layer.expected).any(0).all()


# --- with the window, borders and thresholds around


def padded_network() -> tuple[Network, np.ndarray]:
    """Bits with zeros on three sides, thresholds that differ by border class, and values -1 and +1 to send."""
    rng = np.random.default_rng(3)
    weights = rng.choice(np.array([-1, 1], np.int8), (7, 4, 3, 3))
    values = rng.choice([-1, 1], (12, 4, 4, 5))
    values[0], values[1] = -1, 1
    values[2:6, :, 1:, 1:4] = weights[:4]
    layers = (
        Conv2D(name="conv", weights=weights, padding=(1, 0, 1, 1)),
        Threshold(name="sign", thresholds=2 * rng.integers(-2, 3, 7).astype(np.int32)),
    )
    return Network(name="padded", input=InputSpec(kind="bits", shape=(4, 4, 5)), layers=layers), values


def expected_signs(network: Network, values: np.ndarray) -> np.ndarray:
    """Values +1 and -1 [N, out, rows, columns], window by window."""
    conv, threshold = network.layers
    assert isinstance(conv, Conv2D)
    assert isinstance(threshold, Threshold)
    top, bottom, left, right = conv.padding
    padded = np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, conv.kernel, axis=(2, 3))
    sums = np.einsum("ncyxij,ocij->noyx", windows, conv.weights.astype(np.int64))
    return np.where(sums >= threshold.thresholds[:, None, None], 1, -1)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_emitted_layer_with_borders(strategy, need):
    need("icarus")
    network, values = padded_network()
    design = emit(network, strategy=strategy)
    words = input_words(network, (values > 0).astype(np.uint8))
    result = run_cocotb(design, Stimulus(frames=words, **PACE), simulator="icarus")
    wanted = expected_signs(network, values)
    assert np.array_equal(tap_values(design.taps[-1], result.outputs, (7, 3, 5)), wanted)
    assert {-1, 1} == set(wanted.ravel().tolist())


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_mapped_layer_with_borders(family, strategy, need, tmp_path):
    need("verilator")
    network, values = padded_network()
    design = emit(network, strategy=strategy)
    netlist = synthesize_core(design, family, tmp_path).netlist.read_text()
    words = input_words(network, (values > 0).astype(np.uint8))
    result = simulate_netlist(design, netlist, family, Stimulus(frames=words, **PACE))
    assert np.array_equal(tap_values(design.taps[-1], result.outputs, (7, 3, 5)), expected_signs(network, values))
