"""Models as Keras and Larq save them, and what they compute in plain NumPy."""

import io
import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np

SIGN = {
    "class_name": "SteSign",
    "config": {"name": "ste_sign", "trainable": True, "dtype": "float32", "clip_value": 1.0},
}
BINARY = {"input_quantizer": SIGN, "kernel_quantizer": SIGN}
NUMBERED = {"QuantConv2D": "quant_conv2d", "QuantDense": "quant_dense", "BatchNormalization": "batch_normalization",
            "Conv2D": "conv2d", "Dense": "dense", "QuantDepthwiseConv2D": "quant_depthwise_conv2d",
            "DepthwiseConv2D": "depthwise_conv2d", "QuantSeparableConv2D": "quant_separable_conv2d"}  # fmt: skip


class KerasChain:
    """A model of layers one behind the other, for images of the shape [height, width, channels]."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape
        self.layers: list[dict[str, Any]] = []
        self.arrays: list[dict[str, np.ndarray]] = []
        self.add("InputLayer", batch_input_shape=[None, *shape], dtype="float32")

    def add(self, kind: str, arrays: dict[str, Any] | None = None, **options: Any) -> "KerasChain":
        name = f"{kind.lower()}_{len(self.layers)}"
        self.layers.append({"class_name": kind, "config": {"name": name, "trainable": True, **options}})
        self.arrays.append({key: np.asarray(array, np.float32) for key, array in (arrays or {}).items()})
        return self

    def conv(self, kernel: np.ndarray, bias: Any = None, kind: str = "QuantConv2D", **options: Any) -> "KerasChain":
        """Kernel [ky, kx, in, out]."""
        arrays = {"kernel": kernel} | ({} if bias is None else {"bias": bias})
        options = {"use_bias": bias is not None, "strides": [1, 1], "padding": "valid", "data_format": "channels_last",
                   "dilation_rate": [1, 1], "groups": 1, "activation": "linear",
                   **({**BINARY, "pad_values": 0.0} if kind[0] == "Q" else {}), "filters": kernel.shape[3],
                   "kernel_size": [*kernel.shape[:2]], **options}  # fmt: skip
        return self.add(kind, arrays, **options)

    def depthwise(self, kernel: np.ndarray, bias: Any = None, kind: str = "QuantDepthwiseConv2D", **options: Any):
        """Kernel [ky, kx, in, multiplier]."""
        arrays = {"depthwise_kernel": kernel} | ({} if bias is None else {"bias": bias})
        quantizers = {"input_quantizer": SIGN, "depthwise_quantizer": SIGN, "pad_values": 0.0} if kind[0] == "Q" else {}
        options = {"use_bias": bias is not None, "strides": [1, 1], "padding": "valid", "data_format": "channels_last",
                   "dilation_rate": [1, 1], "groups": 1, "activation": "linear",
                   "depth_multiplier": kernel.shape[3], **quantizers,
                   "kernel_size": [*kernel.shape[:2]], **options}  # fmt: skip
        return self.add(kind, arrays, **options)

    def separable(self, depthwise: np.ndarray, pointwise: np.ndarray, **options: Any) -> "KerasChain":
        """Kernels [ky, kx, in, multiplier] and [1, 1, in * multiplier, out]."""
        arrays = {"depthwise_kernel": depthwise, "pointwise_kernel": pointwise}
        options = {"use_bias": False, "strides": [1, 1], "padding": "valid", "data_format": "channels_last",
                   "dilation_rate": [1, 1], "groups": 1, "activation": "linear", "depth_multiplier": depthwise.shape[3],
                   "input_quantizer": SIGN, "depthwise_quantizer": SIGN, "pointwise_quantizer": SIGN, "pad_values": 0.0,
                   "filters": pointwise.shape[3], "kernel_size": [*depthwise.shape[:2]], **options}  # fmt: skip
        return self.add("QuantSeparableConv2D", arrays, **options)

    def dense(self, kernel: np.ndarray, bias: Any = None, kind: str = "QuantDense", **options: Any) -> "KerasChain":
        """Kernel [in, out]."""
        arrays = {"kernel": kernel} | ({} if bias is None else {"bias": bias})
        options = {
            "use_bias": bias is not None,
            "activation": "linear",
            **(BINARY if kind[0] == "Q" else {}),
            **options,
        }
        return self.add(kind, arrays, units=kernel.shape[1], **options)

    def norm(
        self, mean: Any, variance: Any, gamma: Any = None, beta: Any = None, epsilon: float = 1e-3
    ) -> "KerasChain":
        given = {"gamma": gamma, "beta": beta, "moving_mean": mean, "moving_variance": variance}
        arrays = {name: array for name, array in given.items() if array is not None}
        return self.add("BatchNormalization", arrays, axis=-1, epsilon=epsilon,
                        center=beta is not None, scale=gamma is not None, momentum=0.99)  # fmt: skip

    def config(self, *, functional: bool = False, keras: int = 2) -> dict[str, Any]:
        layers = json.loads(json.dumps(self.layers))
        if not functional:
            return {"class_name": "Sequential", "config": {"name": "sequential", "layers": layers}}
        names = [layer["config"]["name"] for layer in layers]
        for layer, before in zip(layers, [None, *names], strict=False):
            tensor = {"class_name": "__keras_tensor__", "config": {"shape": [], "keras_history": [before, 0, 0]}}
            new, old = [{"args": [tensor], "kwargs": {"training": False}}], [[[before, 0, 0, {}]]]
            layer |= {
                "name": layer["config"]["name"],
                "inbound_nodes": [] if before is None else new if keras > 2 else old,
            }
        ends = {"input_layers": [[names[0], 0, 0]], "output_layers": [[names[-1], 0, 0]]}
        if keras > 2:
            ends = {name: end[0] for name, end in ends.items()}
        return {"class_name": "Functional", "config": {"name": "model", "layers": layers, **ends}}

    def save(self, path: Path, config: Any = None, **form: Any) -> Path:
        """In the format that the file's name says; ``config`` replaces the description."""
        if path.suffix == ".keras":
            config = self.config(keras=3, **form) if config is None else config
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
                archive.writestr("metadata.json", json.dumps({"keras_version": "3.4.1", "date_saved": "today"}))
                archive.writestr("model.weights.h5", self.numbered())
            return path
        config = self.config(**form) if config is None else config
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = config if isinstance(config, (str, bytes)) else json.dumps(config).encode()
            file.attrs["keras_version"] = b"2.10.0"
            weights = file.create_group("model_weights")
            names = [layer["config"]["name"] for layer in self.layers]
            weights.attrs["layer_names"] = [name.encode() for name in names]
            for name, arrays in zip(names, self.arrays, strict=True):
                group = weights.create_group(name)
                group.attrs["weight_names"] = [f"{name}/{key}:0".encode() for key in arrays]
                for key, array in arrays.items():
                    group.create_dataset(f"{name}/{key}:0", data=array)
        return path

    def numbered(self) -> bytes:
        data, used = io.BytesIO(), Counter[str]()
        with h5py.File(data, "w") as file:
            for layer, arrays in zip(self.layers, self.arrays, strict=True):
                snake = NUMBERED.get(layer["class_name"], layer["class_name"].lower())
                group = file.create_group(f"layers/{snake}" + (f"_{used[snake]}" if used[snake] else "") + "/vars")
                used[snake] += 1
                for number, array in enumerate(arrays.values()):
                    group.create_dataset(str(number), data=array)
        return data.getvalue()

    def run(self, x: np.ndarray) -> np.ndarray:
        """What the model gives for float32 images [n, height, width, channels]."""
        for layer, arrays in zip(self.layers, self.arrays, strict=True):
            options = layer["config"]
            for name in ("input_quantizer", None, "activation"):
                if name is None:
                    x = compute(layer["class_name"], options, arrays, x)
                elif options.get(name) not in (None, "linear", "softmax"):
                    x = quantized(options[name], x)
            assert x.dtype == np.float32
        return x


def quantized(quantizer: Any, x: np.ndarray) -> np.ndarray:
    """As Larq's quantizers compute."""
    name, settings = (quantizer, {}) if isinstance(quantizer, str) else (quantizer["class_name"], quantizer["config"])
    match name:
        case "SteTern" | "ste_tern":
            level = np.float32(settings.get("threshold_value", 0.05))
            return np.sign(np.sign(x + level) + np.sign(x - level))
        case "DoReFa" | "DoReFaQuantizer" | "dorefa_quantizer":
            steps = np.float32(2 ** settings.get("k_bit", 2) - 1)
            return np.round(np.clip(x, np.float32(0), np.float32(1)) * steps) / steps
        case "ste_heaviside":
            return np.where(x > 0, np.float32(1), np.float32(0))
        case _:
            return np.where(x >= 0, np.float32(1), np.float32(-1))


def signs_of(arrays: dict[str, np.ndarray], options: dict[str, Any], part: str) -> np.ndarray:
    """A kernel, binarized where it has a quantizer."""
    name = "kernel" if part == "kernel" else f"{part}_kernel"
    return quantized("ste_sign", arrays[name]) if options.get(f"{part}_quantizer") else arrays[name]


def compute(kind: str, options: dict[str, Any], arrays: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    kernel = arrays.get("kernel")
    if kernel is not None and options.get("kernel_quantizer"):
        kernel = np.where(kernel >= 0, np.float32(1), np.float32(-1))
    match kind:
        case "Rescaling":
            return x * np.float32(options["scale"]) + np.float32(options["offset"])
        case "QuantConv2D" | "Conv2D":
            parts, kernels = np.split(x, options["groups"], 3), np.split(kernel, options["groups"], 3)
            maps = [
                convolved(p, k, options["strides"][0], options["padding"]) for p, k in zip(parts, kernels, strict=True)
            ]
            return np.concatenate(maps, 3) + arrays.get("bias", np.float32(0))
        case "QuantDepthwiseConv2D" | "DepthwiseConv2D" | "QuantSeparableConv2D":
            kernel = signs_of(arrays, options, "depthwise")
            maps = [convolved(x[..., c : c + 1], kernel[:, :, c : c + 1], options["strides"][0], options["padding"])
                    for c in range(x.shape[3])]  # fmt: skip
            x = np.concatenate(maps, 3)
            x = x @ signs_of(arrays, options, "pointwise")[0, 0] if kind == "QuantSeparableConv2D" else x
            return x + arrays.get("bias", np.float32(0))
        case "GlobalAveragePooling2D":
            return x.mean((1, 2), np.float32, keepdims=bool(options.get("keepdims")))
        case "SteTern" | "DoReFa":
            return quantized({"class_name": kind, "config": options}, x)
        case "QuantDense" | "Dense":
            return x @ kernel + arrays.get("bias", np.float32(0))
        case "BatchNormalization":
            factor = np.float32(1) / np.sqrt(arrays["moving_variance"] + np.float32(options["epsilon"]))
            factor, beta = factor * arrays.get("gamma", np.float32(1)), arrays.get("beta", np.float32(0))
            if x.ndim == 4:
                return (x - arrays["moving_mean"]) * factor + beta
            return x * factor + (beta - arrays["moving_mean"] * factor)
        case "MaxPooling2D":
            size, stride = options["pool_size"][0], (options["strides"] or options["pool_size"])[0]
            rows, columns = ((n - size) // stride + 1 for n in x.shape[1:3])
            windows = [x[:, i : i + stride * rows : stride, j : j + stride * columns : stride][:, :rows, :columns]
                       for i in range(size) for j in range(size)]  # fmt: skip
            return np.max(windows, axis=0)
        case "SteSign":
            return np.where(x >= 0, np.float32(1), np.float32(-1))
        case "Flatten":
            return x.reshape(len(x), -1)
        case "Reshape":
            return x.reshape(len(x), *options["target_shape"])
        case _:
            return x


def convolved(x: np.ndarray, kernel: np.ndarray, stride: int, padding: str) -> np.ndarray:
    """Tap by tap; a tap outside of the image adds nothing."""
    (ky, kx), (height, width) = kernel.shape[:2], x.shape[1:3]
    if padding == "same":
        rows, columns = -(-height // stride), -(-width // stride)
        top, left = (
            max((out - 1) * stride + k - n, 0) // 2 for out, k, n in ((rows, ky, height), (columns, kx, width))
        )
    else:
        rows, columns, top, left = (height - ky) // stride + 1, (width - kx) // stride + 1, 0, 0
    result = np.zeros((len(x), rows, columns, kernel.shape[3]), np.float32)
    for y, z in np.ndindex(rows, columns):
        for i, j in np.ndindex(ky, kx):
            row, column = y * stride + i - top, z * stride + j - left
            if 0 <= row < height and 0 <= column < width:
                result[:, y, z] += x[:, row, column] @ kernel[i, j]
    return result
