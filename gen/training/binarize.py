"""Layers whose weights or outputs are -1 or +1 and that gradient descent can train."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from xnorweave.training.codebook import choose_books, nearest_kernels


class _SignOfWeight(torch.autograd.Function):
    """Sign with sign(0) = +1; the gradient passes where the input lies in [-1, 1].

    References
    ----------
    Hubara, Courbariaux, Soudry, El-Yaniv, Bengio, "Binarized Neural Networks", NIPS 2016, section 1.3.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        ctx.save_for_backward(value)
        return _sign(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (value,) = ctx.saved_tensors
        return gradients[0] * (value.abs() <= 1)


class _SignOfActivation(torch.autograd.Function):
    """Sign with sign(0) = +1; the gradient is that of a parabola on either side of 0, ``2 - 2 |x|`` in [-1, 1].

    References
    ----------
    Liu, Wu, Luo, Yang, Liu, Cheng, "Bi-Real Net", ECCV 2018, section 3.3.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        ctx.save_for_backward(value)
        return _sign(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (value,) = ctx.saved_tensors
        return gradients[0] * (2.0 - 2.0 * value.abs()).clamp_min(0.0)


def _sign(value: Tensor) -> Tensor:
    return torch.where(value >= 0, 1.0, -1.0).to(value.dtype)


def sign(value: Tensor) -> Tensor:
    """Return +1 where ``value >= 0``, else -1, in the shape and type of ``value``."""
    return _SignOfWeight.apply(value)


class Sign(nn.Module):
    """Sign of activations as a module."""

    def forward(self, value: Tensor) -> Tensor:
        """Return the signs, in the shape of ``value``."""
        return _SignOfActivation.apply(value)


class BinaryConv2d(nn.Conv2d):
    """Convolution by the signs of its weights, or by kernels of codebooks; stride 1, no padding, no bias.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    kernel : int
        Side of the square window, in pixels.
    sharing : bool
        Whether its kernels are those of ``books``: at first the signs of its weights, later what `limit_kernels` left.
    """

    books: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, *, sharing: bool = False) -> None:
        super().__init__(inputs, outputs, kernel, bias=False)
        self.sharing = sharing
        if sharing:
            self.register_buffer("books", choose_books(self.weight, inputs * outputs))

    def limit_kernels(self, codes: int) -> None:
        """Keep so many distinct kernels, up to inversion, of all input channels together: those that match best."""
        self.books.copy_(choose_books(self.weight, codes))

    def binary_weight(self) -> Tensor:
        """Return the weights of -1 and +1 that the latent ones stand for."""
        return nearest_kernels(self.weight, self.books) if self.sharing else sign(self.weight)

    def forward(self, value: Tensor) -> Tensor:
        """Return the sums: [count, inputs, y, x] to [count, outputs, y - kernel + 1, x - kernel + 1]."""
        return functional.conv2d(value, self.binary_weight())


class BinaryDense(nn.Linear):
    """Dense layer with the signs of its weights, no bias.

    Parameters
    ----------
    inputs, outputs : int
        Features.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def binary_weight(self) -> Tensor:
        """Return the weights of -1 and +1 that the latent ones stand for."""
        return sign(self.weight)

    def forward(self, value: Tensor) -> Tensor:
        """Return the sums: [count, inputs] to [count, outputs]."""
        return functional.linear(value, self.binary_weight())


class RisingNorm2d(nn.BatchNorm2d):
    """Batch norm whose scale `clip_weights` keeps positive, so that max pooling may stand before it.

    Nothing is lost by that: a channel that must fire for small sums has its weights negated instead.
    """

    least_scale = 0.01


def clip_weights(model: nn.Module) -> None:
    """Clip the latent weights of every binary layer to [-1, 1] and the scales of rising norms from below, in place."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, BinaryConv2d | BinaryDense):
                module.weight.clamp_(-1.0, 1.0)
            elif isinstance(module, RisingNorm2d):
                module.weight.clamp_(min=module.least_scale)
