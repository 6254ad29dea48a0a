"""Random changes of training images that keep their class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def augment(images: Tensor, *, shift_pixels: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Shift each image by up to ``shift_pixels`` in both directions and mirror half of them left to right.

    Parameters
    ----------
    images : Tensor of uint8, shape [count, channels, height, width]
        The batch; not changed.
    shift_pixels : int
        Largest shift; pixels from outside the image are 0.
    flip : bool
        Whether to mirror.
    generator : torch.Generator
        Source of the randomness.

    Returns
    -------
    Tensor of uint8
        In the shape of ``images``.
    """
    if shift_pixels == 0 and not flip:
        return images
    count, _, height, width = images.shape
    padded = functional.pad(images, [shift_pixels] * 4)
    offsets = torch.randint(2 * shift_pixels + 1, (2, count, 1), generator=generator)
    rows = torch.arange(height) + offsets[0]
    columns = torch.arange(width) + offsets[1]
    if flip:
        mirrored = torch.rand((count, 1), generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    # Advanced indices around the channel slice put the channels last.
    picked = padded[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)
