"""Exact export of a trained model to a network of integers, and its verification.

Batch norm and sign of an integer sum become one integer threshold. The threshold is not computed from the batch norm's
parameters but read off: PyTorch evaluates batch norm and sign, in float64, on every sum that the layer can reach.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from xnorweave.errors import TrainingError
from xnorweave.network import ArgMax, Conv2D, Dense, InputSpec, Layer, MaxPool, Network, Threshold
from xnorweave.training import reference
from xnorweave.training.binarize import BinaryConv2d, BinaryDense, RisingNorm2d, sign
from xnorweave.training.datasets import LabelledImages
from xnorweave.training.fit import predict
from xnorweave.training.models import BinaryNetwork


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Agreement of a network with the model that it came from.

    Parameters
    ----------
    images : int
        Images compared.
    mismatches : int
        Images whose class differs between the integers and PyTorch in float64.
    mismatches_float32 : int
        The same with PyTorch in float32, where rounding may move a sum across a threshold.
    correct : int
        Images that the integers classify right.
    classes : ndarray of uint8, shape [images]
        Class of each image by PyTorch in float64.
    """

    images: int
    mismatches: int
    mismatches_float32: int
    correct: int
    classes: NDArray[np.uint8]


def export_network(
    model: BinaryNetwork, *, name: str, classes: tuple[str, ...] = (), history: tuple[str, ...] = ()
) -> Network:
    """Fold a model into integers; equal to the model in float64 and evaluation mode on every image.

    Parameters
    ----------
    model : BinaryNetwork
        Not changed.
    name : str
        Of the network.
    classes : tuple[str, ...]
        Labels of the scores.
    history : tuple[str, ...]
        How the network came to be.

    Raises
    ------
    TrainingError
        If a batch norm holds a value that is not finite, as after a diverged training, or one behind max pooling falls.
    """
    recipe = model.recipe
    double = copy.deepcopy(model).double().eval()
    pixel_max = 255 >> recipe.pixel_shift_bits
    layers: list[Layer] = []
    for number, pool in enumerate(recipe.pools, start=1):
        layers += _fold_stage(double, f"conv{number}", pixel_max if number == 1 else 1, pixels=number == 1)
        if pool > 1:
            layers.append(MaxPool(name=f"pool{number}", size=pool, stride=pool))
    for number in range(1, len(recipe.dense) + 1):
        pixels = number == 1 and not recipe.convolutions
        layers += _fold_stage(double, f"fc{number}", pixel_max if pixels else 1, pixels=pixels)
    last = f"fc{len(recipe.dense) + 1}"
    layers.append(Dense(name=last, weights=_signs(double.layers.get_submodule(last).binary_weight())))
    layers.append(ArgMax(name="classes"))
    table = np.arange(256, dtype=np.int16) >> recipe.pixel_shift_bits if recipe.pixel_shift_bits else None
    spec = InputSpec(kind="pixels", shape=recipe.image_shape, table=table)
    return Network(name=name, input=spec, layers=tuple(layers), classes=classes, history=history)


def fold_norm(
    norm: nn.BatchNorm1d | nn.BatchNorm2d, sums: NDArray[np.int64], *, place: str
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Find the integer thresholds that equal batch norm and sign.

    Parameters
    ----------
    norm : nn.BatchNorm1d or nn.BatchNorm2d
        In float64 and evaluation mode.
    sums : ndarray of int64, shape [count]
        Every sum that the layer can reach, or more, in ascending order and symmetric about 0.
    place : str
        Layer name, for messages.

    Returns
    -------
    thresholds : ndarray of int64, shape [channels]
        A channel fires when its sum, negated where ``negated``, is at least this; a channel that fires never has
        the largest sum plus 1.
    negated : ndarray of bool, shape [channels]
        Channels whose weights must be negated: those that fire for small sums.

    Raises
    ------
    TrainingError
        If the batch norm holds a value that is not finite.
    """
    fires = _fires(norm, sums, place)
    negated = fires[0] & ~fires[-1]
    # The sums are symmetric, so reversing them is negating them.
    ascending = np.where(negated, fires[::-1], fires)
    if (ascending[:-1] & ~ascending[1:]).any():
        raise TrainingError(f"{place}: batch norm and sign are not one threshold in float64; train longer or again")
    count_below = (~ascending).sum(axis=0)
    return np.append(sums, sums[-1] + 1)[count_below], negated


def verify(network: Network, model: BinaryNetwork, images: LabelledImages) -> Verification:
    """Compare the classes of a network, read by plain NumPy, with those of its model."""
    integer = reference.classify(network, images.images)
    exact = predict(copy.deepcopy(model).double(), images)
    return Verification(
        images=len(images),
        mismatches=int((integer != exact).sum()),
        mismatches_float32=int((integer != predict(copy.deepcopy(model).float(), images)).sum()),
        correct=int((integer == images.labels).sum()),
        classes=exact,
    )


def _fold_stage(model: BinaryNetwork, name: str, input_max: int, *, pixels: bool) -> list[Layer]:
    """Fold one weighted layer and its batch norm; ``model`` is in float64 and evaluation mode."""
    layer, norm = model.layers.get_submodule(name), model.layers.get_submodule(f"{name}_norm")
    assert isinstance(layer, BinaryConv2d | BinaryDense)
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    weights = _signs(layer.binary_weight())
    sum_max = input_max * weights[0].size
    # Sums of -1/+1 all have the parity of their number; pixels reach every integer.
    sums = np.arange(-sum_max, sum_max + 1, 1 if pixels else 2)
    thresholds, negated = fold_norm(norm, sums, place=name)
    if isinstance(norm, RisingNorm2d) and negated.any():
        raise TrainingError(
            f"{name}: batch norm of channel {negated.argmax()} falls, so max pooling may not stand before it; "
            "train with positive scales"
        )
    weights[negated] *= -1
    folded = (
        Conv2D(name=name, weights=weights) if isinstance(layer, BinaryConv2d) else Dense(name=name, weights=weights)
    )
    return [folded, Threshold(name=f"{name}_threshold", thresholds=thresholds.astype(np.int32))]


def _fires(norm: nn.BatchNorm1d | nn.BatchNorm2d, sums: NDArray[np.int64], place: str) -> NDArray[np.bool_]:
    """Evaluate batch norm and sign on every sum: bool [count, channels]."""
    parameters = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    if not all(bool(torch.isfinite(parameter).all()) for parameter in parameters):
        raise TrainingError(f"{place}: batch norm holds values that are not finite; use a lower learning rate")
    values = torch.from_numpy(sums).double()[:, None].expand(-1, norm.num_features)
    with torch.inference_mode():
        normal = functional.batch_norm(values, *parameters, eps=norm.eps)
        return (sign(normal) > 0).numpy()


def _signs(weight: Tensor) -> NDArray[np.int8]:
    return sign(weight.detach()).to(torch.int8).numpy()
