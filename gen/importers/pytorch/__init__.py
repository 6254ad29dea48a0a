"""Binarized networks of PyTorch: a ``state_dict`` with a description of its layers beside it, ``NET.toml``.

A ``state_dict`` is only names and tensors: what a module does with them is code. So the layers are listed in TOML, in
order, by what they do and with the names of their tensors. The weights are a ``.safetensors`` file, or a ``.pt`` or
``.pth`` file of `torch.save`, which is read with ``weights_only=True`` and only if its pickle asks for nothing but
tensors. See ``docs/reference/importing.md`` for the keys.

**Order.** As PyTorch has it, channels first; our own is the same.

**Sign.** `torch.sign` gives 0 for 0, and most networks avoid it in one of several ways. So each sign says what it does.

**Float32.** As for ONNX, every value that a sum can have goes through the layers in float32; batch norm becomes one
factor and one offset per channel, as PyTorch's kernels have it, and the other orders are compared.
"""

from pathlib import Path

from xnorweave.errors import located
from xnorweave.importers.folding import network_of
from xnorweave.importers.folding.image import PixelRule, pixels_of
from xnorweave.importers.folding.layout import Layout
from xnorweave.importers.folding.pooling import finished
from xnorweave.importers.folding.signals import Signal, Words
from xnorweave.importers.pytorch.description import Description, read_description
from xnorweave.importers.pytorch.layers import behind
from xnorweave.importers.pytorch.tensors import Tensors, read_tensors
from xnorweave.network import Network

__all__ = ["from_description"]

WORDS = Words(
    source="PyTorch",
    quantizer="a sign with zero = 1",
    weights="sign = { zero = 1 }",
    inputs="a sign, or normalize it by simple fractions",
    dense="a dense layer",
    ending="the argmax",
)


def from_description(path: Path, pixels: PixelRule = "auto") -> Network:
    """Read a network from its description and the weights that lie beside it.

    Parameters
    ----------
    path : Path
        The ``.toml`` file; besides it only the file of weights in the same folder is read.
    pixels : {"auto", "unit", "raw"}
        What the first layer gets for a pixel: as the description says, ``pixel / 255``, or the pixel.

    Raises
    ------
    NetworkError
        Where one of the files is absent, damaged or not sound.
    UnsupportedError
        Where the layers do what no network of ours does exactly; the message names the layer.
    ToolchainError
        Where the package ``torch`` or ``safetensors`` is needed and not installed.
    """
    with located(path):
        description = read_description(path)
        tensors = read_tensors(path.parent, description.weights)
        signal = _followed(description, tensors, pixels)
        return network_of(signal, path, "PyTorch description", description.classes)


def _followed(description: Description, tensors: Tensors, pixels: PixelRule) -> Signal:
    rule = description.pixels if pixels == "auto" else pixels
    signal: Signal = pixels_of(Layout.plain(1, description.shape), rule, WORDS, "input of the network", ideal=True)
    for number, layer in enumerate(description.layers, 1):
        with located(f"layer {number} ({layer.kind})"):
            signal = behind(layer, tensors, signal)
    with located("behind the last layer"):
        return finished(signal)
