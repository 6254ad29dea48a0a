"""The trainable model that a recipe describes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xnorweave.training.binarize import BinaryConv2d, BinaryDense, RisingNorm2d, Sign
from xnorweave.training.recipe import ModelRecipe, SharingRecipe


class BinaryNetwork(nn.Module):
    """Binarized network: uint8 images in, integer scores out.

    Max pooling stands before batch norm and sign, where it equals pooling of the signs as long as the norm's scale is
    positive. There the norm balances the bits that the next layer sees, the gradient passes to the largest value only,
    and norm and sign have a quarter of the values to compute. Layers are named ``conv1``, ``conv1_norm``, ..., ``fc1``,
    ``fc1_norm``, ...; the scores are the last ``fc``.

    Parameters
    ----------
    recipe : ModelRecipe
        Shape of the network.
    sharing : SharingRecipe, optional
        Which convolutions have codebooks of kernels; none where absent.
    """

    def __init__(self, recipe: ModelRecipe, sharing: SharingRecipe | None = None) -> None:
        super().__init__()
        self.recipe = recipe
        layers: dict[str, nn.Module] = {}
        inputs = recipe.image_shape[0]
        for number, outputs in enumerate(recipe.convolutions, start=1):
            shared = sharing is not None and bool(sharing.codes) and sharing.codes[number - 1] != 0
            layers[f"conv{number}"] = BinaryConv2d(inputs, outputs, recipe.kernel, sharing=shared)
            layers[f"conv{number}_pool"] = nn.MaxPool2d(recipe.pools[number - 1])
            layers[f"conv{number}_norm"] = RisingNorm2d(outputs)
            layers[f"conv{number}_sign"] = Sign()
            inputs = outputs
        layers["flatten"] = nn.Flatten()
        channels, height, width = recipe.feature_shape()
        inputs = channels * height * width
        for number, outputs in enumerate(recipe.dense, start=1):
            layers[f"fc{number}"] = BinaryDense(inputs, outputs)
            layers[f"fc{number}_norm"] = nn.BatchNorm1d(outputs)
            layers[f"fc{number}_sign"] = Sign()
            inputs = outputs
        layers[f"fc{len(recipe.dense) + 1}"] = BinaryDense(inputs, recipe.classes)
        self.layers = nn.Sequential()
        for name, layer in layers.items():
            self.layers.add_module(name, layer)
        # Channels innermost in memory: twice as fast on a CPU, the same numbers.
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores, [count, classes], whole numbers, of images [count, c, y, x] of uint8."""
        pixels = images.bitwise_right_shift(self.recipe.pixel_shift_bits)
        return self.layers(pixels.to(next(self.parameters()).dtype).contiguous(memory_format=torch.channels_last))
