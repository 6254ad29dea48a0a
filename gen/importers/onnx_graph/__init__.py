"""Trained networks in ONNX files, with the operations of QONNX and FINN, to integer layers.

The graph is followed from input to output. What a tensor can hold is kept as a finite set of values per channel:
pixels (256), activations (2 to 16), or integer sums, each times a rational scale plus a rational offset.

**Pixels.** Our frames are uint8. A float input is taken as ``pixel / 255`` in float32, as torchvision's ToTensor has
it; as the pixel itself where the graph's first arithmetic divides by 255, or quantizes with the scale 1; a uint8 input
is the pixel. `from_onnx` can be told otherwise. The history of the network says which it was.

**Thresholds.** What counts is the sign that a framework computes in float32. So every value that a channel's sum can
have is put through the graph's own operations in float32, batch norm by the formula of the ONNX document from left to
right, and the threshold is read off; the operations keep order, so there is exactly one. The same is done in exact
fractions, and, for batch norm, in the orders of ONNX's reference evaluator and of onnxruntime. Where any of these gives
another answer for a sum that can occur, the float32 answer of the document stands, and the history counts the channels.
Sums of -1 and +1 are exact in float32. Where a scale that is no power of two, or a bias, enters the sum itself, float32
has no one answer, since it depends on the order of additions. Such a layer is taken where no sum that can occur is so
close to a threshold that any order could move it to the other side (`rounding`); else it is refused.

**Refused** is all that does not come out exactly: see the handlers, each of which says what is supported.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xnorweave.errors import located
from xnorweave.importers.folding import network_of
from xnorweave.importers.folding.image import PixelRule
from xnorweave.importers.folding.signals import Pixels, Signal
from xnorweave.importers.onnx_graph.evaluate import evaluate
from xnorweave.importers.onnx_graph.model import Graph, read_graph
from xnorweave.network import Network

__all__ = ["OnnxImport", "from_onnx", "read_onnx"]


@dataclass(frozen=True, kw_only=True, eq=False)
class OnnxImport:
    """A network, and how the graph that it was read from is fed and answers.

    Parameters
    ----------
    network : Network
        What was read.
    graph : Graph
        Where from.
    image : Pixels
        The graph's input as a function of the pixel.
    answer : Signal
        The graph's output: classes, or activations.
    """

    network: Network
    graph: Graph
    image: Pixels
    answer: Signal

    def inputs(self, frames: NDArray[np.uint8]) -> Iterator[NDArray]:
        """The graph's input for each frame, one batch of the same image.

        Parameters
        ----------
        frames : uint8 array [N, channels, height, width]
            Pixels.
        """
        layout = self.image.layout
        for frame in frames:
            pixels = frame.ravel()[layout.order]
            value = pixels if self.graph.input_bytes else self.image.values[0][pixels]
            yield np.repeat(value[None], layout.batch, axis=0)


def from_onnx(path: Path, pixels: PixelRule = "auto") -> Network:
    """Read a network from an ``.onnx`` file; as `read_onnx`, without the graph."""
    return read_onnx(path, pixels).network


def read_onnx(path: Path, pixels: PixelRule = "auto") -> OnnxImport:
    """Read a network from an ``.onnx`` file.

    Parameters
    ----------
    path : Path
        The file; nothing else is read, and nothing is written.
    pixels : {"auto", "unit", "raw"}
        What the graph's float input is for a pixel: found in the graph as above, ``pixel / 255``, or the pixel.

    Raises
    ------
    NetworkError
        Where the file is absent, damaged or not sound.
    UnsupportedError
        Where the graph does what no network of ours does exactly; the message names the node.
    ToolchainError
        Where the package ``onnx`` is not installed.
    """
    with located(path):
        graph = read_graph(path)
        image, answer = evaluate(graph, pixels)
        network = network_of(answer, path, "ONNX file")
    return OnnxImport(network=network, graph=graph, image=image, answer=answer)
