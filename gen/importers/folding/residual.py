"""Residual additions: what an earlier layer gave, added to the sums of a convolution.

Both are integers times a scale plus an offset, channel by channel. Where the scales are equal, or one is the negative
of the other, the scaled sum is that of the integers, which hardware adds as they are: a negative scale goes into the
convolution's weights. Offsets add up to one of the sum. The addition must be exact in float32, so it has one answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import UnsupportedError
from xnorweave.importers.folding.integers import equal_steps
from xnorweave.importers.folding.rounding import EXACT_FLOAT32, Rounding, lowest_bit
from xnorweave.importers.folding.signals import Activations, Signal, Sums, fractions_of, kind_of
from xnorweave.network import Add, Conv2D, Layer

__all__ = ["added"]

SUPPORTED = (
    "only a shortcut that changes nothing is supported, from activations or sums of an earlier layer to the sums of a "
    "convolution with the same shape"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Addend:
    """Integers of a channel, from ``low`` on in steps of ``step``, times a scale plus an offset."""

    scale: tuple[Fraction, ...]
    offset: tuple[Fraction, ...]
    low: NDArray[np.int64]
    step: int
    span: int

    def largest(self, channel: int) -> Fraction:
        """Of the magnitudes of its values."""
        ends = int(self.low[channel]), int(self.low[channel]) + self.span
        return max(abs(self.scale[channel] * end + self.offset[channel]) for end in ends)


def added(left: Signal, right: Signal) -> Sums:
    """The sum of two signals, of which one is sums of a convolution, and the other was on the way to it.

    Raises
    ------
    UnsupportedError
        Where the shortcut is none, or the sum is no integer of equal steps in float32.
    """
    main, source = _roles(left, right)
    if not (main.layout.is_map and source.layout.is_map) or main.layout.map != source.layout.map:
        shapes = " to ".join(str(list(signal.layout.shape)) for signal in (source, main))
        raise UnsupportedError(
            f"adds {shapes}; {SUPPORTED}: train the block with stride 1 and as many filters as channels"
        )
    if main.pools:
        raise UnsupportedError("adds to pooled sums; put the pooling behind the addition")
    name, shortcut = _shortcut(main, source)
    here = _addend_of_sums(main, "its convolution's sums")
    signs = np.array(
        [_sign(one, other, n) for n, (one, other) in enumerate(zip(here.scale, shortcut.scale, strict=True))]
    )
    low = np.where(signs < 0, -here.low - here.span, here.low) + shortcut.low
    step = int(np.gcd(here.step, shortcut.step))
    offset = tuple(one + other for one, other in zip(here.offset, shortcut.offset, strict=True))
    for channel in range(len(low)):
        _check_exact(here, shortcut, channel)
    count = sum(isinstance(layer, Add) for layer in (*main.layers, *main.adds))
    return replace(
        main,
        carried=False,
        weights=main.weights * signs.astype(np.int8)[:, None, None, None],
        low=low,
        step=step,
        count=(here.span + shortcut.span) // step + 1,
        first_scale=shortcut.scale,
        first_offset=offset,
        error=Rounding(
            inputs=(Fraction(0),), magnitudes=(Fraction(1),) * len(low), terms=1, scale=shortcut.scale, offset=offset
        ),
        steps=(),
        scale=shortcut.scale,
        offset=offset,
        adds=(*main.adds, Add(name=f"add{count + 1}", source=name)),
    )


def _roles(left: Signal, right: Signal) -> tuple[Sums, Activations | Sums]:
    """The convolution's sums, and what the shortcut brings: the one of fewer layers."""
    main, source = (left, right) if len(left.layers) >= len(right.layers) else (right, left)
    if not isinstance(main, Sums) or main.weights.ndim != 4 or not isinstance(source, (Activations, Sums)):
        raise UnsupportedError(f"adds {kind_of(source)} to {kind_of(main)}; {SUPPORTED}")
    return main, source


def _shortcut(main: Sums, source: Activations | Sums) -> tuple[str, _Addend]:
    """Name of the layer that the shortcut comes from, and its values in the integers that this layer gives."""
    apart = (
        f"adds two branches with layers of their own; {SUPPORTED}: leave out what the shortcut has in it, such as a "
        "convolution"
    )
    given = source.layers
    if not _begins(main.layers, given):
        raise UnsupportedError(apart)
    if isinstance(source, Activations):
        if not given:
            raise UnsupportedError(f"adds the input; {SUPPORTED}")
        return given[-1].name, _addend_of_activations(source)
    following = main.layers[len(given) :]
    if not following or source.pools or not _begins(following[1:], source.adds):
        raise UnsupportedError(apart)
    layer, sums = following[0], _addend_of_sums(source, "the sums of its shortcut")
    if not isinstance(layer, Conv2D) or layer.weights.shape != source.weights.shape:
        raise UnsupportedError(apart)
    if not np.array_equal(layer.weights, source.weights):
        raise UnsupportedError(apart)
    return source.adds[-1].name if source.adds else layer.name, sums


def _begins(layers: Sequence[Layer], first: Sequence[Layer]) -> bool:
    return len(first) <= len(layers) and all(a is b for a, b in zip(layers, first, strict=False))


def _addend_of_activations(signal: Activations) -> _Addend:
    levels = signal.values.shape[1] - 1
    lines = [equal_steps(fractions_of(row)) for row in signal.values]
    inexact = next((channel for channel, (half, _, off) in enumerate(lines) if off or not half), None)
    if inexact is not None:
        raise UnsupportedError(
            f"channel {inexact} of its shortcut has no exact steps; quantize to values such as -1 and 1"
        )
    return _Addend(
        scale=tuple(half for half, _, _ in lines),
        offset=tuple(middle for _, middle, _ in lines),
        low=np.full(len(lines), -levels, np.int64),
        step=2,
        span=2 * levels,
    )


def _addend_of_sums(sums: Sums, what: str) -> _Addend:
    """Sums as they are behind their steps, where float32 makes exactly that of every one."""
    orders = 1 + max((len(step.rule.orders) for step in sums.steps), default=0)
    wrong = bool(sums.error.any())
    for rows in () if wrong else sums.chunks():
        values = sums.accumulators(rows)
        scale, offset = (np.array([float(v) for v in each[rows]])[:, None] for each in (sums.scale, sums.offset))
        exact = values * scale + offset
        wrong |= any(np.any(sums.evaluate(values, rows, order=order) != exact) for order in range(orders))
    if wrong:
        raise UnsupportedError(
            f"{what} are rounded in float32 before it adds them; put batch norm and scale behind the addition, and "
            "nothing between the convolution and it"
        )
    return _Addend(
        scale=sums.scale, offset=sums.offset, low=sums.low, step=sums.step, span=int(sums.step * (sums.count - 1))
    )


def _sign(here: Fraction, there: Fraction, channel: int) -> int:
    if not here or abs(here) != abs(there):
        raise UnsupportedError(
            f"channel {channel} counts its convolution's sums {float(here):g} and its shortcut {float(there):g}; only "
            "equal scales can be added: put batch norm and scale behind the addition"
        )
    return 1 if here == there else -1


def _check_exact(here: _Addend, shortcut: _Addend, channel: int) -> None:
    """Refuse what float32 would round: values that are no multiples of one unit of which it counts enough."""
    parts = [v for each in (here, shortcut) for v in (each.scale[channel], each.offset[channel]) if v]
    dyadic = all(part.denominator & (part.denominator - 1) == 0 for part in parts)
    unit = min((lowest_bit(part) for part in parts), default=Fraction(1))
    if not dyadic or here.largest(channel) + shortcut.largest(channel) > EXACT_FLOAT32 * unit:
        raise UnsupportedError(
            f"channel {channel} has a sum that float32 rounds; use scales of a power of two before the addition, and "
            "others behind it"
        )
