"""Max pooling, and what a network has to end with."""

from dataclasses import replace

import numpy as np

from xnorweave.errors import NetworkError, UnsupportedError
from xnorweave.importers.folding.classes import classified
from xnorweave.importers.folding.layout import Layout
from xnorweave.importers.folding.signals import Activations, Classes, Signal, Sums, Totals, kind_of
from xnorweave.network import MaxPool

__all__ = ["finished", "pooled"]


def pooled(signal: Signal, *, size: int, stride: int) -> Signal:
    """A map with channels first behind a max pooling of ``size`` x ``size``, without padding.

    Raises
    ------
    NetworkError, UnsupportedError
        Where the window does not fit, or neither activations nor sums are pooled.
    """
    if not signal.layout.is_map:
        raise UnsupportedError("pools a tensor that is no map with channels first; remove the Reshape or Transpose")
    count = sum(isinstance(layer, MaxPool) for layer in signal.layers)
    pool = MaxPool(name=f"pool{count + 1}", size=size, stride=stride)
    layout = Layout.plain(signal.layout.batch, pool.output_shape(signal.layout.map))
    match signal:
        case Activations():
            if np.any(np.diff(signal.values) < 0):
                raise UnsupportedError("pools activations of negative scale; put the pooling before what negates them")
            return replace(signal, layout=layout, layers=(*signal.layers, pool))
        case Sums():
            return replace(signal, layout=layout, pools=(*signal.pools, pool), rising=_rising(signal))
        case _:
            kind = kind_of(signal)
            raise UnsupportedError(f"pools {kind}; only activations, or sums before them, can be pooled")


def _rising(sums: Sums) -> np.ndarray:
    ends = np.stack([sums.low, sums.high], 1)
    values = sums.evaluate(ends, slice(0, len(ends)))
    rising = np.sign(values[:, 1].astype(np.float64) - values[:, 0]).astype(np.int64)
    if sums.rising is not None and np.any(rising * sums.rising < 0):
        channel = int((rising * sums.rising).argmin())
        raise UnsupportedError(f"channel {channel} falls between two max poolings; pool the quantized values instead")
    return rising


def finished(signal: Signal, *, apart: float = 0.0) -> Signal:
    """What a network gives, with all its layers: classes, or activations; the scores of classes become classes.

    Parameters
    ----------
    signal : Signal
        What it gives.
    apart : float
        As `classes.classified` has it.

    Raises
    ------
    NetworkError, UnsupportedError
        Where it is none of these.
    """
    match signal:
        case Classes():
            return signal
        case Sums():
            note = "the class is that of the largest of the graph's scores, the lowest of equals"
            classes = classified(signal, apart=apart)
            return replace(classes, notes=(*classes.notes, note), scores=classes.ours)
        case Activations() if signal.layout.is_plain and not np.any(np.diff(signal.values) <= 0):
            return signal
        case Activations():
            raise UnsupportedError(
                "gives activations that are moved or negated, as a negative scale behind a max pooling does; end the "
                "graph with the quantizer, and a pooling behind it"
            )
        case Totals():
            raise UnsupportedError("gives averages of activations; put a layer that chooses the class behind them")
        case _:
            raise NetworkError("gives pixels; there is no layer with weights")
