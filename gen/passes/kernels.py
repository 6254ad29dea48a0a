"""The strategies that know 2-D kernels: none shared, or each distinct one computed once.

Chang et al., "A Convolutional Result Sharing Approach for Binarized Neural Network Inference", DATE 2020, in the ones
form; see `xnorweave.passes.share`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xnorweave.adder_graph import AdderGraph, GraphBuilder
from xnorweave.passes.streamline import ConvStage, DenseStage

__all__ = ["KernelCounts", "count_kernels", "share_kernels", "unshared"]


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


def _patterns(weights: NDArray[np.int8]) -> NDArray[np.uint64]:
    """Kernels [out, in] as bit masks of their +1 taps, row by row from bit 0."""
    flat = weights.reshape(*weights.shape[:2], -1) > 0
    places = np.uint64(1) << np.arange(flat.shape[-1], dtype=np.uint64)
    return (flat * places).sum(-1, dtype=np.uint64)


def count_kernels(weights: NDArray[np.int8], groups: int = 1) -> KernelCounts:
    """Count the kernels of weights [out, in / groups, ky, kx]; those of a dense layer, [out, in], have none."""
    if weights.ndim == 2:
        return KernelCounts(kernels=0, distinct=0, distinct_mod_inverse=0)
    patterns = _patterns(weights)
    full = np.uint64((1 << weights.shape[2] * weights.shape[3]) - 1)
    canonical = np.minimum(patterns, full ^ patterns)
    return KernelCounts(
        kernels=patterns.size,
        distinct=sum(len(np.unique(column)) for part in np.split(patterns, groups) for column in part.T),
        distinct_mod_inverse=sum(len(np.unique(column)) for part in np.split(canonical, groups) for column in part.T),
    )


def unshared(stage: ConvStage | DenseStage) -> AdderGraph:
    """One adder tree for each filter over its XNORed inputs; not certified yet."""
    matrix = stage.matrix
    builder = GraphBuilder(len(matrix), stage.encoding.bits, reuse=False)
    operands = np.arange(1, len(matrix) + 1)[:, None] * matrix.astype(np.int64)
    outputs = [builder.tree([int(o) for o in column]) for column in operands.T]
    top = 2**stage.encoding.bits - 1
    return builder.build(outputs, [top * int(n) for n in (matrix < 0).sum(0)])


def share_kernels(stage: ConvStage | DenseStage, *, inverse: bool = True) -> AdderGraph:
    """Each distinct kernel of an input channel once, up to inversion unless ``inverse`` is off; not certified yet."""
    return _KernelSharing(stage, inverse=inverse).build()


class _KernelSharing:
    """Builder of the ``kernel`` strategy for one layer; without ``inverse``, only equal kernels are shared."""

    def __init__(self, stage: ConvStage | DenseStage, *, inverse: bool):
        self.stage, self.inverse = stage, inverse
        # A dense layer as a convolution of 1 x 1 kernels: a weight of -1 selects nothing.
        weights = stage.weights if isinstance(stage, ConvStage) else stage.weights[:, :, None, None]
        _, self.channels, height, width = weights.shape
        self.size = (height, width)
        self.full = (1 << height * width) - 1
        patterns = [[int(pattern) for pattern in row] for row in _patterns(weights)]
        # By its -1 taps where more of its kernels are sparser that way: fewer of them are then inverses.
        dense = [sum(2 * p.bit_count() > height * width for p in row) for row in patterns]
        self.by_minus = [inverse and 2 * count > len(row) for count, row in zip(dense, patterns, strict=True)]
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
            alone = not self.inverse or (inverse not in used and pattern.bit_count() <= inverse.bit_count() + 1)
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
