"""Estimated cells of an adder graph in a chip family, without synthesis.

Carry chains and popcounts of up to 64 taps are exact: they are mapped one by one, and nothing merges them any more.
Wider popcounts are left to Yosys and estimated from their taps. Everything else (adders of gates, inversions in front
of chains, comparisons) is the sum of its parts as synthesized alone, times a factor for what merges when the layer is
mapped as a whole. Factors and the error against synthesis are measured by bench/cost.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xnorweave.adder_graph import AdderGraph
from xnorweave.hw.adder_graph import NARROW_BITS, AdderNode, range_shape
from xnorweave.popcounts import MOST_BITS, popcount_network

__all__ = ["ERROR_PERCENT", "FACTORS", "Cells", "CostFamily", "Parts", "graph_cells", "graph_parts", "tree_parts"]

CostFamily = Literal["ice40", "ecp5"]


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Estimated cells.

    Parameters
    ----------
    luts : int
        Four-input LUTs.
    carries : int
        SB_CARRY or CCU2C.
    places : int
        Places for LUTs that all of it takes: on iCE40 logic cells, those that nextpnr adds around carry chains
        included; on ECP5 LUT4s and two for each CCU2C.
    """

    luts: int
    carries: int
    places: int


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Cells of a graph by kind, each as if it were alone.

    Parameters
    ----------
    chain_luts, chain_carries : int
        Of adders that are carry chains.
    carry_outs : int
        Chains whose last carry is a bit of the result: on iCE40 it leaves through a logic cell of its own.
    narrow_luts : int
        Of adders too narrow for a chain.
    popcount_luts : int
        Of kernel units.
    inverter_luts : int
        Bits that are inverted in front of a chain; a popcount's LUTs take complements.
    compare_luts : int
        Of one comparison with a constant for each output.
    """

    chain_luts: int
    chain_carries: int
    carry_outs: int
    narrow_luts: int
    popcount_luts: int
    inverter_luts: int
    compare_luts: int

    def cells(self, family: CostFamily) -> Cells:
        """What the parts come to when they are mapped together."""
        factors = FACTORS[family]
        luts = round(
            self.chain_luts
            + self.popcount_luts
            + factors["narrow"] * self.narrow_luts
            + factors["inverter"] * self.inverter_luts
            + factors["compare"] * self.compare_luts
        )
        extra = 2 * self.chain_carries if family == "ecp5" else self.carry_outs
        return Cells(luts=luts, carries=self.chain_carries, places=luts + extra)


# Fitted by bench/cost.py on whole layers of random weights.
FACTORS: dict[CostFamily, dict[str, float]] = {
    "ice40": {"narrow": 1.05, "inverter": 0.79, "compare": 1.03},
    "ecp5": {"narrow": 1.03, "inverter": 0.99, "compare": 1.09},
}
# Largest error of the places estimated for a layer that was not fitted, from bench/results/cost.json.
ERROR_PERCENT: dict[CostFamily, int] = {"ice40": 9, "ecp5": 18}

# LUTs for each input of a popcount too wide for a network of our own, as Yosys maps it.
_WIDE_POPCOUNT_LUTS = 1.9
# Yosys makes a chain of an adder whose result, without the bits that only pass, has more bits than this.
_WIDEST_WITHOUT_CHAIN: dict[CostFamily, int] = {"ice40": 2, "ecp5": 4}
# LUTs of an adder without a chain, by the bits of its result.
_NARROW_LUTS = (0, 1, 2, 3, 5)
_COMPARE_BITS_PER_LUT = 3


def graph_cells(graph: AdderGraph, family: CostFamily) -> Cells:
    """Estimate the cells of all sums of a layer, and of one comparison with a constant for each output.

    Registers, the window and thresholds that differ at borders are not counted: they hardly depend on the sharing.
    """
    return graph_parts(graph, family).cells(family)


def graph_parts(graph: AdderGraph, family: CostFamily) -> Parts:
    """Cells of a graph by kind."""
    return _parts(graph, family, np.ones(len(graph.nodes), np.int64), len(graph.outputs))


def tree_parts(graph: AdderGraph, matrix: NDArray[np.int8], family: CostFamily) -> Parts:
    """Cells of one adder tree for each column of ``matrix``, by kind, from the tree of one column.

    Trees of one shape whose signs are equal somewhere have the adders there in common: synthesis merges them.

    Parameters
    ----------
    graph : AdderGraph
        Of one column.
    matrix : int8 array [inputs, outputs]
        Weights in {-1, +1}.
    family : {"ice40", "ecp5"}
        Whose cells.
    """
    labels = [np.zeros(matrix.shape[1], np.int64), *(matrix > 0).astype(np.int64)]
    different = np.empty(len(graph.nodes), np.int64)
    for k, node in enumerate(graph.nodes):
        pairs = labels[abs(node.lhs)] * matrix.shape[1] * 2 + labels[abs(node.rhs)]
        values, inverse = np.unique(pairs, return_inverse=True)
        different[k] = len(values)
        labels.append(inverse)
    return _parts(graph, family, different, matrix.shape[1])


def _parts(graph: AdderGraph, family: CostFamily, copies: NDArray[np.int64], outputs: int) -> Parts:
    """Cells of a graph with each node so many times and so many outputs."""
    widths = _operand_widths(graph)
    lhs, rhs, shift, subtract = _columns(graph.nodes, 4)
    left, right, result = widths[np.abs(lhs)], widths[np.abs(rhs)], widths[len(widths) - len(lhs) :]
    # The lowest ``shift`` bits of the right operand pass.
    longest, added = np.maximum(left, right - shift), result - shift
    signed = _signed_operands(graph)[np.abs(np.stack([lhs, rhs]))].any(0)
    gates = (np.maximum(left, right) <= NARROW_BITS) & (shift == 0) & (subtract == 0) & ~signed
    chain = ~gates & (added > _WIDEST_WITHOUT_CHAIN[family])
    ice40 = family == "ice40"
    bits, carry_out = np.minimum(longest, added), added > longest
    narrow = np.asarray(_NARROW_LUTS)[np.clip(added, 0, len(_NARROW_LUTS) - 1)]
    narrow = np.where(_only_narrow_users(graph, chain) & (longest == 1), 0, copies * (narrow - 1) + _parities(lhs, rhs))
    # The cells of an ECP5 chain can subtract.
    taken = [lhs[chain], np.where((subtract[chain] > 0) & ice40, -1, 1) * rhs[chain]]
    compared = np.maximum(0, widths[np.abs(np.asarray(graph.outputs))] - 1)
    return Parts(
        chain_luts=int((copies * bits)[chain].sum()) if ice40 else 0,
        chain_carries=int((copies * (bits - 1 + carry_out if ice40 else (added + 1) // 2))[chain].sum()),
        carry_outs=int(copies[chain & carry_out].sum()),
        narrow_luts=int(narrow[~chain].sum()),
        popcount_luts=sum(_popcount_luts(kernel.pattern.bit_count()) for kernel in graph.kernels),
        inverter_luts=int(widths[_inverted(np.concatenate(taken))].sum()),
        compare_luts=round(outputs * float(compared.mean()) / _COMPARE_BITS_PER_LUT),
    )


def _only_narrow_users(graph: AdderGraph, chain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Nodes whose sum only adders without a chain take: their LUTs take the inputs of a half adder as well."""
    only = np.ones(graph.inputs + 1 + len(graph.kernels) + len(chain), bool)
    lhs, rhs = _columns(graph.nodes, 2)
    only[np.abs(np.concatenate([lhs[chain], rhs[chain], np.asarray(graph.outputs)]))] = False
    return only[len(only) - len(chain) :]


def _parities(lhs: NDArray[np.int64], rhs: NDArray[np.int64]) -> NDArray[np.int64]:
    """1 for the first adder of two operands, else 0: whatever the signs, the lowest bit is the same or inverted."""
    first = np.zeros(len(lhs), np.int64)
    first[np.unique(np.abs(np.stack([lhs, rhs])), axis=1, return_index=True)[1]] = 1
    return first


def _columns(nodes: Iterable[AdderNode], count: int) -> tuple[NDArray[np.int64], ...]:
    return tuple(np.array([node[:count] for node in nodes], np.int64).reshape(-1, count).T)


def _operand_widths(graph: AdderGraph) -> NDArray[np.int64]:
    """Bits of each operand, by number."""
    top = 2**graph.input_bits - 1
    widths = [0, *([graph.input_bits] * graph.inputs)]
    widths += [(top * kernel.pattern.bit_count()).bit_length() for kernel in graph.kernels]
    widths += [range_shape(node.low, node.high).width for node in graph.nodes]
    return np.asarray(widths, np.int64)


def _signed_operands(graph: AdderGraph) -> NDArray[np.bool_]:
    """Whether each operand is signed, by number."""
    unsigned = [False] * (1 + graph.inputs + len(graph.kernels))
    return np.array(unsigned + [node.low < 0 for node in graph.nodes])


def _inverted(operands: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those taken inverted, each once: its inverse is made once for all."""
    return np.unique(-operands[operands < 0])


def _popcount_luts(taps: int) -> int:
    return len(popcount_network(taps).luts) if taps <= MOST_BITS else round(_WIDE_POPCOUNT_LUTS * taps)
