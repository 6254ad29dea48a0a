"""What readers of other tools' networks share: signals between layers, rules in float32, and thresholds read off them.

A reader follows its file from the image to the output. Between two steps stands a `Signal`: pixels, activations, totals
of these, sums or classes, each a finite set of values per channel. Steps are applied to all of these values in float32,
as the framework does it, and compared with exact fractions; see `thresholds.quantize`.
`network_of` makes the network of the last one.
"""

from collections.abc import Sequence
from pathlib import Path

from xnorweave.errors import NetworkError
from xnorweave.importers.folding.signals import Signal
from xnorweave.network import Network

__all__ = ["network_of"]

_HISTORY = 400


def network_of(signal: Signal, path: Path, kind: str, classes: Sequence[str] = ()) -> Network:
    """The network behind the last signal, named by its file.

    Parameters
    ----------
    signal : Signal
        What `pooling.finished` gives.
    path : Path
        The file.
    kind : str
        What the history calls such a file.
    classes : sequence of str
        Labels of the outputs, or none.

    Raises
    ------
    NetworkError
        Where no layer depends on the image, or the layers do not make a network.
    """
    if signal.source is None:
        raise NetworkError("its output does not depend on the image through any layer with weights")
    stem = "".join(c for c in path.stem if c.isprintable())[:80] or "network"
    history = (f"imported from {kind} {stem}", *signal.notes)
    return Network(
        name=stem,
        input=signal.source,
        layers=signal.layers,
        classes=tuple(classes),
        history=tuple(line[:_HISTORY] for line in history),
    )
