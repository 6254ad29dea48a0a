"""Decoded parameters of FINN's BNN-PYNQ networks (``.npz`` with ``conv0_w``, ``conv0_t``, ``fc0_w``, ...).

Convolution layers come first, then dense ones. In the convolutional network a 2x2 max pooling follows
second convolution as long as it halves the map (CNV: behind conv1 and conv3). Input rules: CNV takes RGB pixels as
``min(p - 128 + (p >= 128), 127)``; the dense networks take ``+1`` for pixels of at least 128, else ``-1``.

References
----------
Umuroglu et al., FINN, FPGA 2017; Xilinx/BNN-PYNQ (BSD-3-Clause).
"""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import NetworkError
from xnorweave.network import ArgMax, Conv2D, Dense, InputSpec, Layer, MaxPool, Network, Threshold

__all__ = ["from_arrays", "is_bnn_pynq"]

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_POOLED = ("conv1", "conv3")


def is_bnn_pynq(arrays: dict[str, NDArray]) -> bool:
    """Whether the entries are named as this format names them."""
    return "fc0_w" in arrays and "network" not in arrays


def _field(arrays: dict[str, NDArray], name: str) -> NDArray:
    if name not in arrays:
        raise NetworkError(f"array {name!r} is missing; decode the parameter folder again")
    return arrays[name]


def _input(convolutional: bool, features: int) -> InputSpec:
    pixel = np.arange(256)
    if convolutional:
        table = np.minimum(pixel - 128 + (pixel >= 128), 127).astype(np.int16)
        return InputSpec(kind="pixels", shape=(3, 32, 32), table=table)
    side = math.isqrt(features)
    if side * side != features:
        raise NetworkError(f"fc0_w takes {features} inputs, not a square image; say its shape in a network file")
    return InputSpec(kind="pixels", shape=(1, side, side), table=np.where(pixel >= 128, 1, -1).astype(np.int16))


def from_arrays(
    arrays: dict[str, NDArray],
    where: Path,
    *,
    name: str | None = None,
    classes: tuple[str, ...] | None = None,
    notes: tuple[str, ...] = (),
) -> Network:
    """Build the network.

    Parameters
    ----------
    arrays : dict of str to array
        ``{conv,fc}{i}_w`` int8 {-1, +1} and ``_t`` int32 as in the fields above; ``_traw`` is not needed.
    where : Path
        Named in errors and in the history.
    name : str, optional
        Of the network; the file's where absent.
    classes : tuple of str, optional
        Labels of the outputs, or empty; those of CIFAR-10 or the digits where absent.
    notes : tuple of str
        Added to the history.

    Raises
    ------
    NetworkError
        Where an array is missing, unknown or does not fit.
    """
    try:
        return _network(arrays, name or where.stem, name or where.name, classes, notes)
    except NetworkError as e:
        raise NetworkError(f"{where}: {e}") from e


def _network(
    arrays: dict[str, NDArray], name: str, source: str, classes: tuple[str, ...] | None, notes: tuple[str, ...]
) -> Network:
    """The network of that name; ``source`` is what the history calls the parameters."""
    names = [f"conv{i}" for i in range(sum(n.startswith("conv") and n.endswith("_w") for n in arrays))]
    names += [f"fc{i}" for i in range(sum(n.startswith("fc") and n.endswith("_w") for n in arrays))]
    known = {f"{n}{suffix}" for n in names for suffix in ("_w", "_t", "_traw")}
    if arrays.keys() - known:
        raise NetworkError(f"array {min(arrays.keys() - known)!r} is unknown in this format; remove it")
    layers: list[Layer] = []
    for layer in names:
        weights = _field(arrays, f"{layer}_w")
        layers.append(Conv2D(name=layer, weights=weights) if layer[0] == "c" else Dense(name=layer, weights=weights))
        if layer != names[-1]:
            layers.append(Threshold(name=f"{layer}_sign", thresholds=_field(arrays, f"{layer}_t")))
        if layer in _POOLED:
            layers.append(MaxPool(name=f"{layer}_pool"))
    layers.append(ArgMax(name="classify"))
    first = _field(arrays, "fc0_w")
    convolutional = names[0] == "conv0"
    outputs = len(_field(arrays, f"{names[-1]}_w"))
    labels = CIFAR10 if convolutional else tuple(map(str, range(outputs)))
    labels = labels if classes is None else classes
    return Network(
        name=name,
        input=_input(convolutional, first.shape[-1]),
        layers=tuple(layers),
        classes=labels if len(labels) == outputs else (),
        history=(f"imported from BNN-PYNQ parameters {source}", *notes),
    )
