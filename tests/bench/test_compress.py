"""Layers in slices of their filters, as bench/compress.py maps what takes too long as a whole."""

import numpy as np

from compress import slices
from layers import random_stage
from xnorweave.adder_graph import graph_additions
from xnorweave.passes.share import share_layer


def test_slices_are_the_layer() -> None:
    whole = random_stage(3, 10, 1)
    parts = slices(whole, 4)
    assert [len(part.weights) for part in parts] == [2, 3, 2, 3]
    assert [part.output_shape[0] for part in parts] == [2, 3, 2, 3]
    assert np.array_equal(np.concatenate([part.weights for part in parts]), whole.weights)
    for border, values in whole.thresholds.items():
        assert sum((part.thresholds[border] for part in parts), ()) == values
    # Without sharing a filter costs the same wherever it is.
    additions = [graph_additions(share_layer(each, "none")) for each in (whole, *parts)]
    assert additions[0] == sum(additions[1:]) > 0
