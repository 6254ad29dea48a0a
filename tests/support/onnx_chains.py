"""Small ONNX graphs for tests: building them, and comparing what is imported with ONNX's own reference evaluator."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from affine_values import affine, class_scores
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from xnorweave.importers import load_any
from xnorweave.network import Network
from xnorweave.sim import golden

QONNX = {
    "BipolarQuant": "onnx.brevitas",
    "Quant": "qonnx.custom_op.general",
    "MultiThreshold": "finn.custom_op.general",
}

ROUNDED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ROUND": np.round,
    "HALF_EVEN": np.round,
    "FLOOR": np.floor,
    "CEIL": np.ceil,
    # Up is away from 0, and down towards it.
    "UP": lambda y: np.where(y > 0, np.ceil(y), np.floor(y)),
    "DOWN": lambda y: np.where(y > 0, np.floor(y), np.ceil(y)),
    "HALF_UP": lambda y: np.where(y > 0, np.floor(y + 0.5), np.ceil(y - 0.5)),
    "HALF_DOWN": lambda y: np.where(y > 0, np.ceil(y - 0.5), np.floor(y + 0.5)),
}


class BipolarQuant(OpRun):
    op_domain = QONNX["BipolarQuant"]

    def _run(self, x, scale):
        return (np.where(x >= 0, np.float32(1), np.float32(-1)) * scale,)


class Quant(OpRun):
    op_domain = QONNX["Quant"]

    def _run(self, x, scale, zero, bits, signed=1, narrow=1, rounding_mode="ROUND"):
        y = x / scale + zero
        if bits == 1 and signed:
            y = np.where(y >= 0, np.float32(1), np.float32(-1))
        else:
            low = -(2 ** (bits - 1)) + narrow if signed else 0
            high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
            y = ROUNDED[rounding_mode](np.minimum(np.maximum(y, low), high))
        return (((y - zero) * scale).astype(np.float32),)


class MultiThreshold(OpRun):
    op_domain = QONNX["MultiThreshold"]

    def _run(self, x, thresholds, out_scale=1.0, out_bias=0.0, out_dtype="", data_layout="NCHW"):
        v = np.moveaxis(x, 1 if data_layout == "NCHW" else -1, -1)[..., None]
        count = (v >= thresholds).sum(-1)
        y = np.float32(out_scale) * count.astype(np.float32) + np.float32(out_bias)
        return (np.moveaxis(y, -1, 1 if data_layout == "NCHW" else -1),)


class Chain:
    """Builds a sequential graph."""

    def __init__(self, *shape: int | str, kind: int = TensorProto.FLOAT) -> None:
        self.input = helper.make_tensor_value_info("image", kind, shape)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.last = "image"

    def constant(self, value: Any) -> str:
        array = np.asarray(value)
        array = array.astype(np.int64) if array.dtype.kind in "iu" else array.astype(np.float32)
        self.constants.append(numpy_helper.from_array(array, f"c{len(self.constants)}"))
        return f"c{len(self.constants) - 1}"

    def add(self, op: str, *constants: Any, first: bool = False, outputs: int = 1, **attributes: Any) -> "Chain":
        """One node on the tensor before; ``first`` puts the constants in front of it, the last output goes on."""
        names = [self.constant(c) if not isinstance(c, str) else c for c in constants]
        inputs = [*names, self.last] if first else [self.last, *names]
        made = [f"t{len(self.nodes)}_{n}" for n in range(outputs)]
        self.nodes.append(
            helper.make_node(op, inputs, made, name=f"n{len(self.nodes)}", domain=QONNX.get(op, ""), **attributes)
        )
        self.last = made[-1]
        return self

    def weights(self, op: str, weights: np.ndarray, *more: Any, scale: Any = 1.0, **attributes: Any) -> "Chain":
        """A layer whose real weights are binarized in the graph."""
        before = self.last
        self.last = self.constant(weights)
        quantized = self.add("BipolarQuant", scale).last
        self.last = before
        return self.add(op, quantized, *more, **attributes)

    def model(self) -> onnx.ModelProto:
        output = helper.make_tensor_value_info(self.last, TensorProto.UNDEFINED, None)
        graph = helper.make_graph(self.nodes, "g", [self.input], [output], self.constants)
        opsets = [helper.make_opsetid(domain, 1) for domain in QONNX.values()]
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), *opsets])

    def save(self, path: Path) -> Path:
        path.write_bytes(self.model().SerializeToString())
        return path


def compared(
    chain: Chain,
    *,
    folder: Path,
    rng: np.random.Generator,
    raw: bool = False,
    channels_last: bool = False,
    images: int = 200,
) -> Network:
    """Import a chain, and compare it with the reference evaluator on random images; gives the network."""
    network = load_any(chain.save(folder / "net.onnx"))
    frames = rng.integers(0, 256, (images, *network.input.shape), dtype=np.uint8)
    shape = [d.dim_value for d in chain.input.type.tensor_type.shape.dim][1:]
    x = (frames.transpose(0, 2, 3, 1) if channels_last else frames).reshape(images, *shape)
    if chain.input.type.tensor_type.elem_type == TensorProto.FLOAT:
        x = x.astype(np.float32) if raw else x.astype(np.float32) / np.float32(255)
    evaluator = ReferenceEvaluator(chain.model(), new_ops=[BipolarQuant, Quant, MultiThreshold])
    want = np.asarray(evaluator.run(None, {"image": x})[0])
    got = golden.run(network, frames)
    if got.scores is None:
        affine(got.outputs.reshape(images, -1), want.reshape(images, -1))
    elif want.size == images:
        assert np.array_equal(got.outputs, want.ravel())
    else:
        assert np.array_equal(got.outputs, want.argmax(1))
        class_scores(network, got.scores, want)
    return network


def bits(*shape: int | str, **options: Any) -> Chain:
    """An input of -1 and +1."""
    return Chain(*shape, **options).add("Mul", 2.0).add("Sub", [1.0]).add("BipolarQuant", 1.0)


def norm(rng: np.random.Generator, channels: int, *, rising: bool = False) -> tuple[np.ndarray, ...]:
    """Scale, bias, mean, variance; some scales negative and, unless rising, some zero."""
    scale = rng.normal(size=channels)
    scale = np.abs(scale) + 0.1 if rising else scale * (rng.random(channels) > 0.2)
    return scale, rng.normal(size=channels), rng.normal(0, 3, channels), rng.random(channels) * 4 + 0.1
