"""Random ONNX graphs of all supported operations: whatever is imported gives what onnxruntime or QONNX gives, exactly."""

import importlib
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
from affine_values import is_scaled, same_choices, same_order
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from onnx_chains import QONNX, ROUNDED, BipolarQuant, Chain, MultiThreshold, Quant

from xnorweave.errors import UnsupportedError
from xnorweave.importers import load_any
from xnorweave.sim import golden

IMAGES = 40
NICE = [-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0]
"""Constants with which sums meet thresholds exactly, in any order of rounding."""

Evaluate = Callable[[onnx.ModelProto, np.ndarray], np.ndarray]


@dataclass
class Draw:
    """A graph as it is drawn: the chain so far, and the shape of what it holds.

    Parameters
    ----------
    rng : Generator
    qonnx : bool
        Whether quantizers are those of QONNX rather than ONNX's Sign.
    chain : Chain
    shape : tuple of int
        Without the batch: channels, rows, columns, or features.
    raw : bool
        Whether the graph's input is the pixel rather than pixel / 255.
    last : bool
        Whether the channels are the last dimension of the image.
    """

    rng: np.random.Generator
    qonnx: bool
    chain: Chain = field(init=False)
    shape: tuple[int, ...] = field(init=False)
    raw: bool = field(init=False)
    last: bool = field(init=False)

    def __post_init__(self) -> None:
        self._image()
        self._pixels()
        for _ in range(self.pick(1, 1, 2, 2, 3)):
            self._layer()
            self._quantizer()
            if len(self.shape) == 3 and self.odds(0.2):
                self._pool()
            if self.odds(0.3):
                self._moved()
        if len(self.shape) == 3 and self.odds(0.2):
            self._average()
        self._ending()

    def pick(self, *options):
        return options[self.rng.integers(len(options))]

    def odds(self, part: float) -> bool:
        return bool(self.rng.random() < part)

    def _image(self) -> None:
        channels, rows, columns = int(self.rng.integers(1, 4)), *(int(n) for n in self.rng.integers(5, 9, 2))
        dims = self.pick("map", "map", "last", "vector", "rows")
        channels = 1 if dims == "rows" else channels
        shown = {
            "map": (channels, rows, columns),
            "last": (rows, columns, channels),
            "vector": (channels * rows * columns,),
            "rows": (rows, columns),
        }[dims]
        kind = self.pick(TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.UINT8)
        self.raw, self.last = kind == TensorProto.UINT8, dims == "last"
        self.chain, self.shape = Chain("n", *shown, kind=kind), (channels, rows, columns)
        move = {"last": ("Transpose", {"perm": [0, 3, 1, 2]}), "map": ("Identity", {})}.get(dims)
        late = self.raw and self.odds(0.5)
        if late:
            self.chain.add("Cast", to=1)
        if move:
            self.chain.add(move[0], **move[1])
        else:
            self.chain.add("Reshape", [self.pick(0, -1), channels, rows, columns])
        if self.raw and not late:
            self.chain.add("Cast", to=1)

    def _pixels(self) -> None:
        if not self.raw and self.odds(0.3):
            self.raw = True
            self.chain.add(*self.pick(("Div", 255.0), ("Mul", np.float32(1) / np.float32(255))))
            whole = False
        else:
            whole = self.raw
        if whole and self.odds(0.3):
            return  # the layer sums the pixels
        if self.qonnx and not whole and self.odds(0.4):
            self.chain.add("Mul", 2.0).add("Sub", 1.0).add("Quant", 1 / 128, 0.0, 8.0, signed=1, narrow=self.pick(0, 1))
            return
        if whole:
            self.chain.add("Sub", self.channels(lambda n: self.rng.integers(0, 255, n) + 0.5))
        else:
            self.chain.add("Sub", self.channels(lambda n: self.rng.random(n)))
        if self.odds(0.3):
            self.chain.add("Div", self.channels(lambda n: self.rng.random(n) + 0.1))
        self.chain.add(*(("BipolarQuant", 1.0) if self.qonnx else ("Sign",)))

    def weights(self, *shape: int, plain: bool) -> np.ndarray:
        """Of one magnitude for each output, outputs first; plain ones have the same for all."""
        size = self.pick(1.0, 1.0, 1.0, 0.5, 0.3)
        plain = plain and self.odds(0.95)
        sizes = self.rng.choice([0.25, 1.0, 4.0], shape[0]) if not plain and self.odds(0.2) else np.full(shape[0], size)
        return self.rng.choice([-1.0, 1.0], shape) * sizes.reshape(-1, *[1] * (len(shape) - 1))

    def channels(self, values: Callable[[int], np.ndarray]) -> np.ndarray:
        """A constant for all channels, or one for each."""
        if self.odds(0.4):
            return self.pick(values(1)[0], values(1))
        column = values(self.shape[0])
        return column.reshape(-1, 1, 1) if len(self.shape) == 3 else column

    def numbers(self, count: int, *, positive: bool = False) -> np.ndarray:
        found = self.rng.choice(NICE, count) if self.odds(0.6) else self.rng.normal(0, 2, count)
        return np.abs(found) + 0.5 if positive else found

    def _layer(self) -> None:
        if len(self.shape) == 3 and self.odds(0.6):
            self._conv()
        else:
            self._dense(int(self.rng.integers(2, 9)))
        for _ in range(self.pick(0, 1, 1, 2, 3)):
            self._step()
        if len(self.shape) == 3 and self.odds(0.2):
            self._pool()
            if self.odds(0.5):
                self._step()

    def _conv(self, *, depthwise: bool = False) -> None:
        channels, rows, columns = self.shape
        kernel = tuple(int(self.rng.integers(1, min(n, 3) + 1)) for n in (rows, columns))
        pads = [int(self.rng.integers(0, k)) if self.odds(0.5) else 0 for k in (*kernel, *kernel)]
        stride = int(self.pick(1, 1, 2, 3))
        groups = channels if depthwise else int(self.pick(*[n for n in range(1, channels + 1) if channels % n == 0]))
        outputs = groups * int(self.rng.integers(1, 5))
        bias = [self.numbers(outputs)] if self.odds(0.2) else []
        self.chain.add(
            "Conv", self.weights(outputs, channels // groups, *kernel, plain=False), *bias,
            pads=pads, strides=[stride, stride], group=groups,
        )  # fmt: skip
        sizes = ((n + pads[i] + pads[i + 2] - kernel[i]) // stride + 1 for i, n in enumerate((rows, columns)))
        self.shape = (outputs, *sizes)

    def _dense(self, outputs: int, *, of_classes: bool = False) -> None:
        if len(self.shape) == 3:
            if self.odds(0.3):
                self.chain.add("Transpose", perm=self.pick([0, 2, 3, 1], [0, 3, 2, 1], [0, 1, 3, 2]))
            self.pick(lambda: self.chain.add("Flatten"), lambda: self.chain.add("Reshape", [0, -1]))()
            self.shape = (int(np.prod(self.shape)),)
        weights = self.weights(outputs, *self.shape, plain=of_classes)
        self.shape = (outputs,)
        if self.odds(0.6):
            self.chain.add("MatMul", weights.T)
            return
        bias = [self.channels(self.numbers)] if self.odds(0.05 if of_classes else 0.3) else []
        turned = self.pick(0, 1)
        more = {"alpha": self.pick(0.5, 2.0, -1.0), "beta": 2.0} if self.odds(0.2) else {}
        self.chain.add("Gemm", weights if turned else weights.T, *bias, transB=turned, **more)

    def _step(self) -> None:
        match self.pick("Add", "Sub", "Mul", "Div", "from", "Neg", "norm", "norm", "Identity", "Dropout"):
            case "Add" | "Sub" as op:
                self.chain.add(op, self.channels(self.numbers), first=op == "Add" and self.odds(0.5))
            case "Mul":
                self.chain.add("Mul", self.channels(self.numbers), first=self.odds(0.5))
            case "Div":
                sign = self.pick(1, 1, -1)
                self.chain.add("Div", self.channels(lambda n: sign * self.numbers(n, positive=True)))
            case "from":
                self.chain.add("Sub", self.channels(self.numbers), first=True)
            case "norm":
                self._norm()
            case op:
                self.chain.add(op)

    def _norm(self) -> None:
        count = self.shape[0]
        if self.odds(0.5):
            variance, epsilon = self.rng.choice([0.25, 1.0, 4.0], count), 0.0
        else:
            variance, epsilon = self.rng.random(count) * 4 + 0.1, 1e-5
        constants = self.numbers(count), self.numbers(count), self.numbers(count), variance
        self.chain.add("BatchNormalization", *constants, epsilon=epsilon)

    def _pool(self) -> None:
        size = self.pick(2, 2, 3)
        channels, *sides = self.shape
        if min(sides) >= size:
            stride = int(self.rng.integers(1, size + 1))
            self.chain.add("MaxPool", kernel_shape=[size, size], strides=[stride, stride])
            self.shape = (channels, *((n - size) // stride + 1 for n in sides))

    def _quantizer(self) -> None:
        if not self.qonnx:
            if self.odds(0.5):
                self.chain.add("Add", float(self.pick(0.25, 0.3, -0.7)))
            self.chain.add("Sign")
            return
        match self.pick("BipolarQuant", "Quant", "Quant", "MultiThreshold"):
            case "BipolarQuant":
                self.chain.add("BipolarQuant", float(self.pick(1.0, 1.0, 0.5, 0.7)))
            case "Quant":
                self.chain.add(
                    "Quant", float(self.pick(0.5, 1.0, 2.0, 0.3)), float(self.pick(0, 0, 1, -1)), float(self.pick(1, 2, 2, 3, 4)),
                    signed=self.pick(0, 1), narrow=self.pick(0, 1), rounding_mode=self.pick(*ROUNDED),
                )  # fmt: skip
            case _:
                levels = int(self.rng.integers(1, 5))
                thresholds = self.rng.integers(-6, 7, (self.pick(1, self.shape[0]), levels)) + self.pick(0.0, 0.5, 0.1)
                self.chain.add(
                    "MultiThreshold", thresholds if self.odds(0.2) else np.sort(thresholds, 1),
                    out_scale=float(self.pick(1.0, 2.0, 0.25, -1.0)), out_bias=float(self.pick(0.0, -float(levels), 0.5)),
                )  # fmt: skip

    def _moved(self) -> None:
        """Activations between a quantizer and the next layer."""
        match self.pick("signs", "scale", "scales", "offset", "offsets", "neg"):
            case "signs":
                self.chain.add("Mul", self.channels(lambda n: self.rng.choice([-1.0, 1.0], n)))
            case "scale":
                self.chain.add("Mul", float(self.pick(0.5, 2.0, -4.0, 0.3)))
            case "scales":
                self.chain.add("Mul", self.channels(lambda n: self.rng.choice([0.5, -1.0, 4.0], n)))
                if len(self.shape) == 3:
                    self._conv(depthwise=True)
                    self._step()
                    self._quantizer()
            case "offset":
                self.chain.add("Add", float(self.pick(1.0, -1.0, 0.5)))
            case "offsets":
                self.chain.add("Add", self.channels(self.numbers))
            case _:
                self.chain.add("Neg")

    def _average(self) -> None:
        self.pick(
            lambda: self.chain.add("GlobalAveragePool").add("Flatten"),
            lambda: self.chain.add("ReduceMean", axes=[2, 3], keepdims=0),
            lambda: self.chain.add("AveragePool", kernel_shape=list(self.shape[1:])).add("Reshape", [0, -1]),
        )()
        self.shape = self.shape[:1]
        self._dense(5)
        self._quantizer()

    def _ending(self) -> None:
        ending = self.pick("levels", "scores", "scores", "scaled", "ArgMax", "TopK")
        self._layer() if ending == "levels" else self._dense(int(self.rng.integers(2, 7)), of_classes=True)
        match ending:
            case "levels":
                self._quantizer()
            case "scores":
                for _ in range(self.pick(0, 1, 2)):
                    op, value = self.pick(("Mul", 0.37), ("Mul", -0.5), ("Add", 1.5), ("Sub", 0.1), ("Div", 3.0))
                    self.chain.add(op, value)
            case "scaled":
                scales = self.rng.choice([0.5, -1.0, 3.0], self.shape[0]) if self.odds(0.5) else None
                self._norm() if scales is None else self.chain.add("Mul", scales)
                self.pick(lambda: None, lambda: self.chain.add("ArgMax", axis=1), lambda: self.chain.add("Add", 0.3))()
            case "ArgMax":
                self.chain.add("ArgMax", axis=self.pick(1, -1), keepdims=self.pick(0, 1))
            case _:
                self.chain.add("TopK", [1], axis=self.pick(1, -1), outputs=2)


def frames(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Noise, images of two values, and images of one."""
    noise = rng.integers(0, 256, (IMAGES // 2, *shape), dtype=np.uint8)
    flat = np.broadcast_to(np.array([0, 127, 128, 255], np.uint8)[:, None, None, None], (4, *shape))
    return np.concatenate([noise, rng.choice(np.array([0, 255], np.uint8), (IMAGES // 2 - 4, *shape)), flat])


def onnxruntime(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    ort = importlib.import_module("onnxruntime")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": x})[0])


def reference(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return np.asarray(
        ReferenceEvaluator(model, new_ops=[BipolarQuant, Quant, MultiThreshold]).run(None, {"image": x})[0]
    )


def qonnx(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """Image by image, as its shapes have a batch of 1."""
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    for node in model.graph.node:
        node.domain = node.domain and "qonnx.custom_op.general"
    wrapper = importlib.import_module("qonnx.core.modelwrapper").ModelWrapper(model)
    shaped = wrapper.transform(importlib.import_module("qonnx.transformation.infer_shapes").InferShapes())
    execute = importlib.import_module("qonnx.core.onnx_exec").execute_onnx
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.concatenate([execute(shaped, {"image": image[None]})[shaped.graph.output[0].name] for image in x])


def differing(seed: int, path: Path, evaluate: Evaluate, *, with_qonnx: bool) -> str:
    """What became of the graph of a seed: the operations of one that was imported and compared, or why it was not."""
    rng = np.random.default_rng(seed)
    draw = Draw(rng=rng, qonnx=with_qonnx)
    model = draw.chain.model()
    model.ir_version = 8
    ends_in_class = draw.chain.nodes[-1].op_type in ("ArgMax", "TopK")
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64 if ends_in_class else TensorProto.FLOAT
    if not with_qonnx:
        del model.opset_import[1:]
    path.write_bytes(model.SerializeToString())
    try:
        network = load_any(path)
    except UnsupportedError as e:
        return f"refused: {str(e).removeprefix(str(path))}"
    if any("another order of rounding" in line or "the exact ones decide" in line for line in network.history):
        return "refused: frameworks differ among themselves"
    where, images = f"seed {seed} of {path.name}", frames(rng, network.input.shape)
    x = images.transpose(0, 2, 3, 1) if draw.last else images
    sizes = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    x = np.ascontiguousarray(x).reshape(len(x), *sizes)
    if model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT:
        x = x.astype(np.float32) if draw.raw else x.astype(np.float32) / np.float32(255)
    want, got = evaluate(model, x), golden.run(network, images)
    if got.scores is None:
        channels = got.outputs.shape[1]
        for channel in range(channels):
            of_both = [v.reshape(len(x), channels, -1)[:, channel] for v in (got.outputs, want)]
            same_order(*of_both, f"{where}, channel {channel}")
    elif ends_in_class:
        assert np.array_equal(got.outputs.ravel(), want.ravel()), where
    else:
        assert np.array_equal(got.outputs.ravel(), want.argmax(1)), where
        if is_scaled(network):
            same_choices(got.scores, want, where)
        for number in range(0 if is_scaled(network) else want.shape[1]):
            same_order(got.scores[:, number], want[:, number], f"{where}, class {number}")
    return " ".join([*(node.op_type for node in draw.chain.nodes), *(layer.kind for layer in network.layers)])


def compare(seeds: range, path: Path, evaluate: Evaluate, *, with_qonnx: bool) -> None:
    results = [differing(seed, path, evaluate, with_qonnx=with_qonnx) for seed in seeds]
    refused = Counter(r.split(": ", 2)[-1][:60] for r in results if r.startswith("refused"))
    taken = [set(r.split()) for r in results if not r.startswith("refused")]
    print(f"{len(taken)} of {len(results)} graphs were imported and compared; refused: {refused.most_common(12)}")
    assert len(taken) > len(results) / 3
    ops = {"Conv", "MatMul", "Gemm", "BatchNormalization", "MaxPool", "Add", "Sub", "Mul", "Div", "Neg", "Transpose", "Reshape",
           "Flatten", "ArgMax", "TopK", "scale"} | (set(QONNX) if with_qonnx else {"Sign"})  # fmt: skip
    assert ops <= set().union(*taken)


def test_graphs_of_plain_operations(tmp_path):
    pytest.importorskip("onnxruntime")
    compare(range(120), tmp_path / "net.onnx", onnxruntime, with_qonnx=False)


def test_graphs_of_quantizers(tmp_path):
    compare(range(120), tmp_path / "net.onnx", reference, with_qonnx=True)


@pytest.mark.slow
def test_many_graphs_of_plain_operations(tmp_path):
    pytest.importorskip("onnxruntime")
    compare(range(1000, 2500), tmp_path / "net.onnx", onnxruntime, with_qonnx=False)


@pytest.mark.slow
def test_many_graphs_of_quantizers(tmp_path):
    compare(range(1000, 2500), tmp_path / "net.onnx", reference, with_qonnx=True)


@pytest.mark.slow
def test_many_graphs_of_quantizers_by_qonnx_itself(tmp_path):
    pytest.importorskip("qonnx", reason="qonnx is not installed: pip install 'xnorweave[brevitas]'")
    compare(range(1000, 1200), tmp_path / "net.onnx", qonnx, with_qonnx=True)
