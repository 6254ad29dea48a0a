"""Following a chain of layers from the image to the classes."""

from dataclasses import dataclass, replace

import numpy as np

from xnorweave.errors import UnsupportedError, located
from xnorweave.importers.folding.image import PixelRule, image_layout, pixels_of
from xnorweave.importers.folding.pooling import finished
from xnorweave.importers.folding.signals import Signal, Sums, Words, kind_of
from xnorweave.importers.keras import layers
from xnorweave.importers.keras.chain import LayerConfig
from xnorweave.importers.keras.model import Model
from xnorweave.importers.keras.options import SOFTMAX, Quantizer, check_options, quantizer, shown

__all__ = ["evaluate"]

WORDS = Words(
    source="TensorFlow",
    quantizer="ste_sign",
    weights='kernel_quantizer="ste_sign"',
    inputs='input_quantizer="ste_sign", or rescale it by a simple fraction',
    dense="a QuantDense without activation",
    ending="the softmax",
)
LARGEST_RAW_SCALE = 1 / 50
APART = 1e-5
"""Scores this far apart stay apart in a softmax of float32."""

_NOTHING = ("Dropout", "GaussianNoise", "GaussianDropout", "SpatialDropout2D", "ActivityRegularization")
_MOVES = ("InputLayer", "Reshape", "Flatten", *_NOTHING)
_QUANTIZERS = ("SteSign", "ApproxSign", "SwishSign", "SteHeaviside", "SteTern", "DoReFa", "DoReFaQuantizer")
KNOWN = (
    "InputLayer, Rescaling, QuantConv2D, QuantDepthwiseConv2D, QuantSeparableConv2D, QuantDense, Conv2D, "
    "DepthwiseConv2D, Dense, BatchNormalization, MaxPooling2D, GlobalAveragePooling2D, Activation, SteSign, Flatten, "
    "Reshape, Dropout, Softmax"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class _State:
    signal: Signal
    softmax: bool = False


def evaluate(chain: tuple[LayerConfig, ...], model: Model, pixels: PixelRule) -> Signal:
    """What the model gives for an image, with all its layers.

    Raises
    ------
    NetworkError, UnsupportedError
        Naming the layer.
    """
    state = _State(signal=_input(chain, pixels))
    for layer in chain[1:] if chain[0].kind == "InputLayer" else chain:
        with located(f"layer {layer.label}"):
            state = _behind(layer, model, state)
    signal = state.signal
    with located(f"output of layer {chain[-1].label}"):
        if len(signal.layout.shape) == 4:
            signal = layers.channels_first(signal)
        if state.softmax and not isinstance(signal, Sums):
            raise UnsupportedError(f"ends in a softmax of {kind_of(signal)}; put it behind {WORDS.dense}")
        return finished(signal, apart=APART if state.softmax else 0.0)


def _behind(layer: LayerConfig, model: Model, state: _State) -> _State:
    """The state behind a layer: its input quantizer, the layer itself, its activation."""
    if layer.kind in _NOTHING:
        return state
    if state.softmax:
        raise UnsupportedError("follows a softmax, which has to be the last; remove it")
    match layer.kind:
        case "Activation" | "Softmax":
            check_options(layer, ("activation", "axis"))
            if layer.config.get("axis", -1) != -1:
                raise UnsupportedError(f"axis={shown(layer.config['axis'])} is not supported; nearest: -1")
            name = layer.config.get("activation") if layer.kind == "Activation" else "softmax"
            return _activated(state, quantizer(name, "activation"))
        case name if name in _QUANTIZERS:
            return _activated(state, quantizer({"class_name": name, "config": layer.config}, "layer"))
        case name if name in layers.HANDLERS:
            known, handler = layers.HANDLERS[name]
            check_options(layer, ("activation", *known))
            signal = layers.quantized(state.signal, quantizer(layer.config.get("input_quantizer"), "input_quantizer"))
            behind = handler(layer, model, signal)
            return _activated(_State(signal=behind), quantizer(layer.config.get("activation"), "activation"))
        case name:
            raise UnsupportedError(f"class {shown(name)} is not supported; build the model of: {KNOWN}")


def _activated(state: _State, rule: Quantizer) -> _State:
    if rule is SOFTMAX:
        return replace(state, softmax=True)
    return replace(state, signal=layers.quantized(state.signal, rule))


def _input(chain: tuple[LayerConfig, ...], pixels: PixelRule) -> Signal:
    first = chain[0]
    shape = first.config.get("batch_shape") or first.config.get("batch_input_shape")
    if not isinstance(shape, list) or not 2 <= len(shape) <= 4 or not all(type(n) is int for n in shape[1:]):
        raise UnsupportedError(
            f"the input's shape {shown(shape)} is not fixed; build the model for images such as [None, 28, 28, 1]"
        )
    if shape[0] not in (None, 1) or not all(0 < n < 1 << 31 for n in shape[1:]):
        raise UnsupportedError(f"the input's shape {shown(shape)} is none of an image; leave the batch open")
    dtype = first.config.get("dtype") if first.kind == "InputLayer" else "float32"
    if isinstance(dtype, dict) or dtype not in ("float32", "uint8", None):
        raise UnsupportedError(f"the input's type {shown(dtype)} is not supported; use float32 or uint8")
    if len(shape) == 4:
        height, width, channels = shape[1:]
        layout = layers.plain_map((channels, height, width))
    else:
        layout = image_layout(1, shape[1:])
    rule = pixels if pixels != "auto" else _pixel_rule(chain, dtype)
    return pixels_of(layout, rule, WORDS, "input of the model", ideal=True)


def _pixel_rule(chain: tuple[LayerConfig, ...], dtype: str | None) -> PixelRule:
    """``raw`` where the input is bytes, or the first arithmetic is a Rescaling to about 1."""
    if dtype == "uint8":
        return "raw"
    layer = next((layer for layer in chain if layer.kind not in _MOVES), chain[-1])
    if layer.kind != "Rescaling":
        return "unit"
    return "raw" if np.abs(layers.factors(layer, "scale", 1.0)).max() <= LARGEST_RAW_SCALE else "unit"
