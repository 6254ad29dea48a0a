"""What explorations are tried on: a network that is planned at once, and progress that nobody sees."""

import numpy as np

from xnorweave.network import ArgMax, Conv2D, Dense, InputSpec, Network, Threshold


class Silent:
    """Progress that nobody sees."""

    def start(self, text: str, total: int | None = None) -> None: ...
    def advance(self, done: int) -> None: ...
    def note(self, text: str) -> None: ...


def small_network(rng: np.random.Generator) -> Network:
    """A convolution and a dense layer of random weights."""

    def signs(*shape: int) -> np.ndarray:
        return rng.choice(np.array([-1, 1], np.int8), shape)

    layers = (
        Conv2D(name="conv", weights=signs(4, 2, 3, 3)),
        Threshold(name="sign", thresholds=np.zeros(4, np.int32)),
        Dense(name="scores", weights=signs(3, 4 * 16)),
        ArgMax(name="classify"),
    )
    return Network(name="n", input=InputSpec(kind="bits", shape=(2, 6, 6)), layers=layers)
