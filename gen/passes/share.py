"""Which 2-D kernels and sums of a convolution are computed once and shared.

Strategies
----------
none
    One adder tree for each filter over XNORed inputs: the baseline, and the reference for the others.
kernel
    One unit for each distinct kernel of an input channel, up to inversion (Chang et al., DATE 2020), in the ones
    form: a unit sums the inputs under its +1 taps, an inverse kernel is the channel's whole window minus that, and a
    filter's signed sum is ``2 * P - S``, with P the sum of its units and S the sum of all inputs. Where a filter is
    shorter by its -1 taps, whose sum is N, it is ``S - 2 * N``. The minus signs are bitwise complements, and the
    constants these bring go into the thresholds.
graph
    Partial sums shared across channels and filters, without regard to kernels; see `xnorweave.passes.cse`.
"""

import time
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from xnorweave.adder_graph import AdderGraph, GraphBuilder, certify, graph_adder_bits, graph_additions
from xnorweave.errors import UnsupportedError
from xnorweave.network import Network
from xnorweave.passes.cse import share_sums
from xnorweave.passes.streamline import ConvStage, streamline

__all__ = ["STRATEGIES", "KernelCounts", "LayerSharing", "Strategy", "count_kernels", "share_layer", "share_network"]

Strategy = Literal["none", "kernel", "graph"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


@dataclass(frozen=True, kw_only=True)
class KernelCounts:
    """2-D kernels of a layer, summed over input channels.

    Parameters
    ----------
    kernels : int
        One for each filter and input channel.
    distinct : int
        Different ones within a channel.
    distinct_mod_inverse : int
        A kernel and its inverse counted as one.
    """

    kernels: int
    distinct: int
    distinct_mod_inverse: int


@dataclass(frozen=True, kw_only=True)
class LayerSharing:
    """What sharing does to one layer.

    Parameters
    ----------
    name : str
    inputs, outputs : int
        Taps of a window and filters.
    pixels : int
        Output pixels of a frame.
    counts : KernelCounts
    additions : dict of str to int
        Two-input additions and subtractions for each strategy built, up to the sums that thresholds compare.
    adder_bits : dict of str to int
        Result bits of those adders.
    seconds : dict of str to float
        Time to build and certify each graph.
    """

    name: str
    inputs: int
    outputs: int
    pixels: int
    counts: KernelCounts
    additions: dict[str, int]
    adder_bits: dict[str, int]
    seconds: dict[str, float]


def _patterns(weights: NDArray[np.int8]) -> NDArray[np.uint64]:
    """Kernels [out, in] as bit masks of their +1 taps, row by row from bit 0."""
    flat = weights.reshape(*weights.shape[:2], -1) > 0
    places = np.uint64(1) << np.arange(flat.shape[-1], dtype=np.uint64)
    return (flat * places).sum(-1, dtype=np.uint64)


def count_kernels(weights: NDArray[np.int8]) -> KernelCounts:
    """Count the kernels of weights [out, in, ky, kx]."""
    patterns = _patterns(weights)
    full = np.uint64((1 << weights.shape[2] * weights.shape[3]) - 1)
    canonical = np.minimum(patterns, full ^ patterns)
    return KernelCounts(
        kernels=patterns.size,
        distinct=sum(len(np.unique(column)) for column in patterns.T),
        distinct_mod_inverse=sum(len(np.unique(column)) for column in canonical.T),
    )


def share_layer(stage: ConvStage, strategy: Strategy) -> AdderGraph:
    """Build and certify the layer's adder graph.

    Raises
    ------
    UnsupportedError
        For an unknown strategy.
    CertificateError
        Where the graph is not the layer: a defect of this program, and nothing is emitted.
    """
    match strategy:
        case "none":
            graph = _unshared(stage)
        case "kernel":
            graph = _KernelSharing(stage).build()
        case "graph":
            return share_sums(stage.matrix, stage.encoding.bits, layer=stage.name)  # certified there
        case _:
            raise UnsupportedError(f"strategy {strategy!r} is unknown; use one of {', '.join(STRATEGIES)}")
    certify(graph, stage.matrix, stage.name)
    return graph


def _unshared(stage: ConvStage) -> AdderGraph:
    matrix = stage.matrix
    builder = GraphBuilder(len(matrix), stage.encoding.bits, reuse=False)
    operands = np.arange(1, len(matrix) + 1)[:, None] * matrix.astype(np.int64)
    outputs = [builder.tree([int(o) for o in column]) for column in operands.T]
    top = 2**stage.encoding.bits - 1
    return builder.build(outputs, [top * int(n) for n in (matrix < 0).sum(0)])


class _KernelSharing:
    """Builder of the ``kernel`` strategy for one layer."""

    def __init__(self, stage: ConvStage):
        self.stage = stage
        _, self.channels, height, width = stage.weights.shape
        self.size = (height, width)
        self.full = (1 << height * width) - 1
        patterns = [[int(pattern) for pattern in row] for row in _patterns(stage.weights)]
        # By its -1 taps where more of its kernels are sparser that way: fewer of them are then inverses.
        self.by_minus = [2 * sum(2 * p.bit_count() > height * width for p in row) > len(row) for row in patterns]
        self.patterns = [
            [self.full ^ pattern for pattern in row] if minus else row
            for row, minus in zip(patterns, self.by_minus, strict=True)
        ]
        self.builder = GraphBuilder(height * width * self.channels, stage.encoding.bits)

    def _taps(self, channel: int) -> tuple[int, ...]:
        return tuple(range(1 + channel, 1 + self.full.bit_length() * self.channels, self.channels))

    def build(self) -> AdderGraph:
        """All units first, since kernel operands come before adders; then inverses, trees and final sums."""
        used = [sorted({row[channel] for row in self.patterns}) for channel in range(self.channels)]
        direct = [self._units(channel, patterns) for channel, patterns in enumerate(used)]
        windows = [self.builder.kernel(self._taps(c), self.size, self.full) for c in range(self.channels)]
        terms = [
            {pattern: self._term(pattern, direct[c], windows[c]) for pattern in patterns}
            for c, patterns in enumerate(used)
        ]
        total = self.builder.tree(windows)
        outputs, constants = [], []
        for channel, row in enumerate(self.patterns):
            part = self.builder.tree([terms[c][pattern] for c, pattern in enumerate(row)])
            output, constant = self._signed_sum(channel, part, total)
            outputs.append(output)
            constants.append(constant)
        return self.builder.build(outputs, constants)

    def _units(self, channel: int, used: list[int]) -> dict[int, int]:
        """Operands of the patterns to compute directly: the sparser of each inverse pair, or the only one in use.

        A pattern that is used without its inverse is computed directly unless the detour over the inverse, one
        subtraction, is shorter.
        """
        chosen = set()
        for pattern in used:
            inverse = self.full ^ pattern
            alone = inverse not in used and pattern.bit_count() <= inverse.bit_count() + 1
            chosen.add(pattern if alone else min(pattern, inverse, key=lambda p: (p.bit_count(), p)))
        return {p: self.builder.kernel(self._taps(channel), self.size, p) for p in sorted(chosen)}

    def _term(self, pattern: int, direct: dict[int, int], window: int) -> int:
        """Operand of a pattern: a unit, or the window's sum minus the inverse's unit."""
        if pattern in direct:
            return direct[pattern]
        top = 2**self.stage.encoding.bits - 1
        bounds = (0, top * pattern.bit_count())
        return self.builder.subtract(window, direct[self.full ^ pattern], bounds=bounds)

    def _signed_sum(self, channel: int, part: int, total: int) -> tuple[int, int]:
        """Operand of ``sum w * x`` plus a constant, and the constant."""
        top = 2**self.stage.encoding.bits - 1
        weights = self.stage.weights[channel]
        low, high = -top * int((weights < 0).sum()), top * int((weights > 0).sum())
        if self.by_minus[channel]:
            lhs, constant = self.builder.complement(part)
            rhs, constant = total, 2 * constant
        else:
            lhs = part
            rhs, constant = self.builder.complement(total)
        return self.builder.add(lhs, rhs, shift=1, bounds=(low + constant, high + constant)), constant


def _first_filter(stage: ConvStage) -> ConvStage:
    thresholds = {border: row[:1] for border, row in stage.thresholds.items()}
    shape = (1, *stage.output_shape[1:])
    return replace(stage, weights=stage.weights[:1], thresholds=thresholds, output_shape=shape)


def share_network(network: Network, strategies: tuple[Strategy, ...] = STRATEGIES) -> list[LayerSharing]:
    """Build and certify every convolution with each strategy, and count."""
    rows = []
    for stage in streamline(network):
        if not isinstance(stage, ConvStage):
            continue
        additions, bits, seconds = {}, {}, {}
        for strategy in strategies:
            start = time.perf_counter()
            # Unshared filters have trees of one shape whatever their signs: one is counted for all.
            counted, copies = (_first_filter(stage), len(stage.weights)) if strategy == "none" else (stage, 1)
            graph = share_layer(counted, strategy)
            seconds[strategy] = time.perf_counter() - start
            additions[strategy], bits[strategy] = copies * graph_additions(graph), copies * graph_adder_bits(graph)
        rows.append(
            LayerSharing(
                name=stage.name,
                inputs=len(stage.matrix),
                outputs=len(stage.weights),
                pixels=stage.output_shape[1] * stage.output_shape[2],
                counts=count_kernels(stage.weights),
                additions=additions,
                adder_bits=bits,
                seconds=seconds,
            )
        )
    return rows
