"""Max pooling, the choice of a class, and what a network has to end with."""

from dataclasses import replace

import numpy as np

from xnorweave.errors import NetworkError, UnsupportedError
from xnorweave.importers.folding.layout import Layout
from xnorweave.importers.folding.offsets import with_equal_offsets
from xnorweave.importers.folding.signals import Activations, Classes, Signal, Sums, Totals, kind_of
from xnorweave.importers.folding.thresholds import MAX_VALUES, weighted_layer
from xnorweave.network import ArgMax, Layer, MaxPool

__all__ = ["classified", "finished", "pooled"]


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


def classified(signal: Signal, *, apart: float = 0.0) -> Classes:
    """Class of the largest score, the lowest of equals; scores may be sums with one rising rule for all classes.

    Parameters
    ----------
    signal : Signal
        The scores.
    apart : float
        By how much the scores of different sums have to differ at least, where a softmax rounds them again.

    Raises
    ------
    UnsupportedError
        Where the largest score could be that of another class than the largest sum.
    """
    if not isinstance(signal, Sums) or signal.weights.ndim != 2 or len(signal.layout.shape) != 2 or signal.pools:
        raise UnsupportedError(f"chooses a class; only from the sums [batch, classes] of {signal.words.dense}")
    signal = with_equal_offsets(signal)
    _check_one_rule(signal)
    if signal.error.any():
        remedy = "; multiply by scales that are no powers of two behind the last layer, the same for all classes"
        raise UnsupportedError(
            "chooses a class from float32 sums that depend on the order of additions, so equal sums may come out "
            f"unequal{f', since {signal.error.reason(0)}' if signal.error.input_error else remedy}"
        )
    falls, (least, most) = signal.scale[0] < 0, (int(signal.low.min()), int(signal.high.max()))
    if (most - least) * len(signal.weights) > MAX_VALUES:
        raise UnsupportedError(
            f"chooses one of {len(signal.weights)} classes from sums of {most - least} values, too many to check them "
            "all; pool the map before"
        )
    sums = np.arange(least, most + 1)[None]
    first = signal.evaluate(sums, slice(0, 1))[0]
    rises = np.diff(first)
    if not ((rises < -apart) if falls else (rises > apart)).all():
        raise UnsupportedError("float32 gives different sums the same score; scale or shift the scores less")
    for row in range(1, len(signal.weights)):
        if not np.array_equal(signal.evaluate(sums, slice(row, row + 1))[0], first):
            raise UnsupportedError(
                f"float32 gives classes 0 and {row} different scores for the same sum; scale and shift all alike"
            )
    layer = weighted_layer(signal, -signal.weights if falls else signal.weights)
    layers: tuple[Layer, ...] = (*signal.layers, layer, ArgMax(name="classify"))
    layout = Layout.plain(signal.layout.batch, (1, 1, 1), (1,))
    return Classes(
        layout=layout,
        words=signal.words,
        source=signal.source,
        layers=layers,
        notes=signal.notes,
        # A falling score is that of negated sums.
        ours=(abs(signal.scale[0]), signal.offset[0]),
    )


def _check_one_rule(sums: Sums) -> None:
    for what, values in (("scale", sums.scale), ("offset", sums.offset)):
        if len(set(values)) != 1:
            other = next(n for n, v in enumerate(values) if v != values[0])
            remedy = "train the last layer without bias, with one scale and no batch norm behind it"
            if what == "offset" and len(set(sums.first_offset)) != 1:
                remedy = "give the quantizer before the last layer values that are symmetric about 0, such as -1 and 1"
            raise UnsupportedError(
                f"scores of classes 0 and {other} have {what}s {float(values[0]):g} and {float(values[other]):g}, so "
                f"the largest score is not the largest sum; {remedy}"
            )
    if not sums.scale[0]:
        raise UnsupportedError("scores have the scale 0, so all classes are equal; check the constants")


def finished(signal: Signal) -> Signal:
    """What a network gives, with all its layers: classes, or activations; the scores of classes become classes.

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
            classes = classified(signal)
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
