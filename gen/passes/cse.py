"""Partial sums shared by all outputs of a layer: the ``graph`` and ``units`` strategies.

Outputs are taken in blocks. Within a block one output, the root, gives every input its sign; an input's class is where
the other outputs agree with the root. Then

1. inputs of one class are added up, since every output of the block needs them together; a signed pair of inputs that
   is in one class in several blocks is added once for all of them;
2. with R the root's sum, every other output is ``2 * P - R`` or ``R - 2 * N``, with P the classes that agree with the
   root and N the others, whichever is fewer; pairs of classes that several outputs need are shared.

Both steps are greedy: the pair in most places goes first. A block of all outputs is plain greedy elimination in the
ones form. A minus sign is a bitwise complement: it costs nothing, and its constant goes into the thresholds.

With n inputs and c classes a block takes n - c additions for its classes, less what it shares with other blocks, and
about 2 * c for its outputs. So about four inputs in a class are best, and a root for each block is worth it: it adds
an output to the block without doubling its classes. Additions on FINN's CNV for CIFAR-10, conv1 to conv5, and on the
random 576 x 64 matrix of bench/sharing.py:

=============================================  ====================================  ======
what                                           CNV                                   random
=============================================  ====================================  ======
one block                                      5,196 10,334 19,887 39,569 (not run)  5,911
one block, the root being all inputs' sum      (not run)                              5,982
one block, pairs of outputs, not of inputs     (not run)                              6,169
signed pairs without a root                    (not run)                              7,827
blocks of 8 (conv5: 10) apart from each other  5,471 11,114 20,446 40,890 71,975     5,609
classes shared between blocks                  4,966 10,028 18,733 36,317 65,552     5,438
=============================================  ====================================  ======

Exchanges of outputs between blocks take off another 0.3 to 1.5 %; twelve times as many of them 0.2 % more. What did not
help: ties by weight, by class size or at random (within 0.2 %); blocks grown by their number of classes
rather than by likeness, or stopped at a number of classes (within 2 % on either side); exchanges judged by counting
pairs of inputs in several classes, cheaper than counting additions but no better for the same time. Minimum spanning
trees over a block's outputs, by the classes in which two of them differ, in place of all differences from the root: as
long for random weights, 1.1 % shorter for conv1, before anything is shared.

For few LUTs (``units``) blocks share nothing. A pair of bits added for two blocks costs two LUTs and saves none: a
popcount of four bits takes three LUTs whether or not its pairs are known. Classes are then units of their own, which
LUTs do better than adders, and blocks are independent, so that an exchange is judged a hundred times faster. Blocks
have six outputs instead of seven: wider classes, fewer and wider adders. LUT4s and SB_CARRYs of layers with thresholds,
from Yosys by the flow of `boards.mapping`, in bench/results/sharing.json:

====================  ==================  ==================
random layer          ``graph``           ``units``
====================  ==================  ==================
72 x 16               728 + 326           721 + 268
576 x 64              16,318 + 10,742     13,436 + 4,197
====================  ==================  ==================

On a trained layer whose filters are much alike ``graph`` can need fewer LUTs all the same; the strategy ``auto`` takes
what the estimate prefers.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xnorweave.adder_graph import AdderGraph, GraphBuilder, certify
from xnorweave.passes.cse_costs import ADDITIONS, SumCosts, lut_costs
from xnorweave.passes.cse_kernels import merge_classes, merge_rows, merge_rows_cost

__all__ = ["UNIT_LEVELS", "Objective", "share_sums"]

Objective = Literal["additions", "luts"]

UNIT_LEVELS = 3
"""Depth of a popcount unit where the clock asks for nothing else: deeper ones save less than 2 % of the LUTs."""
Partition = tuple[tuple[int, ...], ...]

# Up to this many weights all outputs are also tried as one block: its time grows with the square of the tokens.
_ONE_BLOCK_WEIGHTS = 1 << 17
# Exchanges to try are this over the number of weights: seconds at most for any layer that fits a chip.
_EXCHANGE_WEIGHTS, _MOST_EXCHANGES = 1 << 24, 1000


@dataclass(frozen=True, kw_only=True, eq=False)
class _Block:
    """Outputs that are built together, the root first.

    Parameters
    ----------
    columns : tuple of int
    signs : int8 array [inputs]
        The root's weights.
    classes : int64 array [inputs]
        Class of each input, from 0.
    agrees : bool array [classes, columns]
        Whether the output needs this class: where it agrees with the root or, if ``by_plus`` is not set, where not.
    by_plus : bool array [columns]
    cost : float
        Of the adders from class sums to outputs, and of the class sums where blocks do not share them.
    """

    columns: tuple[int, ...]
    signs: NDArray[np.int8]
    classes: NDArray[np.int64]
    agrees: NDArray[np.bool_]
    by_plus: NDArray[np.bool_]
    cost: float


def _pack(rows: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Bit sets of the rows, with room for every token that sharing can add."""
    words = -(-rows.shape[1] // 64)
    padded = np.zeros((len(rows), 64 * words), np.uint8)
    padded[:, : rows.shape[1]] = rows
    bits = np.zeros((len(rows) + int(rows.sum()) // 2 + 1, words), np.uint64)
    bits[: len(rows)] = np.packbits(padded, axis=1, bitorder="little").view(np.uint64)
    return bits


def _split(matrix: NDArray[np.int8], columns: tuple[int, ...], costs: SumCosts) -> _Block:
    signs = matrix[:, columns[0]]
    agrees = matrix[:, columns] == signs[:, None]
    # Bytes of equal rows are equal: much faster than comparing columns one by one.
    packed = np.ascontiguousarray(np.packbits(agrees, axis=1))
    _, first, classes = np.unique(packed.view(f"V{packed.shape[1]}").ravel(), return_index=True, return_inverse=True)
    needs = agrees[first]
    by_plus = 2 * needs.sum(0) <= len(needs)
    by_plus[0] = True
    needs = needs == by_plus
    classes = classes.ravel().astype(np.int64)
    sizes = np.bincount(classes)
    cost = merge_rows_cost(_pack(needs), len(needs), len(columns), sizes, costs.adders) if len(needs) > 1 else 0.0
    cost += costs.final * (len(columns) - 1)
    if costs.units is not None:
        cost += costs.units[sizes].sum()
    return _Block(columns=columns, signs=signs, classes=classes, agrees=needs, by_plus=by_plus, cost=float(cost))


def _codes(blocks: list[_Block]) -> tuple[NDArray[np.int32], int]:
    """Signed class numbers [inputs, blocks] with room for new tokens, and how many classes there are."""
    inputs = len(blocks[0].classes)
    codes = np.zeros((inputs + inputs * len(blocks) // 2 + 1, len(blocks)), np.int32)
    offset = 1
    for k, block in enumerate(blocks):
        codes[:inputs, k] = (offset + block.classes) * block.signs
        offset += len(block.agrees)
    return codes, offset - 1


def _shared_additions(blocks: list[_Block]) -> int:
    """Additions of all class sums, pairs that are in one class in several blocks added once."""
    codes, classes = _codes(blocks)
    lhs, _, _ = merge_classes(codes, len(blocks[0].classes), classes)
    return len(lhs) + int(np.count_nonzero(codes)) - classes


def _clusters(alike: NDArray[np.float32], count: int) -> Partition:
    """Blocks of outputs that are much alike up to sign, sizes as equal as possible."""
    total = len(alike)
    left, blocks = list(range(total)), []
    for k in range(count):
        size = (total + k) // count
        rest = alike[np.ix_(left, left)]
        score = np.sort(rest, axis=1)[:, -size:].sum(1)
        block = [left.pop(int(score.argmax()))]
        while len(block) < size:
            block.append(left.pop(int(alike[np.ix_(left, block)].sum(1).argmax())))
        blocks.append(tuple(block))
    return tuple(blocks)


class _Search:
    """Looks for the cheapest partition of a matrix' distinct columns."""

    def __init__(self, matrix: NDArray[np.int8], costs: SumCosts, seed: int):
        self.matrix, self.costs = matrix, costs
        self.rng = np.random.default_rng(seed)
        self._blocks: dict[tuple[int, ...], _Block] = {}

    def blocks(self, partition: Partition) -> list[_Block]:
        for columns in partition:
            if columns not in self._blocks:
                self._blocks[columns] = _split(self.matrix, columns, self.costs)
        return [self._blocks[columns] for columns in partition]

    def cost(self, partition: Partition) -> float:
        blocks = self.blocks(partition)
        return sum(block.cost for block in blocks) + (0 if self.costs.units is not None else _shared_additions(blocks))

    def start(self) -> tuple[float, Partition]:
        """Best of clusters, looking for the number of blocks from a likely one on, and of one block of all."""
        inputs, outputs = self.matrix.shape
        single = self.matrix.astype(np.float32)
        alike = np.abs(single.T @ single)
        np.fill_diagonal(alike, 0)
        # About four inputs in a class: each block then takes as many additions for its inputs as for its classes.
        likely = max(1, round(outputs / max(1, (inputs - 1).bit_length() - 2)))
        found: dict[int, tuple[float, Partition]] = {}

        def look(count: int) -> float:
            if count not in found:
                partition = _clusters(alike, count)
                found[count] = (self.cost(partition), partition)
            return found[count][0]

        best = likely
        for step in (4, 2, 1):
            last = 0
            while last != best:
                last = best
                around = (best - step, best, best + step)
                best = min((count for count in around if 1 <= count <= outputs), key=look)
        if inputs * outputs <= _ONE_BLOCK_WEIGHTS:
            look(1)
        best_found = min(found.values())
        self._blocks = {columns: self._blocks[columns] for columns in best_found[1]}
        return best_found

    def improve(self, best: float, partition: Partition, rounds: int) -> tuple[float, Partition]:
        """Exchange columns of two blocks wherever that helps."""
        for _ in range(rounds if len(partition) > 1 else 0):
            a, b = (int(k) for k in self.rng.choice(len(partition), 2, replace=False))
            one, two = list(partition[a]), list(partition[b])
            i, j = int(self.rng.integers(len(one))), int(self.rng.integers(len(two)))
            one[i], two[j] = two[j], one[i]
            trial = list(partition)
            trial[a], trial[b] = tuple(one), tuple(two)
            cost = self.cost(tuple(trial))
            if cost <= best:
                best, partition = cost, tuple(trial)
            for columns in (trial[a], trial[b]):
                if columns not in partition:
                    del self._blocks[columns]
        return best, partition


class _Emitter:
    """Builds the graph of one partition, and keeps count of the constants that complements bring."""

    def __init__(self, matrix: NDArray[np.int8], input_bits: int):
        self.matrix = matrix
        self.top = 2**input_bits - 1
        self.builder = GraphBuilder(len(matrix), input_bits)
        self._constants = dict.fromkeys(range(len(matrix) + 1), 0)

    def complement(self, operand: int) -> int:
        negative, top = self.builder.complement(operand)
        self._constants[negative] = top - self._constants[operand]
        return negative

    def signed(self, operand: int, sign: int) -> int:
        return operand if sign > 0 else self.complement(operand)

    def add(self, lhs: int, rhs: int) -> int:
        operand = self.builder.add(lhs, rhs)
        self._constants[operand] = self._constants[lhs] + self._constants[rhs]
        return operand

    def tree(self, operands: list[int]) -> int:
        operand = self.builder.tree(operands)
        if len(operands) > 1:
            self._constants[operand] = sum(self._constants[o] for o in operands)
        return operand

    def unit_sums(self, blocks: list[_Block], costs: SumCosts) -> list[list[int]]:
        """Operands of all class sums of each block, from popcount units."""
        classes = [
            [
                [int(t + 1) * int(block.signs[t]) for t in np.flatnonzero(block.classes == k)]
                for k in range(len(block.agrees))
            ]
            for block in blocks
        ]
        # All units before the first adder.
        parts = [[[self.popcount(part) for part in costs.parts(terms)] for terms in block] for block in classes]
        return [[self.tree(terms) for terms in block] for block in parts]

    def popcount(self, inputs: list[int]) -> int:
        operand = self.builder.popcount(inputs)
        self._constants[operand] = sum(tap < 0 for tap in inputs)
        return operand

    def class_sums(self, blocks: list[_Block]) -> list[list[int]]:
        """Operands of all class sums of each block, from adders that blocks share."""
        codes, classes = _codes(blocks)
        inputs = len(self.matrix)
        operands = list(range(1, inputs + 1))
        for lhs, rhs, sign in zip(*merge_classes(codes, inputs, classes), strict=True):
            operands.append(self.add(operands[lhs], self.signed(operands[rhs], sign)))
        members: list[list[int]] = [[] for _ in range(classes + 1)]
        for token, k in np.argwhere(codes):
            code = int(codes[token, k])
            members[abs(code)].append(self.signed(operands[token], code))
        sums = iter(self.tree(terms) for terms in members[1:])
        return [[next(sums) for _ in block.agrees] for block in blocks]

    def outputs(self, block: _Block, sums: list[int]) -> dict[int, int]:
        """Operand of each column of a block."""
        bits = _pack(block.agrees)
        lhs, rhs = merge_rows(bits, len(sums))
        operands = list(sums)
        for a, b in zip(lhs, rhs, strict=True):
            operands.append(self.add(operands[a], operands[b]))
        used = bits[: len(operands)].view(np.uint8).reshape(len(operands), -1)
        members = np.unpackbits(used, axis=1, bitorder="little").astype(bool)
        parts = [self.tree([operands[t] for t in np.flatnonzero(row)]) for row in members.T[: len(block.columns)]]
        root = parts[0]
        found = {block.columns[0]: root}
        for column, part, plus in zip(block.columns[1:], parts[1:], block.by_plus[1:], strict=True):
            found[column] = self._final(column, part, root, plus)
        return found

    def _final(self, column: int, part: int, root: int, plus: np.bool_) -> int:
        """``2 * P - R``, or ``R - 2 * N`` as its complement: R is inverted once for all, and N not at all."""
        rhs = self.complement(root)
        constant = 2 * self._constants[part] + self._constants[rhs]
        weights = self.matrix[:, column] if plus else -self.matrix[:, column]
        low, high = -self.top * int((weights < 0).sum()), self.top * int((weights > 0).sum())
        operand = self.builder.add(part, rhs, shift=1, bounds=(low + constant, high + constant))
        self._constants[operand] = constant
        return operand if plus else self.complement(operand)

    def build(self, operands: list[int]) -> AdderGraph:
        return self.builder.build(operands, [self._constants[operand] for operand in operands])


def _distinct(matrix: NDArray[np.int8]) -> tuple[list[int], list[tuple[int, int]]]:
    """Columns that differ even up to sign, and for each column its place among those and its sign."""
    places: dict[bytes, int] = {}
    columns, found = [], []
    for number, column in enumerate(matrix.T):
        sign = int(column[0])
        key = (column * column[0]).tobytes()
        if key not in places:
            places[key] = len(columns)
            columns.append(number)
        place = places[key]
        found.append((place, sign * int(matrix[0, columns[place]])))
    return columns, found


def share_sums(
    matrix: NDArray[np.int8],
    input_bits: int,
    *,
    objective: Objective = "additions",
    unit_levels: int = UNIT_LEVELS,
    effort: float = 1.0,
    seed: int = 0,
    layer: str = "partial sums",
) -> AdderGraph:
    """Build and certify a graph of all sums of a layer, as cheap as found.

    Parameters
    ----------
    matrix : int8 array [inputs, outputs]
        Weights in {-1, +1}.
    input_bits : int
        Width of one input, in bits.
    objective : {"additions", "luts"}
        What is cheap: few additions, or few LUTs. For pixels the two are one.
    unit_levels : int
        For few LUTs: the depth of one popcount unit, which no register can divide, in levels as those between
        registers; at least 1.
    effort : float
        Scales how many exchanges of outputs between blocks are tried, and with it most of the time; 0 tries none.
    seed : int
        Of those exchanges; the graph depends on it and the other arguments alone.
    layer : str
        Named in the error.

    Raises
    ------
    CertificateError
        Where the graph is not the matrix: a defect of this program.
    """
    columns, places = _distinct(matrix)
    costs = lut_costs(len(matrix), unit_levels) if objective == "luts" and input_bits == 1 else ADDITIONS
    search = _Search(np.ascontiguousarray(matrix[:, columns]), costs, seed)
    rounds = int(effort * min(_MOST_EXCHANGES, _EXCHANGE_WEIGHTS // search.matrix.size))
    _, partition = search.improve(*search.start(), rounds)
    blocks = search.blocks(partition)
    emitter = _Emitter(search.matrix, input_bits)
    sums = emitter.class_sums(blocks) if costs.units is None else emitter.unit_sums(blocks, costs)
    found: dict[int, int] = {}
    for block, operands in zip(blocks, sums, strict=True):
        found |= emitter.outputs(block, operands)
    graph = emitter.build([emitter.signed(found[place], sign) for place, sign in places])
    certify(graph, matrix, layer)
    return graph
