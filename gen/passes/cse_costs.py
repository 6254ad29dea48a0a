"""What the sums of a layer cost, for `xnorweave.passes.cse` to choose by."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from xnorweave.hw.adder_graph import NARROW_BITS, popcount_levels
from xnorweave.popcounts import MOST_BITS, popcount_network

__all__ = ["ADDITIONS", "SumCosts", "lut_costs"]

_WIDTHS = 64
# A carry chain takes a LUT for each bit of its result, and places at its ends: on iCE40 two to three logic cells that
# nextpnr adds (measured: 2.0 to 3.5), on ECP5 half a CCU2C.
_CHAIN_ENDS = 0.5
# Of adders without a carry chain, by the width of the result.
_NARROW_LUTS = (0, 0, 2, 3)


@dataclass(frozen=True, kw_only=True, eq=False)
class SumCosts:
    """Costs of what a graph is made of.

    Parameters
    ----------
    adders : float array [widths, widths]
        By the widths of the wider operand and of the result, in bits.
    final : float
        Of a filter's last addition, the widest of all.
    units : float array [inputs + 1], optional
        Of the sum of so many inputs, made of popcount units; where absent, classes are summed by adders that
        blocks share, each of them counted as one.
    cuts : tuple of int
        The first part of a sum of so many inputs; the same number where one unit does it.
    """

    adders: NDArray[np.float64]
    final: float
    units: NDArray[np.float64] | None = None
    cuts: tuple[int, ...] = ()

    def parts(self, terms: list[int]) -> list[list[int]]:
        """Terms of each unit that a sum is made of."""
        cut = self.cuts[len(terms)]
        if cut == len(terms):
            return [terms]
        return self.parts(terms[:cut]) + self.parts(terms[cut:])


ADDITIONS = SumCosts(adders=np.ones((_WIDTHS, _WIDTHS)), final=1.0)
"""Every two-input addition is one."""


@cache
def lut_costs(inputs: int, unit_levels: int) -> SumCosts:
    """LUTs of sums of bits, and places that carry chains take besides; between those of iCE40 and ECP5.

    Parameters
    ----------
    inputs : int
        Of the layer: the most that one sum has.
    unit_levels : int
        Most levels of one popcount unit, as `hw.adder_graph.popcount_levels` counts them.
    """
    most = max([1, *(terms for terms in range(2, MOST_BITS + 1) if popcount_levels(terms) <= unit_levels)])
    results = np.arange(_WIDTHS, dtype=np.float64)
    adders = np.broadcast_to(results + _CHAIN_ENDS, (_WIDTHS, _WIDTHS)).copy()
    adders[: NARROW_BITS + 1, : len(_NARROW_LUTS)] = _NARROW_LUTS
    units, cuts = np.zeros(inputs + 1), [0, 1]
    for terms in range(2, inputs + 1):
        first = terms
        units[terms] = len(popcount_network(terms).luts) if terms <= most else np.inf
        # Halves, or a part of the best size for one unit.
        for cut in {-(-terms // 2), min(most, terms - 1), *(2**k - 1 for k in range(2, terms.bit_length()))}:
            wider = max(cut, terms - cut).bit_length()
            cost = units[cut] + units[terms - cut] + adders[wider, terms.bit_length()]
            if cut < terms and cost < units[terms]:
                units[terms], first = cost, cut
        cuts.append(first)
    return SumCosts(adders=adders, final=(inputs.bit_length() + 1) + _CHAIN_ENDS, units=units, cuts=tuple(cuts))
