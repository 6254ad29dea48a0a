"""Convolutions that learn which of few kernels to use: the sharing that hardware gains from, as a constraint.

The latent weights of a filter's kernel are not replaced by their signs, but by the nearest kernel of the input
channel's codebook, or that one's inverse; the gradient passes as if by signs. Codebooks are chosen from the latent
weights themselves: at first all kernels that the channel has, from epoch to epoch fewer, each time those with which the
latent weights of all filters are matched best. So filters whose kernels are lost move to similar ones while the network
trains.

References
----------
Wang, Yu, Chen, Hong, Wang, Chen, Xu, "Sub-bit Neural Networks: Learning to Compress and Accelerate Binary Neural
Networks", ICCV 2021 (kernels from a learned subset, one for each layer); here subsets are of input channels and up to
inversion, which is what a wired kernel unit is shared by.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from xnorweave.passes.similar import KernelRanking, kernel_candidates, rank_candidates
from xnorweave.training.recipe import SharingRecipe


class _NearestKernel(torch.autograd.Function):
    """The nearest kernel of a codebook, up to inversion; the gradient passes where the latent weight is in [-1, 1]."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, books: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        # In float64, so that a model in float32 and its exported twin in float64 take the same kernels.
        agreement = torch.einsum("oct,ckt->ock", weight.flatten(2).double(), books.double())
        best = agreement.abs().argmax(2)
        signs = torch.where(agreement.gather(2, best[..., None]) >= 0, 1.0, -1.0)
        kernels = books[torch.arange(books.shape[0], device=books.device), best]
        return (signs * kernels).to(weight.dtype).reshape(weight.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return gradients[0] * (weight.abs() <= 1), None


def nearest_kernels(weight: Tensor, books: Tensor) -> Tensor:
    """Return the kernels of codebooks that latent weights stand for.

    Parameters
    ----------
    weight : Tensor, shape [out, in, ky, kx]
        Latent weights.
    books : Tensor, shape [in, codes, ky * kx]
        Kernels of -1 and +1 for each input channel; rows of zeros where a channel has fewer, never the first.

    Returns
    -------
    Tensor, shape [out, in, ky, kx]
        Each kernel one of its channel's, or the inverse of one.
    """
    return _NearestKernel.apply(weight, books)


def choose_books(weight: Tensor, codes: int) -> Tensor:
    """Choose the kernels with which latent weights are matched best.

    Parameters
    ----------
    weight : Tensor, shape [out, in, ky, kx]
        Latent weights.
    codes : int
        Of all input channels together; divided among them where they match most, at least one each.

    Returns
    -------
    Tensor, shape [in, out, ky * kx]
        For `nearest_kernels`.
    """
    latent = weight.detach().flatten(2).double().cpu().numpy()
    own = [np.unique(signs * signs[:, :1], axis=0) for signs in np.where(latent >= 0, 1, -1).transpose(1, 0, 2)]
    candidates = kernel_candidates(np.concatenate(own).astype(np.int8))
    ranked = []
    for channel in range(latent.shape[1]):
        kernels = latent[:, channel]
        # What a filter's latent weights lack of agreeing with a candidate in every tap; 0 for their own signs.
        lack = np.abs(kernels).sum(1)[:, None] - np.abs(kernels @ candidates.T)
        ranked.append(rank_candidates(lack, len(kernels)))
    ranking = KernelRanking(
        kernels=[candidates[order].astype(np.int8) for order, _ in ranked], gains=[gains for _, gains in ranked]
    )
    books = torch.zeros(latent.shape[1], latent.shape[0], latent.shape[2])
    for channel, size in enumerate(ranking.sizes(codes)):
        # Where all of the channel's kernels fit, these lack nothing.
        kernels = own[channel] if size >= len(own[channel]) else ranking.kernels[channel][:size]
        books[channel, : len(kernels)] = torch.from_numpy(kernels).float()
    return books.to(weight.device, weight.dtype)


def codes_after(sharing: SharingRecipe, layer: int, most: float, epochs: int) -> float:
    """Return how many kernels an input channel of a convolution keeps, in the mean, after so many epochs.

    From ``most`` down to what the recipe asks for, by the same factor in each of its epochs of annealing.
    """
    asked = min(sharing.codes[layer], most)
    share = min(epochs / sharing.anneal_epochs, 1.0)
    return most * (asked / most) ** share
