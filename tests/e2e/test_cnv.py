"""FINN's CNV for CIFAR-10: its second convolution alone, wired for all 4,096 kernels."""

import numpy as np
import pytest

from xnorweave.importers import load_any
from xnorweave.lower import lower
from xnorweave.network import InputSpec, Network
from xnorweave.passes.share import STRATEGIES
from xnorweave.sim import golden
from xnorweave.sim.amaranth_bench import run_amaranth
from xnorweave.sim.bench import Stimulus
from xnorweave.sim.vectors import first_mismatch, input_words


# Without sharing, conv1 has 36,800 adders: minutes in Amaranth's simulator.
@pytest.mark.parametrize(
    "strategy", [pytest.param(name, marks=pytest.mark.slow) if name == "none" else name for name in STRATEGIES]
)
def test_conv1_on_random_windows(strategy, shared, rng):
    layers = {layer.name: layer for layer in load_any(shared / "nets" / "cnvW1A1_cifar10.npz").layers}
    network = Network(
        name="conv1", input=InputSpec(kind="bits", shape=(64, 5, 5)), layers=(layers["conv1"], layers["conv1_sign"])
    )
    core = lower(network, strategy=strategy)
    frames = rng.integers(0, 2, (4, 64, 5, 5), dtype=np.uint8)
    result = run_amaranth(core, Stimulus(frames=input_words(network, frames), stall=0.2), output_words=9)
    want = golden.run(network, frames, keep_layers=True).layers["conv1_sign"]
    assert first_mismatch(core.taps[-1], result.outputs, want) is None
