"""Where the pipeline registers of an adder graph go: as few flip-flops as the clock allows.

Registers cut the graph into segments, one clock cycle each. An operand that is used in a later segment than its own
goes there through a chain of registers, which all its late users share. The rules of a legal pipeline are lower bounds
on differences of segments (a node is not before its sources; nodes at the two ends of a path that is too long for one
cycle are a segment apart), and the flip-flops a sum of differences, so this is retiming for least area at a given clock
period (Leiserson and Saxe), an integer program whose linear relaxation has an integer optimum.

It is solved exactly, and without that linear program: from the earliest segments of all, raise by one the set of nodes
that saves the most flip-flops, until no set saves any. Such a set is closed under the bounds that are tight, so a
minimum cut finds it, and for functions of this kind (L-natural-convex; Murota) the steepest steps end in the optimum,
after no more of them than the latency has cycles.

Flip-flops of CNV's conv1 (576 x 64), partial sums shared; the linear program with HiGHS finds the same optimum in 0.7
to 5 s, the cuts in 0.2 to 0.9 s:

===================  ======  ======  ======  ======  ======
levels per register       1       2       3       4       6
===================  ======  ======  ======  ======  ======
as soon as possible  30,960  15,189   9,617   6,707   4,358
optimum              26,852  13,249   8,531   5,889   3,986
optimum, +1 cycle    27,394  13,804   9,069   6,447   4,544
===================  ======  ======  ======  ======  ======

So a latency above the least is not worth trying. A layer of 65,552 nodes (2304 x 256) takes 2 to 11 s and 190 MB.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from xnorweave.adder_graph import AdderGraph
from xnorweave.errors import CertificateError, DoesNotFitError, UnsupportedError
from xnorweave.hw.adder_graph import operations, range_shape
from xnorweave.hw.segments import asap_segments, check_segments

__all__ = ["FAMILIES", "Family", "Schedule", "levels_for_clock", "schedule"]

Family = Literal["ice40-hx", "ice40-lp", "ice40-up", "ecp5"]
FAMILIES: tuple[Family, ...] = get_args(Family)
Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A pipeline of an adder graph.

    Parameters
    ----------
    segments : tuple of int
        Pipeline segment in which each operand is computed; operand 0 and the inputs are in segment 0.
    latency : int
        Cycles from inputs to sums.
    flip_flops : int
        Registers of the component, in bits, those of its ``valid`` included and those of a tag left out.
    """

    segments: tuple[int, ...]
    latency: int
    flip_flops: int


def schedule(graph: AdderGraph, *, levels_per_register: int) -> Schedule:
    """Place the registers of a graph: the fewest flip-flops at the least latency.

    Parameters
    ----------
    graph : AdderGraph
        What to pipeline.
    levels_per_register : int
        Levels in a row between two registers, as `hw.adder_graph.operations` counts them.

    Raises
    ------
    UnsupportedError
        If ``levels_per_register`` is not at least 1.
    CertificateError
        Where the pipeline found is not legal: a defect of this program.
    """
    if levels_per_register < 1:
        raise UnsupportedError(f"levels_per_register={levels_per_register}: give at least 1")
    nodes = tuple(operations(graph.inputs, graph.input_bits, graph.kernels, graph.nodes))
    earliest = np.array(asap_segments(graph.inputs, nodes, levels_per_register), np.int64)
    retiming = _Retiming(graph, nodes, earliest, levels_per_register)
    segments = tuple(retiming.solve().tolist())
    try:
        check_segments(segments, graph.inputs, nodes, levels_per_register)
    except ValueError as error:
        raise CertificateError(f"a pipeline is not legal: {error}; please report this") from error
    return Schedule(segments=segments, latency=retiming.latency, flip_flops=retiming.flip_flops)


# Nanoseconds of a path around its adders, from a line buffer's block RAM to a register, and of each level, routing
# included. Above what place and route gave with the shipped network, whose longest paths of adders took 20.8 ns for 8
# levels and 23.6 ns for 14 (HX8K), 19.3 ns for 8 (ECP5), and less than 40.3 ns for 7 (UP5K). Wide popcounts of 1 to 3
# levels took 4.7 to 9.0 ns (HX8K) and 3.2 to 7.9 ns (ECP5). LP chips were not measured: half as slow again as HX.
_BASE_NS: dict[Family, float] = {"ice40-hx": 4.0, "ice40-lp": 6.0, "ice40-up": 11.0, "ecp5": 4.0}
_LEVEL_NS: dict[Family, float] = {"ice40-hx": 2.6, "ice40-lp": 3.9, "ice40-up": 7.0, "ecp5": 3.0}
# Larger layers have longer wires, and other logic may be slower than the adders.
_MARGIN = 1.3


def levels_for_clock(family: Family, clock_mhz: float) -> int:
    """Most levels per register that a clock leaves time for, with a margin of 1.3 on the estimated delay.

    Parameters
    ----------
    family : {"ice40-hx", "ice40-lp", "ice40-up", "ecp5"}
        Chips of one speed; ECP5 of speed grade 6.
    clock_mhz : float
        Clock of the pipeline.

    Raises
    ------
    DoesNotFitError
        If the clock is too fast for a single level; tells the fastest.
    UnsupportedError
        If the clock is no positive number.
    """
    if not 0 < clock_mhz < math.inf:
        raise UnsupportedError(f"clock_mhz={clock_mhz:g}: give a positive number")
    levels = int((1000 / clock_mhz / _MARGIN - _BASE_NS[family]) / _LEVEL_NS[family])
    if levels < 1:
        fastest = 1000 / _MARGIN / (_BASE_NS[family] + _LEVEL_NS[family])
        raise DoesNotFitError(
            f"{family}: a clock of {clock_mhz:g} MHz is too fast for one adder between two registers; "
            f"remedy: a clock of at most {int(fastest)} MHz"
        )
    return levels


class _Retiming:
    """Variables are the segments of all operands, then the segments in which their register chains end.

    Parameters
    ----------
    graph : AdderGraph
    nodes : tuple
        The graph's operations.
    earliest : int64 array [operands]
        Earliest segment of each operand.
    levels : int
        Levels per register.
    """

    def __init__(self, graph: AdderGraph, nodes: tuple, earliest: Integers, levels: int):
        operands = len(earliest)
        costs = np.zeros(operands, np.int64)
        costs[graph.inputs + 1 :] = [min(cost, levels) for _, _, cost in nodes]
        edges = np.array([(source, k) for k, sources, _ in nodes for source in set(sources) - {0}], np.int64)
        sources, users = edges.reshape(-1, 2).T
        outputs = np.unique(np.abs(graph.outputs))
        outputs = outputs[outputs > 0]
        self.latency = 1 + int(earliest[outputs].max(initial=0))
        ends = earliest.copy()
        np.maximum.at(ends, sources, earliest[users])
        ends[outputs] = np.maximum(ends[outputs], self.latency)
        last = operands  # the end of operand 0, which has no registers, stands for the latency
        ends[0] = self.latency
        self.values = np.concatenate([earliest, ends])
        self.fixed = np.zeros(2 * operands, bool)
        self.fixed[: graph.inputs + 1] = self.fixed[last] = True
        self.widths = np.zeros(operands, np.int64)
        for k in np.union1d(sources, outputs).tolist():
            self.widths[k] = range_shape(*graph.operand_range(k)).width
        starts, stops = _long_paths(costs, sources, users, levels)
        # lower, upper, gap: the variable `upper` is at least `gap` above `lower`.
        bounds = [
            (sources, users, 0),
            (starts, stops, 1),
            (users, operands + sources, 0),
            (outputs, np.full(len(outputs), last), 1),
        ]
        self.lower, self.upper = (np.concatenate([bound[side] for bound in bounds]) for side in (0, 1))
        self.gaps = np.concatenate([np.full(len(lower), gap) for lower, _, gap in bounds])

    @property
    def flip_flops(self) -> int:
        """Those of the present segments, and one in each segment for ``valid``."""
        segments, ends = self.values.reshape(2, -1)
        return int(self.widths @ (ends - segments)) + self.latency

    def solve(self) -> Integers:
        """Segments of all operands with the fewest flip-flops."""
        gains = np.concatenate([self.widths, -self.widths])
        while True:
            tight = self.values[self.upper] - self.values[self.lower] == self.gaps
            raised = _best_closure(gains, self.fixed, self.lower[tight], self.upper[tight])
            if not raised.any():
                return self.values[: len(self.widths)]
            self.values += raised


def _long_paths(costs: Integers, sources: Integers, users: Integers, levels: int) -> tuple[Integers, Integers]:
    """First and last nodes of all paths that take more than ``levels`` levels, and no more than they must.

    Each node is taken as a chain of as many nodes of one level, so that these are paths of ``levels`` steps.
    """
    first = np.concatenate([[0], np.cumsum(costs)])
    owners = np.repeat(np.arange(len(costs)), costs)
    within = np.flatnonzero(owners[:-1] == owners[1:])
    deep = costs[sources] > 0
    rows = np.concatenate([first[sources[deep] + 1] - 1, within])
    columns = np.concatenate([first[users[deep]], within + 1])
    size = len(owners)
    step: Any = sparse.csr_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(size, size))
    paths = step
    for _ in range(levels - 1):
        if not paths.nnz:
            break
        paths = paths @ step
        paths.data[:] = 1  # how many there are does not matter, and would overflow
    ends = paths.tocoo()
    pairs = np.unique(np.stack([owners[ends.row], owners[ends.col]]), axis=1)
    return pairs[0], pairs[1]


def _best_closure(gains: Integers, fixed: NDArray[np.bool_], lower: Integers, upper: Integers) -> NDArray[np.bool_]:
    """The smallest set of the greatest gain, without fixed ones, that has ``upper[k]`` wherever it has ``lower[k]``.

    By a minimum cut (Picard): the source pays for what gains, the sink is paid by what loses.
    """
    size = len(gains)
    gaining, losing = (np.flatnonzero(~fixed & chosen) for chosen in (gains > 0, gains < 0))
    never = 1 + int(gains[gaining].sum())
    source, sink = size, size + 1
    stuck = np.flatnonzero(fixed)
    rows = np.concatenate([np.full(len(gaining), source), losing, stuck, lower])
    columns = np.concatenate([gaining, np.full(len(losing) + len(stuck), sink), upper])
    limits = np.concatenate([gains[gaining], -gains[losing], np.full(len(stuck) + len(lower), never)])
    network: Any = sparse.csr_array((limits.astype(np.int32), (rows, columns)), shape=(size + 2, size + 2))
    rest = network - csgraph.maximum_flow(network, source, sink).flow
    rest.eliminate_zeros()
    chosen = np.zeros(size + 2, bool)
    chosen[csgraph.breadth_first_order(rest, source, return_predecessors=False)] = True
    return chosen[:size]
