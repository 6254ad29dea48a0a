"""Adder graphs: all sums of one layer, and the proof that they are the layer's sums."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import CertificateError
from xnorweave.hw.adder_graph import AdderNode, KernelNode, range_shape

__all__ = ["AdderGraph", "GraphBuilder", "certify", "graph_adder_bits", "graph_additions", "join_graphs"]

_BLOCK_BYTES = 24 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class AdderGraph:
    """All sums of one layer over shared operands; operand numbers are those of `hw.AdderNode`.

    Output ``c`` has the value ``sum weights[:, c] * x + constants[c]``.

    Parameters
    ----------
    inputs, input_bits : int
        Number of inputs and the width of each, in bits.
    kernels : tuple of KernelNode
    nodes : tuple of AdderNode
        Operands come before their use.
    outputs : tuple of int
        Operand of each output channel.
    constants : tuple of int
        See above.
    """

    inputs: int
    input_bits: int
    kernels: tuple[KernelNode, ...]
    nodes: tuple[AdderNode, ...]
    outputs: tuple[int, ...]
    constants: tuple[int, ...]

    @property
    def output_range(self) -> tuple[int, int]:
        """Bounds that hold for every output."""
        ranges = [self.operand_range(operand) for operand in self.outputs]
        return min(low for low, _ in ranges), max(high for _, high in ranges)

    def operand_range(self, operand: int) -> tuple[int, int]:
        """Lowest and highest value of an operand."""
        top = 2**self.input_bits - 1
        number = abs(operand) - self.inputs - 1
        if operand == 0:
            return 0, 0
        if number < 0:
            low, high = 0, top
        elif number < len(self.kernels):
            low, high = 0, top * self.kernels[number].pattern.bit_count()
        else:
            low, high = self.nodes[number - len(self.kernels)][4:]
        return (low, high) if operand > 0 else _complemented(low, high)


def complement_top(low: int, high: int) -> int:
    """What an unsigned operand and its bitwise complement add up to: all ones in the operand's width.

    Raises
    ------
    CertificateError
        If the operand can be negative: then it has no complement.
    """
    if low < 0:
        raise CertificateError(f"an operand of range {low}..{high} is complemented; only unsigned ones can be")
    return (1 << range_shape(low, high).width) - 1


def _complemented(low: int, high: int) -> tuple[int, int]:
    top = complement_top(low, high)
    return top - high, top - low


class GraphBuilder:
    """Collects kernel units, then adders; the same unit or adder is made once.

    Ranges come from the operands' ranges unless the caller knows a narrower one, which `certify` then proves.

    Parameters
    ----------
    inputs, input_bits : int
        Of the layer.
    reuse : bool
        Give the existing operand when the same adder is asked for again.
    """

    def __init__(self, inputs: int, input_bits: int, *, reuse: bool = True):
        self.inputs, self.input_bits, self.reuse = inputs, input_bits, reuse
        self.kernels: list[KernelNode] = []
        self.nodes: list[AdderNode] = []
        self._ranges: list[tuple[int, int]] = [(0, 0), *([(0, 2**input_bits - 1)] * inputs)]
        self._kernel_operands: dict[KernelNode, int] = {}
        self._node_operands: dict[tuple[int, int, int, bool], int] = {}

    def kernel(self, taps: tuple[int, ...], size: tuple[int, int], pattern: int) -> int:
        """Operand for the sum of the selected taps: a unit where there are several.

        A kernel over pixels is a tree of adders instead: words leave a unit's LUTs nothing to save, while adders of
        the same width are one module and equal partial sums of two kernels are one adder.
        """
        if pattern.bit_count() < 2:
            return taps[pattern.bit_length() - 1] if pattern else 0
        if self.input_bits > 1:
            return self.tree([tap for t, tap in enumerate(taps) if pattern >> t & 1])
        if self.nodes:
            raise ValueError("Kernel units come before adders: operands are numbered in that order")
        node = KernelNode(taps, size, pattern)
        if node not in self._kernel_operands:
            self.kernels.append(node)
            self._ranges.append((0, pattern.bit_count()))
            self._kernel_operands[node] = self.inputs + len(self.kernels)
        return self._kernel_operands[node]

    def popcount(self, operands: list[int]) -> int:
        """Operand for the sum of 1-bit inputs and complements of such, as one unit; there is at least one.

        The complements come last: popcounts of as many inputs and as many complements are then one module.
        """
        if len(operands) == 1:
            return operands[0]
        operands = sorted(operands, key=lambda operand: operand < 0)
        return self.kernel(tuple(operands), (1, len(operands)), (1 << len(operands)) - 1)

    def _range(self, operand: int) -> tuple[int, int]:
        bounds = self._ranges[abs(operand)]
        return bounds if operand >= 0 else _complemented(*bounds)

    def add(self, lhs: int, rhs: int, *, shift: int = 0, bounds: tuple[int, int] | None = None) -> int:
        """Operand for ``(lhs << shift) + rhs``; adding zero costs nothing."""
        if not lhs or (not rhs and not shift):
            return lhs or rhs
        if not shift:
            # The wider operand first: sums that are alike then use one adder module.
            lhs, rhs = sorted((lhs, rhs), key=lambda operand: (self._range(operand), operand), reverse=True)
        (a, b), (c, d) = self._range(lhs), self._range(rhs)
        return self._node(lhs, rhs, shift, False, bounds or ((a << shift) + c, (b << shift) + d))

    def subtract(self, lhs: int, rhs: int, *, bounds: tuple[int, int] | None = None) -> int:
        """Operand for ``lhs - rhs``."""
        if not rhs:
            return lhs
        (a, b), (c, d) = self._range(lhs), self._range(rhs)
        return self._node(lhs, rhs, 0, True, bounds or (a - d, b - c))

    def complement(self, operand: int) -> tuple[int, int]:
        """Operand for the bitwise complement of ``operand``, and what the two add up to; costs no adder."""
        return (-operand, complement_top(*self._range(operand))) if operand else (0, 0)

    def _node(self, lhs: int, rhs: int, shift: int, subtract: bool, bounds: tuple[int, int]) -> int:
        key = (lhs, rhs, shift, subtract)
        if key not in self._node_operands or not self.reuse:
            self.nodes.append(AdderNode(*key, *bounds))
            self._ranges.append(bounds)
            self._node_operands[key] = self.inputs + len(self.kernels) + len(self.nodes)
        return self._node_operands[key]

    def tree(self, operands: list[int]) -> int:
        """Operand for the sum of all, as a balanced tree that joins the narrowest first."""
        level = sorted((o for o in operands if o), key=self._range)
        while len(level) > 1:
            pairs = [self.add(*level[k : k + 2]) for k in range(0, len(level) - 1, 2)]
            level = sorted(pairs + level[len(level) & ~1 :], key=self._range)
        return level[0] if level else 0

    def build(self, outputs: list[int], constants: list[int]) -> AdderGraph:
        """The finished graph."""
        return AdderGraph(
            inputs=self.inputs,
            input_bits=self.input_bits,
            kernels=tuple(self.kernels),
            nodes=tuple(self.nodes),
            outputs=tuple(outputs),
            constants=tuple(constants),
        )


def join_graphs(parts: Sequence[tuple[AdderGraph, Sequence[int]]]) -> AdderGraph:
    """One graph of several that have no input in common; not certified yet.

    Parameters
    ----------
    parts : sequence of (AdderGraph, sequence of int)
        Each graph, and for each of its inputs its place among the inputs of all; outputs follow each other.
    """
    inputs = sum(graph.inputs for graph, _ in parts)
    kernels, nodes, outputs = list[KernelNode](), list[AdderNode](), list[int]()
    next_kernel = inputs + 1
    next_node = next_kernel + sum(len(graph.kernels) for graph, _ in parts)
    for graph, places in parts:
        numbers = [
            *(0, *(int(place) + 1 for place in places)),
            *range(next_kernel, next_kernel + len(graph.kernels)),
            *range(next_node, next_node + len(graph.nodes)),
        ]
        moved = _Moved(numbers)
        kernels += [kernel._replace(taps=tuple(map(moved, kernel.taps))) for kernel in graph.kernels]
        nodes += [node._replace(lhs=moved(node.lhs), rhs=moved(node.rhs)) for node in graph.nodes]
        outputs += map(moved, graph.outputs)
        next_kernel, next_node = next_kernel + len(graph.kernels), next_node + len(graph.nodes)
    return AdderGraph(
        inputs=inputs,
        input_bits=parts[0][0].input_bits,
        kernels=tuple(kernels),
        nodes=tuple(nodes),
        outputs=tuple(outputs),
        constants=tuple(constant for graph, _ in parts for constant in graph.constants),
    )


class _Moved:
    """New numbers of operands; a complement stays one."""

    def __init__(self, numbers: Sequence[int]):
        self.numbers = numbers

    def __call__(self, operand: int) -> int:
        return self.numbers[operand] if operand >= 0 else -self.numbers[-operand]


def graph_additions(graph: AdderGraph) -> int:
    """Two-input additions and subtractions, those inside kernel units included."""
    return len(graph.nodes) + sum(kernel.pattern.bit_count() - 1 for kernel in graph.kernels)


def graph_adder_bits(graph: AdderGraph) -> int:
    """Sum of the widths of all adders' results, in bits."""
    bits = sum(range_shape(node.low, node.high).width for node in graph.nodes)
    return bits + sum(_tree_bits(kernel.pattern.bit_count(), graph.input_bits) for kernel in graph.kernels)


def _tree_bits(terms: int, input_bits: int) -> int:
    """Result bits of the balanced tree inside a kernel unit."""
    top, bits, level = 2**input_bits - 1, 0, [1] * terms
    while len(level) > 1:
        pairs = [a + b for a, b in zip(level[::2], level[1::2], strict=False)]
        bits += sum((top * n).bit_length() for n in pairs)
        level = pairs + level[2 * len(pairs) :]
    return bits


class _Levels:
    """Adder nodes in batches that do not depend on each other, as arrays."""

    def __init__(self, graph: AdderGraph):
        first = graph.inputs + 1 + len(graph.kernels)
        depth = [0] * (first + len(graph.nodes))
        for k, node in enumerate(graph.nodes, first):
            if max(abs(node.lhs), abs(node.rhs)) >= k:
                raise CertificateError(f"adder {k - first} uses an operand that comes after it; please report this")
            depth[k] = 1 + max(depth[abs(node.lhs)], depth[abs(node.rhs)])
        fields = np.array([node[:4] for node in graph.nodes], np.int64).reshape(-1, 4)
        order = np.argsort(depth[first:], kind="stable")
        cuts = np.flatnonzero(np.diff(np.asarray(depth[first:], np.int64)[order])) + 1
        self.batches = [(first + batch, *fields[batch].T) for batch in np.split(order, cuts)] if len(order) else []

    def evaluate(self, values: NDArray, tops: NDArray) -> None:
        """Fill the rows of ``values`` [operands, ...] for adders; the complement of operand k is ``tops[k] - x``."""
        extra = (1,) * (values.ndim - 1)
        for target, lhs, rhs, shift, subtract in self.batches:
            a, b = (self._operand(values, tops, operands) for operands in (lhs, rhs))
            signs = (1 - 2 * subtract).astype(values.dtype).reshape(-1, *extra)
            values[target] = (a << shift.astype(values.dtype).reshape(-1, *extra)) + signs * b

    @staticmethod
    def _operand(values: NDArray, tops: NDArray, operands: NDArray) -> NDArray:
        rows = values[np.abs(operands)]
        negative = operands < 0
        if negative.any():
            extra = (1,) * (values.ndim - 1)
            rows[negative] = tops[-operands[negative]].astype(values.dtype).reshape(-1, *extra) - rows[negative]
        return rows


def _tops(graph: AdderGraph, operands: int) -> NDArray[np.int64]:
    """What every operand that is complemented somewhere adds up to with its complement."""
    tops = np.zeros(operands, np.int64)
    used = {o for node in graph.nodes for o in (node.lhs, node.rhs)} | set(graph.outputs)
    for operand in (o for o in used if o < 0):
        tops[-operand] = complement_top(*graph.operand_range(-operand))
    return tops


def certify(graph: AdderGraph, weights: NDArray[np.int8], layer: str) -> None:
    """Prove that the graph computes the layer, or refuse.

    Follows each operand's exact coefficients over the inputs from the graph's structure alone, and checks that every
    output's coefficients are the weights, that its constant is as stated, and that every node's result lies within
    the range its adder is built for. Takes some 100 MB, whatever the graph's size: inputs are followed block by block.

    Parameters
    ----------
    graph : AdderGraph
        What to prove.
    weights : int8 array [inputs, outputs]
        What it must compute.
    layer : str
        Named in the error.

    Raises
    ------
    CertificateError
        Naming the first output or node that differs.
    """
    if weights.shape != (graph.inputs, len(graph.outputs)):
        raise CertificateError(
            f"{layer}: the graph is {graph.inputs} x {len(graph.outputs)}, the weights {list(weights.shape)}"
        )
    levels = _Levels(graph)
    _check_operands(graph, layer)
    operands = graph.inputs + 1 + len(graph.kernels) + len(graph.nodes)
    low, high = np.zeros(operands, np.int64), np.zeros(operands, np.int64)
    top = 2**graph.input_bits - 1
    width = max(1, _BLOCK_BYTES // (4 * operands))
    for start in range(0, graph.inputs, width):
        stop = min(graph.inputs, start + width)
        coefficients = _coefficients(graph, levels, start, stop)
        low += top * np.minimum(coefficients, 0).sum(1)
        high += top * np.maximum(coefficients, 0).sum(1)
        _check_outputs(graph, coefficients, weights[start:stop], start, layer)
    constants = np.zeros(operands, np.int64)
    # A complemented 1-bit input is 1 - x.
    constants[graph.inputs + 1 : graph.inputs + 1 + len(graph.kernels)] = [
        sum(tap < 0 for tap in kernel.selected) for kernel in graph.kernels
    ]
    tops = _tops(graph, operands)
    levels.evaluate(constants, tops)
    _check_constants(graph, constants, tops, layer)
    _check_ranges(graph, low + constants, high + constants, layer)


def _check_operands(graph: AdderGraph, layer: str) -> None:
    """Refuse what the hardware has no meaning for: taps off the inputs, patterns off the window, absent operands."""
    for k, kernel in enumerate(graph.kernels):
        taps = kernel.size[0] * kernel.size[1]
        lowest = -graph.inputs if graph.input_bits == 1 else 1
        if len(kernel.taps) != taps or not all(lowest <= tap <= graph.inputs and tap for tap in kernel.taps):
            raise CertificateError(f"{layer}: kernel {k} has taps {kernel.taps}, not {taps} inputs; please report this")
        if not 0 < kernel.pattern < 1 << taps:
            raise CertificateError(
                f"{layer}: kernel {k} selects {kernel.pattern:#x} of {taps} taps; please report this"
            )
    for k, node in enumerate(graph.nodes):
        # The coefficients that are followed have 32 bits: by induction none of them overflows.
        (a, b), (c, d) = graph.operand_range(node.lhs), graph.operand_range(node.rhs)
        if node.lhs_shift < 0 or (max(abs(a), abs(b)) << min(node.lhs_shift, 32)) + max(abs(c), abs(d)) >= 1 << 31:
            raise CertificateError(f"{layer}: adder {k}, {node}, is beyond 31 bits; please report this")
    operands = graph.inputs + 1 + len(graph.kernels) + len(graph.nodes)
    for channel, operand in enumerate(graph.outputs):
        if abs(operand) >= operands:
            raise CertificateError(f"{layer}: output {channel} is operand {operand} of {operands}; please report this")


def _coefficients(graph: AdderGraph, levels: _Levels, start: int, stop: int) -> NDArray[np.int32]:
    """Coefficients [operands, stop - start] of every operand over inputs ``start`` to ``stop``."""
    first = graph.inputs + 1
    rows = np.zeros((first + len(graph.kernels) + len(graph.nodes), stop - start), np.int32)
    rows[start + 1 : stop + 1] = np.eye(stop - start, dtype=np.int32)
    for k, kernel in enumerate(graph.kernels, first):
        taps = np.array(kernel.selected)
        rows[k] = (rows[np.abs(taps)] * np.sign(taps).astype(np.int32)[:, None]).sum(0)
    levels.evaluate(rows, np.zeros(len(rows), np.int64))
    return rows


def _check_outputs(
    graph: AdderGraph, coefficients: NDArray[np.int32], weights: NDArray[np.int8], start: int, layer: str
) -> None:
    outputs = np.array(graph.outputs)
    found = (coefficients[np.abs(outputs)] * np.sign(outputs)[:, None]).T
    wrong = np.argwhere(found != weights)
    if len(wrong):
        tap, channel = (int(n) for n in wrong[0])
        raise CertificateError(
            f"{layer}: output {channel} has coefficient {found[tap, channel]} for input {start + tap}, the weight is "
            f"{weights[tap, channel]}; nothing is emitted, please report this"
        )


def _check_constants(graph: AdderGraph, constants: NDArray[np.int64], tops: NDArray[np.int64], layer: str) -> None:
    for channel, operand in enumerate(graph.outputs):
        found = int(tops[-operand] - constants[-operand] if operand < 0 else constants[operand])
        if found != graph.constants[channel]:
            raise CertificateError(
                f"{layer}: output {channel} has the constant {found}, not {graph.constants[channel]}; "
                "please report this"
            )


def _check_ranges(graph: AdderGraph, low: NDArray[np.int64], high: NDArray[np.int64], layer: str) -> None:
    first = graph.inputs + 1 + len(graph.kernels)
    bounds = np.array([node[4:] for node in graph.nodes], np.int64).reshape(-1, 2)
    wrong = np.flatnonzero((low[first:] < bounds[:, 0]) | (high[first:] > bounds[:, 1]))
    if len(wrong):
        k = int(wrong[0])
        raise CertificateError(
            f"{layer}: adder {k} reaches {low[first + k]}..{high[first + k]}, but is built for "
            f"{bounds[k, 0]}..{bounds[k, 1]}; please report this"
        )
