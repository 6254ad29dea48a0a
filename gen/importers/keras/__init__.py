"""Binarized networks of Keras and Larq: whole models in ``.h5`` and ``.keras`` files.

Read are the description of the layers, which is JSON, and the arrays of their weights. Nothing of the file is executed:
no pickles, no code of Lambda layers, no custom objects; what is not known by name is refused.

**Order.** Keras has channels last. Kernels [ky, kx, in, out] and the weights behind a Flatten are put in our order.

**Padding.** ``same`` puts the odd row and column of zeros at the bottom and on the right, as TensorFlow does. Zeros are
added behind the input quantizer, so they are neither -1 nor +1; Larq's ``pad_values`` other than 0 are refused.

**Quantizers.** Larq's ``ste_sign`` and its kin give +1 for 0, in weights and in activations.

**Float32.** As for ONNX, every value that a sum can have goes through the layers in float32. Batch norm is computed as
TensorFlow does it: tf.keras 2 subtracts the mean first on maps and multiplies first on vectors, Keras 3 always
multiplies first; the other orders are compared, and the history counts the channels that differ. Pixels that are no
multiples of one step in float32 are summed as the fractions that they were rounded from where no order of additions
can move a sum across its threshold, and the history says so; else they are refused.
"""

from pathlib import Path

from xnorweave.errors import located
from xnorweave.importers.folding import network_of
from xnorweave.importers.folding.image import PixelRule
from xnorweave.importers.keras.chain import chain_of
from xnorweave.importers.keras.evaluate import evaluate
from xnorweave.importers.keras.model import read_model
from xnorweave.network import Network

__all__ = ["from_keras"]


def from_keras(path: Path, pixels: PixelRule = "auto") -> Network:
    """Read a network from a whole model in a ``.h5``, ``.hdf5`` or ``.keras`` file.

    Parameters
    ----------
    path : Path
        The file; nothing else is read, and nothing is written.
    pixels : {"auto", "unit", "raw"}
        What the model's input is for a pixel: ``pixel / 255``, or the pixel. Found out, it is the pixel where the input
        has the type uint8, or the first layer is a Rescaling by at most 1/50, else ``pixel / 255``.

    Raises
    ------
    NetworkError
        Where the file is absent, damaged or not sound.
    UnsupportedError
        Where the model does what no network of ours does exactly; the message names the layer.
    ToolchainError
        Where the package ``h5py`` is not installed.
    """
    with located(path):
        model = read_model(path)
        return network_of(evaluate(chain_of(model.config), model, pixels), path, "Keras file")
