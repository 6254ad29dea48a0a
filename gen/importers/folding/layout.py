"""Where the elements of a tensor of the graph lie in our order: channel, row, column.

Reshape and Transpose move no data in hardware. Their effect is kept as one array of positions, and the next layer's
weights are put in order by it.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import NetworkError, UnsupportedError
from xnorweave.network import Shape

__all__ = ["MAX_FEATURES", "Layout"]

MAX_FEATURES = 1 << 22


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """Shape and order of one activation tensor.

    Parameters
    ----------
    batch : int
        First dimension, which is never moved.
    map : Shape
        Channels, height, width as our layers count them.
    order : int array
        In the tensor's shape without the batch: each element's number in ``map``, counted channel, row, column.
    """

    batch: int
    map: Shape
    order: NDArray[np.int64]

    @classmethod
    def plain(cls, batch: int, shape: Shape, dims: tuple[int, ...] | None = None) -> "Layout":
        """A tensor in our order, of shape ``dims`` where that is not ``shape``."""
        features = math.prod(shape)
        if features > MAX_FEATURES:
            raise NetworkError(f"its map {list(shape)} has more than {MAX_FEATURES} values; make it smaller")
        return cls(batch=batch, map=shape, order=np.arange(features).reshape(dims or shape))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in the graph, with the batch."""
        return (self.batch, *self.order.shape)

    @property
    def is_plain(self) -> bool:
        """Whether the elements are in our order."""
        return bool(np.array_equal(self.order.ravel(), np.arange(self.order.size)))

    @property
    def is_map(self) -> bool:
        """Whether the tensor is ``map`` itself, as a convolution or a pooling takes it."""
        return self.order.shape == self.map and self.is_plain

    def reshaped(self, shape: tuple[int, ...]) -> "Layout":
        """The layout of Reshape to ``shape``, in which -1 is inferred.

        Raises
        ------
        NetworkError
            Where the sizes do not agree.
        UnsupportedError
            Where it would split or join the batch.
        """
        size = math.prod(self.shape)
        known = math.prod(n for n in shape if n != -1)
        if shape.count(-1) > 1 or any(n < -1 for n in shape) or known == 0 or size % known:
            raise NetworkError(f"its input {list(self.shape)} has no shape {list(shape)}")
        shape = tuple(size // known if n == -1 else n for n in shape)
        if math.prod(shape) != size:
            raise NetworkError(f"its input {list(self.shape)} has no shape {list(shape)}")
        if not shape or shape[0] != self.batch:
            raise UnsupportedError(
                f"shape {list(shape)} moves the batch of {self.batch} from the front; leave it there"
            )
        return Layout(batch=self.batch, map=self.map, order=self.order.reshape(shape[1:]))

    def transposed(self, perm: tuple[int, ...]) -> "Layout":
        """The layout of Transpose."""
        if sorted(perm) != list(range(len(self.shape))):
            raise NetworkError(f"perm={list(perm)} is no order of {len(self.shape)} dimensions")
        if perm[0] != 0:
            raise UnsupportedError(f"perm={list(perm)} moves the batch from the front; leave it there")
        return Layout(batch=self.batch, map=self.map, order=self.order.transpose([p - 1 for p in perm[1:]]))

    def per_channel(self, constant: NDArray) -> NDArray:
        """A constant that is broadcast to the tensor, as one value for each channel of ``map``.

        Raises
        ------
        UnsupportedError
            Where it differs within a channel, or does not broadcast to the tensor's own shape and rank.
        """
        channels = self.map[0]
        if constant.size == 1 and constant.ndim <= len(self.shape):
            return np.repeat(constant.ravel(), channels)
        if constant.ndim == len(self.shape) and constant.shape[0] == 1:
            constant = constant[0]
        try:
            spread = np.broadcast_to(constant, self.order.shape)
        except ValueError as e:
            raise UnsupportedError(
                f"a constant of shape {list(constant.shape)} does not broadcast to {list(self.shape)}; "
                "give one value, or one for each channel"
            ) from e
        ordered = np.empty(self.order.size, constant.dtype)
        ordered[self.order.ravel()] = spread.ravel()
        ordered = ordered.reshape(channels, -1)
        if np.any(ordered != ordered[:, :1]):
            raise UnsupportedError("a constant differs within a channel; give one value for each channel")
        return ordered[:, 0]
